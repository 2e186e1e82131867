"""The figures of every sweep's report, each with a line that says how to read it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from crystalsweep.pages.content import Picture
from crystalsweep.plots.contour import FEWEST_TRIALS, plot_contour
from crystalsweep.plots.curves import Panel, plot_curves
from crystalsweep.plots.importance import plot_importance
from crystalsweep.plots.objective_history import plot_objective_history
from crystalsweep.plots.parallel import plot_parallel
from crystalsweep.plots.pareto import plot_pareto
from crystalsweep.plots.scales import Scale
from crystalsweep.plots.seeds import plot_seeds
from crystalsweep.sweeping.report.frames import epoch_frame, objective_scale, parameter_scale, short_names
from crystalsweep.sweeping.space.finished import FinishedSweep


class Gallery:
    """Plots in a folder, and as pictures of the page; what cannot be drawn is a caption that says why."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.plots: list[Path] = []
        self.pictures: list[Picture] = []

    def add(self, stem: str, plot: Callable[[Path], Path], title: str, caption: str) -> None:
        """Draw into STEM.png; a `ValueError` of the plot is its reason for not being there."""
        try:
            path = plot(self.folder / f"{stem}.png")
        except ValueError as error:
            self.leave_out(title, str(error))
            return
        self.plots.append(path)
        self.pictures.append(Picture.of(path, f"{title}.", caption))

    def leave_out(self, title: str, reason: str) -> None:
        """Leave out a figure that is not there."""
        self.pictures.append(Picture(title=f"{title}.", caption=f"Not drawn. {reason}", data=""))


def draw_sweep(
    gallery: Gallery,
    finished: FinishedSweep,
    trainings: pd.DataFrame,
    trials: pd.DataFrame,
    colours: Mapping[str, Any] | None = None,
) -> None:
    """Draw all figures that every sweep has, as far as there is something to draw.

    Args:
        gallery: Where to draw.
        finished: The sweep.
        trainings: A row per training (`frames.training_frame`).
        trials: A row per trial (`frames.trial_frame`).
        colours: Of trainings in curves, by name.
    """
    parameters = [parameter_scale(parameter) for parameter in finished.parameters]
    objectives = [objective_scale(objective) for objective in finished.objectives]
    first = objectives[0]
    gallery.add(
        "parallel",
        lambda path: plot_parallel(trials, parameters, objectives, path),
        "Parallel coordinates",
        f"Follow a line from its settings to what they gave; the colour is {first.title}, dashed lines are control "
        "arms, grey ones did not complete and are drawn to their last value.",
    )
    valued = {first.column: "value", f"{first.column}/low": "low", f"{first.column}/high": "high"}
    rows = trainings.rename(columns=valued)
    gallery.add(
        "objective_history",
        lambda path: plot_objective_history(rows, first, path),
        "Objective by trial",
        "Bars are 95 % intervals over crystals; a search that learns climbs to the right, and steps of the line that "
        "are smaller than the bars may be luck.",
    )
    titles = {parameter.key: parameter.title for parameter in finished.parameters}
    ranked = {titles.get(key, key): value for key, value in finished.importances.items()}
    if not ranked and len(finished.parameters) > 1:
        gallery.leave_out("Parameter importance", "It cannot be told from this few complete trials.")
    else:
        _draw_importance(gallery, ranked, first)
    _draw_contour(gallery, finished, trials, parameters, first)
    if len(objectives) > 1:
        gallery.add(
            "pareto",
            lambda path: plot_pareto(trials, objectives, path),
            "Pareto fronts",
            "No other trial is better than a numbered one in everything; the line joins those of which this holds "
            "in the two objectives of the panel. Grey ones are dominated.",
        )
    curves = epoch_frame(finished, [finished.objectives[0].metric])
    panel = Panel(column=finished.objectives[0].metric, title=first.label, definition="after each epoch")
    gallery.add(
        "learning_curves",
        lambda path: plot_curves(curves, [panel], path, value=first.title, colours=colours),
        "Learning curves",
        "Crosses end trainings that were cut, failed or stopped; curves that still climb at their last epoch say that "
        "more epochs would change the picture.",
    )
    gallery.add(
        "seeds",
        lambda path: plot_seeds(rows[rows["state"] == "complete"].assign(trial=_short(finished, rows)), first, path),
        "Spread between seeds",
        "Where the thick bar, which is over seeds, is longer than the thin ones, which are over crystals, differences "
        "of one seed between settings may be the seed's.",
    )


def _draw_importance(gallery: Gallery, ranked: Mapping[str, float], first: Scale) -> None:
    gallery.add(
        "importance",
        lambda path: plot_importance(ranked, first, path),
        "Parameter importance",
        f"The share of the variation of {first.title} between complete trials that each parameter explains, from a "
        "forest fitted to them: without an interval, and a hint only for few trials.",
    )


def _short(finished: FinishedSweep, trainings: pd.DataFrame) -> pd.Series:
    """Return, by training, what an axis calls its trial."""
    return trainings["number"].astype(str).map(short_names(finished))


def _draw_contour(
    gallery: Gallery, finished: FinishedSweep, trials: pd.DataFrame, parameters: Sequence[Scale], objective: Scale
) -> None:
    title = f"{objective.title} over two parameters"
    numeric = [scale for scale in parameters if _varied(trials, scale)]
    if len(numeric) < 2:
        gallery.leave_out(title, "Fewer than two parameters with numbers were varied.")
        return
    ranked = sorted(numeric, key=lambda scale: -finished.importances.get(scale.column, 0.0))
    x, y = ranked[:2]
    others = f" Other parameters vary freely ({', '.join(s.title for s in ranked[2:])})." if len(ranked) > 2 else ""
    star = " The star marks the paper's settings." if x.paper is not None and y.paper is not None else ""
    gallery.add(
        "contour",
        lambda path: plot_contour(trials, x, y, objective, path),
        title,
        f"Points are complete trials; between {FEWEST_TRIALS} or more of them the surface is linear interpolation, "
        f"not a measurement, and hides their intervals.{star}{others}",
    )


def _varied(trials: pd.DataFrame, scale: Scale) -> bool:
    """Return whether a parameter has two or more different numbers."""
    numbers = pd.to_numeric(trials[scale.column], errors="coerce") if len(trials) else pd.Series(dtype=float)
    return bool(numbers.notna().any() and numbers.nunique() > 1)
