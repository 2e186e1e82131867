"""What counts as a number in a text file: allow-lists, for Python takes `2021_01`, `InF` and Arabic digits too.

U+2212 is the minus that it is. Dashes, other digits and other points are no part of a number, and never made one.
"""

from __future__ import annotations

import math
import re

_DECIMAL = r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)"
"""Written so that a text fits in one way only: else a hundred thousand digits and a letter are tried for hours."""

_NUMBER = re.compile(rf"{_DECIMAL}(?:[eEdD][+-]?\d{{1,3}})?|[+-]?inf|nan", re.ASCII)
"""Also with Fortran's exponents; `inf` and `nan` as NumPy and pandas write them."""

_WHOLE = re.compile(r"[+-]?\d{1,9}", re.ASCII)

_CIF_NUMBER = re.compile(rf"({_DECIMAL}(?:[eE][+-]?\d{{1,3}})?)(?:\(\d+\))?", re.ASCII)
"""CIF 1.1's Numeric, a number with or without its standard uncertainty, as `0.2624(3)`."""

_DECIMAL_COMMA = re.compile(r"[+-]?[\d.]*,\d+(?:[eE][+-]?\d{1,3})?", re.ASCII)

_WORD = re.compile(r"[^ \t\r\f\v]+")


def is_number(text: str) -> bool:
    """Return whether a text without blanks around it is a number."""
    return _NUMBER.fullmatch(_with_minus(text)) is not None


def has_decimal_comma(text: str) -> bool:
    """Return whether a text would be a number but for its comma, which is read as none: `10,000` may be ten."""
    return _DECIMAL_COMMA.fullmatch(_with_minus(text)) is not None


def to_number(text: str) -> float:
    """Return the number that a text is. Raises `ValueError` for anything else."""
    plain = _with_minus(text)
    if not _NUMBER.fullmatch(plain):
        raise ValueError(f"{text!r} is no number")
    return float(plain.lower().replace("d", "e"))


def to_whole(text: str) -> int:
    """Return the whole number that a text is. Raises `ValueError` for anything else."""
    plain = _with_minus(text)
    if not _WHOLE.fullmatch(plain):
        raise ValueError(f"{text!r} is no whole number")
    return int(plain)


def to_cif_number(text: str) -> float:
    """Return a number of a CIF without its uncertainty. Raises `ValueError` for anything else, infinite ones too."""
    match = _CIF_NUMBER.fullmatch(_with_minus(text))
    if match is None or not math.isfinite(float(match[1])):
        raise ValueError(f"{text!r} is no number")
    return float(match[1])


def words_of(line: str) -> list[str]:
    """Return what stands between blanks and tabs; other white space, as in `2\u00a0000`, parts no words."""
    return _WORD.findall(line)


def _with_minus(text: str) -> str:
    return text.replace("\u2212", "-")
