"""Draws docs/method.png: what the three stages do to a crystal, after Liu et al., iScience 27, 110672 (2024).

python infra/draw_method.py docs/method.png
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Rectangle

ELEMENTS = {"Ba": "#56B4E9", "Ti": "#009E73", "O": "#D55E00", "?": "#BBBBBB"}
SITES = (((0.12, 0.12), "Ba"), ((0.88, 0.12), "Ba"), ((0.12, 0.88), "Ba"), ((0.88, 0.88), "Ba"), ((0.5, 0.5), "Ti"))
OXYGEN = (((0.5, 0.12), "O"), ((0.12, 0.5), "O"), ((0.88, 0.5), "O"), ((0.5, 0.88), "O"))
GREY = "#555555"


def crystal(axis: Axes, x: float, y: float, *, masked: str = "", noise: float = 0.0, seed: int = 0) -> None:
    """Draw a perovskite's cell of width 1 with its lower left corner at (x, y)."""
    axis.add_patch(Rectangle((x, y), 1, 1, fill=False, edgecolor="#999999", linewidth=1.2))
    random = np.random.default_rng(seed)
    for (a, b), symbol in (*SITES, *OXYGEN):
        shown = "?" if symbol == masked else symbol
        at = np.array([x + a, y + b]) + random.normal(scale=noise, size=2)
        size = 0.125 if symbol != "O" else 0.09
        axis.add_patch(Circle(at, size, facecolor=ELEMENTS[shown], edgecolor="#333333", linewidth=0.8, zorder=3))
        axis.text(
            *at, shown, ha="center", va="center", fontsize=7, color="white" if shown != "?" else "black", zorder=4
        )


def box(axis: Axes, x: float, y: float, width: float, text: str, colour: str) -> None:
    """Draw a network as a rounded box, 0.7 high, in the middle of a row that is 1 high."""
    look = FancyBboxPatch((x, y + 0.15), width, 0.7, boxstyle="round,pad=0.02,rounding_size=0.12", linewidth=1.2)
    look.set(facecolor=colour, edgecolor="#333333")
    axis.add_patch(look)
    axis.text(x + width / 2, y + 0.5, text, ha="center", va="center", fontsize=9)


def arrow(axis: Axes, start: Sequence[float], end: Sequence[float], text: str = "", **look: object) -> None:
    """Draw an arrow with words above its middle."""
    given = {"arrowstyle": "-|>", "mutation_scale": 13, "color": GREY, "linewidth": 1.3} | look
    axis.add_patch(FancyArrowPatch(tuple(start), tuple(end), **given))  # type: ignore[arg-type]
    if text:
        middle = (np.asarray(start) + np.asarray(end)) / 2
        axis.text(middle[0], middle[1] + 0.09, text, ha="center", va="bottom", fontsize=8, color=GREY)


def draw(path: Path) -> None:
    """Write the picture."""
    figure = Figure(figsize=(10.5, 5.4), dpi=150, layout="constrained")
    axis = figure.subplots()
    axis.set(xlim=(-0.1, 10.6), ylim=(-0.35, 5.35), aspect="equal")
    axis.axis("off")
    rows = {4.0: "1  pre-train", 2.15: "2  fine-tune", 0.3: "3  adversary"}
    for y, title in rows.items():
        axis.text(-0.05, y + 1.12, title, fontsize=11, fontweight="bold", va="bottom")
    crystal(axis, 0, 4.0)
    arrow(axis, (1.1, 4.5), (2.6, 4.5), "mask, displace")
    crystal(axis, 2.7, 4.0, masked="Ti", noise=0.05)
    arrow(axis, (3.8, 4.5), (4.8, 4.5))
    box(axis, 4.85, 4.0, 1.9, "generator\n(equivariant)", "#dcebf7")
    arrow(axis, (6.85, 4.5), (7.85, 4.5), "restore")
    crystal(axis, 7.95, 4.0)
    axis.text(9.1, 4.5, "L = L_species\n + w_pos · L_position", fontsize=8.5, va="center", color=GREY)
    crystal(axis, 2.7, 2.15)
    arrow(axis, (3.8, 2.65), (4.8, 2.65))
    box(axis, 4.85, 2.15, 1.9, "same backbone,\nnew head", "#e9f3e4")
    arrow(axis, (6.85, 2.65), (7.85, 2.65))
    axis.text(7.95, 2.65, "stable or not, or any label:\nmoduli, energies, band gap", fontsize=9, va="center")
    crystal(axis, 2.7, 0.3, masked="Ti", noise=0.05, seed=1)
    arrow(axis, (3.8, 0.8), (4.8, 0.8))
    box(axis, 4.85, 0.3, 1.9, "generator", "#dcebf7")
    arrow(axis, (6.85, 0.8), (7.85, 0.8), "restored")
    box(axis, 7.95, 0.3, 2.3, "discriminator:\nreal or restored?", "#fbe9dc")
    arrow(axis, (9.1, 0.38), (5.8, 0.38), connectionstyle="arc3,rad=-0.16", linestyle="--", color="#D55E00")
    axis.text(
        7.45, -0.28, "w_W · gradient, audited; w_W = 0 is the control arm", fontsize=8.5, ha="center", color="#D55E00"
    )
    arrow(axis, (5.8, 3.98), (5.8, 3.12), color="#999999")
    arrow(axis, (9.1, 2.3), (9.1, 1.22), color="#999999")
    figure.savefig(path)


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
