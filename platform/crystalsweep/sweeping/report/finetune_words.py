"""What a sweep of fine-tuning says in sentences, and its table. None claims more than the verdicts do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from crystalsweep.metrics.properties.baselines import COMPOSITION
from crystalsweep.pages.content import Table, TableRow
from crystalsweep.pages.text import three_digits, with_interval
from crystalsweep.sweeping.report.arms import ArmErrors
from crystalsweep.sweeping.report.comparison import RESOLVED
from crystalsweep.sweeping.report.data_size import Paired, Saving


def saving_sentence(found: ArmErrors, saving: Saving | None, pairs: Sequence[Paired]) -> str:
    """Return how much data pre-training saves: the sweep's answer."""
    if saving is None:
        return "How much data pre-training saves cannot be told from one arm, or from one number of training crystals."
    arm, against = found.arms[0], found.arms[-1]
    whole = max(n for name, n in found.errors if name == against)
    last = [each for each in pairs if each.arm == arm and each.n == whole]
    if not saving.factor:
        beside = f" ({_effect(last[0])}, {last[0].verdict})" if last else ""
        return (
            f"No saving of labels was shown: even with all {whole:,} crystals the error of “{arm}” is not below that "
            f"of “{against}”{beside}."
        )
    or_fewer = " or fewer" if saving.factor >= saving.most * (1 - 1e-9) else ""
    first = f"{arm}, {saving.needed:,.0f} labelled crystals{or_fewer} do what {whole:,} do {against}"
    times = f"{three_digits(saving.factor)}{' or more' if or_fewer else ''} times fewer"
    low = f"{three_digits(saving.low)}" if saving.low else "none saved"
    high = f"{three_digits(saving.high)}{' or more' if saving.high >= saving.most * (1 - 1e-9) else ''}"
    better = saving.low > 1 and all(each.verdict == "better" for each in last)
    beside = "" if better else f"; a saving is not resolved: with all {whole:,} crystals {_told_of(last)}"
    return f"{first[0].upper()}{first[1:]}: {times} (95 % interval {low} to {high}){beside}."


def _told_of(last: Sequence[Paired]) -> str:
    if not last:
        return "the arms were not compared"
    return f"its error minus the other's is {_effect(last[0])}, {last[0].verdict}"


def verdict_sentences(pairs: Sequence[Paired]) -> list[str]:
    """Return for each arm where it is resolved better or worse than the one that it is held against."""
    said = []
    for arm in dict.fromkeys(each.arm for each in pairs):
        own = [each for each in pairs if each.arm == arm]
        parts = []
        for verdict in (*RESOLVED, "not resolved"):
            sizes = [f"{each.n:,}" for each in own if each.verdict == verdict]
            parts += [f"{verdict} at {', '.join(sizes)}"] if sizes else []
        said.append(
            f"{arm[0].upper()}{arm[1:]} against {own[0].against}, by number of labelled training crystals: "
            f"{'; '.join(parts)} (Holm-corrected over {len(pairs)}, paired by validation crystal)."
        )
    return said


def rates_sentence(found: ArmErrors) -> str:
    """Return what the errors rest on: crystals, seeds, and how learning rates were chosen."""
    seeds = (
        f"{len(found.seeds)} seeds, whose spread is in the intervals: of differences Student's over seeds and "
        "crystals, of errors and of the saving from draws of both"
        if len(found.seeds) > 1
        else "One seed, so that no interval has the spread between trainings in it"
    )
    rates = (
        f" Each arm has, at each size, the best of {found.rates_tried} learning rates, chosen on these same crystals "
        "in all arms alike, which flatters all."
        if found.rates_tried > 1
        else ""
    )
    steps = "All arms made as many steps at every size."
    return f"Errors are of {found.crystals:,} validation crystals. {seeds}. {steps}{rates}"


def arms_table(found: ArmErrors, curves: Mapping[str, pd.DataFrame], pairs: Sequence[Paired], error: str) -> Table:
    """Return a row per number of training crystals: the error of every arm and of the composition alone, differences
    and verdicts."""
    rows = []
    said = {(each.n, each.arm): each for each in pairs}
    others = list(dict.fromkeys(each.arm for each in pairs))
    names = [*found.arms, COMPOSITION]
    for n in sorted({n for _, n in found.errors}):
        cells = [f"{n:,}", *(_cell(curves[name], n) for name in names)]
        for arm in others:
            each = said.get((n, arm))
            cells += [_effect(each), each.verdict] if each else ["", ""]
        rows.append(TableRow(cells=cells))
    heads = ["labelled training crystals", *names]
    for arm in others:
        heads += [f"{arm} minus {found.arms[-1]}", "verdict"]
    note = (
        f"{error}, of {found.crystals:,} validation crystals; brackets: 95 % intervals.\nVerdicts: p, after Holm's "
        f"correction for {len(pairs)} comparisons, below 0.05.\n{COMPOSITION}: a forest over elements, fitted on the "
        "same training crystals."
    )
    return Table(heads=heads, rows=rows, note=note)


def _cell(curve: pd.DataFrame, n: int) -> str:
    row = curve[curve["n"] == n]
    return with_interval(*row.iloc[0][["mean", "low", "high"]]) if len(row) else ""


def _effect(each: Paired) -> str:
    gap = each.difference
    return with_interval(gap.difference, gap.low, gap.high, signed=True)
