"""The view of a sweep that MLflow's UI opens: its trials by objective, what varied, and the headline curves first."""

from __future__ import annotations

import re
from collections.abc import Sequence, Set
from contextlib import suppress

from mlflow.exceptions import MlflowException

from crystalsweep.metrics import METRICS
from crystalsweep.sweeping.report.overview import MEANS
from crystalsweep.sweeping.session import SweepSession
from crystalsweep.sweeping.space.finished import Report
from crystalsweep.tracking.tags import KIND
from crystalsweep.tracking.tracker import now_ms
from crystalsweep.tracking.view import TAG, SavedView, ViewSection, encoded
from crystalsweep.training.catalogue import stage_spec
from crystalsweep.training.records import SCORE, Scored

_HEADLINE: dict[Scored, tuple[str, ...]] = {
    "restorations": (SCORE, *(f"val/{metric.name}" for metric in METRICS)),
    "predictions": ("val/error", "val/loss"),
}
"""Columns beside the objectives, by what the stage scores."""

IMAGES = ("crystals", "validity", "training")
"""Pictures of each trial that the view shows side by side."""


def tag_of(title: str) -> str:
    """Return a setting's title as a tag that MLflow takes: without what is in brackets, and without signs."""
    return re.sub(r"\s*\(.*?\)|[^\w\-. :/]", "", title).strip()


def save_view(session: SweepSession, told: Report, settings: Sequence[str]) -> str:
    """Write the view into the experiment and return its key; empty where MLflow is away, which costs the view only.

    Args:
        session: The sweep.
        told: Its report.
        settings: Tags of the trials that say what varied.
    """
    record = session.record
    experiment = session.experiments[session.spec.name]
    with suppress(MlflowException):
        session.tracker.tag_experiment(
            experiment, {f"{TAG}{record.name}": encoded(view(session, told, settings), now_ms())}
        )
        return record.name
    return ""


def view(session: SweepSession, told: Report, settings: Sequence[str]) -> SavedView:
    """Return what the view of a finished sweep shows."""
    record, objectives = session.record, session.objectives
    scored = _HEADLINE[stage_spec(session.plan.stage).scores]
    headline = list(dict.fromkeys([*(objective.metric for objective in objectives), *scored]))
    varied = [key for parameter in session.plan.space.parameters for key in _logged(session, parameter.key)]
    logged = {name for trial in told.trials for row in trial.outcome.history[-1:] for name in row}
    epochs = max((int(trial.outcome.metrics["epoch"]) for trial in told.trials), default=0)
    seed = ["seed"] if len({trial.outcome.seed for trial in told.trials}) > 1 else []
    others = [name for name in told.history if name in logged and name not in (*headline, "epoch")]
    return SavedView(
        name=record.name,
        filter=f"tags.sweep = '{record.name}' and tags.`{KIND}` = 'trial'",
        order_by=f"metrics.`{objectives[0].metric}`",
        columns=[
            *(f"metrics.`{name}`" for name in dict.fromkeys([*(o.metric for o in objectives), SCORE, *MEANS.values()])),
            *(f"tags.`{name}`" for name in (*settings, "control", *seed)),
        ],
        sections=[
            ViewSection(name="What varied, and the headline", parameters=varied, results=headline[:4], columns=1),
            ViewSection(name="Headline over the epochs", lines=headline),
            ViewSection(name="Pictures", images=IMAGES, step=epochs, columns=1),
            ViewSection(name="Losses and audit over the epochs", lines=others),
        ],
        folded=_folded(logged),
    )


def _logged(session: SweepSession, key: str) -> list[str]:
    """Return parameters of runs that a setting is logged as; a choice by name as that of its network."""
    return ["backbone.name"] if key == "backbone" and key in session.plan.space.choices else [key]


def _folded(logged: Set[str]) -> list[str]:
    """Return sections that the UI makes by itself: what stands before the last `/` of metrics, and those without
    one."""
    return [*sorted({name.rpartition("/")[0] for name in logged if "/" in name}), "Model metrics"]
