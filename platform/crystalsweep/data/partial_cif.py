"""A CIF some of whose sites are masked: their symbol is `X` (pymatgen's and ASE's dummy, also `X0+`) or `?`.

The masked symbols are replaced by an element that the text does not hold, so that the reader of whole CIFs applies
its symmetry, its checks and its limits; then every atom of that element is masked. A masked site stands for all its
symmetry copies.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from crystalsweep.data.checks import Problem
from crystalsweep.data.readers._cif import crystal_from_cif
from crystalsweep.structures.crystal import MASK, Crystal
from crystalsweep.structures.elements import atomic_number

MAX_CIF_BYTES = 512 << 10
"""Of one CIF: some five thousand sites."""

_STAND_INS = ("Og", "Ts", "Lv", "Mc", "Fl", "Nh", "Cn", "Rg", "Ds", "Mt", "Hs", "Bh")
"""Elements that no crystal is made of."""

_MASKED_SYMBOL = re.compile(r"(?:X|\?)[\d.]*[+-]?")
_MASKED_LABEL = re.compile(r"(?:X|\?)(?![A-Za-z]).*")
"""`X1` and `?2`, but not `Xe1`."""

_TOKEN = re.compile(
    r"""
    ^;.*?^;                                     # a text field, between lines that begin with ;
    | '(?:[^'\n]|'(?=\S)){0,2048}+'(?=\s|\Z)    # quoted; a quote inside stands before a character
    | "(?:[^"\n]|"(?=\S)){0,2048}+"(?=\s|\Z)
    | \#[^\n]*
    | \S+
    """,
    re.DOTALL | re.MULTILINE | re.VERBOSE,
)
_RESERVED = re.compile(r"loop_|stop_|global_|data_.*|save_.*", re.IGNORECASE)
_SYMBOL, _LABEL, _TYPE = "_atom_site_type_symbol", "_atom_site_label", "_atom_type_symbol"


def partial_from_cif(text: str, row_id: str) -> Crystal | Problem:
    """Return the crystal of a CIF with one structure; `species` is `MASK` where the symbol is `X` or `?`.

    A whole CIF is read too. Sites without `_atom_site_type_symbol` are masked by their labels, as in `X1`.
    """
    if (size := len(text.encode(errors="replace"))) > MAX_CIF_BYTES:
        return Problem("CIF too long", f"{size:,} bytes", f"give at most {MAX_CIF_BYTES:,}")
    masked = list(_masked_tokens(text))
    if not masked:
        return crystal_from_cif(text, row_id, {})
    stand_in = next((symbol for symbol in _STAND_INS if symbol.lower() not in text.lower()), None)
    if stand_in is None:
        return Problem("too many elements", "every superheavy one is in it", "leave out remarks and other blocks")
    read = crystal_from_cif(_replaced(text, masked, stand_in), row_id, {})
    if isinstance(read, Problem):
        return read._replace(detail=read.detail.replace(stand_in, "X"))
    return replace(read, species=np.where(read.species == atomic_number(stand_in), MASK, read.species))


def _replaced(text: str, masked: list[re.Match[str]], stand_in: str) -> str:
    parts, end = [], 0
    for token in masked:
        parts += [text[end : token.start()], stand_in]
        end = token.end()
    return "".join((*parts, text[end:]))


def _masked_tokens(text: str) -> Iterator[re.Match[str]]:
    """Yield symbols, or labels where there are no symbols, that name no element."""
    for tags, values in _loops(text):
        column, pattern = _naming_column(tags)
        if column is not None:
            yield from (token for token in values[column :: len(tags)] if pattern.fullmatch(_value(token)))


def _naming_column(tags: list[str]) -> tuple[int | None, re.Pattern[str]]:
    for tag in (_SYMBOL, _TYPE):
        if tag in tags:
            return tags.index(tag), _MASKED_SYMBOL
    fits = _LABEL in tags and any(tag.startswith(("_atom_site_fract_", "_atom_site_Cartn_")) for tag in tags)
    return (tags.index(_LABEL) if fits else None), _MASKED_LABEL


def _loops(text: str) -> Iterator[tuple[list[str], list[re.Match[str]]]]:
    """Yield tags and values of every `loop_`."""
    tags: list[str] = []
    values: list[re.Match[str]] = []
    within = False
    for token in _TOKEN.finditer(text):
        word = token[0]
        if word.startswith("#"):
            continue
        begins = word.lower() == "loop_"
        if begins or _RESERVED.fullmatch(word) or (word.startswith("_") and values):
            if within and tags:
                yield tags, values
            tags, values, within = [], [], begins
        elif within and word.startswith("_"):
            tags.append(word)
        elif within and tags:
            values.append(token)
    if within and tags:
        yield tags, values


def _value(token: re.Match[str]) -> str:
    word = token[0]
    return word[1:-1].strip() if len(word) > 1 and word[0] in "'\"" and word[-1] == word[0] else word
