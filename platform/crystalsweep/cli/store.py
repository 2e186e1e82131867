"""The options that name a store, which several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

_STORE = (
    click.option("--tracking-uri", help="MLflow server or database.  [default: MLFLOW_TRACKING_URI, else --storage]"),
    click.option(
        "--storage", type=click.Path(path_type=Path), help="Folder of the local store.  [default: ~/crystalsweep]"
    ),
)


def store_options(command: Command) -> Command:
    """Give a command `tracking_uri: str | None` and `storage: Path | None`."""
    for option in reversed(_STORE):
        command = option(command)
    return command
