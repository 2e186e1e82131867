"""Draws docs/rooms.png, the rooms in their layers, and docs/walks.png, the walks of a batch, a sweep and a promotion.

    python infra/draw_architecture.py docs/

Layers are read from import-linter's contract in pyproject.toml: the picture has what `make style` holds.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

ROOT = Path(__file__).resolve().parents[1]
GREY = "#555555"
LAYERS = "Imports point down the layers; rooms of one layer do not know each other"
"""The contract's name."""

ROOMS = {
    "sweeps": "what to try: a page per question",
    "trainables": "how each stage trains: pretrain, finetune, gan, critic, teach",
    "sweeping": "the machine of every sweep",
    "cli": "the command line",
    "registry": "promotion by evidence",
    "leaderboard": "runs in order",
    "gallery": "crystals in 3D",
    "training": "one stage, anywhere",
    "app": "the page that completes",
    "evaluation": "the protocol of Fig. 4, suites, property models",
    "plots": "every figure",
    "inference": "a model in use",
    "energies": "potentials, hulls",
    "losses": "Eqs. 1–3, the audit",
    "metrics": "scores with intervals",
    "data": "readers, checks, splits",
    "networks": "backbones, checkpoints",
    "structures": "crystals, graphs, corruption",
    "tracking": "runs in MLflow",
    "cluster": "Ray",
    "artifacts": "files that last",
    "pages": "what HTML pages share",
    "hyperparameters": "settings of the paper",
    "config": "settings, overridden",
    "seeding": "random numbers",
    "provenance": "which code it was",
    "wording": "what users read: mistakes, the glossary",
}
WALKS = {
    "a batch": (
        "#dcebf7",
        ("data", "reads crystals,\npacked, from memory"),
        ("training", "makes batches,\nruns the loop"),
        ("structures", "masks, displaces,\nfinds neighbours"),
        ("networks", "restores"),
        ("losses", "species, positions,\nthe adversary's"),
        ("trainables", "the stage's update"),
    ),
    "a sweep": (
        "#e9f3e4",
        ("sweeps", "a page says\nwhat varies"),
        ("sweeping/plan", "times some steps,\nforecasts"),
        ("Optuna, Ray Tune", "propose and\nstart trials"),
        ("training", "each trial, with\ncheckpoints"),
        ("tracking", "study.db, MLflow\nhear every epoch"),
        ("sweeping/report", "says what\ncame out"),
    ),
    "a promotion": (
        "#fbe9dc",
        ("inference", "finds the\ncandidate"),
        ("registry/gates", "physics, leakage"),
        ("evaluation", "a frozen suite,\nbeside the champion"),
        ("registry/gates", "gain, the same\nfigures again"),
        ("registry", "writes the dossier,\nseals every file"),
        ("tracking", "the version, then\nits alias"),
    ),
}


def layers() -> list[list[str]]:
    """Return the rooms of each layer, highest first."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    (found,) = (each["layers"] for each in contracts if each["name"] == LAYERS)
    return [[room.strip().removeprefix("crystalsweep.") for room in layer.split("|")] for layer in found]


def box(axis: Axes, x: float, y: float, width: float, height: float, colour: str, title: str, words: str) -> None:
    """Draw a rounded box with its lower left corner at (x, y): a title in bold above words."""
    look = FancyBboxPatch((x, y), width, height, boxstyle="round,pad=0,rounding_size=0.08", linewidth=1)
    look.set(facecolor=colour, edgecolor="#777777")
    axis.add_patch(look)
    middle = x + width / 2
    axis.text(middle, y + height * 0.70, title, ha="center", va="center", fontsize=9.5, fontweight="bold")
    axis.text(
        middle, y + height * 0.32, words, ha="center", va="center", fontsize=7.5, color="#333333", linespacing=1.15
    )


def draw_rooms(path: Path) -> None:
    """Write the map of rooms: a row per layer; imports point down."""
    rows = layers()
    across, high, gap = 11.4, 0.62, 0.2
    figure = Figure(figsize=(11.8, 8.2), dpi=150, layout="constrained")
    axis = figure.subplots()
    axis.set(xlim=(-0.75, across + 0.05), ylim=(-(len(rows) - 1) * (high + gap) - 0.08, high + 0.08))
    axis.axis("off")
    for depth, row in enumerate(rows):
        y = -depth * (high + gap)
        width = (across - gap * (len(row) - 1)) / len(row)
        colour = "#fbe9dc" if depth < 2 else "#dcebf7" if depth < 5 else "#e9f3e4" if depth < 7 else "#f0f0f0"
        for at, room in enumerate(row):
            box(axis, at * (width + gap), y, width, high, colour, room, ROOMS[room])
    arrow = {"arrowstyle": "-|>", "mutation_scale": 18, "color": GREY, "linewidth": 1.5}
    axis.add_patch(FancyArrowPatch((-0.3, high), (-0.3, -(len(rows) - 1) * (high + gap)), **arrow))
    middle = -(len(rows) - 1) * (high + gap) / 2
    axis.text(-0.55, middle, "imports point down", rotation=90, ha="center", va="center", fontsize=9, color=GREY)
    figure.savefig(path)


def draw_walks(path: Path) -> None:
    """Write what passes through which room: a row each for a batch, a sweep and a promotion."""
    figure = Figure(figsize=(11.8, 4.9), dpi=150, layout="constrained")
    axis = figure.subplots()
    wide, high, step, rise = 1.62, 0.85, 1.98, 1.5
    axis.set(xlim=(-0.05, 5 * step + wide + 0.05), ylim=(-2 * rise - 0.05, high + 0.45))
    axis.axis("off")
    for at, (title, (colour, *stations)) in enumerate(WALKS.items()):
        y = -at * rise
        axis.text(0, y + high + 0.1, f"The walk of {title}", fontsize=11, fontweight="bold", va="bottom")
        for number, (room, does) in enumerate(stations):
            x = number * step
            box(axis, x, y, wide, high, colour, room, does)
            if number:
                ends = ((x - step + wide + 0.03, y + high / 2), (x - 0.03, y + high / 2))
                axis.add_patch(FancyArrowPatch(*ends, arrowstyle="-|>", mutation_scale=13, color=GREY, linewidth=1.3))
    figure.savefig(path)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    draw_rooms(folder / "rooms.png")
    draw_walks(folder / "walks.png")
