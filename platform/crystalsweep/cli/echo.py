"""The one way in which commands write to the terminal."""

from __future__ import annotations

import click

from crystalsweep.config import Config, leaves
from crystalsweep.wording.stranger import plain


def echo(text: str, *, err: bool = False) -> None:
    """Write lines on stdout or stderr, without anything in them that a terminal would obey."""
    click.echo(plain(text), err=err)


def echo_settings(config: Config) -> None:
    """Write every setting of a config with its value, and what it means below it."""
    for leaf in leaves(config):
        echo(f"{leaf.path} = {leaf.value}\n    {leaf.description}")
