"""Whether a property model is better than what learned no structure, and than the champion.

Of each property, on its headline figure, the model is held against the best baseline: its formula's guess, or similar
crystals' labels. All must be better at once, so nothing is corrected for their number (an intersection-union test;
Berger, Technometrics 24, 295 (1982), doi:10.1080/00401706.1982.10487790). Of a champion one property must be better,
which is corrected for their number by Holm's method, and none worse, which is not: that would make losses harder to
see.
"""

from __future__ import annotations

from collections.abc import Mapping

from crystalsweep.evaluation.properties.outcome import PropertyEvaluation, TargetOutcome, Verdict
from crystalsweep.evaluation.properties.report import best_baseline, effect_of, headline_of, shown_statistics
from crystalsweep.evaluation.properties.rival import HeldAgainst
from crystalsweep.metrics.properties.statistic import verdict_of
from crystalsweep.metrics.verdicts import holm
from crystalsweep.pages.text import with_interval
from crystalsweep.registry.gates.gate import Check, Gate, Number

_PAIRED = (
    "Model minus baseline, paired by crystal; 95 % intervals from a bootstrap over crystals; each verdict by its own "
    "p < 0.05. Baselines are fitted on the model's own training crystals."
)
_AGAINST = (
    "Model minus champion on the same crystals: one property better by p < 0.05 after Holm's correction, none worse by "
    "its own p. Nobody looked whether the champion was trained on these crystals: if so, it is better here than it is."
)


def property_gain(
    outcome: PropertyEvaluation, champion: Mapping[str, HeldAgainst] | None = None, holder: str = ""
) -> Gate:
    """Return the gate: every property better than its best baseline, and than the champion's where there is one.

    Args:
        outcome: The evaluation.
        champion: What the model is to the champion, by property; None where there is none.
        holder: What the champion is called, as `champion, version 3`.
    """
    checks = [_check(name, found) for name, found in outcome.targets.items()]
    if champion is not None:
        checks += _against(champion, holder)
    one = "One training is judged: the spread between seeds is not in the intervals."
    return Gate(
        name="gain",
        title="Gain over the best baseline" + (" and the champion" if champion is not None else ""),
        checks=checks,
        notes=[_PAIRED, *([_AGAINST] if champion is not None else []), one],
    )


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


def _against(champion: Mapping[str, HeldAgainst], holder: str) -> list[Check]:
    """Return that one property is better than the champion's, and that none is worse."""
    adjusted = dict(zip(champion, holm([each.gap.p for each in champion.values()]), strict=True))
    effects = {name: _effect(name, each) for name, each in champion.items()}
    better = [n for n, each in champion.items() if _verdict(each, float(adjusted[n])) == "better"]
    worse = [n for n, each in champion.items() if _verdict(each, each.gap.p) == "worse"]
    numbers: dict[str, Number] = {f"{name}/difference": each.gap.difference for name, each in champion.items()}
    return [
        Check(
            title=f"better than {holder}",
            passed=bool(better),
            says=f"{'better' if better else 'not resolved as better'}: "
            + "; ".join(effects[name] for name in better or champion),
            numbers=numbers,
        ),
        Check(
            title=f"no loss to {holder}",
            passed=not worse,
            says=f"worse: {'; '.join(effects[name] for name in worse)}" if worse else "no property is worse, resolved",
        ),
    ]


def _verdict(each: HeldAgainst, p: float) -> str:
    return verdict_of(each.gap.difference, p, each.statistic.direction)


def _effect(name: str, each: HeldAgainst) -> str:
    gap = each.gap
    shown = with_interval(gap.difference, gap.low, gap.high, signed=True)
    return f"{name}: {each.statistic.title} {shown}, p {gap.p:.4f}, {gap.n:,} crystals"
