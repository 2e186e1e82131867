"""Many crystals completed on a cluster are those completed here: real Ray, real processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from crystalsweep.data.reading import Reject
from crystalsweep.evaluation.completing import Completing, Numbered, spread_out
from crystalsweep.inference.asking import Question, decoder_of
from crystalsweep.inference.inputs import partial_of
from crystalsweep.inference.restorer import load
from crystalsweep.structures.crystal import MASK, Crystal
from tests.checkpoints import random_checkpoint


def given() -> Iterator[Numbered]:
    for number in range(1, 21):
        species = [55 if number % 2 else 11, MASK]
        partial = partial_of(Crystal.of(f"n{number}", species, np.eye(3) * (3.5 + 0.05 * number), [[0] * 3, [0.5] * 3]))
        yield Numbered(number, Reject(where="x", id="x", reason="broken") if number == 7 else partial)


@pytest.mark.slow
def test_workers_give_what_one_process_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    restorer = load(random_checkpoint(tmp_path / "model", seed=3))
    task = Completing(restorer=restorer, question=Question(decode=decoder_of(), top=3))
    here = list(task.outcomes(given()))
    assert [each.number for each in here] == list(range(1, 21))
    spread = sorted(spread_out(task, given(), workers=2), key=lambda each: each.number)
    assert [each.number for each in spread] == [each.number for each in here]
    for one, other in zip(here, spread, strict=True):
        assert one.reject == other.reject
        assert (one.answer is None) == (other.answer is None) == (one.number == 7)
        if one.answer and other.answer:
            assert [c["formula"] for c in one.answer["candidates"]] == [
                c["formula"] for c in other.answer["candidates"]
            ]
            told = [[c["probability"] for c in each.answer["candidates"]] for each in (one, other) if each.answer]
            assert told[0] == pytest.approx(told[1], abs=1e-4)  # others pass the network beside them
