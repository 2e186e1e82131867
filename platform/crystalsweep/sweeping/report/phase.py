"""The phase diagram of an adversary: how hard it pushes, at which noise, and how often it learns, where these vary.

A cell is what trials there changed beside their control arm. What was never tried is empty.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from crystalsweep.pages.text import three_digits
from crystalsweep.plots.phase import RESOLVED, PhaseAxis, plot_phase
from crystalsweep.sweeping.report.comparison import metric_title
from crystalsweep.sweeping.report.figures import Gallery
from crystalsweep.sweeping.report.frames import setting
from crystalsweep.sweeping.space.finished import FinishedSweep
from crystalsweep.sweeping.space.parameters import Parameter

STRENGTH = ("gradient_ratio", "adversarial.gradient_ratio", "adversarial.w_wasserstein")
NOISE = ("corruption.sigma_noise",)
BALANCE = ("critic_share", "adversarial.g_steps_per_d_step")
"""Keys of each direction; the first that a sweep varies is drawn."""

SHOWN = ("compositional_similarity", "compositional_validity")

PAPER_NOISE = (0.1, 0.2)
"""σ of the paper's two GANs."""

MOST_PLACES = 6
"""Different values of a direction above which they are put into so many ranges."""


def draw_phase(gallery: Gallery, finished: FinishedSweep, verdicts: pd.DataFrame) -> None:
    """Draw the diagram where two or more of its directions were varied; nothing elsewhere.

    Args:
        gallery: Where to draw.
        finished: The sweep.
        verdicts: A row per trial and metric, minus its control arm: `a` begins with the trial's number.
    """
    found = {kind: _first(finished, keys) for kind, keys in (("y", STRENGTH), ("x", NOISE), ("across", BALANCE))}
    if sum(each is not None for each in found.values()) < 2:
        return
    settings = {outcome.number: outcome for outcome in finished.done if not outcome.control}
    placed = {kind: _placed(one, {n: _value(settings[n], one) for n in settings}) for kind, one in found.items()}
    cells = phase_cells(verdicts, {kind: where for kind, (_, where) in placed.items()})
    x, y, across = (placed[kind][0] for kind in ("x", "y", "across"))
    gallery.add(
        "phase",
        lambda path: plot_phase(cells, x, y, across, path),
        "Phase diagram of the adversary",
        "What trials changed beside their control arm, in cells that were tried; bold numbers are resolved, and of "
        f"several trials the mean is told. Frames are the paper's settings{_open((x, y, across))}.",
    )


def phase_cells(verdicts: pd.DataFrame, where: Mapping[str, Mapping[int, str]]) -> pd.DataFrame:
    """Return the cells that `plot_phase` draws.

    Args:
        verdicts: As for `draw_phase`; of several control arms of a trial the first counts.
        where: By direction (x, y, across) and number of a trial, its place.
    """
    rows = []
    for row in verdicts.drop_duplicates(["a", "metric"]).to_dict("records"):
        number = int(str(row["a"]).partition("/")[0])
        if row["metric"] in SHOWN and all(number in places for places in where.values()):
            rows.append({**{kind: places[number] for kind, places in where.items()}, **_told(row)})
    columns = ["x", "y", "across", "title", "difference", "better", "resolved"]
    frame = pd.DataFrame(rows, columns=columns)
    grouped = frame.groupby(["title", "x", "y", "across"], sort=False, as_index=False)
    return grouped.agg(
        difference=("difference", "mean"),
        better=("better", "first"),
        resolved=("resolved", "all"),
        trials=("difference", "size"),
    )


def _told(row: Mapping[Hashable, Any]) -> dict[str, Any]:
    sign = -1 if row.get("better_is") == "lower" else 1
    resolved = row["verdict"] in RESOLVED
    return {
        "title": metric_title(row["metric"]),
        "difference": row["difference"],
        "better": sign,
        "resolved": resolved,
    }


def _first(finished: FinishedSweep, keys: Sequence[str]) -> Parameter | None:
    varied = {parameter.key: parameter for parameter in finished.parameters}
    return next((varied[key] for key in keys if key in varied), None)


def _value(outcome: Any, parameter: Parameter | None) -> float:
    return float(setting(outcome, parameter.key)) if parameter else 0.0


def _placed(parameter: Parameter | None, values: Mapping[int, float]) -> tuple[PhaseAxis, dict[int, str]]:
    """Return a direction with its places, and the place of each trial; ranges where values are many."""
    if parameter is None:
        return PhaseAxis(title="", places=[""]), dict.fromkeys(values, "")
    distinct = sorted(set(values.values()))
    if len(distinct) <= MOST_PLACES:
        called = {value: _name(parameter, value) for value in distinct}
        paper = [called[value] for value in distinct if _is_papers(parameter, value, value)]
        return _axis(parameter, list(called.values()), paper), {n: called[value] for n, value in values.items()}
    log = parameter.log and distinct[0] > 0
    edges = (np.geomspace if log else np.linspace)(distinct[0], distinct[-1], MOST_PLACES + 1)
    bounds = list(pairwise(edges.tolist()))
    names = [f"{_name(parameter, low)}–{_name(parameter, high)}" for low, high in bounds]
    paper = [name for name, bound in zip(names, bounds, strict=True) if _is_papers(parameter, *bound)]
    above = {n: int(np.searchsorted(edges[1:-1], value, "right")) for n, value in values.items()}
    return _axis(parameter, names, paper), {n: names[i] for n, i in above.items()}


def _axis(parameter: Parameter, places: Sequence[str], paper: Sequence[str]) -> PhaseAxis:
    title = "G:D" if parameter.key in BALANCE else parameter.title
    sets = parameter.key in NOISE or parameter.paper is not None
    return PhaseAxis(title=title, places=places, paper=paper if sets else None)


def _is_papers(parameter: Parameter, low: float, high: float) -> bool:
    asked = PAPER_NOISE if parameter.key in NOISE else (parameter.paper,)
    return any(each is not None and low - 1e-9 <= each <= high + 1e-9 for each in asked)


def _name(parameter: Parameter, value: float) -> str:
    """Return what a place is called; updates of the generator for each of the critic as `10:1`."""
    if parameter.key == "critic_share":
        return f"{three_digits((1 - value) / value)}:1"
    if parameter.key in BALANCE:
        return f"{three_digits(value)}:1"
    return three_digits(value / parameter.unit)


def _open(axes: Sequence[PhaseAxis]) -> str:
    """Return what is said of directions in which the paper sets nothing."""
    unset = [axis.title for axis in axes if axis.paper is None and len(axis.places) > 1]
    return f", dashed since it sets no {', '.join(unset)}: its w_W is 0.1" if unset else ""
