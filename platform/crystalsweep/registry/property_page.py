"""A property model's dossier for people: one page that opens offline, and a model card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from crystalsweep.evaluation.properties.report import unit_of
from crystalsweep.evaluation.text import shown_figure
from crystalsweep.inference.target_records import read_targets
from crystalsweep.metrics.properties.figures import compared_of, statistics_of
from crystalsweep.pages.render import render
from crystalsweep.registry.attempts import summary
from crystalsweep.registry.dossier import JudgedTarget, PropertyDossier
from crystalsweep.registry.page import CARD
from crystalsweep.registry.versions import CHECKPOINT


def write_property_dossier_page(dossier: PropertyDossier, path: Path, note: str = "") -> None:
    """Write the dossier's page; `note` stands below the verdict."""
    path.write_text(_rendered("property_dossier.html.j2", dossier, note=note), encoding="utf-8")


def write_property_card(dossier: PropertyDossier, folder: Path) -> None:
    """Write `MODEL_CARD.md`, as registries show it; what its intervals hold is taken from the version's own files."""
    told = [each.promise for each in read_targets(folder / CHECKPOINT)]
    (folder / CARD).write_text(_rendered("property_card.md.j2", dossier, intervals=told), encoding="utf-8")


def _rendered(template: str, dossier: PropertyDossier, **more: Any) -> str:
    figures = [(name, each.n, *_figures(each)) for name, each in dossier.targets.items()]
    return render(f"registry/{template}", dossier=dossier, summary=summary(dossier), figures=figures, **more)


def _figures(judged: JudgedTarget) -> tuple[list[str], list[list[str]]]:
    """Return the heads and rows of a property's table: the figures that are compared, of model and baselines."""
    target = judged.target
    names = compared_of(target.kind, logged=target.log10)
    shown = [each for each in statistics_of(target.kind, logged=target.log10) if each.name in names]
    heads = [f"{each.title} ({unit})" if (unit := unit_of(each, target)) else each.title for each in shown]
    rows = [
        [row, *(shown_figure(figures.get(each.name), row_n=judged.n) for each in shown)]
        for row, figures in judged.rows.items()
    ]
    return heads, rows
