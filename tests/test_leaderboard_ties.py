"""Ranks and tie groups: what must hold whatever the verdicts are."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crystalsweep.leaderboard.ties import Rank, letter, letters, ranks, tie_groups

Verdicts = tuple[int, list[tuple[int, int]]]


@st.composite
def verdicts(draw: st.DrawFn) -> Verdicts:
    """A number of runs and (winner, loser) of the resolved pairs, transitive or not."""
    n = draw(st.integers(1, 9))
    pairs = list(combinations(range(n), 2))
    resolved = draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []
    return n, [(a, b) if draw(st.booleans()) else (b, a) for a, b in resolved]


@given(verdicts())
def test_rows_share_a_group_exactly_if_they_are_not_resolved(case: Verdicts) -> None:
    n, resolved = case
    groups = tie_groups(n, resolved)
    for pair in combinations(range(n), 2):
        together = any(set(pair) <= set(group) for group in groups)
        assert together == (set(pair) not in [set(each) for each in resolved])


@given(verdicts())
def test_every_row_has_a_letter_and_shared_letters_are_shared_groups(case: Verdicts) -> None:
    n, resolved = case
    marks = letters(n, tie_groups(n, resolved))
    assert all(marks)
    for i, j in combinations(range(n), 2):
        assert bool(set(marks[i]) & set(marks[j])) == ({i, j} not in [set(each) for each in resolved])


@given(verdicts())
def test_no_group_can_be_left_out(case: Verdicts) -> None:
    n, resolved = case
    groups = tie_groups(n, resolved)
    for left_out in groups:
        rest = [set(group) for group in groups if group != left_out]
        told = [{i, j} for i, j in combinations(left_out, 2)] or [set(left_out)]
        assert not all(any(pair <= group for group in rest) for pair in told)


@given(verdicts())
def test_the_order_of_the_verdicts_does_not_matter_for_what_is_tied(case: Verdicts) -> None:
    n, resolved = case
    forth, back = tie_groups(n, resolved), tie_groups(n, resolved[::-1])
    shared = [{frozenset(p) for group in groups for p in combinations(group, 2)} for groups in (forth, back)]
    assert shared[0] == shared[1]


@given(verdicts())
def test_ranks_are_bounded_by_what_is_resolved(case: Verdicts) -> None:
    n, resolved = case
    for i, rank in enumerate(ranks(n, resolved)):
        assert rank.best == 1 + sum(loser == i for _, loser in resolved)
        assert rank.worst == n - sum(winner == i for winner, _ in resolved)
        assert 1 <= rank.best <= rank.worst <= n


@given(st.permutations(range(6)))
def test_a_resolved_order_gives_its_ranks(order: list[int]) -> None:
    won = [(order[i], order[j]) for i, j in combinations(range(6), 2)]
    assert [ranks(6, won)[i] for i in order] == [Rank(k, k, False) for k in range(1, 7)]
    assert len(tie_groups(6, won)) == 6


def test_the_example_of_overlapping_groups() -> None:
    """The first is better than the last only; all else is open: a, ab, b."""
    groups = tie_groups(3, [(0, 2)])
    assert letters(3, groups) == ["a", "ab", "b"]
    assert [str(rank) for rank in ranks(3, [(0, 2)])] == ["1=", "1=", "2"]
    assert [rank.range for rank in ranks(3, [(0, 2)])] == ["1–2", "1–3", "2–3"]


@pytest.mark.parametrize(("n", "groups"), [(0, []), (1, [(0,)]), (3, [(0, 1, 2)])])
def test_without_verdicts_all_are_tied(n: int, groups: list[tuple[int, ...]]) -> None:
    assert tie_groups(n, []) == groups


def test_many_letters_differ() -> None:
    assert len({letter(k) for k in range(200)}) == 200
