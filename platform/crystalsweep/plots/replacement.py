"""Which elements replace which: Figs. 5A, S16 and S17A of Liu et al., iScience 27, 110672 (2024).

Drawn from scored tables with the columns species_before, species_corrupted and species_after. Fig. 5B is in
`periodic`, Figs. S17B and C are in `replacement_rates`. doi:10.1016/j.isci.2024.110672
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.transforms import offset_copy

from crystalsweep.metrics.families import FAMILIES, family, group
from crystalsweep.metrics.kinship import MinedCorrelation, mined_correlation
from crystalsweep.metrics.replacement import MIN_N, Replacement, replacement_matrix
from crystalsweep.plots.style import DPI, PALETTE, describe, legend_below, panels, save
from crystalsweep.structures.elements import atomic_number

_COLOURS = (
    "#0072B2",
    "#56B4E9",
    "#009E73",
    "#F0E442",
    "#D55E00",
    "#E69F00",
    "#CC79A7",
    "#000000",
    "#7B4B94",
    "#999999",
)

FAMILY_COLOURS = dict(zip(FAMILIES, _COLOURS, strict=True))
"""Okabe and Ito's eight, a violet and a grey."""

_CELL = 0.185
"""Side of a cell of the matrix, inches: symbols at 7.5 pt do not touch."""

_STRIP = 8
"""Width of the strips that show families, points."""

_LABELS = 14
"""Pairs named in the scatter plot."""


def few_crystals(replacement: Replacement) -> ValueError:
    """Return what to raise where there is too little to draw."""
    found = f"the {replacement.n_novel} novel crystals"
    return ValueError(f"No replacement A→B occurs in {MIN_N} or more of {found}: evaluate more crystals.")


def plot_replacement_matrix(table: pd.DataFrame, path: Path | str) -> Path:
    """Plot Fig. 5A: P(A→B) as a matrix, replaced elements A down, replacing elements B across, both by family.

    Cells that rest on fewer than ten novel crystals are light grey whatever they hold; pairs that never occur are
    white. Only rows and columns with a shown cell are drawn.

    Raises:
        ValueError: No pair occurs in ten novel crystals.
    """
    replacement = replacement_matrix(table)
    enough = replacement.n >= MIN_N
    if not enough.any(axis=None):
        raise few_crystals(replacement)
    rows, columns = enough.index[enough.any(axis=1)].tolist(), enough.columns[enough.any(axis=0)].tolist()
    figure = Figure(
        figsize=(max(_CELL * len(columns) + 2.6, 6.5), max(_CELL * len(rows) + 2.4, 5.5)), dpi=DPI, layout="constrained"
    )
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    _cells(axis, replacement, rows, columns)
    _family_strips(axis, rows, columns)
    hidden = int(((replacement.n > 0) & ~enough).to_numpy().sum())
    counted = f"{int(enough.to_numpy().sum())} pairs shown, {hidden} too rare"
    axis.set_title("Replaced and replacing elements", fontsize=11, loc="left", pad=20)
    note = f"average over {replacement.n_novel} novel crystals; {counted}"
    axis.annotate(note, (0, 1), (0, 6), "axes fraction", textcoords="offset points", fontsize=8.5, color="0.35")
    found = {family(atomic_number(name)) for name in (*rows, *columns)}
    handles = [Patch(color=FAMILY_COLOURS[name], label=name) for name in FAMILIES if name in found]
    handles.append(Patch(color="0.9", label=f"pair in fewer than {MIN_N} crystals (white: in none)"))
    columns_of_legend = 5 if len(columns) > 25 else 2
    figure.legend(handles=handles, loc="outside lower center", ncols=columns_of_legend, frameon=False, fontsize=8)
    return save(figure, path)


def _cells(axis: Axes, replacement: Replacement, rows: list[str], columns: list[str]) -> None:
    n, probability = replacement.n.loc[rows, columns], replacement.probability.loc[rows, columns]
    rare = np.where((n > 0) & (n < MIN_N), 1.0, np.nan)
    shown = probability.where(n >= MIN_N).to_numpy(dtype=float)
    axis.imshow(rare, cmap=ListedColormap(["0.9"]), aspect="auto")
    image = axis.imshow(shown, cmap="viridis_r", vmin=0, aspect="auto")
    bar = axis.figure.colorbar(image, ax=axis, shrink=0.7, pad=0.02, aspect=30)
    bar.set_label("P(A→B | A is replaced)", fontsize=9)
    axis.set_xticks(range(len(columns)), columns, fontsize=7.5, rotation=90)
    axis.set_yticks(range(len(rows)), rows, fontsize=7.5)
    axis.tick_params(length=0, pad=3 + _STRIP)
    axis.set_xlabel("B, replacing element", fontsize=10)
    axis.set_ylabel("A, replaced element", fontsize=10)


def _family_strips(axis: Axes, rows: list[str], columns: list[str]) -> None:
    """Draw a coloured strip along each axis, and lines between families across the matrix."""
    for names, vertical in ((rows, True), (columns, False)):
        families = [family(atomic_number(name)) for name in names]
        for i, name in enumerate(families):
            along, across = (i - 0.5, i + 0.5), (0.0, 0.0)
            edge = axis.get_yaxis_transform() if vertical else axis.get_xaxis_transform()
            x, y = (-_STRIP / 2, 0.0) if vertical else (0.0, -_STRIP / 2)
            place = offset_copy(edge, axis.get_figure(root=True), x, y, units="points")
            axis.plot(
                *((across, along) if vertical else (along, across)),
                color=FAMILY_COLOURS[name],
                linewidth=_STRIP - 2,
                solid_capstyle="butt",
                clip_on=False,
                transform=place,
            )
            if i and name != families[i - 1]:
                (axis.axhline if vertical else axis.axvline)(i - 0.5, color="0.6", linewidth=0.6)


def plot_mined_correlation(table: pd.DataFrame, path: Path | str) -> Path:
    """Plot Fig. S16: the model's P(A→B) against the data-mined probability, one point per pair of elements.

    Raises:
        ValueError: No element is replaced in ten novel crystals, or every pair is as frequent.
    """
    result = mined_correlation(replacement_matrix(table))
    figure, axes = panels(1, width=7.4, height=5.6)
    axis, cells = axes[0], result.cells
    seen = cells[cells["probability"] > 0]
    if seen.empty:
        raise ValueError("No element of the mined table replaces another in the novel crystals.")
    floor = float(seen["probability"].min()) / 3
    never = cells[cells["probability"] == 0]
    kin = np.array(
        [group(atomic_number(a)) == group(atomic_number(b)) for a, b in cells[["replaced", "replacing"]].to_numpy()]
    )
    axis.plot(never["mined"], np.full(len(never), floor), "|", color="0.75", markersize=7, label="never replaced so")
    for mask, color, label in ((~kin, "0.55", "other pairs"), (kin, PALETTE[0], "pairs within a group")):
        drawn = cells[mask & (cells["probability"] > 0)]
        axis.scatter(
            drawn["mined"], drawn["probability"], s=8 + 3 * np.sqrt(drawn["n"]), color=color, alpha=0.55, linewidths=0
        )
        axis.scatter([], [], s=25, color=color, label=label)
    axis.set(xscale="log", yscale="log", xlim=(None, 2.5), ylim=(floor / 1.6, None))
    _name_pairs(axis, seen[seen["n"] >= MIN_N].nlargest(60, "probability"))
    axis.set_xlabel("data-mined P(A→B), Hautier et al. 2011", fontsize=9)
    axis.set_ylabel("model's P(A→B), average over novel crystals", fontsize=9)
    describe(axis, f"Spearman's ρ = {result.rho:.2f} (permutation p {_least(result.p)})", _small_print(result))
    legend_below(figure, columns=3)
    return save(figure, path)


def _least(p: float) -> str:
    return "≤ 0.001" if p <= 0.001 else f"= {p:.3f}"


def _small_print(result: MinedCorrelation) -> str:
    rows = result.cells["replaced"].nunique()
    return (
        f"{len(result.cells)} pairs of {rows} replaced elements; larger points: more crystals; popularity of B taken "
        f"out: ρ = {result.rho_specific:.2f} (p {_least(result.p_specific)})"
    )


def _name_pairs(axis: Axes, cells: pd.DataFrame) -> None:
    """Write names at the most frequent pairs, leaving out those that would cover another."""
    placed: list[tuple[float, float]] = []
    for a, b, x, y in cells[["replaced", "replacing", "mined", "probability"]].itertuples(index=False):
        here = (float(np.log10(x)), float(np.log10(y)))
        if len(placed) < _LABELS and all(abs(here[0] - u) > 0.42 or abs(here[1] - v) > 0.1 for u, v in placed):
            axis.annotate(f"{a}→{b}", (x, y), xytext=(4, 2), textcoords="offset points", fontsize=7.5)
            placed.append(here)
