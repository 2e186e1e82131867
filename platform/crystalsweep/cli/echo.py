"""The one way in which commands write to the terminal."""

from __future__ import annotations

import click

from crystalsweep.wording.stranger import plain


def echo(text: str, *, err: bool = False) -> None:
    """Write lines on stdout or stderr, without anything in them that a terminal would obey."""
    click.echo(plain(text), err=err)
