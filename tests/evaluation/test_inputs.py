"""What is evaluated and what it is new against, and whether that is what the model was trained on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from crystalsweep.data import bundled_fingerprint, fingerprint, write
from crystalsweep.evaluation.inputs import normalised, read_inputs
from crystalsweep.evaluation.settings import EvaluationSettings
from crystalsweep.structures.crystal import Crystal

Crystals = dict[str, list[Crystal]]
SETTINGS = EvaluationSettings()


def test_a_reference_is_known_as_the_training_set_or_not(
    crystals: Crystals, data: dict[str, Path], tmp_path: Path
) -> None:
    train, test = data["train"], data["test"]
    val = tmp_path / "val.parquet"
    val_crystals = [Crystal.of(f"{c.id}-v", c.species, c.lattice, c.frac) for c in crystals["train"][:5]]
    write(val_crystals, val)
    both = fingerprint([*crystals["train"], *crystals["test"]])
    without_test = fingerprint([*crystals["train"], *val_crystals])
    beside = read_inputs(str(test), None, str(train), SETTINGS)
    assert beside.reference_is_training_set is None
    assert beside.for_model(fingerprint(crystals["train"])).reference_is_training_set is True
    assert beside.for_model(both).reference_is_training_set is True, "trained on reference and source"
    assert beside.for_model(without_test).reference_is_training_set is None, "its other parts are not here"
    whole = read_inputs(f"{train},{val},{test}", None, None, SETTINGS)
    assert whole.for_model(without_test).reference_is_training_set is True
    assert whole.for_model(both).reference_is_training_set is False


def test_without_a_reference_frequencies_are_those_of_the_evaluated_crystals(data: dict[str, Path]) -> None:
    alone = read_inputs(str(data["test"]), None, None, SETTINGS)
    assert alone.record()["counts_from"] == "evaluated crystals"
    assert alone.for_model("another").record()["reference"] == ""
    bundled = alone.for_model(bundled_fingerprint()).record()
    assert (bundled["reference"], bundled["counts_from"]) == ("bundled (train)", "reference")
    assert bundled["reference_is_training_set"] is True


def test_a_path_is_the_same_however_it_is_typed(data: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(data["test"].parent)
    typed = [read_inputs(f"{dot}test.parquet", None, f"{dot}train.parquet", SETTINGS).record() for dot in ("", "./")]
    assert typed[0] == typed[1]
    assert typed[0]["source"] == "test.parquet"
    assert normalised("a.cif, ./b//c.cif") == f"a.cif,b{os.sep}c.cif"
    assert (normalised("bundled"), normalised("./bundled")) == ("bundled", f".{os.sep}bundled")
