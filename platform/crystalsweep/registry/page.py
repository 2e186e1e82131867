"""A generator's dossier for people: one page that opens offline, and a model card."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

from crystalsweep.evaluation.outcome import read_outcome
from crystalsweep.evaluation.text import shown_figure
from crystalsweep.inference.calibration import read_calibration
from crystalsweep.inference.serving import CHECKPOINT
from crystalsweep.metrics.odds import ODDS
from crystalsweep.pages.content import Picture
from crystalsweep.pages.render import render
from crystalsweep.pages.text import with_interval
from crystalsweep.plots.promotion import plot_differences
from crystalsweep.registry.attempts import summary
from crystalsweep.registry.dossier import DOSSIER_FOLDER, EVALUATION, GeneratorDossier
from crystalsweep.registry.gates.gain import GUARDED, JUDGED

CARD = "MODEL_CARD.md"
_SHOWN = ("score", *GUARDED)
TITLES = {name: metric.title for name, metric in JUDGED.items()}


def write_dossier_page(dossier: GeneratorDossier, frame: pd.DataFrame, path: Path, note: str = "") -> None:
    """Write the dossier's page; `frame` holds the verdicts of the gain, and `note` stands below the verdict."""
    path.write_text(_rendered("dossier.html.j2", dossier, picture=_picture(frame), note=note), encoding="utf-8")


def write_card(dossier: GeneratorDossier, folder: Path) -> None:
    """Write `MODEL_CARD.md`, as registries show it; what its odds are worth is taken from the version's own files."""
    calibration = read_calibration(folder / CHECKPOINT)
    text = _rendered("model_card.md.j2", dossier, odds=_odds(folder), calibration=calibration)
    (folder / CARD).write_text(text, encoding="utf-8")


def _odds(folder: Path) -> list[tuple[str, str]]:
    """Return what the candidate's odds were worth in the dossier's evaluation: title and figure; none of older ones."""
    try:
        outcome = read_outcome(folder / DOSSIER_FOLDER / EVALUATION)
    except ValueError:  # a stranger's, or none: whoever shows the evaluation says so
        return []
    own = outcome.rows[outcome.name]
    told = [(metric.title, shown_figure(own[metric.name])) for metric in ODDS if metric.name in own]
    errors = [
        (f"Calibration error, {name}", with_interval(each.calibration_error, None, None, n=each.n))
        for name, each in outcome.odds.items()
    ]
    return [*told, *errors]


def _rendered(template: str, dossier: GeneratorDossier, **more: Any) -> str:
    shown = [name for name in _SHOWN if any(name in figures for figures in dossier.rows.values())]
    table = [[row, *(shown_figure(figures.get(name)) for name in shown)] for row, figures in dossier.rows.items()]
    return render(
        f"registry/{template}",
        dossier=dossier,
        summary=summary(dossier),
        heads=[TITLES[name] for name in shown],
        table=table,
        metric=TITLES[dossier.metric],
        **more,
    )


def _picture(frame: pd.DataFrame) -> str:
    """Return PNG as base64; empty where nothing was compared."""
    if frame.empty or frame["p"].isna().all():
        return ""
    with TemporaryDirectory() as scratch:
        file = Path(scratch) / "differences.png"
        plot_differences(frame, TITLES, file)
        return Picture.of(file).data
