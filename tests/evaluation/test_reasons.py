"""Why something could not be computed is counted by kind, with its numbers."""

from __future__ import annotations

import pandas as pd
import pytest

from crystalsweep.evaluation.outcome import reasons

MANY = "generated: {} atoms, more than the limit of 200"


@pytest.mark.parametrize(
    ("told", "kinds"),
    [
        ([MANY.format(220)], {MANY.format(220): 1}),
        ([MANY.format(220)] * 3, {MANY.format(220): 3}),
        ([MANY.format("1,200"), MANY.format(220), "", MANY.format(300)], {MANY.format("220 to 1,200"): 3}),
        (["no energy"] * 2 + [MANY.format(220)] * 3, {MANY.format(220): 3, "no energy": 2}),
        (
            ["0.5 Å³ per atom, less than 2", "1e-05 Å³ per atom, less than 2"],
            {"1e-05 to 0.5 Å³ per atom, less than 2": 2},
        ),
        (
            ["hull: no crystal of Fe2O12", "hull: no crystal of Fe3O4"],
            {"hull: no crystal of Fe2O12": 1, "hull: no crystal of Fe3O4": 1},
        ),
        (["found 3, not 4.", "found 10, not 4."], {"found 3 to 10, not 4.": 2}),
        (["spglib 2.8.0 … failed", "spglib 2.10.1 … failed"], {"spglib 2.10 to 2.8.0 to 1 … failed": 2}),
        (["cut …", "cut 5"], {"cut …": 1, "cut 5": 1}),
        (["", None], None),
    ],
)
def test_reasons_that_differ_in_numbers_are_one_kind_with_their_range(
    told: list[str | None], kinds: dict[str, int] | None
) -> None:
    found = reasons(pd.DataFrame({"energy_failure": told, "other": told}))
    assert found == ({"energy_failure": kinds} if kinds else {})
    assert not kinds or list(found["energy_failure"]) == list(kinds), "the most frequent first"
