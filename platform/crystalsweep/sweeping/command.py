"""The command of a sweep: what it is asked, checked before anything heavy is imported, and run."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from crystalsweep.artifacts.addresses import Address, keys_to_environment
from crystalsweep.artifacts.places import default_storage
from crystalsweep.cli.errors import PlainCommand, told_in_a_line
from crystalsweep.sweeping import options
from crystalsweep.sweeping.folder import find_sweep
from crystalsweep.sweeping.options import Option, flag
from crystalsweep.sweeping.plan.refusals import require_places, require_sound
from crystalsweep.sweeping.plan.request import FREE, SweepRequest
from crystalsweep.sweeping.space.spec import SweepSpec
from crystalsweep.tracking.tracker import default_tracking_uri

_BESIDE_RESUME = {"resume", "storage", "dry_run", "json"}
"""Options that say where to look and what to show, not what to do."""


def sweep_command(
    sweep: SweepSpec,
    *own: Option,
    search: str = "grid",
    scheduler: str = "none",
    objectives: Sequence[str] = ("score",),
    max_concurrent: int = 8,
    presets: str = "smoke, demo, small, base or paper.",
) -> click.Command:
    """Return the command of a sweep.

    Args:
        sweep: What it asks, tries and reports.
        *own: Options that it alone has; their values reach `sweep.search_space` by name.
        search: Default of `--search`.
        scheduler: Default of `--scheduler`.
        objectives: Default of `--objective`.
        max_concurrent: Default of `--max-concurrent`.
        presets: Names of the presets, for the help.
    """

    def command(*, resume: str | None, dry_run: bool, json: bool, **given: Any) -> None:
        with told_in_a_line():
            asked = _request(given, resumed=bool(resume))
            typed = _typed(click.get_current_context())
            if resume:
                _require_free(typed)
                find_sweep(asked.storage, sweep.name, resume)
            else:
                require_sound(asked, asked.search_space(sweep))
            require_places(asked, dry_run=dry_run)
            if dry_run:
                from crystalsweep.sweeping.preparation import tell_plan  # imports torch

                tell_plan(sweep, asked, given=typed, resume=resume, json=json)
                return
        from crystalsweep.sweeping.run import run_sweep  # imports Ray and MLflow

        run_sweep(sweep, asked, given=typed, resume=resume, json=json)

    offered = [
        *options.training_options(presets),
        *own,
        *options.search_options(search, scheduler, objectives),
        *options.resource_options(max_concurrent),
        *options.limit_options(),
        *options.place_options(),
    ]
    for option in reversed(offered):
        command = option(command)
    shown: dict[str, Any] = {"max_content_width": 120, "help_option_names": ["-h", "--help"]}
    return click.command(
        cls=PlainCommand, help=sweep.question.replace("\n\n    ", "\n\n\b\n    "), context_settings=shown
    )(command)


def _request(given: dict[str, Any], *, resumed: bool) -> SweepRequest:
    """Make the request; options that no sweep shares are its own. A resumed sweep has a tracking server already."""
    shared = {field.name for field in fields(SweepRequest)}
    own = {name: value for name, value in given.items() if name not in shared}
    asked = {name: value for name, value in given.items() if name in shared}
    storage = _storage(given["storage"])
    tracking = given["tracking_uri"] or ("" if resumed else _default_tracking(storage))
    return SweepRequest(**asked | {"own": own, "storage": storage, "tracking_uri": Address(tracking)})


def _storage(given: str | None) -> str:
    if given and "://" in given:
        if not given.startswith("s3://"):
            raise ValueError(f"--storage {Address(given)}: give a folder or an s3:// address")
        return keys_to_environment(given)
    return str(Path(given).expanduser().resolve() if given else default_storage())


def _default_tracking(storage: str) -> str:
    if "://" in storage and not os.environ.get("MLFLOW_TRACKING_URI"):
        raise ValueError(f"--storage {storage} cannot hold MLflow's SQLite file: give --tracking-uri, as http://…:5000")
    return default_tracking_uri(Path(storage))


def _typed(context: click.Context) -> dict[str, Any]:
    """Return the options on the command line, but for those that go with `--resume`."""
    typed = (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT)
    return {
        name: value
        for name, value in context.params.items()
        if context.get_parameter_source(name) in typed and name not in _BESIDE_RESUME
    }


def _require_free(given: Mapping[str, Any]) -> None:
    fixed = [flag(name) for name in given if name not in FREE]
    if fixed:
        raise ValueError(
            f"a resumed sweep keeps its {', '.join(fixed)}: leave that out, or start a new sweep without --resume"
        )
