"""An evaluation of a property model as a page, and as text for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from crystalsweep.evaluation.properties.assessment import JUDGED, Assessment
from crystalsweep.evaluation.properties.run import BESIDE, MODEL, EvaluatedTarget, PropertyEvaluation
from crystalsweep.pages.content import Picture, Section, Table, TableRow
from crystalsweep.pages.render import render
from crystalsweep.pages.text import with_interval
from crystalsweep.wording.stranger import tabulated

TITLES = {
    "mae": "MAE",
    "rmse": "RMSE",
    "r2": "R²",
    "spearman": "Spearman",
    "accuracy": "accuracy",
    "auc": "AUC",
    "balanced_accuracy": "balanced accuracy",
    "f1": "F1",
    "average_precision": "average precision",
    "daf": "DAF",
    "brier": "Brier",
    "ece": "ECE",
}
"""Of metrics that the table shows, in order of preference."""

_REGRESSION = (
    "MAE, RMSE: mean absolute and root mean square error, in the label's unit, lower is better.\n"
    "R²: share of the variation that is explained. Spearman: rank correlation."
)
_CLASSIFICATION = (
    "AUC: how often a yes is ranked above a no. DAF: how much likelier a crystal called yes is one, than any.\n"
    "Brier, ECE: errors of the probabilities, lower is better."
)
_NOTE = {"regression": _REGRESSION, "classification": _CLASSIFICATION}


def scores_table(target: EvaluatedTarget, metrics: Sequence[str] = ()) -> Table:
    """Return a row per model and baseline, a column per metric, each with its 95 % interval over crystals."""
    scores = target.whole.scores
    shown = [name for name in (metrics or TITLES) if name in set(scores["metric"])]
    rows = [
        TableRow(cells=[row, *(_cell(scores, row, name) for name in shown)], highlighted=row == MODEL)
        for row in dict.fromkeys(scores["row"])
    ]
    unit = f", {target.record.target.unit}" if target.record.target.unit else ""
    sampled = ""
    if target.baselines.sampled < target.baselines.fitted_on:
        sampled = f" (a sample of {target.baselines.sampled:,} for trees and neighbours)"
    note = (
        f"n = {target.whole.n:,} labelled crystals; 95 % intervals: bootstrap over crystals. Baselines are fitted on\n"
        f"the {target.baselines.fitted_on:,} labelled training crystals{sampled}.\n{_NOTE[target.record.target.kind]}"
    )
    return Table(
        title=f"{target.record.name}{unit}", heads=["", *(TITLES[name] for name in shown)], rows=rows, note=note
    )


def verdicts_table(target: EvaluatedTarget) -> Table:
    """Return the model minus every other row, with corrected p and verdict."""
    frame = target.whole.verdicts
    rows = [
        TableRow(cells=_verdict_cells(row), highlighted=row["verdict"] in ("better", "worse"))
        for row in frame.to_dict("records")
    ]
    note = (
        f"On the same resampled crystals. Verdicts: p below 0.05 after Holm's correction for {len(frame)} comparisons."
    )
    heads = ["metric", "minus", "difference", "corrected p", "verdict"]
    return Table(title="The model minus each other row", heads=heads, rows=rows, note=note)


def systems_table(target: EvaluatedTarget) -> Table | None:
    """Return the model and what the composition alone tells, by crystal system; None where there is one."""
    if len(target.systems) < 2:
        return None
    metric = JUDGED[target.record.target.kind][0]
    rows = [
        TableRow(
            cells=[
                system,
                f"{own.n:,}",
                *([_cell(own.scores, MODEL, "prevalence")] if "prevalence" in set(own.scores["metric"]) else []),
                *(_cell(own.scores, row, metric) for row in dict.fromkeys(own.scores["row"])),
                _beside(own, metric),
            ]
        )
        for system, own in target.systems.items()
    ]
    asked = target.record.target.kind == "classification"
    heads = [
        *("crystal system", "n"),
        *(["yes"] if asked else []),
        *dict.fromkeys(target.whole.scores["row"]),
        f"beside {BESIDE}",
    ]
    note = f"{TITLES[metric]}. Systems with fewer than ten labelled crystals are left out."
    return Table(title=f"By crystal system: {TITLES[metric]}", heads=heads, rows=rows, note=note)


def told_of_targets(done: PropertyEvaluation) -> list[str]:
    """Return sentences: what the model is resolved better and worse than, and whether its intervals hold."""
    said = list(done.warnings)
    for each in done.targets:
        verdicts = each.whole.verdicts
        for verdict in ("better", "worse", "not resolved"):
            rows = verdicts[verdicts["verdict"] == verdict]
            if len(rows):
                among = ", ".join(f"{TITLES[r['metric']]} of {r['baseline']}" for r in rows.to_dict("records"))
                how = {"better": "better than", "worse": "worse than", "not resolved": "not resolved from"}[verdict]
                said.append(f"{each.record.name}: the model is {how} {among}.")
        if each.covered is not None:
            said.append(
                f"{each.record.name}: the interval or set that is for {each.record.coverage:.0%} of cases held "
                f"{each.covered:.1%} of {each.whole.n:,}."
            )
    return said


def as_text(done: PropertyEvaluation) -> str:
    """Return the evaluation for a terminal."""
    parts = []
    for each in done.targets:
        table = scores_table(each, [*JUDGED[each.record.target.kind], "r2", "brier"])
        parts.append(
            f"{table.title}\n{tabulated([row.cells for row in table.rows], headers=table.heads)}\n{table.note}"
        )
    left = ", ".join(f"{n:,} {why}" for why, n in done.left_out.items() if n)
    lines = [*told_of_targets(done), *([f"Left out of {done.part}: {left}."] if left else [])]
    return "\n\n".join([*parts, "\n".join(f"- {line}" for line in lines)])


def property_page(done: PropertyEvaluation) -> str:
    """Return the page's HTML."""
    sections = []
    for each in done.targets:
        systems = systems_table(each)
        tables = [scores_table(each), verdicts_table(each), *([systems] if systems else [])]
        caption = "Predictions on crystals that the model was not trained on."
        sections.append(
            Section(
                title=each.record.name,
                tables=tables,
                figures=[Picture.of(each.figure, "Predicted and true.", caption)],
            )
        )
    left = ", ".join(f"{n:,} {why}" for why, n in done.left_out.items() if n)
    return render(
        "evaluation/properties/report.html.j2",
        title=f"Properties: {done.name}",
        lead=f"{done.source}, part {done.part}: {done.crystals:,} crystals{f'; left out: {left}' if left else ''}",
        words=told_of_targets(done),
        sections=sections,
        footer="Fine-tuning after Liu et al., iScience 27, 110672 (2024), doi:10.1016/j.isci.2024.110672.",
    )


def _cell(scores: pd.DataFrame, row: str, metric: str) -> str:
    found = scores[(scores["row"] == row) & (scores["metric"] == metric)].to_dict("records")
    if not found:
        return ""
    one = found[0]
    return with_interval(one["value"], one["low"], one["high"], undefined="undefined")


def _verdict_cells(row: Mapping[Any, Any]) -> list[str]:
    effect = with_interval(row["difference"], row["low"], row["high"], signed=True, undefined="undefined")
    p = "" if np.isnan(row["p_adjusted"]) else f"{row['p_adjusted']:.4f}"
    return [TITLES[row["metric"]], row["baseline"], effect, p, row["verdict"]]


def _beside(own: Assessment, metric: str) -> str:
    frame = own.verdicts
    found = frame[(frame["metric"] == metric) & (frame["baseline"] == BESIDE)]
    return str(found["verdict"].iloc[0]) if len(found) else ""
