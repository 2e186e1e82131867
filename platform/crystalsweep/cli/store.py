"""What commands share: the options that name a store, and bad input that ends in one line.

Imports nothing heavy: MLflow's errors are known only where MLflow was loaded.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from crystalsweep.artifacts.addresses import without_password

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


@contextmanager
def told_in_a_line() -> Iterator[None]:
    """End what a user can mend in one line and exit code 1, never in a traceback, and without passwords."""
    try:
        yield
    except BrokenPipeError:  # the reader of a pipe has seen enough
        raise
    except _foreseen() as error:
        raise click.ClickException(without_password(" ".join(str(error).split()))) from error


def _foreseen() -> tuple[type[Exception], ...]:
    mlflow = sys.modules.get("mlflow.exceptions")
    return (ValueError, OSError, RuntimeError, ImportError, *([mlflow.MlflowException] if mlflow else []))
