"""What trials are held against: the best of them, or what a sweep says; and all differences as one frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from crystalsweep.pages.content import Table
from crystalsweep.sweeping.report.comparison import RESOLVED, Comparison, Pair, compare_trials
from crystalsweep.sweeping.report.frames import pooled, short_names
from crystalsweep.sweeping.report.results import setting_columns
from crystalsweep.sweeping.report.words import best_against_others
from crystalsweep.sweeping.space.finished import FinishedSweep
from crystalsweep.sweeping.space.outcome import TrainingOutcome


@dataclass(frozen=True, kw_only=True)
class Beside:
    """A question that every trial is asked, in short."""

    head: str
    """As a column has it: `beside its control`."""
    cells: Mapping[int, str]
    """What came out, by number of the trial."""
    frame: pd.DataFrame
    """The verdicts, as `metrics.verdicts` gives them."""


@dataclass(frozen=True, kw_only=True)
class Rivals:
    """The best trial and every other complete one, over all seeds."""

    best: str
    """The best trial as text."""
    comparison: Comparison
    pairs: Sequence[Pair]
    """The best with each other."""
    table: Table | None
    words: list[str]
    beside: Beside


def against_others(finished: FinishedSweep, best: TrainingOutcome) -> Rivals:
    """Compare the best trial with every other complete one; it was chosen on the same crystals, which flatters it."""
    tables = {str(number): table for number, table in pooled(finished.done).items()}
    chosen, called = str(best.number), short_names(finished)
    pairs: list[Pair] = [(chosen, other) for other in tables if other != chosen]
    comparison = compare_trials(tables, pairs)
    words = ["Nothing is resolved: one trial is complete."]
    if pairs:
        words = best_against_others(comparison, chosen, pairs, called, len(finished.seeds))
    cells = {int(other): f"the best is {tally(comparison, [(chosen, other)])}" for _, other in pairs}
    return Rivals(
        best=called[chosen],
        comparison=comparison,
        pairs=pairs,
        table=_table(finished, comparison, called[chosen], pairs) if pairs else None,
        words=words,
        beside=Beside(head="beside the best", cells=cells, frame=comparison.frame),
    )


def tally(comparison: Comparison, pairs: Sequence[Pair]) -> str:
    """Return what comparisons came to, as `worse in 2 of 5`."""
    counts = comparison.of(pairs)["verdict"].value_counts()
    resolved = [f"{verdict} in {counts[verdict]}" for verdict in RESOLVED if counts.get(verdict)]
    return f"{', '.join(resolved)} of {int(counts.sum())}" if resolved else "not resolved"


def differences(held: Sequence[Beside]) -> pd.DataFrame:
    """Return all verdicts in one frame; its column `asked` says what the trials were held against."""
    frames = [each.frame.assign(asked=each.head) for each in held if len(each.frame)]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def _table(finished: FinishedSweep, comparison: Comparison, best: str, pairs: Sequence[Pair]) -> Table:
    columns = setting_columns(finished)
    first = {str(outcome.number): outcome for outcome in reversed(finished.done)}
    cells = {pair: [cell(first[pair[1]]) for cell in columns.values()] for pair in pairs}
    heads = [*columns, "metric", "best minus it"]
    shown = comparison.table("", cells, heads, "The best trial was chosen on these same crystals, which flatters it.")
    folded = f"The best trial ({best}) minus each other"
    return Table(title=folded, heads=shown.heads, rows=shown.rows, note=shown.note, folded=folded)
