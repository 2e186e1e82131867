"""The figures of a GAN sweep: a hue per noise level, paler for a smaller w_W, control arms open or dashed in all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.colors import to_rgb

from crystalsweep.metrics import headline
from crystalsweep.plots import plot_trials
from crystalsweep.plots.curves import Panel, plot_curves
from crystalsweep.plots.style import PALETTE
from crystalsweep.sweeping.report.control import W, adversary_weight
from crystalsweep.sweeping.report.figures import Gallery
from crystalsweep.sweeping.report.frames import epoch_frame, setting, training_names
from crystalsweep.sweeping.space.finished import FinishedSweep, ReportedTraining

SIGMA = "corruption.sigma_noise"

_BALANCE = (
    Panel(
        column="discriminator/accuracy_real",
        title="D on real crystals",
        definition="share that it calls real, mean over the epoch; chance is 0.5",
        level=0.5,
    ),
    Panel(
        column="discriminator/accuracy_fake",
        title="D on restored crystals",
        definition="share that it calls fake, mean over the epoch; chance is 0.5",
        level=0.5,
    ),
    Panel(
        column="audit/ratio",
        title="Adversarial over reconstruction gradient",
        definition="norms on the generator, mean over audited steps; 0 for control arms",
        log=True,
    ),
)

_LOSSES = (
    Panel(column="loss/species", title="L_species", definition="cross-entropy, nats per atom, mean over the epoch"),
    Panel(column="loss/position", title="L_position", definition="squared error of displacements, before w_pos"),
    Panel(column="loss/adversarial", title="L_adversarial", definition="of the generator, before w_W"),
    Panel(column="audit/cosine", title="Cosine of gradients", definition="adversarial and reconstruction", level=0.0),
    Panel(column="discriminator/score_gap", title="Score gap of D", definition="real minus restored crystals, mean"),
)


def draw_gan(finished: FinishedSweep, trials: Sequence[ReportedTraining], gallery: Gallery) -> None:
    """Draw metrics over w_W where nothing but it and the noise is varied, all curves, and the balance of G and D."""
    if {parameter.key for parameter in finished.parameters} <= {SIGMA, W}:
        gallery.add(
            "trials",
            lambda path: plot_trials(_metrics(finished, trials), path),
            "Metrics over w_W",
            "Open markers are control arms and bands their intervals: a filled marker inside its band has not been "
            "shown to differ.",
        )
    gallery.add(
        "balance",
        lambda path: plot_curves(
            epoch_frame(finished, [panel.column for panel in _BALANCE]),
            _BALANCE,
            path,
            value=finished.objectives[0].title,
            colours=arm_colours(finished),
        ),
        "Balance of generator and discriminator",
        "A discriminator near 1 in both tells the two apart; one that calls restored crystals real, below 0.5 in the "
        "second panel, is fooled. A ratio far below 1 means that the adversary hardly moves the generator.",
    )
    gallery.add(
        "training",
        lambda path: plot_curves(
            epoch_frame(finished, [panel.column for panel in _LOSSES]),
            _LOSSES,
            path,
            value=finished.objectives[0].title,
            colours=arm_colours(finished),
        ),
        "Losses and audit over the epochs",
        "A cosine below 0 means that the adversary pulls against the reconstruction.",
    )


def arm_colours(finished: FinishedSweep) -> dict[str, Any] | None:
    """Return, by a training's name, the colour of its noise level, paler for a smaller w_W; None where other things are
    varied too, or many."""
    if not finished.done or not {parameter.key for parameter in finished.parameters} <= {SIGMA, W}:
        return None
    arms = {outcome.key: (float(setting(outcome, SIGMA)), adversary_weight(outcome)) for outcome in finished.outcomes}
    sigmas, weights = (sorted(set(each)) for each in zip(*arms.values(), strict=True))
    if len(sigmas) > len(PALETTE):
        return None
    called = training_names(finished)
    return {
        called[key]: _paler(PALETTE[sigmas.index(sigma)], (weights.index(w) + 1) / len(weights))
        for key, (sigma, w) in arms.items()
    }


def _paler(colour: str, strength: float) -> tuple[float, ...]:
    """Return a colour mixed with white, of which 0.6 at strength 0."""
    part = 0.4 + 0.6 * strength
    return tuple(part * each + 1 - part for each in to_rgb(colour))


def _metrics(finished: FinishedSweep, trials: Sequence[ReportedTraining]) -> pd.DataFrame:
    """Return a row per training or reference and headline metric, as `plot_trials` takes them."""
    rows: list[dict[str, object]] = []
    for trial in trials:
        sigma, w = setting(trial.outcome, SIGMA), adversary_weight(trial.outcome)
        rows += _means({"trial": trial.outcome.key, "sigma_noise": sigma, "w_wasserstein": w}, trial.table)
    for name in ("ceiling", "identity"):
        if name in finished.references:
            rows += _means({"trial": name}, finished.references[name])
    columns = ["trial", "sigma_noise", "w_wasserstein", "metric", "mean", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def _means(named: dict[str, object], table: pd.DataFrame) -> list[dict[str, object]]:
    return [
        {**named, "metric": name, "mean": i.mean, "low": i.low, "high": i.high} for name, i in headline(table).items()
    ]
