"""What is evaluated and what it is new against, and whether that is what the model was trained on."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from crystalsweep.data import load_data, write
from crystalsweep.data.splitting import grouped_split
from crystalsweep.evaluation.inputs import normalised, read_inputs
from crystalsweep.evaluation.settings import EvaluationSettings
from crystalsweep.structures.crystal import Crystal

Crystals = dict[str, list[Crystal]]
SETTINGS = EvaluationSettings()


def learned(source: str) -> list[dict[str, str]]:
    """The trainings of a model that one stage on this data made."""
    data = load_data(source)
    return [{"stage": "pretrain", "data_sha256": data.data_sha256, "split_sha256": data.split_sha256}]


def test_a_reference_is_known_as_the_training_set_or_not(
    crystals: Crystals, data: dict[str, Path], tmp_path: Path
) -> None:
    train, test = data["train"], data["test"]
    val = tmp_path / "val.parquet"
    write([Crystal.of(f"{c.id}-v", c.species, c.lattice, c.frac) for c in crystals["train"][:5]], val)

    def known(trained_on: str, source: str, reference: str | None = None) -> bool | None:
        return read_inputs(source, None, reference, SETTINGS, learned(trained_on)).reference_is_training_set

    assert read_inputs(str(test), None, str(train), SETTINGS).reference_is_training_set is None
    assert known(f"{train}", str(test), str(train)) is True
    assert known(f"{train},{test}", str(test), str(train)) is True, "trained on reference and source"
    assert known(f"{train},{val}", str(test), str(train)) is None, "its other parts are not here"
    assert known(f"{train},{val}", f"{train},{val},{test}") is True
    assert known(f"{train},{test}", f"{train},{val},{test}") is False
    assert known(f"{val},{train}", f"{train},{val}") is None, "the same crystals, divided otherwise"
    assert known("bundled", str(test)) is True


def test_crystals_that_a_model_learned_from_are_counted(
    crystals: Crystals, data: dict[str, Path], tmp_path: Path
) -> None:
    file = tmp_path / "mine.parquet"
    write(crystals["train"], file)
    trained = load_data(str(file))  # without a split beside it

    def told(source: str, part: str | None = None) -> str:
        return " ".join(read_inputs(source, part, None, SETTINGS, learned(str(file))).seen)

    mine = learned(str(file))
    divided = read_inputs(str(file), None, None, SETTINGS, mine)
    assert (divided.part, len(divided.parents), divided.seen) == ("test", len(trained.test), ())
    assert divided.reference_is_training_set is True
    assert told(str(file), "train").startswith(f"{len(trained.train)} of {len(trained.train)} evaluated crystals are")
    assert told(str(file), "all").startswith(f"{len(trained.train)} of {len(crystals['train'])} evaluated crystals are")
    assert "Not known, for the data is not at hand" in told(str(data["test"]))

    moved = grouped_split(crystals["train"], seed=1)
    Path(f"{file}.split.json").write_text(json.dumps(moved.to_json()))
    again = read_inputs(str(file), None, None, SETTINGS, mine)
    assert "under another split" in " ".join(again.seen)
    assert again.reference_is_training_set is None


def test_without_a_reference_frequencies_are_those_of_the_evaluated_crystals(data: dict[str, Path]) -> None:
    alone = read_inputs(str(data["test"]), None, None, SETTINGS)
    assert alone.record()["counts_from"] == "evaluated crystals"
    bundled = read_inputs(str(data["test"]), None, None, SETTINGS, learned("bundled")).record()
    assert (bundled["reference"], bundled["counts_from"]) == ("bundled (train)", "reference")


def test_a_path_is_the_same_however_it_is_typed(data: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(data["test"].parent)
    typed = [read_inputs(f"{dot}test.parquet", None, f"{dot}train.parquet", SETTINGS).record() for dot in ("", "./")]
    assert typed[0] == typed[1]
    assert typed[0]["source"] == "test.parquet"
    assert normalised("a.cif, ./b//c.cif") == f"a.cif,b{os.sep}c.cif"
    assert (normalised("bundled"), normalised("./bundled")) == ("bundled", f".{os.sep}bundled")
