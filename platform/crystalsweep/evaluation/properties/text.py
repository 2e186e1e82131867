"""What the evaluation of a property model says on the terminal."""

from __future__ import annotations

from crystalsweep.evaluation.properties.outcome import PropertyEvaluation, TargetOutcome
from crystalsweep.evaluation.properties.report import effect_of, headline_of, lead_of, shown_statistics, unit_of
from crystalsweep.evaluation.text import shown_figure
from crystalsweep.metrics.properties.figures import compared_of
from crystalsweep.wording.stranger import in_a_line, tabulated


def property_text(outcome: PropertyEvaluation) -> str:
    """Return the headline of each property beside every baseline, with verdicts and warnings."""
    parts = [_of(outcome.name, found) for found in outcome.targets.values()]
    flags = [in_a_line(f"! {row}: {told}") for row, sentences in outcome.flags.items() for told in sentences]
    return "\n\n".join([*parts, *flags])


def _of(model: str, found: TargetOutcome) -> str:
    names = compared_of(found.target.kind, logged=found.target.log10)
    shown = [each for each in shown_statistics(found) if each.name in names]
    heads = [f"{each.title} ({unit})" if (unit := unit_of(each, found.target)) else each.title for each in shown]
    n = found.n - found.unpredicted
    rows = [
        [row, f"{n:,}", *(shown_figure(figures[each.name], row_n=n) for each in shown)]
        for row, figures in found.rows.items()
    ]
    headline = headline_of(found)
    told = [
        f"{model} minus {each.against}, {headline}: {effect_of(each)}, {each.verdict}"
        for each in found.verdicts
        if each.metric == headline
    ]
    if told:
        told.append(
            "Verdicts are after Holm's correction for all comparisons of the report, over crystals; intervals are not."
        )
    lines = [in_a_line(lead_of(found)), tabulated(rows, headers=["", "n", *heads], disable_numparse=True)]
    return "\n".join([*lines, *map(in_a_line, told)])
