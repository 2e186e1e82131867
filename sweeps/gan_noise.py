"""Does the adversary help, at which noise, and how hard should it push?

The paper trains its GAN at noise levels 0.1 and 0.2 of min_edge and reports no significant difference between w_W =
0.1 and 1 (Liu et al., iScience 27, 110672 (2024)); with its released code w_W has no effect at all. This sweep
trains the generator at both levels with and without the adversary, from the same pre-trained checkpoint, and says
what the adversary changed beyond just more training at that noise: the control arm, w_W = 0, is always part of it.

    python sweeps/gan_noise.py --preset demo                 ten minutes on two cores, bundled crystals
    python sweeps/gan_noise.py --preset small --data train.parquet,val.parquet --num-samples 16
    ray job submit --working-dir . -- python sweeps/gan_noise.py --preset demo
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import optuna

from sweeps._report import SIGMA, W
from sweeps._run import SweepSpec, run

SIGMA_NOISE = (0.1, 0.2)
"""Noise levels of the paper's two GAN generators, in units of min_edge."""

W_WASSERSTEIN = (0.1, 1.0, 10.0)
"""0.1 and 1 are the paper's, 10 pushes harder; beyond these Optuna proposes, log-uniformly, in `W_RANGE`."""

W_RANGE = (0.01, 100.0)

POINTS = [
    *({SIGMA: sigma, W: 0.0} for sigma in SIGMA_NOISE),
    *({SIGMA: sigma, W: w} for w in W_WASSERSTEIN for sigma in SIGMA_NOISE),
]
"""The first trials: control arms, then the paper's points."""


def space(trial: optuna.Trial) -> dict[str, Any]:
    """Search space. Control arms come first and do not ask for a w_W, so that its log scale needs no zero."""
    trial.suggest_categorical(SIGMA, SIGMA_NOISE)
    if trial.number < len(SIGMA_NOISE):
        return {W: 0.0}
    trial.suggest_float(W, *W_RANGE, log=True)
    return {}


@click.command(help=(__doc__ or "").replace("\n\n    ", "\n\n\b\n    "), context_settings={"max_content_width": 120})
@click.option("--preset", default="demo", show_default=True, help="smoke, demo or small.")
@click.option("--data", default="bundled", show_default=True, help="'bundled', a data set, or TRAIN,VAL.")
@click.option("--num-samples", default=len(POINTS), show_default=True, help="Trials in all; at least the control arms.")
@click.option(
    "--max-concurrent",
    type=click.IntRange(min=1),
    default=8,
    show_default=True,
    help="Most trials at once, if they fit.",
)
@click.option(
    "--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Ray Train workers per trial."
)
@click.option("--gpu/--cpu", default=None, help="[default: GPU if the cluster has one]")
@click.option("--tracking-uri", help="MLflow server.  [default: MLFLOW_TRACKING_URI, else SQLite in --storage]")
@click.option(
    "--storage", type=click.Path(path_type=Path), help="Results; shared by all nodes.  [default: ~/crystalsweep]"
)
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a GAN setting; repeatable.")
@click.option("--dry-run", is_flag=True, help="Print the resolved plan and stop.")
def main(**options: Any) -> None:
    """Read the options and run."""
    run(
        SweepSpec(name="gan_noise", question=__doc__ or "", points=POINTS, controls=len(SIGMA_NOISE), space=space),
        **options,
    )


if __name__ == "__main__":
    main()
