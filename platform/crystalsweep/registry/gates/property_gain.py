"""Whether a property model is better than what learned no structure: its formula's guess, or similar crystals' labels.

Of each property, on its headline figure, the model is held against the best baseline. All must be better at once, so
nothing is corrected for their number (an intersection-union test; Berger, Technometrics 24, 295 (1982),
doi:10.1080/00401706.1982.10487790).
"""

from __future__ import annotations

from crystalsweep.evaluation.properties.outcome import PropertyEvaluation, TargetOutcome, Verdict
from crystalsweep.evaluation.properties.report import effect_of, headline_of, shown_statistics
from crystalsweep.metrics.properties.baselines import BASELINES
from crystalsweep.metrics.properties.statistic import verdict_of
from crystalsweep.registry.gates.gate import Check, Gate

_PAIRED = (
    "Model minus baseline, paired by crystal; 95 % intervals from a bootstrap over crystals; each verdict by its own "
    "p < 0.05. Baselines are fitted on the model's own training crystals."
)


def property_gain(outcome: PropertyEvaluation) -> Gate:
    """Return the gate: every property better than its best baseline, paired by crystal."""
    return Gate(
        name="gain",
        title="Gain over the best baseline",
        checks=[_check(name, found) for name, found in outcome.targets.items()],
        notes=[
            _PAIRED,
            "One training is judged: the spread between seeds is not in the intervals.",
        ],
    )


def best_baseline(found: TargetOutcome) -> str | None:
    """Return the row of the baseline that is best on the headline figure; None where none has it."""
    name = headline_of(found)
    (shown,) = [each for each in shown_statistics(found) if each.name == name]
    sign = 1 if shown.direction == "higher" else -1
    means = {row: found.rows[row][name].mean for row in BASELINES[found.target.kind] if row in found.rows}
    known = {row: sign * mean for row, mean in means.items() if mean is not None}
    return max(known, key=lambda row: known[row]) if known else None


def _check(name: str, found: TargetOutcome) -> Check:
    headline, best = headline_of(found), best_baseline(found)
    held = [each for each in found.verdicts if (each.metric, each.against) == (headline, best)]
    if not held or held[0].p is None:
        return Check(title=name, passed=False, says=f"{headline} is not defined for both the model and a baseline")
    verdict = _own_verdict(held[0], found)
    return Check(
        title=f"{name}: {headline} is better than {best}",
        passed=verdict == "better",
        says=f"{verdict}: {effect_of(held[0])}, p {held[0].p:.4f}, {held[0].n:,} crystals",
        numbers={"difference": held[0].difference, "low": held[0].low, "high": held[0].high, "p": held[0].p},
    )


def _own_verdict(each: Verdict, found: TargetOutcome) -> str:
    (shown,) = [one for one in shown_statistics(found) if one.name == each.metric]
    assert each.difference is not None and each.p is not None
    return verdict_of(each.difference, each.p, shown.direction)
