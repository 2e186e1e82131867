"""How atoms spread over the elements: p(X = x) ∝ 1 / x^α, x the rank of an element by abundance (paper: Fig. 1A)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from crystalsweep.data.errors import DataError
from crystalsweep.structures.crystal import Crystal
from crystalsweep.structures.elements import element_symbol

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PAPER_EXPONENT = 0.8163
"""α of the paper's data set, without its eight least frequent elements."""

DROP_LAST = 8
"""Rarest elements left out of the fit, as in the paper."""

LABEL_SIZE = 7
"""Points."""

LABEL_ROOM = (10, 7)
"""Points to left and right, above and below the centre of a symbol that are kept free."""

LABEL_OFFSETS = ((0, 9), (0, -9), (11, 0), (-11, 0))
"""Points from an element's dot to the centre of its symbol, in order of preference."""


class PowerLaw(NamedTuple):
    """log10 p = `intercept` − `exponent` · log10 rank."""

    exponent: float
    standard_error: float
    intercept: float
    n_elements: int


def element_abundance(crystals: Iterable[Crystal]) -> dict[str, int]:
    """Return atoms of each element over all cells, most frequent first (ties by symbol); masked species are not
    counted."""
    counts: Counter[int] = Counter()
    for crystal in crystals:
        counts.update(crystal.species[crystal.species > 0].tolist())
    symbols = {element_symbol(z): n for z, n in counts.items()}
    return dict(sorted(symbols.items(), key=lambda item: (-item[1], item[0])))


def power_law_exponent(counts: Mapping[str, int], drop_last: int = DROP_LAST) -> PowerLaw:
    """Return α by least squares of log10 share on log10 rank, every rank weighted equally, with the slope's standard
    error.

    Raises `DataError` if fewer than three elements are left without the `drop_last` rarest.
    """
    shares = _shares(counts)
    shares = shares[: max(len(shares) - drop_last, 0)]
    if len(shares) < 3:
        raise DataError(f"{len(counts)} elements are too few for a power law without the {drop_last} rarest")
    x, y = np.log10(np.arange(1, len(shares) + 1)), np.log10(shares)
    spread = float(((x - x.mean()) ** 2).sum())
    slope = float(((x - x.mean()) * y).sum()) / spread
    intercept = float(y.mean() - slope * x.mean())
    residual = float(((y - intercept - slope * x) ** 2).sum())
    return PowerLaw(-slope, float(np.sqrt(residual / (len(x) - 2) / spread)), intercept, len(x))


def plot_abundance(crystals: Iterable[Crystal], path: Path) -> None:
    """Write `path`: share of atoms against rank, log-log, with the fit; without one where elements are too few."""
    from matplotlib.figure import Figure

    if not path.parent.is_dir():
        raise DataError(f"{path}: the folder {path.parent} does not exist; create it first")
    counts = element_abundance(crystals)
    figure = Figure(figsize=(9, 5.5), layout="constrained")
    axes = figure.add_subplot(xscale="log", yscale="log", xlabel="rank of the element", ylabel="share of atoms")
    _draw_elements(axes, counts)
    if len(counts) >= DROP_LAST + 3:
        _draw_fit(axes, power_law_exponent(counts))
    axes.legend(loc="lower left")
    figure.draw_without_rendering()  # positions in points exist from here on
    _label_elements(axes, counts)
    figure.savefig(path, dpi=150)


def _shares(counts: Mapping[str, int]) -> NDArray[np.float64]:
    """Return descending, adding up to 1."""
    values = np.sort(np.array(list(counts.values()), dtype=np.float64))[::-1]
    return np.asarray(values / values.sum(), dtype=np.float64)


def _draw_elements(axes: Axes, counts: Mapping[str, int]) -> None:
    shares = _shares(counts)
    ranks = np.arange(1, len(shares) + 1)
    axes.plot(
        ranks, shares, "o", ms=3, color="tab:blue", label=f"{len(counts)} elements, {sum(counts.values()):,} atoms"
    )


def _label_elements(axes: Axes, counts: Mapping[str, int]) -> None:
    """Write symbols of the elements, from the most frequent on, wherever one fits without covering a dot or a
    symbol."""
    from matplotlib.patheffects import withStroke

    halo = [withStroke(linewidth=2, foreground="white")]
    points = np.column_stack([np.arange(1, len(counts) + 1), _shares(counts)])
    taken = dots = axes.transData.transform(points) * 72 / axes.figure.dpi
    for point, dot, symbol in zip(points, dots, counts, strict=True):
        free = (xy for xy in LABEL_OFFSETS if (np.abs(taken - (dot + xy)) > LABEL_ROOM).any(axis=1).all())
        if offset := next(free, None):
            taken = np.vstack([taken, dot + offset])
            text = axes.annotate(symbol, tuple(point), offset, textcoords="offset points", ha="center", va="center")
            text.set(fontsize=LABEL_SIZE, path_effects=halo)


def _draw_fit(axes: Axes, fit: PowerLaw) -> None:
    ranks = np.array([1, fit.n_elements], dtype=np.float64)
    label = f"fit without the {DROP_LAST} rarest: α = {fit.exponent:.4f} ± {fit.standard_error:.4f} (s.e.)"
    axes.plot(ranks, 10**fit.intercept * ranks**-fit.exponent, "--", color="0.3", lw=1, zorder=1, label=label)
    centre = np.log10(np.arange(1, fit.n_elements + 1)).mean()
    through = 10 ** (fit.intercept + (PAPER_EXPONENT - fit.exponent) * centre)  # both lines meet at the mean point
    axes.plot(
        ranks, through * ranks**-PAPER_EXPONENT, ":", color="tab:red", zorder=1, label=f"paper: α = {PAPER_EXPONENT}"
    )
