"""Replaced elements and their commonest replacements in the periodic table: Fig. 5B of Liu et al.

iScience 27, 110672 (2024), doi:10.1016/j.isci.2024.110672; the matrix it is taken from is in `replacement`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from crystalsweep.metrics.families import FAMILIES, family
from crystalsweep.metrics.replacement import MIN_N, Replacement, replacement_matrix
from crystalsweep.plots.replacement import FAMILY_COLOURS, few_crystals
from crystalsweep.plots.style import DPI, PALETTE, save
from crystalsweep.structures.elements import atomic_number, element_symbol

_TOP = 3
"""Replacements shown per element."""

_CHOSEN = 6
"""Replaced elements shown by default; there are as many colours that can be told apart when pale."""

_LANTHANUM, _ACTINIUM, _F_BLOCK = 57, 89, 15


def plot_replacement_table(table: pd.DataFrame, path: Path | str, chosen: Sequence[str] | None = None) -> Path:
    """Plot Fig. 5B: chosen replaced elements (dashed frames) and, in the same colour, their top three replacements.

    Args:
        table: A scored table with the columns species_before, species_corrupted, species_after.
        path: Where to write; the suffix decides the format.
        chosen: Symbols of up to six replaced elements; by default those of `chosen_elements`.

    Raises:
        ValueError: A chosen element, or every one, has no replacement in ten novel crystals; or more than six chosen.
    """
    replacement = replacement_matrix(table)
    names = list(chosen) if chosen is not None else chosen_elements(replacement)
    tops = {name: top_replacements(replacement, name) for name in names}
    if not tops or not any(len(top) for top in tops.values()):
        raise few_crystals(replacement)
    empty = [name for name, top in tops.items() if top.empty]
    if empty:
        raise ValueError(
            f"{', '.join(empty)}: no replacement in {MIN_N} or more novel crystals; choose other elements."
        )
    if len(names) > _CHOSEN:
        raise ValueError(f"{len(names)} elements chosen, at most {_CHOSEN} have a colour of their own.")
    highest = max(float(top.max()) for top in tops.values())
    figure = Figure(figsize=(14.4, 8.6), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    for z in range(1, 119):
        _cell(axis, z, tops, highest)
    _shades(axis, replacement, tops, highest)
    axis.set(xlim=(0.4, 18.6), ylim=(9.95, 0.2), aspect="equal")
    axis.axis("off")
    axis.set_title("Replaced elements (dashed) and what most often takes their place, with P(A→B)", loc="left")
    handles = [Patch(color=FAMILY_COLOURS[name], label=name) for name in FAMILIES]
    figure.legend(handles=handles, loc="outside lower center", ncols=10, frameon=False, fontsize=9, handlelength=1)
    return save(figure, path)


def chosen_elements(replacement: Replacement) -> list[str]:
    """Return up to six replaced elements with a replacement to show, most novel crystals first, each of another family.

    Where fewer families have one, further elements of theirs follow.
    """
    order = replacement.n_row.sort_values(ascending=False, kind="stable").index
    names = [str(name) for name in order if len(top_replacements(replacement, name))]
    first: dict[str, str] = {}
    for name in names:
        first.setdefault(family(atomic_number(name)), name)
    return [*first.values(), *(name for name in names if name not in first.values())][:_CHOSEN]


def top_replacements(replacement: Replacement, name: str) -> pd.Series:
    """Return P(A→B) of the three likeliest B, of those that rest on ten novel crystals; empty if there are none."""
    if name not in replacement.n.index:
        return pd.Series(dtype=float)
    rare = replacement.n.loc[[name]].T[name] < MIN_N
    return replacement.probability.loc[[name]].T[name][~rare].nlargest(_TOP)


def position(number: int) -> tuple[float, float]:
    """Return (column, row) in the table, rows down; lanthanides and actinides in two rows below."""
    from pymatgen.core import Element

    for first, row in ((_LANTHANUM, 8.4), (_ACTINIUM, 9.4)):
        if first <= number < first + _F_BLOCK:
            return 3.0 + number - first, row
    element = Element.from_Z(number)
    return float(element.group), float(element.row)


def _cell(axis: Axes, number: int, tops: dict[str, pd.Series], highest: float) -> None:
    """Draw one element: a block per chosen element that it replaces, a dashed frame if it is a chosen one itself."""
    (x, y), name = position(number), element_symbol(number)
    sources = [(i, source, float(top[name])) for i, (source, top) in enumerate(tops.items()) if name in top.index]
    height = 0.42 / max(len(sources), 1)
    for part, (i, source, ratio) in enumerate(sources):
        top, fill = y - 0.14 + part * height, _shade(i, ratio / highest)
        axis.add_patch(Rectangle((x - 0.43, top), 0.86, height, facecolor=fill, linewidth=0))
        style: dict[str, Any] = {"fontsize": min(8.0, 24 / len(sources)), "ha": "center", "va": "center"}
        axis.text(x, top + height / 2, f"{source}→ {ratio:.2f}", **style)
    index = list(tops).index(name) if name in tops else None
    frame: dict[str, Any] = {"edgecolor": "0.75", "linewidth": 0.6, "zorder": 2}
    if index is not None:
        frame = {"edgecolor": PALETTE[index], "linewidth": 2.6, "linestyle": (0, (2.5, 1.2)), "zorder": 3}
    axis.add_patch(Rectangle((x - 0.46, y - 0.46), 0.92, 0.92, facecolor="none", **frame))
    axis.add_patch(Rectangle((x - 0.43, y + 0.3), 0.86, 0.1, color=FAMILY_COLOURS[family(number)], linewidth=0))
    active = bool(sources) or index is not None
    weight, color = ("bold", "black") if active else ("normal", "0.45")
    axis.text(x - 0.4, y - 0.38, name, fontsize=10, ha="left", va="top", weight=weight, color=color)


def _shade(index: int, level: float) -> tuple[float, float, float]:
    """Return a shade from almost white (0) to a tint of a chosen element's colour on which black text is legible
    (1)."""
    strong = 0.35 + 0.65 * np.array(to_rgb(PALETTE[index]))
    red, green, blue = (0.95 + (strong - 0.95) * level).tolist()
    return red, green, blue


def _shades(axis: Axes, replacement: Replacement, tops: dict[str, pd.Series], highest: float) -> None:
    """Draw keys in the gap above the transition metals: a bar from 0 to the highest ratio per chosen element."""
    for i, name in enumerate(tops):
        x, y = 3.4 + 4.6 * (i // 3), 0.75 + 0.95 * (i % 3)
        ramp = LinearSegmentedColormap.from_list(name, [_shade(i, 0), _shade(i, 1)])
        axis.imshow(np.linspace(0, 1, 64)[None], cmap=ramp, extent=(x, x + 2.4, y + 0.22, y - 0.1), aspect="auto")
        label = f"{name} replaced, n = {replacement.n_row[name]}"
        axis.text(x, y - 0.18, label, fontsize=9, va="bottom", weight="bold")
        axis.text(x, y + 0.26, "0", fontsize=7.5, va="top")
        axis.text(x + 2.4, y + 0.26, f"{highest:.2f}", fontsize=7.5, va="top", ha="right")
