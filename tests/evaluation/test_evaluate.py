"""`crystalsweep evaluate --checkpoint`: the whole protocol on real crystals, twice, interrupted, refused."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import Result

from crystalsweep.data import write
from crystalsweep.evaluation.models import reference_rows
from crystalsweep.evaluation.outcome import Evaluation, read_outcome
from crystalsweep.evaluation.protocol import blocks
from crystalsweep.evaluation.run import open_folder, read_tables, run_evaluation
from crystalsweep.evaluation.scoring import MODEL, Protocol
from crystalsweep.evaluation.settings import EnergyConfig, EvaluationSettings
from crystalsweep.evaluation.spread import Workers
from crystalsweep.evaluation.structures import crystals_of
from crystalsweep.hyperparameters import EvaluationConfig
from crystalsweep.metrics.scoring import KEYS
from crystalsweep.structures.crystal import Crystal

Evaluate = Callable[..., Result]

WITHOUT_ENERGIES = EvaluationSettings(
    protocol=EvaluationConfig(sigma_noise=(0.1,), draws=3), energies=EnergyConfig(calculator="none")
)


@pytest.fixture(scope="module")
def outcome(evaluation: Path) -> Evaluation:
    return read_outcome(evaluation)


# What comes out


def test_every_crystal_mask_and_sigma_is_a_row(evaluation: Path, crystals: dict[str, list[Crystal]]) -> None:
    model, references = read_tables(evaluation)
    expected = sum(2 * (len(np.unique(crystal.species)) + 2) for crystal in crystals["test"])
    assert len(model) == expected
    assert set(references) == {"ceiling", "identity", "most common", "substitution"}
    assert all(len(table) == expected for table in references.values())
    assert not model.duplicated(list(KEYS)).any()


def test_the_true_crystals_score_as_they_must(outcome: Evaluation) -> None:
    ceiling = {name: figure.mean for name, figure in outcome.rows["ceiling"].items()}
    for name in ("structural_validity", "compositional_similarity", "structural_similarity", "match_rate"):
        assert ceiling[name] == 1
    assert ceiling["rmsd"] == 0
    assert ceiling["novel_vs_input"] == 0
    assert ceiling["novel_vs_reference"] == 1, "the split keeps compositions apart"


def test_the_input_itself_has_no_similarity(outcome: Evaluation) -> None:
    identity = outcome.rows["identity"]
    assert identity["structural_similarity"].mean == pytest.approx(0, abs=1e-9)
    assert identity["match_rate"].mean == 0
    assert identity["masked_accuracy"].mean == 0


def test_substitution_never_restores(outcome: Evaluation) -> None:
    assert outcome.rows["substitution"]["compositional_similarity"].mean == 0


def test_visible_atoms_are_kept_in_one_reading_and_predicted_in_the_other(outcome: Evaluation) -> None:
    assert outcome.rows[outcome.name]["visible_accuracy"].mean == 1
    assert outcome.rows[f"{outcome.name}, all atoms"]["visible_accuracy"].mean < 1


def test_crystals_are_saved_as_they_were_scored(evaluation: Path, crystals: dict[str, list[Crystal]]) -> None:
    model, _ = read_tables(evaluation)
    parents = {crystal.id: crystal for crystal in crystals["test"]}
    for crystal in crystals_of(model, "before"):
        assert np.array_equal(crystal.frac, parents[crystal.id].frac)
        assert np.array_equal(crystal.lattice, parents[crystal.id].lattice)
    hidden = [(corrupted == 0).sum() for corrupted in model["species_corrupted"]]
    assert hidden == model["n_masked"].tolist()


def test_the_report_opens_offline_and_names_every_row(evaluation: Path, outcome: Evaluation) -> None:
    page = (evaluation / "report.html").read_text()
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
    assert "<script" not in page
    assert page.count('src="data:image/png') == len(list((evaluation / "plots").glob("*.png"))) > 5
    assert all(row in page for row in outcome.rows)


def test_the_result_says_what_it_was_measured_with(outcome: Evaluation) -> None:
    assert {"smact", "pymatgen", "measuring_code"} <= set(outcome.versions)
    assert re.fullmatch(r"[0-9a-f]{64}", outcome.metrics_lock)
    assert outcome.data["reference_crystals"] == 60
    assert outcome.model["stage"] == "pretrain"


# Again


def test_the_same_evaluation_twice_gives_the_same_file(
    evaluation: Path, checkpoint: Path, run_evaluate: Evaluate, tmp_path: Path
) -> None:
    again = tmp_path / "again"
    ran = run_evaluate("--checkpoint", checkpoint, "--no-report", "--out", again)
    assert ran.exit_code == 0, ran.output
    assert (again / "metrics.json").read_bytes() == (evaluation / "metrics.json").read_bytes()
    assert "report:" not in ran.output
    assert not (again / "report.html").exists()
    shown = run_evaluate("--checkpoint", checkpoint, "--out", again)
    assert f"report:  {again / 'report.html'}" in shown.output
    assert {file.name for file in (again / "plots").iterdir()} == {
        file.name for file in (evaluation / "plots").iterdir()
    }


def test_a_finished_folder_is_shown_and_not_made_again(
    evaluation: Path, checkpoint: Path, run_evaluate: Evaluate
) -> None:
    before = (evaluation / "structures.parquet").stat().st_mtime_ns
    ran = run_evaluate("--checkpoint", checkpoint, "--out", evaluation)
    assert ran.exit_code == 0
    assert "structural validity" in ran.output
    assert (evaluation / "structures.parquet").stat().st_mtime_ns == before


def test_another_request_in_the_same_folder_is_refused(
    evaluation: Path, checkpoint: Path, run_evaluate: Evaluate
) -> None:
    ran = run_evaluate("--checkpoint", checkpoint, "--out", evaluation, "--set", "protocol.seed=1")
    assert ran.exit_code == 1
    assert "settings.protocol.seed" in ran.output


class StoppedError(Exception):
    """What stops an evaluation in the middle."""


def test_an_interrupted_evaluation_goes_on_where_it_was(crystals: dict[str, list[Crystal]], tmp_path: Path) -> None:
    rows = reference_rows({8: 1})
    parents = (crystals["test"] * 6)[:60]
    parents = [Crystal.of(f"{c.id}-{i}", c.species, c.lattice, c.frac) for i, c in enumerate(parents)]
    parts = blocks(parents, WITHOUT_ENERGIES.protocol)
    sizes = [len(part.cases) for part in parts]
    assert len(parts) > 1
    calls = 0

    def fails(original: Crystal, corrupted: Crystal) -> Crystal:
        nonlocal calls
        calls += 1
        if calls > sizes[0] + 5:
            raise StoppedError
        return rows["most common"](original, corrupted)

    folder = tmp_path / "evaluation"
    open_folder(folder, {"what": "test"})
    task = Protocol(restorer=fails, references={}, settings=WITHOUT_ENERGIES)
    with pytest.raises(StoppedError):
        run_evaluation(task, parts, sizes, folder, Workers())
    calls = -10_000
    resumed = run_evaluation(task, parts, sizes, folder, Workers())[MODEL]
    assert calls == -10_000 + sum(sizes[1:]), "the finished part was computed again"
    whole = tmp_path / "whole"
    open_folder(whole, {"what": "test"})
    pd.testing.assert_frame_equal(resumed, run_evaluation(task, parts, sizes, whole, Workers())[MODEL])


# Refused


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--checkpoint", "nowhere"], "models:/name@alias"),
        (["--checkpoint", "identity", "--calculator", "astrology"], "astrology"),
        (["--checkpoint", "identity", "--set", "metrics.structure.min_distance=-1"], "min_distance"),
        (["--checkpoint", "identity", "--set", "metrics.match.stol=7"], "stol"),
        (["--checkpoint", "identity", "--set", "protocol.sigmas=[1]"], "sigma_noise"),
        (["--checkpoint", "identity", "--reference", "no_such_file.parquet"], "no_such_file.parquet"),
        (["--checkpoint", "identity", "--data", ""], "--data is empty"),
        (["--structures", "x.cif", "--set", "decode.method=beam"], "nothing restores the crystals of --structures"),
        ([], "--checkpoint REF or --structures PATH"),
        (["--structures", "x.cif"], "go with --checkpoint"),
    ],
)
def test_bad_requests_end_in_one_line_before_work_starts(
    run_evaluate: Evaluate, tmp_path: Path, options: list[str], told: str
) -> None:
    ran = run_evaluate(*options, "--out", tmp_path / "out")
    assert ran.exit_code == 1, ran.output
    assert told in ran.output
    assert not (tmp_path / "out").exists()


def test_a_classifier_is_no_generator(checkpoint: Path, run_evaluate: Evaluate, tmp_path: Path) -> None:
    content = json.loads((checkpoint / "checkpoint" / "checkpoint.json").read_text())
    (tmp_path / "checkpoint.json").write_text(json.dumps(content | {"stage": "finetune"}))
    ran = run_evaluate("--checkpoint", tmp_path, "--out", tmp_path / "out")
    assert ran.exit_code == 1
    assert "is a property model; leave it out" in ran.output


def test_a_result_that_was_tampered_with_is_refused(evaluation: Path, tmp_path: Path) -> None:
    content = json.loads((evaluation / "metrics.json").read_text())
    content["rows"]["ceiling"]["structural_validity"]["mean"] = "very good"
    (tmp_path / "metrics.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"rows\.ceiling\.structural_validity\.mean"):
        read_outcome(tmp_path)


def test_settings_are_listed_with_their_meaning(run_evaluate: Evaluate) -> None:
    ran = run_evaluate("--settings")
    assert ran.exit_code == 0
    assert "metrics.structure.min_distance = 0.5" in ran.output
    assert "every interatomic distance" in ran.output


# Reference rows as models


@pytest.mark.parametrize(("row", "similarity"), [("ceiling", 1.0), ("identity", None)])
def test_reference_rows_can_be_fed_as_models(
    run_evaluate: Evaluate, tmp_path: Path, row: str, similarity: float | None
) -> None:
    folder = tmp_path / row
    ran = run_evaluate("--checkpoint", row, "--out", folder, "--set", 'protocol.mask_types=["species"]')
    assert ran.exit_code == 0, ran.output
    outcome = read_outcome(folder)
    found = outcome.rows[outcome.name].get("structural_similarity")
    assert (found.mean if found else None) == similarity
    assert outcome.rows[outcome.name]["compositional_validity"] == outcome.rows[row]["compositional_validity"]


# Leakage


def test_evaluated_crystals_that_were_trained_on_are_named(
    run_evaluate: Evaluate, crystals: dict[str, list[Crystal]], data: dict[str, Path], tmp_path: Path
) -> None:
    leaked = [Crystal.of(f"new-{c.id}", c.species, c.lattice, c.frac + 0.3) for c in crystals["test"][:2]]
    write([*crystals["train"], *leaked], tmp_path / "train.parquet")
    options = ["--data", data["test"], "--reference", tmp_path / "train.parquet", "--out", tmp_path / "out"]
    ran = run_evaluate("--checkpoint", "most-common", *options, source=False)
    assert ran.exit_code == 0, ran.output
    few, told = read_outcome(tmp_path / "out").flags["data"]
    assert few.startswith("Only 12 crystals are evaluated")
    assert told.startswith("2 of 12 evaluated crystals are among the reference crystals")
    assert all(f"{crystal.id.removeprefix('new-')} is {crystal.id}" in told for crystal in leaked)


def test_what_a_model_learned_from_is_told_where_it_is_a_part_of_the_reference(
    checkpoint: Path, run_evaluate: Evaluate, data: dict[str, Path], tmp_path: Path
) -> None:
    """The fixture's settings leave crystals out, which novelty and frequencies count all the same."""
    both = f"{data['train']},{data['test']}"
    ran = run_evaluate("--checkpoint", checkpoint, "--data", both, "--out", tmp_path / "out", source=False)
    assert ran.exit_code == 0, ran.output
    outcome = read_outcome(tmp_path / "out")
    assert outcome.data["reference_is_training_set"] is True
    assert outcome.data["seen"] == []
    told = [line for line in outcome.data["told"] if "learned from" in line]
    config = json.loads((checkpoint / "config.json").read_text())
    learned = min(60, config["max_crystals"] or 60)
    assert bool(told) == (learned < 60)
    assert all(f"learned from {learned} of the 60 training crystals" in line for line in told)
    swapped = run_evaluate(
        *("--checkpoint", checkpoint, "--data", f"{data['test']},{data['train']}", "--max-crystals", 3),
        *("--out", tmp_path / "swapped"),
        source=False,
    )
    assert "under another split" in swapped.output
