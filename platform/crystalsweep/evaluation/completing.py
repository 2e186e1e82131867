"""Partial crystals to answers, with the nearest known crystals and energies: here, or on a Ray cluster."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Any, NamedTuple

import pandas as pd

from crystalsweep.data.reading import Reject
from crystalsweep.energies import EnergyCalculator, energy_calculator
from crystalsweep.evaluation.spread import Tables, Workers
from crystalsweep.inference.answers import Measured, answer_of
from crystalsweep.inference.asking import Answered, Question, answers
from crystalsweep.inference.inputs import Partial
from crystalsweep.inference.known import Known
from crystalsweep.inference.ranking import Ranking
from crystalsweep.inference.restorer import Restorer

CRYSTALS_OF_A_PART = 8
"""Handed to a worker at once."""

PARTS_AT_ONCE = 256
"""Read ahead of the workers."""


class Numbered(NamedTuple):
    """A crystal, or why there is none, with its place in the input."""

    number: int
    given: Partial | Reject


class Outcome(NamedTuple):
    """What became of one."""

    number: int
    answer: dict[str, Any] | None
    """None where there is none."""
    reject: str = ""
    """Why, as a line."""


@dataclass(frozen=True, kw_only=True)
class Completing:
    """What is asked of each crystal, and with what it is answered; a `Task` of `spread`."""

    restorer: Restorer
    question: Question
    known: Known | None = None
    calculator: str | None = None
    """Of energies, by name; None computes none."""
    ranking: Ranking | None = None
    """By which candidates are ordered; None leaves the likeliest first."""

    def outcomes(self, given: Iterable[Numbered]) -> Iterator[Outcome]:
        """Yield what becomes of crystals, in order, each as soon as it is known."""
        numbers: list[int] = []

        def waiting() -> Iterator[Partial | Reject]:
            for each in given:
                numbers.append(each.number)
                yield each.given

        for place, outcome in enumerate(answers(self.restorer, waiting(), self.question)):
            number = numbers[place]
            if isinstance(outcome, Answered):
                yield Outcome(number, self._answer(outcome))
            else:
                yield Outcome(number, None, str(outcome))

    def score(self, part: list[Numbered]) -> Tables:
        """Return the same as a table, for it travels between processes."""
        rows = [(each.number, json.dumps(each.answer), each.reject) for each in self.outcomes(part)]
        return {"outcomes": pd.DataFrame(rows, columns=list(Outcome._fields))}

    def _answer(self, outcome: Answered) -> dict[str, Any]:
        completion = self.ranking.ranked(outcome.completion) if self.ranking else outcome.completion
        energies = None
        if self.calculator:
            found = _calculator(self.calculator).energies([each.crystal for each in completion.candidates])
            energies = [Measured(each.per_atom, each.failure) for each in found]
        return answer_of(completion, partial=outcome.partial, known=self.known, energies=energies, ranking=self.ranking)


def spread_out(task: Completing, given: Iterable[Numbered], workers: int) -> Iterator[Outcome]:
    """Yield what becomes of crystals in any order, completed by several workers of a Ray cluster.

    Args:
        task: What is asked.
        given: Read some thousand at a time.
        workers: Processes.
    """
    waiting = iter(given)
    with Workers(workers) as pool:
        while portion := list(islice(waiting, CRYSTALS_OF_A_PART * PARTS_AT_ONCE)):
            starts = range(0, len(portion), CRYSTALS_OF_A_PART)
            parts = ((first, portion[first : first + CRYSTALS_OF_A_PART]) for first in starts)
            for _, tables in pool.over(task, parts, len(starts)):
                for number, answer, reject in tables["outcomes"].to_numpy().tolist():
                    yield Outcome(number, json.loads(answer), reject)


@cache
def _calculator(name: str) -> EnergyCalculator:
    return energy_calculator(name)
