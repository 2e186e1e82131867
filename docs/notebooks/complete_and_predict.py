# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # From a partial crystal to candidates, in Python
#
# Which elements may stand where titanium is in BaTiO3? The generator that comes with the package says, in seconds and
# on one core. `make notebooks` makes a Jupyter notebook of this file.

# %%
from pymatgen.core import Lattice, Structure

import crystalsweep

perovskite = Structure(
    Lattice.cubic(4.03),
    ["Ba", "Ti", "O", "O", "O"],
    [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]],
)

# %% [markdown]
# ## Candidates
#
# `mask` hides all atoms of an element. The candidates come with the probability that they are the crystal that was
# there, and `warnings` say what to bear in mind.

# %%
done = crystalsweep.complete(perovskite, mask="Ti", top=5, model="shipped")
for candidate in done.candidates:
    print(f"{candidate.structure.composition.reduced_formula:8} {candidate.probability:.3f}")
print(*done.warnings, sep="\n")

# %% [markdown]
# ## Constraints
#
# Only some elements, charges that balance, or a formula of the whole crystal.

# %%
narrow = crystalsweep.complete(perovskite, mask="Ti", allowed="Ti-Zr-Hf-Sn", charge="neutral", model="shipped")
print([each.structure.composition.reduced_formula for each in narrow.candidates])

# %% [markdown]
# ## From here
#
# A property of the candidates takes a model that was trained on it:
#
# ```
# crystalsweep train finetune --preset demo --target k_vrh --generator shipped --out runs/bulk_modulus
# ```
#
# and then `crystalsweep.predict([each.structure for each in done.candidates], model="runs/bulk_modulus")`, a table with
# an interval for each.
