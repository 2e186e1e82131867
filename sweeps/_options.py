"""The options that every sweep has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

Option = Callable[[Callable[..., None]], Callable[..., None]]
"""What `click.option` returns."""


def sweep_command(
    question: str, *own: Option, presets: str, changes: str, max_concurrent: int
) -> Callable[[Callable[..., None]], click.Command]:
    """Makes a function the command of a sweep whose module docstring is `question`; its own options come early."""
    path = click.Path(path_type=Path)
    options: list[Option] = [
        click.option("--preset", default="demo", show_default=True, help=presets),
        click.option("--data", default="bundled", show_default=True, help="'bundled', a data set, or TRAIN,VAL."),
        *own,
        click.option(
            "--max-concurrent",
            type=click.IntRange(min=1),
            default=max_concurrent,
            show_default=True,
            help="Most trials at once, if they fit.",
        ),
        click.option(
            "--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Ray Train workers per trial."
        ),
        click.option("--gpu/--cpu", default=None, help="[default: GPU if the cluster has one]"),
        click.option("--tracking-uri", help="MLflow server.  [default: MLFLOW_TRACKING_URI, else SQLite in --storage]"),
        click.option("--storage", type=path, help="Results; shared by all nodes.  [default: ~/crystalsweep]"),
        click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help=f"{changes}; repeatable."),
        click.option("--dry-run", is_flag=True, help="Print the resolved plan and stop."),
    ]

    def declare(function: Callable[..., Any]) -> click.Command:
        for option in reversed(options):
            function = option(function)
        shown: dict[str, Any] = {"max_content_width": 120}
        return click.command(help=question.replace("\n\n    ", "\n\n\b\n    "), context_settings=shown)(function)

    return declare
