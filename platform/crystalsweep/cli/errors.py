"""Bad input ends in one line. Imports nothing heavy: MLflow's errors are known only where MLflow was loaded."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from crystalsweep.artifacts.addresses import without_password
from crystalsweep.wording.stranger import plain, tell_plainly


@contextmanager
def told_in_a_line() -> Iterator[None]:
    """End what a user can mend in one line and exit code 1, never in a traceback, and without passwords."""
    try:
        yield
    except (BrokenPipeError, click.exceptions.Exit, click.Abort):  # a reader that has seen enough, help, Ctrl-C
        raise
    except _foreseen() as error:
        raise click.ClickException(without_password(" ".join(str(error).split()))) from error


class PlainCommand(click.Command):
    """A command whose errors, with whatever names they repeat, are plain text."""

    def make_context(self, *arguments: Any, **named: Any) -> click.Context:
        """Read options; what is wrong with them is told plainly."""
        tell_plainly(without_password)
        with _plainly():
            return super().make_context(*arguments, **named)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; its errors are told plainly."""
        with _plainly():
            return super().invoke(ctx)


@contextmanager
def _plainly() -> Iterator[None]:
    try:
        yield
    except click.ClickException as error:
        error.message = plain(error.message)  # type: ignore[misc]  # else each kind of error would be made anew
        raise


def _foreseen() -> tuple[type[Exception], ...]:
    mlflow = sys.modules.get("mlflow.exceptions")
    return (ValueError, OSError, RuntimeError, ImportError, *([mlflow.MlflowException] if mlflow else []))
