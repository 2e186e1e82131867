"""The options that every sweep has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from crystalsweep.config import parse_bytes
from crystalsweep.networks.architectures import SIZES
from crystalsweep.sweeping.plan.request import CHAMPION, FREE
from crystalsweep.sweeping.space.objectives import OBJECTIVES

Option = Callable[[Callable[..., None]], Callable[..., None]]
"""What `click.option` returns."""

BACKBONE = click.option(
    "--backbone", type=click.Choice(list(SIZES)), default="painn", show_default=True, help="The network."
)
"""An option of sweeps that train one network."""

_COUNT = click.IntRange(min=1)
_POSITIVE = click.FloatRange(min=0, min_open=True)


class Size(click.ParamType):
    """Bytes, as 500MB, 2GB or 1GiB."""

    name = "SIZE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the bytes that the text names."""
        if isinstance(value, int):
            return value
        try:
            size = parse_bytes(value)
        except ValueError:
            self.fail(f"{value!r} is no size; write it as in 500MB or 2GiB", param, ctx)
        return size if size > 0 else self.fail(f"{value!r} leaves room for nothing", param, ctx)


def training_options(presets: str) -> list[Option]:
    """Return the options that say at which size and on which data trials are trained; `presets` names the sizes."""
    return [
        click.option("--preset", default="demo", show_default=True, help=presets),
        click.option("--data", default="bundled", show_default=True, help="'bundled', a data set, or TRAIN,VAL."),
    ]


def search_options(search: str, scheduler: str, objectives: Sequence[str]) -> list[Option]:
    """Return the options that say where trials come from and what cuts them, with a sweep's own defaults."""
    return [
        click.option(
            "--start-from",
            default=CHAMPION,
            show_default=True,
            metavar="champion|scratch|RUN|FOLDER|models:/…",
            help="Generator of a GAN sweep: the registry's champion if it has this network and these crystals, else a "
            "pre-trained one; scratch always pre-trains; a checkpoint by name must fit.",
        ),
        click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change all trials; repeatable."),
        click.option(
            "--num-samples",
            type=_COUNT,
            help="Trials in all, control arms included.  [default: the grid, or 16 beyond the control arms]",
        ),
        click.option(
            "--search",
            type=click.Choice(["grid", "random", "optuna"]),
            default=search,
            show_default=True,
            help="Where trials come from; control arms are first in each.",
        ),
        click.option(
            "--scheduler",
            type=click.Choice(["none", "asha", "pbt"]),
            default=scheduler,
            show_default=True,
            help="asha stops what falls behind, pbt changes settings while trials run. They go by the objective, or by "
            "the score where there are several.",
        ),
        click.option(
            "--objective",
            "objectives",
            multiple=True,
            default=tuple(objectives),
            show_default=True,
            metavar="NAME",
            help=f"Repeatable; several give a Pareto front. One of {', '.join(OBJECTIVES)}.",
        ),
        click.option(
            "--subject-to",
            multiple=True,
            metavar="NAME=LOSS",
            help="Repeatable: best is the trial that loses at most LOSS of NAME to the best control arm, as "
            "compositional_similarity=0.01. Optuna proposes accordingly; a scheduler goes by the objective alone.",
        ),
        click.option(
            "--seeds",
            type=_COUNT,
            default=1,
            show_default=True,
            help="Trainings of each trial, seeded 0, 1, …; verdicts are then over seeds too, and need 3 or more.",
        ),
    ]


def resource_options(max_concurrent: int) -> list[Option]:
    """Return the options that say what a trial takes and keeps; `max_concurrent` is a sweep's own default."""
    return [
        click.option(
            "--workers-per-trial",
            type=_COUNT,
            default=1,
            show_default=True,
            help="More than one share batches on Ray Train.",
        ),
        click.option("--cpus-per-worker", type=_POSITIVE, default=1.0, show_default=True, help="CPUs, and threads."),
        click.option(
            "--gpus-per-worker",
            type=click.FloatRange(min=0),
            help="0.25 lets four trials share one.  [default: 1 if the cluster has GPUs]",
        ),
        click.option(
            "--max-concurrent",
            type=_COUNT,
            default=max_concurrent,
            show_default=True,
            help="Trials at once, if they fit; of a population (pbt) as many run as fit.",
        ),
        click.option(
            "--keep-best",
            type=click.IntRange(min=0),
            default=1,
            show_default=True,
            metavar="K",
            help="Checkpoints of a trial to keep beside its last: the best by the objective, or by the score where "
            "there are several. A trial that was cut keeps none.",
        ),
    ]


def limit_options() -> list[Option]:
    """Return the options that say what stops a sweep, or gives up one of its trainings."""
    return [
        click.option("--max-cpu-hours", type=_POSITIVE, help="Stop, resumable, when trials have held so many."),
        click.option("--max-gpu-hours", type=_POSITIVE, help="Likewise, of GPUs."),
        click.option("--max-bytes", type=Size(), help="Likewise, when checkpoints take so many: 500MB, 2GiB."),
        click.option(
            "--timeout",
            type=_POSITIVE,
            default=60.0,
            show_default=True,
            metavar="MINUTES",
            help="Give up a training that has reported no epoch for so long.",
        ),
    ]


def place_options() -> list[Option]:
    """Return the options that say where results go, what is gone on with, and what is shown."""
    return [
        click.option(
            "--storage",
            metavar="FOLDER|s3://…",
            help="Results and checkpoints; for several nodes a place that all share. Beside s3://… the study and the "
            "report stay in CRYSTALSWEEP_STORAGE on the machine that runs the sweep.  [default: ~/crystalsweep]",
        ),
        click.option(
            "--tracking-uri",
            help="MLflow server; with a password rather in MLFLOW_TRACKING_URI, since `ps` shows options to all.  "
            "[default: MLFLOW_TRACKING_URI, else SQLite in --storage]",
        ),
        click.option(
            "--resume",
            metavar="NAME|latest",
            help=f"Go on with a sweep. It is as it was, but for {', '.join(map(flag, FREE))}, if given.",
        ),
        click.option("--dry-run", is_flag=True, help="Time a few steps, print plan and expected cost, and stop."),
        click.option("--json", is_flag=True, help="A JSON object per line, for machines."),
    ]


def flag(name: str) -> str:
    """Return the option as a user types it, by the name of its value."""
    known = {"settings": "--set", "objectives": "--objective"}
    return known.get(name, f"--{name.replace('_', '-')}")
