"""The gallery as one picture, which MLflow shows beside those of other runs: a row per crystal, seen along one axis."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from crystalsweep.gallery.atoms import EDGES, Atom, columns, corners
from crystalsweep.gallery.captions import heading, result
from crystalsweep.gallery.specimens import Specimen

_TILT = np.radians((-72.0, 0.0, 24.0))
"""How the cell is turned, about x and z, before it is seen from the front."""

_SHRUNK = 0.55
"""Of a covalent radius, so that atoms do not hide each other."""

_EDGE = {"": "0.25", "right": "#009E73", "wrong": "#D55E00"}


def draw_gallery(specimens: Sequence[Specimen], path: Path, *, title: str) -> Path:
    """Write a PNG of before, corrupted and after, and return its path."""
    figure = Figure(figsize=(9.0, 0.6 + 2.9 * len(specimens)), dpi=90, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=10)
    axes = figure.subplots(len(specimens), 3, squeeze=False)
    for specimen, row in zip(specimens, axes, strict=True):
        cell = corners(specimen.before) @ _view()
        for axis, (name, atoms) in zip(row, columns(specimen).items(), strict=True):
            _draw(axis, atoms, cell)
            axis.set_xlabel(name, fontsize=9)
        row[0].set_title(f"{heading(specimen)}\n{result(specimen)}", loc="left", fontsize=8.5)
    figure.savefig(path, metadata={"Software": None})
    return path


def _draw(axis: Axes, atoms: Sequence[Atom], cell: np.ndarray) -> None:
    for a, b in EDGES:
        axis.plot(*cell[[a, b]][:, :2].T, color="0.7", linewidth=0.8, zorder=0)
    seen = np.array([atom.cart for atom in atoms]) @ _view()
    for order, i in enumerate(np.argsort(seen[:, 2], kind="stable")):
        atom, (x, y) = atoms[i], seen[i, :2]
        width = 2.2 if atom.verdict else 0.6
        circle = Circle((x, y), _SHRUNK * atom.radius, zorder=1 + order, linewidth=width)
        circle.set(facecolor=atom.colour, edgecolor=_EDGE[atom.verdict])
        axis.add_patch(circle)
        axis.text(x, y, atom.symbol, ha="center", va="center_baseline", fontsize=6.5, zorder=1 + order)
    axis.set(aspect="equal", xticks=[], yticks=[])
    axis.margins(0.08)
    axis.autoscale_view()
    axis.spines[:].set_visible(False)


def _view() -> np.ndarray:
    """Return (3, 3) from Å to right, up and towards the eye, as rows of positions are multiplied with it."""
    x, _, z = _TILT
    about_z = np.array([[np.cos(z), np.sin(z), 0], [-np.sin(z), np.cos(z), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(x), np.sin(x)], [0, -np.sin(x), np.cos(x)]])
    return about_z @ about_x
