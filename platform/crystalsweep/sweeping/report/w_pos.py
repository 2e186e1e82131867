"""What a finished sweep of w_pos says: Fig. S2 of Liu et al., iScience 27, 110672 (2024), and its plateau in words."""

from __future__ import annotations

from functools import partial

import pandas as pd

from crystalsweep.pages.text import three_digits
from crystalsweep.plots.position_weight import LEVEL, plateau, plot_position_weight
from crystalsweep.sweeping.report.figures import Gallery
from crystalsweep.sweeping.report.frames import parameter_scale, setting, shown
from crystalsweep.sweeping.report.results import results_table
from crystalsweep.sweeping.report.sweep import reported_trainings, tell
from crystalsweep.sweeping.space.finished import FinishedSweep, Report
from crystalsweep.sweeping.space.outcome import TrainingOutcome
from crystalsweep.sweeping.space.parameters import Parameter
from crystalsweep.training.records import SCORE

W_POS = "reconstruction.w_pos"

_HISTORY = ("epoch", "loss", "loss/species", "loss/position", SCORE)


def w_pos_report(finished: FinishedSweep) -> Report:
    """Return the report of a sweep that varies w_pos, over the seeds it has."""
    trials, losses = reported_trainings(finished), final_losses(finished)
    table = results_table(
        finished,
        trials,
        {"L_species": partial(_loss, "loss/species"), "L_position": partial(_loss, "loss/position")},
        note="L_species and L_position: mean over the last epoch, on training crystals, before their weights.",
    )
    found = position_plateau(losses)
    weight = parameter_scale(_varied(finished))

    def draw(gallery: Gallery) -> None:
        gallery.add(
            "w_pos",
            lambda path: plot_position_weight(losses, weight, path, plateau_at=found),
            "Losses over w_pos (paper, Fig. S2)",
            "L_position falls as it weighs more, and L_species says what that costs; the dashed line is the paper's "
            "choice, and the plateau is shaded where there is one.",
        )

    words = [_plateau_sentence(finished, losses, found), *_species_sentence(finished, losses)]
    return tell(finished, trials, tables=[table], history=_HISTORY, words=words, draw=draw)


def final_losses(finished: FinishedSweep) -> pd.DataFrame:
    """Return a row per complete training: `reconstruction.w_pos` as shown, seed, species, position."""
    parameter = _varied(finished)
    rows = [
        {
            W_POS: shown(parameter, setting(outcome, W_POS)),
            "seed": outcome.seed,
            "species": outcome.metrics.get("loss/species", float("nan")),
            "position": outcome.metrics.get("loss/position", float("nan")),
        }
        for outcome in finished.done
    ]
    return pd.DataFrame(rows, columns=[W_POS, "seed", "species", "position"])


def position_plateau(losses: pd.DataFrame) -> float | None:
    """Return w_pos from which the mean L_position over seeds falls no more, as `plots.position_weight.plateau` has
    it."""
    means = losses.groupby(W_POS)["position"].mean().sort_index().dropna()
    return plateau(means.index.tolist(), means.tolist())


def _plateau_sentence(finished: FinishedSweep, losses: pd.DataFrame, found: float | None) -> str:
    parameter = _varied(finished)
    values = sorted(losses[W_POS].dropna().unique())
    if len(values) < 2:
        return "Where L_position stops falling cannot be told from fewer than two complete values of w_pos."
    paper = f" (the paper chose {parameter.shown(parameter.paper)})" if parameter.paper is not None else ""
    tried = ", ".join(three_digits(value) for value in values)
    seeds = f", means over {n} seeds" if (n := losses["seed"].nunique()) > 1 else ", one seed"
    level = f"{100 * LEVEL:.0f} %"
    if found is None:
        where = f"not reached: up to {three_digits(values[-1])}, a doubling still takes {level} or more off"
    else:
        means = losses.groupby(W_POS)["position"].mean()
        start = "the least value tried" if found == values[0] else f"{parameter.title} = {three_digits(found)}"
        left = 100 * (1 - means[values[-1]] / means[found])
        where = (
            f"from {start} on, a doubling takes less than {level} off; up to {three_digits(values[-1])} {left:.0f} %"
        )
    return f"Plateau of L_position: {where}{paper}. Tried were {tried}{seeds}."


def _species_sentence(finished: FinishedSweep, losses: pd.DataFrame) -> list[str]:
    """Say where L_species is least, and what it is at either end."""
    means = losses.groupby(W_POS)["species"].mean().sort_index().dropna()
    if len(means) < 2:
        return []
    values = [float(value) for value in means.index]
    least = values[int(means.to_numpy().argmin())]
    ends = ", ".join(f"{means[value]:.3f} at {three_digits(value)}" for value in (values[0], values[-1]))
    return [f"L_species is least at {_varied(finished).title} = {three_digits(least)}: {means.min():.3f}; {ends}."]


def _varied(finished: FinishedSweep) -> Parameter:
    return next(parameter for parameter in finished.parameters if parameter.key == W_POS)


def _loss(metric: str, outcome: TrainingOutcome) -> str:
    return f"{outcome.metrics.get(metric, float('nan')):.4g}"
