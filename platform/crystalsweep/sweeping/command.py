"""The options that every sweep has, and what they ask for."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from crystalsweep.artifacts.places import default_storage
from crystalsweep.networks.architectures import SIZES
from crystalsweep.sweeping.plan.request import CHAMPION, FREE, SweepRequest
from crystalsweep.sweeping.space.objectives import OBJECTIVES
from crystalsweep.sweeping.space.spec import SweepSpec

Option = Callable[[Callable[..., None]], Callable[..., None]]
"""What `click.option` returns."""

SpecOf = Callable[[Mapping[str, Any]], SweepSpec]
"""A sweep's spec from the options that are its own."""

BACKBONE = click.option(
    "--backbone", type=click.Choice(list(SIZES)), default="painn", show_default=True, help="The network."
)
"""Of sweeps that train one network."""

_BESIDE_RESUME = {"resume", "storage", "dry_run", "json"}
"""Options that say where to look and what to show, not what to do."""


class Size(click.ParamType):
    """Bytes, as 500MB, 2GB or 1GiB."""

    name = "SIZE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Bytes of the text."""
        if isinstance(value, int):
            return value
        from crystalsweep.networks.cost import parse_bytes  # imports torch

        try:
            size = parse_bytes(value)
        except ValueError:
            self.fail(f"{value!r} is no size; write it as in 500MB or 2GiB", param, ctx)
        return size if size > 0 else self.fail(f"{value!r} leaves room for nothing", param, ctx)


def sweep_command(
    question: str,
    spec_of: SpecOf,
    *own: Option,
    search: str = "grid",
    scheduler: str = "none",
    objectives: Sequence[str] = ("score",),
    max_concurrent: int = 8,
    presets: str = "smoke, demo, small, base or paper.",
) -> click.Command:
    """The command of a sweep whose module docstring is `question`; its own options come early.

    The others are the same for all sweeps, some with a default of this one's.
    """
    positive = click.FloatRange(min=0, min_open=True)
    count = click.IntRange(min=1)
    options: list[Option] = [
        click.option("--preset", default="demo", show_default=True, help=presets),
        click.option("--data", default="bundled", show_default=True, help="'bundled', a data set, or TRAIN,VAL."),
        *own,
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
            type=count,
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
            "--seeds", type=count, default=1, show_default=True, help="Trainings of each trial, seeded 0, 1, …"
        ),
        click.option(
            "--workers-per-trial",
            type=count,
            default=1,
            show_default=True,
            help="More than one share batches on Ray Train.",
        ),
        click.option("--cpus-per-worker", type=positive, default=1.0, show_default=True, help="CPUs, and threads."),
        click.option(
            "--gpus-per-worker",
            type=click.FloatRange(min=0),
            help="0.25 lets four trials share one.  [default: 1 if the cluster has GPUs]",
        ),
        click.option(
            "--max-concurrent",
            type=count,
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
        click.option("--max-cpu-hours", type=positive, help="Stop, resumable, when trials have held so many."),
        click.option("--max-gpu-hours", type=positive, help="Likewise, of GPUs."),
        click.option("--max-bytes", type=Size(), help="Likewise, when checkpoints take so many: 500MB, 2GiB."),
        click.option(
            "--timeout",
            type=positive,
            default=60.0,
            show_default=True,
            metavar="MINUTES",
            help="Give up a training that has reported no epoch for so long.",
        ),
        click.option(
            "--storage",
            metavar="FOLDER|s3://…",
            help="Results and checkpoints; for several nodes a place that all share. Beside s3://… the study and the "
            "report stay in CRYSTALSWEEP_STORAGE on the machine that runs the sweep.  [default: ~/crystalsweep]",
        ),
        click.option("--tracking-uri", help="MLflow server.  [default: MLFLOW_TRACKING_URI, else SQLite in --storage]"),
        click.option(
            "--resume",
            metavar="NAME|latest",
            help=f"Go on with a sweep. It is as it was, but for {', '.join(map(_flag, FREE))}, if given.",
        ),
        click.option("--dry-run", is_flag=True, help="Time a few steps, print plan and expected cost, and stop."),
        click.option("--json", is_flag=True, help="A JSON object per line, for machines."),
    ]

    def command(*, resume: str | None, dry_run: bool, json: bool, **told: Any) -> None:
        try:
            asked = _request(told, resumed=bool(resume))
            given = _given(click.get_current_context())
            if resume:
                _require_free(given)
            else:
                _require_sound(asked, spec_of)
        except ValueError as error:
            raise click.ClickException(str(error)) from error
        from crystalsweep.sweeping.run import run_sweep  # imports Ray and MLflow

        run_sweep(spec_of, asked, given=given, resume=resume, dry_run=dry_run, json=json)

    for option in reversed(options):
        command = option(command)
    shown: dict[str, Any] = {"max_content_width": 120}
    return click.command(help=question.replace("\n\n    ", "\n\n\b\n    "), context_settings=shown)(command)


def _request(told: dict[str, Any], *, resumed: bool) -> SweepRequest:
    """From the options; those that no sweep shares are its own. A resumed sweep has a tracking server already."""
    shared = {field.name for field in fields(SweepRequest)}
    own = {name: value for name, value in told.items() if name not in shared}
    asked = {name: value for name, value in told.items() if name in shared}
    storage = _storage(told["storage"])
    tracking = told["tracking_uri"] or ("" if resumed else _default_tracking(storage))
    return SweepRequest(**asked | {"own": own, "storage": storage, "tracking_uri": tracking})


def _storage(given: str | None) -> str:
    if given and "://" in given:
        if not given.startswith("s3://"):
            raise ValueError(f"--storage {given}: give a folder or an s3:// address")
        return given
    return str(Path(given).expanduser().resolve() if given else default_storage())


def _default_tracking(storage: str) -> str:
    if "://" in storage and not os.environ.get("MLFLOW_TRACKING_URI"):
        raise ValueError(f"--storage {storage} cannot hold MLflow's SQLite file: give --tracking-uri, as http://…:5000")
    from crystalsweep.tracking.tracker import default_tracking_uri  # imports MLflow

    return default_tracking_uri(Path(storage))


def _given(context: click.Context) -> dict[str, Any]:
    """Options on the command line, but for those that go with `--resume`."""
    typed = (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT)
    return {
        name: value
        for name, value in context.params.items()
        if context.get_parameter_source(name) in typed and name not in _BESIDE_RESUME
    }


def _require_free(given: Mapping[str, Any]) -> None:
    fixed = [_flag(name) for name in given if name not in FREE]
    if fixed:
        raise ValueError(
            f"a resumed sweep keeps its {', '.join(fixed)}: leave that out, or start a new sweep without --resume"
        )


def _require_sound(asked: SweepRequest, spec_of: SpecOf) -> None:
    from crystalsweep.sweeping.plan.refusals import require_sound  # imports torch

    require_sound(asked, spec_of(asked.own).resolve(asked.preset, asked.settings))


def _flag(name: str) -> str:
    known = {"settings": "--set", "objectives": "--objective"}
    return known.get(name, f"--{name.replace('_', '-')}")
