# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # From a sweep to a champion
#
# Some minutes on two cores at the preset `smoke`, which shows every step and whose networks are worth nothing;
# `PRESET = "demo"` takes ten minutes for the sweep, and its best generator passes the gates. Run it in a clone of the
# repository, which has `sweeps/`. `make notebooks` makes a Jupyter notebook of this file.

# %%
import json
import subprocess

import crystalsweep

PRESET = "smoke"


def run(command: str, *, may_refuse: bool = False) -> str:
    """Run a command as in a terminal and return what it prints; exit code 3 is a refusal of `promote`."""
    ran = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    if ran.returncode and not (may_refuse and ran.returncode == 3):
        raise SystemExit(ran.stderr)
    return ran.stdout


# %% [markdown]
# ## Sweep
#
# A generator is pre-trained, a classifier fine-tuned, and GANs are trained over noise and w_W, with control arms, the
# same training without the adversary. The end says what came out, in one sentence first.

# %%
print(run(f"python sweeps/gan_noise.py --preset {PRESET}")[-4000:])

# %% [markdown]
# ## Which is best, and is it?
#
# Rows that share a letter are not resolved from each other.

# %%
print(run("crystalsweep leaderboard --sweep latest --out leaderboard.html"))
board = json.loads(run("crystalsweep leaderboard --sweep latest --json"))
best = board["rows"][0]["runs"][0]

# %% [markdown]
# ## Promote
#
# Every gate with its numbers. After seconds of training the likely answer is a refusal, which is kept as well.

# %%
print(run(f"crystalsweep promote {best}", may_refuse=True))
print(run("crystalsweep history"))

# %% [markdown]
# ## Use
#
# `load` takes the champion where there is one, else the generator that comes with the package, and says which.

# %%
restorer = crystalsweep.load()
done = crystalsweep.complete("docs/examples/partial.cif", model=restorer, top=3)
for candidate in done.candidates:
    print(f"{candidate.structure.composition.reduced_formula:8} {candidate.probability:.3f}")
