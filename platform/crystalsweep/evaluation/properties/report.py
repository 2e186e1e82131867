"""`report.html` of a property model's evaluation."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from crystalsweep.evaluation.outcome import Figure
from crystalsweep.evaluation.properties.asked import PropertyTarget
from crystalsweep.evaluation.properties.outcome import PropertyEvaluation, TargetOutcome, Verdict
from crystalsweep.evaluation.report import REPORT_FILE
from crystalsweep.metrics.properties.baselines import BASELINES, EXPLAINED
from crystalsweep.metrics.properties.figures import compared_of, statistics_of
from crystalsweep.metrics.properties.statistic import Statistic
from crystalsweep.pages.content import Picture, Section, Table, TableRow
from crystalsweep.pages.render import render
from crystalsweep.pages.text import with_interval

_STRATA = {
    "crystal_system": ("By crystal system", "Crystal systems as spglib finds them within 0.1 Å (Fig. 1C, S5)."),
    "n_elements": ("By number of elements", ""),
    "rare_element": ("By rare elements", "Rare: held by fewer than 1 % of the training crystals."),
}


def write_property_report(outcome: PropertyEvaluation, pictures: Mapping[str, Sequence[Picture]], folder: Path) -> Path:
    """Write the page of figures, and of pictures by property, into `folder`."""
    sections = [
        Section(
            title=name, text=lead_of(found), tables=_tables(outcome.name, found), figures=list(pictures.get(name, []))
        )
        for name, found in outcome.targets.items()
    ]
    told = outcome.model_dump(mode="json", include={"model", "data", "settings", "versions", "metrics_lock"})
    page = render(
        "evaluation/report.html.j2",
        title=f"Evaluation: {outcome.name}",
        lead=_lead(outcome),
        sections=[*sections, _rows_explained(outcome)],
        flags=outcome.flags,
        outcome=outcome,
        settings=json.dumps(told, indent=2),
        footer="Property models after Liu et al., iScience 27, 110672 (2024), doi:10.1016/j.isci.2024.110672.",
    )
    target = folder / REPORT_FILE
    target.write_text(page, encoding="utf-8")
    return target


def _lead(outcome: PropertyEvaluation) -> str:
    data = outcome.data
    return (
        f"{data['crystals']:,} crystals of {data['source']} ({data['part']}). Baselines are fitted on the model's own "
        f"{data['training_crystals']:,} training crystals, {data['trained_on']}. Brackets are 95 % intervals from a "
        "bootstrap over crystals; one training is evaluated, and the spread between seeds is not in them."
    )


def lead_of(found: TargetOutcome) -> str:
    """Return what is predicted, of how many crystals, in a sentence or two."""
    target = found.target
    what = f"{target.told}, learnt as its log10" if target.log10 else target.told
    if target.kind == "classification":
        limit = f" by {target.label} ≤ {target.threshold:g}" if target.threshold is not None else ""
        what = f"{' or '.join(target.classes)}{limit}"
    if target.grid is not None:
        ends = f"{target.grid[0]:g} to {target.grid[-1]:g} {target.grid_unit}"
        what = f"{target.told} at {len(target.grid)} points from {ends}"
    told = f"Predicted: {what}, of {found.n:,} labelled crystals."
    if found.unlabelled:
        told += f" {found.unlabelled:,} without a label are predicted, and in no figure."
    if found.unpredicted:
        told += f" Of {found.unpredicted:,} labelled crystals the model gave no number; they are in no figure."
    return told


def _tables(model: str, found: TargetOutcome) -> list[Table]:
    statistics = shown_statistics(found)
    tables = [_headline(model, found, statistics), _verdicts(model, found, statistics)]
    if found.undefined:
        tables.append(_undefined(found, statistics))
    tables += [_stratum(model, found, by, statistics) for by in found.strata if found.strata[by]]
    definitions = [TableRow(cells=[each.title, each.definition, unit_of(each, found.target)]) for each in statistics]
    return [
        *tables,
        Table(title="What the figures are", heads=["", "definition", "unit"], rows=definitions, folded="Definitions"),
    ]


def shown_statistics(found: TargetOutcome) -> tuple[Statistic, ...]:
    """Return the statistics of a property, in the order of its tables."""
    return statistics_of(found.target.kind, logged=found.target.log10)


def headline_of(found: TargetOutcome) -> str:
    """Return the name of the figure that decides."""
    return compared_of(found.target.kind, logged=found.target.log10)[0]


def best_baseline(found: TargetOutcome) -> str | None:
    """Return the row of the baseline that is best on the headline figure; None where none has it."""
    name = headline_of(found)
    (shown,) = [each for each in shown_statistics(found) if each.name == name]
    sign = 1 if shown.direction == "higher" else -1
    means = {row: found.rows[row][name].mean for row in BASELINES[found.target.kind] if row in found.rows}
    known = {row: sign * mean for row, mean in means.items() if mean is not None}
    return max(known, key=lambda row: known[row]) if known else None


def unit_of(each: Statistic, target: PropertyTarget) -> str:
    """Return the unit of a property's figure in words; empty of one that has none."""
    label = target.unit
    units = {"label": label, "label²": f"({label})²" if label else "", "grid": target.grid_unit}
    return units.get(each.unit, f"log10({label})" if each.unit and label else "")


def _headline(model: str, found: TargetOutcome, statistics: Sequence[Statistic]) -> Table:
    rows = [
        TableRow(
            cells=[row, f"{_n(figures):,}", *(_cell(figures.get(s.name)) for s in statistics)], highlighted=row == model
        )
        for row, figures in found.rows.items()
    ]
    heads = [f"{s.title} ({unit})" if (unit := unit_of(s, found.target)) else s.title for s in statistics]
    return Table(heads=["", "n", *heads], rows=rows)


def _n(figures: Mapping[str, Figure]) -> int:
    return max((each.n for each in figures.values()), default=0)


def _cell(figure: Figure | None) -> Any:
    if figure is None or figure.mean is None:
        return "undefined"
    return {"mean": figure.mean, "low": figure.low, "high": figure.high}


def _verdicts(model: str, found: TargetOutcome, statistics: Sequence[Statistic]) -> Table:
    titles = {each.name: each.title for each in statistics}
    tested = [each for each in found.verdicts if each.p is not None]
    rows = [
        TableRow(
            cells=[titles[each.metric], each.against, effect_of(each), _p(each.p), _p(each.p_adjusted), each.verdict]
        )
        for each in tested
    ]
    note = (
        "Paired by crystal; intervals are not corrected. A verdict is of p after Holm's correction for "
        f"{len(tested)} comparisons below 0.05. Not resolved against “composition only”: nothing says that the model "
        "knows more than the formula."
    )
    title = f"{model} minus what learned no structure"
    return Table(
        title=title, heads=["figure", "minus", "difference", "p", "corrected p", "verdict"], rows=rows, note=note
    )


def effect_of(each: Verdict) -> str:
    """Return a difference with its interval."""
    return with_interval(each.difference, each.low, each.high, signed=True)


def _p(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _undefined(found: TargetOutcome, statistics: Sequence[Statistic]) -> Table:
    titles = {each.name: each.title for each in statistics}
    rows = [
        TableRow(cells=[row, titles[name], why]) for row, each in found.undefined.items() for name, why in each.items()
    ]
    return Table(title="Undefined", heads=["", "figure", "why"], rows=rows)


def _stratum(model: str, found: TargetOutcome, by: str, statistics: Sequence[Statistic]) -> Table:
    """Return the headline figure of every row in each bin, and whether the model is better than each baseline there."""
    name = headline_of(found)
    (shown,) = [each for each in statistics if each.name == name]
    others = [row for row in found.rows if row != model]
    rows = []
    for each in found.strata[by]:
        verdicts = {one.against: one.verdict for one in each.verdicts}
        told = [verdicts.get(row, "") for row in others]
        rows.append(
            TableRow(cells=[each.bin, f"{each.n:,}", *(_cell(each.rows[row].get(name)) for row in found.rows), *told])
        )
    title, note = _STRATA[by]
    corrected = "Verdicts of the model against each, corrected over all bins of this table."
    heads = ["", "n", *found.rows, *(f"against {row}" for row in others)]
    return Table(title=f"{title}: {shown.title}", heads=heads, rows=rows, note=f"{note} {corrected}".strip())


def _rows_explained(outcome: PropertyEvaluation) -> Section:
    names = dict.fromkeys(row for found in outcome.targets.values() for row in found.rows)
    rows = [TableRow(cells=[name, EXPLAINED[name]]) for name in names if name in EXPLAINED]
    told = [TableRow(cells=["data", line]) for line in outcome.data.get("told", [])]
    return Section(title="Rows and data", tables=[Table(heads=["row", "what it is"], rows=[*rows, *told])])
