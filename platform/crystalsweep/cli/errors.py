"""Bad input ends in one line. Imports nothing heavy: MLflow's errors are known only where MLflow was loaded."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from crystalsweep.artifacts.addresses import without_password


@contextmanager
def told_in_a_line() -> Iterator[None]:
    """End what a user can mend in one line and exit code 1, never in a traceback, and without passwords."""
    try:
        yield
    except (BrokenPipeError, click.exceptions.Exit, click.Abort):  # a reader that has seen enough, help, Ctrl-C
        raise
    except _foreseen() as error:
        raise click.ClickException(without_password(" ".join(str(error).split()))) from error


def _foreseen() -> tuple[type[Exception], ...]:
    mlflow = sys.modules.get("mlflow.exceptions")
    return (ValueError, OSError, RuntimeError, ImportError, *([mlflow.MlflowException] if mlflow else []))
