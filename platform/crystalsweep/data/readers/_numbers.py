"""What counts as a number in a text file: an allow-list, for Python takes `2021_01`, `InF` and Arabic digits too."""

from __future__ import annotations

import re

_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eEdD][+-]?\d{1,3})?|[+-]?inf|nan", re.ASCII)
"""Also with Fortran's exponents; `inf` and `nan` as NumPy and pandas write them."""


def is_number(text: str) -> bool:
    """Return whether a text without blanks around it is a number."""
    return _NUMBER.fullmatch(text) is not None


def to_number(text: str) -> float:
    """Return the number that a text is. Raises `ValueError` for anything else."""
    if not is_number(text):
        raise ValueError(f"{text!r} is no number")
    return float(text.lower().replace("d", "e"))
