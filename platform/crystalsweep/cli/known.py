"""The option that names known crystals, which several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from crystalsweep.inference.known import Known

known_option = click.option(
    "--known",
    "reference",
    default="bundled",
    show_default=True,
    metavar="DATA",
    help="Crystals to name the nearest of: 'bundled', a data set, or 'none'.",
)
"""Gives a command `reference: str`, for `known_crystals`."""


def known_crystals(reference: str) -> Known | None:
    """Return the crystals that `--known` names."""
    if reference == "none":
        return None
    from crystalsweep.data.bundled import load_bundled
    from crystalsweep.data.reading import read
    from crystalsweep.inference.known import Known

    return Known(load_bundled() if reference == "bundled" else read(Path(reference), progress=True).crystals)
