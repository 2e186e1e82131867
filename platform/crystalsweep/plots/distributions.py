"""What generated crystals are like beside the true ones: density, number of elements, symmetry, elements.

The distances that may be printed with them are those of CDVAE (Xie et al., ICLR 2022, arXiv:2110.06197, section 5.2)
and its followers: Wasserstein distances of density and number of elements.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

from crystalsweep.metrics.bootstrap import clustered_shares
from crystalsweep.metrics.distributions import CRYSTAL_SYSTEMS, crystal_system_of
from crystalsweep.metrics.summary import ScoreTables
from crystalsweep.plots.style import (
    DASHES,
    PALETTE,
    REFERENCE,
    aside,
    describe,
    draw_points,
    legend_below,
    models_of,
    panels,
    save,
)
from crystalsweep.structures.crystal import N_ELEMENTS
from crystalsweep.structures.elements import atomic_number, element_symbol

CEILING = "ceiling"
"""The row of the true crystals, drawn as grey bars and as a grey line."""

ELEMENTS = 20
"""The most frequent elements of the true crystals; more are not legible."""

NO_SYMMETRY = "none"
"""Label of the crystals in which no space group was found."""

_SHORT = {"monoclinic": "monocl.", "orthorhombic": "orthorh.", "tetragonal": "tetrag.", "hexagonal": "hexag."}
"""Labels of crystal systems whose name is too long."""

_MOST_NUMBER = 8
"""Elements in a crystal; those with more are counted with these."""

_STEPS = 120
"""Points of a cumulative distribution."""

_Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class _Classes:
    """A property that takes few values: its names in order, and what to count."""

    title: str
    definition: str
    label: str
    share: str
    names: Callable[[ScoreTables], list[str]]
    counts: Callable[[pd.DataFrame, Sequence[str]], tuple[_Array, _Array]]
    """(n, k) crystals or atoms of each class and (n,) of all, from a table and the names."""


def plot_distributions(
    tables: ScoreTables, path: Path | str, distances: Mapping[str, Mapping[str, float]] | None = None
) -> Path:
    """Plot four panels, models against the true crystals: density, number of elements, crystal system, elements.

    Shares carry 95 % intervals over parents; the density is a cumulative distribution with a band.

    Args:
        tables: Scores by name with the columns `density`, `n_elements`, `space_group`, `species_after`; a property
            whose column no model has is left out, and so are rows with a `failure`. Of the references only `ceiling` is
            drawn.
        path: Where to write; the suffix decides the format.
        distances: By property (the columns above) and model, the distance to the true crystals, printed with the title.

    Raises:
        ValueError: There is no model, or none of the columns.
    """
    models = models_of(tables)
    shown = {name: _scored(tables[name]) for name in tables if name in models or name == CEILING}
    has = [column for column in ("density", *_BY_COLUMN) if any(_has(shown[name], column) for name in models)]
    if not has:
        raise ValueError("The tables have none of density, n_elements, space_group, species_after: evaluate again.")
    figure, axes = panels(len(has), width=6.2, height=3.6)
    for axis, column in zip(axes, has, strict=True):
        present = {name: table for name, table in shown.items() if _has(table, column)}
        if column == "density":
            _density(axis, present, models)
            title, definition = "Density", "share of generated crystals up to a density"
        else:
            _shares(axis, present, models, _BY_COLUMN[column])
            title, definition = _BY_COLUMN[column].title, _BY_COLUMN[column].definition
        describe(axis, title + _printed((distances or {}).get(column, {})), definition)
    legend_below(figure, columns=max(4, len(models) + 1))
    return save(figure, path)


def _scored(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table without the rows that could not be scored, as `metrics.distributions` counts."""
    return table[table["failure"].fillna("") == ""] if "failure" in table else table


def _has(table: pd.DataFrame, column: str) -> bool:
    return column in table and bool(table[column].notna().any())


def _printed(distances: Mapping[str, float]) -> str:
    if not distances:
        return ""
    return "; distance " + ", ".join(f"{name} {distance:.3g}" for name, distance in distances.items())


def _density(axis: Axes, tables: ScoreTables, models: Sequence[str]) -> None:
    """Draw cumulative distributions with 95 % bands on a common axis up to the 99.5th percentile."""
    values = {name: table["density"].astype(float) for name, table in tables.items()}
    edge = max(float(series.quantile(0.995)) for series in values.values())
    at = np.linspace(0, edge, _STEPS)
    for name, series in values.items():
        below = (series.to_numpy()[:, None] <= at).astype(float)
        rows = clustered_shares(below, series.notna().to_numpy(dtype=float), tables[name]["parent"])
        if name in models:
            color = PALETTE[models.index(name) % len(PALETTE)]
            axis.plot(at, rows["mean"], color=color, linewidth=1.6, label=name, zorder=3)
            axis.fill_between(at, rows["low"], rows["high"], color=color, alpha=0.18, linewidth=0, zorder=2)
        else:
            axis.plot(at, rows["mean"], color=REFERENCE, linestyle=DASHES[name], linewidth=1.6, label=name, zorder=4)
    axis.set_xlim(0, edge)
    axis.set_ylim(0, 1.02)
    axis.set_xlabel("density (g/cm³)", fontsize=9)
    axis.set_ylabel("share of crystals", fontsize=9)


def _shares(axis: Axes, tables: ScoreTables, models: Sequence[str], kind: _Classes) -> None:
    """Draw points with intervals for the models, bars for the true crystals."""
    names = kind.names(tables)
    for name, table in tables.items():
        rows = clustered_shares(*kind.counts(table, names), table["parent"])
        if name in models:
            x = np.arange(len(names), dtype=np.float64) + aside(models.index(name), len(models), 0.6)
            draw_points(axis, x, rows, models.index(name), name)
        else:
            axis.bar(range(len(names)), rows["mean"], width=0.85, color="0.85", label="ceiling (bars)", zorder=1)
    axis.set_xticks(range(len(names)), names, fontsize=8)
    axis.set_ylim(bottom=0)
    axis.set_ylabel(kind.share, fontsize=9)
    axis.set_xlabel(kind.label, fontsize=9)
    axis.grid(visible=False, axis="x")


def _numbers(tables: ScoreTables) -> list[str]:
    most = int(max(table["n_elements"].max() for table in tables.values()))
    return [str(n) for n in range(1, min(most, _MOST_NUMBER) + 1)]


def _of_number(table: pd.DataFrame, names: Sequence[str]) -> tuple[_Array, _Array]:
    """Return the last class of `_MOST_NUMBER` holds those above."""
    number = table["n_elements"].to_numpy(dtype=float)
    counts = np.minimum(number, _MOST_NUMBER)[:, None] == np.array(names, dtype=float)
    return counts.astype(float), np.isfinite(number).astype(float)


def _systems(_: ScoreTables) -> list[str]:
    return [*(_SHORT.get(name, name) for name in CRYSTAL_SYSTEMS), NO_SYMMETRY]


def _of_system(table: pd.DataFrame, _: Sequence[str]) -> tuple[_Array, _Array]:
    known = table["space_group"].notna().to_numpy()
    groups = table["space_group"].fillna(0).astype(int)
    systems = np.array([crystal_system_of(group) for group in groups])
    counts = systems[:, None] == np.array([*CRYSTAL_SYSTEMS, crystal_system_of(0)])
    counts &= known[:, None]
    return counts.astype(float), known.astype(float)


def _elements(tables: ScoreTables) -> list[str]:
    """Return the most frequent ones of the true crystals, or of the first model where these are not there."""
    table = tables.get(CEILING, next(iter(tables.values())))
    totals = _atoms(table).sum(axis=0)
    order = np.argsort(-totals, kind="stable")[:ELEMENTS]
    return [element_symbol(int(z) + 1) for z in order if totals[z] > 0]


def _of_element(table: pd.DataFrame, names: Sequence[str]) -> tuple[_Array, _Array]:
    atoms = _atoms(table)
    return atoms[:, [atomic_number(name) - 1 for name in names]], atoms.sum(axis=1)


def _atoms(table: pd.DataFrame) -> _Array:
    """Return (n, 118) atoms of each element."""
    rows = [
        np.zeros(0, dtype=int) if species is None else np.asarray(species, int) for species in table["species_after"]
    ]
    counts = [np.bincount(row[(row > 0) & (row <= N_ELEMENTS)], minlength=N_ELEMENTS + 1)[1:] for row in rows]
    return np.array(counts, dtype=np.float64)


_BY_COLUMN = {
    "n_elements": _Classes(
        title="Number of elements",
        definition="share of generated crystals with so many different elements",
        label=f"elements ({_MOST_NUMBER}: and more)",
        share="share of crystals",
        names=_numbers,
        counts=_of_number,
    ),
    "space_group": _Classes(
        title="Crystal system",
        definition="share of generated crystals, from the space group that spglib finds",
        label="crystal system",
        share="share of crystals",
        names=_systems,
        counts=_of_system,
    ),
    "species_after": _Classes(
        title="Elements",
        definition=f"share of the atoms; the {ELEMENTS} most frequent elements of the true crystals",
        label="element, from the most to the least frequent",
        share="share of atoms",
        names=_elements,
        counts=_of_element,
    ),
}
