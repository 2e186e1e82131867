"""Paired differences between trials of a sweep, corrected together, as a table and as counts for sentences."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from crystalsweep.metrics import KEYS, SHOWN
from crystalsweep.metrics.seed_verdicts import seed_verdicts
from crystalsweep.metrics.summary import EXTENDED, WITHOUT_EXEMPT, Metric
from crystalsweep.metrics.verdicts import VERDICT_COLUMNS, corrected, draws_for, n_comparisons, verdicts
from crystalsweep.pages.content import Table, TableRow
from crystalsweep.pages.text import with_interval

SEEDED = (*KEYS, "seed")
"""Columns that pair rows: the same corrupted crystal, restored by trainings of the same seed."""

RESOLVED = ("better", "worse")

INDEPENDENT = tuple(metric for metric in EXTENDED if metric.name in ("charges_balance", "delta_energy"))
"""Metrics of judges that no training and no decoder has seen; tables have them where they were asked."""

_TITLES = {metric.name: metric.title for metric in (*SHOWN, WITHOUT_EXEMPT, *INDEPENDENT)}

Pair = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What pairs of trials differ by."""

    frame: pd.DataFrame
    """As `metrics.verdicts` gives it."""
    alone: Sequence[Pair]
    """Pairs with too few crystals in common."""

    @property
    def n(self) -> int:
        """Comparisons that the verdicts are corrected for."""
        return n_comparisons(self.frame)

    def of(self, pairs: Sequence[Pair]) -> pd.DataFrame:
        """Return the rows of these pairs that could be compared."""
        wanted = set(pairs)
        chosen = [(a, b) in wanted for a, b in zip(self.frame["a"], self.frame["b"], strict=True)]
        return self.frame[pd.Series(chosen, index=self.frame.index, dtype=bool) & self.frame["p"].notna()]

    def table(self, title: str, cells: Mapping[Pair, Sequence[str]], heads: Sequence[str], note: str = "") -> Table:
        """Return a row per pair and metric, resolved ones highlighted.

        Args:
            title: Of the table.
            cells: What a pair's rows begin with.
            heads: Of those cells, of the metric and of the difference.
            note: More to say below it.
        """
        rows = [
            TableRow(cells=[*cells[row["a"], row["b"]], *_verdict(row)], highlighted=row["verdict"] in RESOLVED)
            for row in self.frame.to_dict("records")
        ]
        rows += [TableRow(cells=[*cells[pair], "", "too few crystals in common", "", ""]) for pair in self.alone]
        corrected = (
            f"Verdicts: p, after Holm's correction for {self.n} comparisons, below 0.05. "
            "Intervals: 95 % each, uncorrected."
        )
        notes = [corrected, *(text for text in dict.fromkeys(self.frame["note"]) if text), *([note] if note else [])]
        return Table(title=title, heads=[*heads, "corrected p", "verdict"], rows=rows, note="\n".join(notes))


def compare_trials(
    tables: Mapping[str, pd.DataFrame],
    pairs: Sequence[Pair],
    keys: Sequence[str] = SEEDED,
    metrics: Sequence[Metric] = SHOWN,
) -> Comparison:
    """Return verdicts on a minus b of every pair in every metric of a row, corrected together; over crystals, and over
    training seeds too where a pair has several in common.

    Args:
        tables: Per-structure tables by name; the column `seed` tells those of several trainings apart.
        pairs: (a, b) by name.
        keys: Columns that pair rows.
        metrics: What is compared.
    """
    compared = [(a, b) for a, b in pairs if _shared(tables[a], tables[b], keys) > 1]
    seeds = {pair: _seeds(*(tables[name] for name in pair)) for pair in compared}
    several = [pair for pair in compared if len(seeds[pair]) > 1]
    frames = [seed_verdicts(_arms(tables, pair, seeds[pair]), metrics, pairs=[pair]) for pair in several]
    if once := [pair for pair in compared if pair not in several]:
        draws = draws_for(len(compared) * len(metrics))
        alone = verdicts(tables, metrics, pairs=once, keys=keys, n_resamples=draws)
        if several:
            alone["note"] = [_in_one_seed(row) for row in alone.to_dict("records")]
        frames.append(alone)
    frame = corrected(frames) if frames else pd.DataFrame(columns=list(VERDICT_COLUMNS))
    return Comparison(frame=frame, alone=[pair for pair in pairs if pair not in compared])


def _in_one_seed(row: Mapping[Hashable, Any]) -> str:
    return f"{row['note']} {row['a']} and {row['b']} have one training seed in common: over crystals alone.".strip()


def _seeds(a: pd.DataFrame, b: pd.DataFrame) -> list[int]:
    """Return the training seeds that both tables have, ascending; none where they do not tell."""
    if "seed" not in a or "seed" not in b:
        return []
    return sorted({*a["seed"].tolist()} & {*b["seed"].tolist()})


def _arms(tables: Mapping[str, pd.DataFrame], pair: Pair, seeds: Sequence[int]) -> dict[str, list[pd.DataFrame]]:
    """Return the tables of each training of a pair, seed by seed."""
    return {name: [tables[name][tables[name]["seed"] == seed] for seed in seeds] for name in pair}


def _shared(a: pd.DataFrame, b: pd.DataFrame, keys: Sequence[str]) -> int:
    """Return parent crystals of the rows whose keys both tables hold: none where the trainings of a seed failed."""
    return a[list(keys)].merge(b[list(keys)], on=list(keys))["parent"].nunique()


def _verdict(row: Mapping[Hashable, Any]) -> list[str]:
    """Return metric, difference with its interval, corrected p and verdict."""
    title = _TITLES[row["metric"]]
    if pd.isna(row["p"]):
        return [title, "one crystal: no interval" if row["n"] else "n = 0", "", ""]
    effect = with_interval(row["difference"], row["low"], row["high"], signed=True)
    return [title, effect, f"{row['p_adjusted']:.4f}", row["verdict"]]


def over_seeds(seeds: int, of: str) -> str:
    """Return what intervals of differences are over.

    Args:
        seeds: Trainings of each.
        of: What is trained, as `arm`.
    """
    if seeds == 1:
        return (
            f"One training seed per {of}: the intervals hold for these trained models, without the spread between "
            "seeds."
        )
    return (
        f"{seeds} training seeds per {of}: intervals and p values are over crystals and seeds (Student's, "
        "Satterthwaite's degrees of freedom), where both of a pair have them."
    )


def metric_title(name: str) -> str:
    """Return the title of a metric that is compared."""
    return _TITLES[name]
