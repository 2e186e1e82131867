"""What libraries print that no user can do anything about, silenced by its words; whatever else they print is shown."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryFile

WARNINGS: tuple[tuple[str, type[Warning]], ...] = (
    # pymatgen sorts the symbols of a formula by it; He, Ne and the like come last, and no figure here rests on it
    ("No Pauling electronegativity for ", UserWarning),
)
"""Beginnings of Python's warnings, each with its category. Not by module: pymatgen's come from inside functools."""

LINES = (
    # fairchem-core's neighbour lists start Warp, which no network here uses
    b"Warp CUDA warning: Could not find or load the NVIDIA CUDA driver.",
)
"""Beginnings of lines that native code writes to stderr."""


def silence_known_warnings() -> None:
    """Keep `WARNINGS` of this process off stderr; filters that a user sets, as `-W error`, go before them."""
    for message, category in WARNINGS:
        warnings.filterwarnings("ignore", message, category, append=True)


@contextmanager
def without_known_lines() -> Iterator[None]:
    """Keep `LINES` off stderr meanwhile; all others follow at the end."""
    sys.stderr.flush()
    stderr = os.dup(2)
    with TemporaryFile() as caught:
        os.dup2(caught.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
            caught.seek(0)
            os.write(2, b"".join(line for line in caught if not line.startswith(LINES)))
