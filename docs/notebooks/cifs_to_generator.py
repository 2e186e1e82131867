# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # From your own CIFs to a trained generator
#
# Three minutes on two cores, at a size for a first look: 200 crystals and the preset `smoke`. What makes it worth
# something is in the words beside each step. `make notebooks` makes a Jupyter notebook of this file.

# %%
import subprocess
from pathlib import Path

import crystalsweep
from crystalsweep.data.writing import write


def run(command: str) -> None:
    """Run a command as in a terminal, and show what it prints."""
    ran = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    print(ran.stdout)
    if ran.returncode:
        raise SystemExit(ran.stderr)


# %% [markdown]
# ## Crystals
#
# A folder of CIFs. Here 200 of the bundled crystals stand in for yours: leave this cell out where `my_cifs` is your
# own.

# %%
small = [crystal for crystal in crystalsweep.read("bundled").crystals if len(crystal) <= 12]
write(small[:200], Path("my_cifs"))

# %% [markdown]
# Every file is read or listed as a reject with its reason.

# %%
reading = crystalsweep.read("my_cifs")
print(f"{len(reading.crystals)} crystals, {len(reading.rejects)} rejects")
run("crystalsweep data import my_cifs crystals.parquet")
run("crystalsweep data split crystals.parquet")  # parts for training, validation and test, which all commands use

# %% [markdown]
# ## Training
#
# From the generator that comes with the package, which is what pays with few crystals. CIFs have no label of stability,
# so all are used. For a real training: `--preset demo` takes minutes, `small` tens of minutes to hours.

# %%
run(
    "crystalsweep train pretrain --preset smoke --data crystals.parquet --set stable_only=false"
    " --set learning_rate=5e-4 --generator shipped --out runs/mine"
)

# %% [markdown]
# ## How good is it?
#
# On the test part, which was kept from training, beside the true crystals (ceiling) and the corrupted ones as they are
# (identity). More crystals make the intervals narrower.

# %%
run(
    "crystalsweep evaluate --checkpoint runs/mine --data crystals.parquet --max-crystals 20 --calculator none"
    " --name mine --out evaluations/mine"
)

# %% [markdown]
# ## Use
#
# `load` takes the run folder.

# %%
restorer = crystalsweep.load("runs/mine")
oxide = next(crystal for crystal in small[200:] if 8 in crystal.species)
done = crystalsweep.complete(oxide, mask="O", model="runs/mine", top=3)
for candidate in done.candidates:
    print(f"{candidate.structure.composition.reduced_formula:10} {candidate.probability:.3f}")
