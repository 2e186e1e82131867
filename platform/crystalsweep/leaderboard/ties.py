"""Ranks and ties from verdicts on all pairs.

Runs that share a letter are not resolved from each other: the compact letter display of Piepho, J. Comput. Graph. Stat.
13, 456 (2004), doi:10.1198/1061860043515. "Not resolved" is not transitive, so a run can have several letters. A run's
rank lies between 1 + the number of runs resolved to be better and n − the number resolved to be worse, for all runs at
once with the confidence of the verdicts (Al Mohamad, van Zwet, Goeman and Solari, arXiv:1708.02729).
"""

from __future__ import annotations

import string
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

Pair = tuple[int, int]


@dataclass(frozen=True)
class Rank:
    """Where a run stands among n, 1 being the best."""

    best: int
    worst: int
    """Rank if every comparison that is not resolved went against it."""
    shared: bool
    """Whether another run has the same best rank."""

    def __str__(self) -> str:
        return f"{self.best}{'=' if self.shared else ''}"

    @property
    def range(self) -> str:
        """`2–5`, or `1` where all comparisons are resolved."""
        return str(self.best) if self.best == self.worst else f"{self.best}–{self.worst}"


def ranks(n: int, better: Collection[Pair]) -> list[Rank]:
    """Return the ranks of n runs; `better` holds (winner, loser) of each resolved pair."""
    best = [1 + sum(loser == i for _, loser in better) for i in range(n)]
    worst = [n - sum(winner == i for winner, _ in better) for i in range(n)]
    return [Rank(best[i], worst[i], best.count(best[i]) > 1) for i in range(n)]


def tie_groups(n: int, resolved: Iterable[Pair]) -> list[tuple[int, ...]]:
    """Return groups of runs, given in the order of the board, of which no two are resolved from each other.

    Two runs are in a common group exactly if they are not a pair of `resolved`; every run is in a group, and no group
    can be left out. Groups come in the order of their members.
    """
    groups = [frozenset(range(n))] if n else []
    for i, j in resolved:
        split = [part for group in groups for part in _parted(group, i, j)]
        groups = [group for group in dict.fromkeys(split) if not any(group < other for other in split)]
    return sorted(tuple(sorted(group)) for group in _needed(groups))


def _parted(group: frozenset[int], i: int, j: int) -> list[frozenset[int]]:
    return [group - {i}, group - {j}] if {i, j} <= group else [group]


def _needed(groups: list[frozenset[int]]) -> list[frozenset[int]]:
    """Return the groups without those whose every pair is together elsewhere, small ones first."""
    kept = sorted(groups, key=lambda group: (len(group), sorted(group)))
    for group in list(kept):
        others = [other for other in kept if other != group]
        pairs = [{i, i} for i in group] if len(group) == 1 else [set(pair) for pair in combinations(group, 2)]
        if all(any(pair <= other for other in others) for pair in pairs):
            kept = others
    return kept


def letters(n: int, groups: Sequence[Collection[int]]) -> list[str]:
    """Return, of each run, the letters of its groups: `ab` shares a with some runs and b with others."""
    return ["".join(letter(k) for k, group in enumerate(groups) if i in group) for i in range(n)]


def letter(k: int) -> str:
    """Return the letter of the k-th group: a … z, A … Z, then with a prime, and so on."""
    primes, which = divmod(k, len(string.ascii_letters))
    return string.ascii_letters[which] + "'" * primes
