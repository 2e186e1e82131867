"""A dossier for people: one page that opens offline, and a model card."""

from __future__ import annotations

import base64
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from crystalsweep.evaluation.outcome import Figure
from crystalsweep.plots.promotion import plot_differences
from crystalsweep.registry.attempts import summary
from crystalsweep.registry.dossier import Dossier
from crystalsweep.registry.gates.gain import GUARDED, JUDGED

CARD = "MODEL_CARD.md"
_SHOWN = ("score", *GUARDED)
TITLES = {name: metric.title for name, metric in JUDGED.items()}


def write_page(dossier: Dossier, frame: pd.DataFrame, path: Path) -> None:
    """Write the dossier's page; `frame` holds the verdicts of the gain."""
    path.write_text(_rendered("dossier.html.j2", dossier, picture=_picture(frame)), encoding="utf-8")


def write_card(dossier: Dossier, folder: Path) -> None:
    """Write `MODEL_CARD.md`, as registries show it."""
    (folder / CARD).write_text(_rendered("model_card.md.j2", dossier), encoding="utf-8")


def _rendered(template: str, dossier: Dossier, **more: Any) -> str:
    shown = [name for name in _SHOWN if any(name in figures for figures in dossier.rows.values())]
    table = [[row, *(_cell(figures.get(name)) for name in shown)] for row, figures in dossier.rows.items()]
    return (
        _templates()
        .get_template(template)
        .render(
            dossier=dossier,
            summary=summary(dossier),
            heads=[TITLES[name] for name in shown],
            table=table,
            metric=TITLES[dossier.metric],
            **more,
        )
    )


def _cell(figure: Figure | None) -> str:
    if figure is None or figure.mean is None:
        return "n = 0"
    return f"{figure.mean:.3f}" + (f" [{figure.low:.3f}, {figure.high:.3f}]" if figure.low is not None else "")


def _picture(frame: pd.DataFrame) -> str:
    """Return PNG as base64; empty where nothing was compared."""
    if frame.empty or frame["p"].isna().all():
        return ""
    with TemporaryDirectory() as scratch:
        file = Path(scratch) / "differences.png"
        plot_differences(frame, TITLES, file)
        return base64.b64encode(file.read_bytes()).decode()


@lru_cache(maxsize=1)
def _templates() -> Environment:
    return Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=select_autoescape(enabled_extensions=("html.j2",), default=False),
    )
