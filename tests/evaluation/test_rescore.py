"""`crystalsweep rescore`: other settings, the same crystals, new columns."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from crystalsweep.cli.evaluate import rescore
from crystalsweep.data import write
from crystalsweep.evaluation.outcome import read_outcome
from crystalsweep.evaluation.run import read_tables
from crystalsweep.structures.crystal import Crystal


@pytest.fixture
def folder(evaluation: Path, tmp_path: Path) -> Path:
    """A copy that may be changed."""
    return Path(shutil.copytree(evaluation, tmp_path / "copy"))


def rescored(folder: Path, *options: str) -> Result:
    return CliRunner().invoke(rescore, [str(folder), *options], catch_exceptions=False)


def test_the_same_settings_give_the_same_scores(folder: Path) -> None:
    before = read_outcome(folder)
    ran = rescored(folder, "--preset", "default")
    assert ran.exit_code == 0, ran.output
    model, references = read_tables(folder)
    for table in (model, *references.values()):
        for column in ("structural_validity", "compositional_validity", "novel_vs_input"):
            assert (table[f"{column}@default"].astype(float) == table[column].astype(float)).all()
    after = read_outcome(folder)
    for row, figures in after.rescored["default"].rows.items():
        for metric, figure in figures.items():
            assert figure == before.rows[row][metric]


def test_presets_go_beside_what_was_there(folder: Path) -> None:
    model, _ = read_tables(folder)
    ran = rescored(folder, "--preset", "smact4", "--preset", "paper")
    assert ran.exit_code == 0, ran.output
    again, _ = read_tables(folder)
    assert again[model.columns.tolist()].equals(model)
    assert {"compositional_validity@smact4", "compositional_validity@paper"} <= set(again.columns)
    outcome = read_outcome(folder)
    relaxed = outcome.rescored["paper"].rows["ceiling"]["compositional_validity"].mean
    assert relaxed >= outcome.rows["ceiling"]["compositional_validity"].mean, "without Pauling's test"
    assert "smact4" in ran.output
    assert outcome.rescored["paper"].metrics_lock != outcome.metrics_lock


def test_stricter_tolerances_match_less(folder: Path) -> None:
    tight = ["--set", "match.stol=0.02", "--set", "match.ltol=0.02", "--name", "tight"]
    assert rescored(folder, *tight).exit_code == 0
    outcome = read_outcome(folder)
    found = outcome.rescored["tight"].rows[outcome.name]["match_rate"].mean
    assert found is not None
    assert found <= outcome.rows[outcome.name]["match_rate"].mean
    assert outcome.rescored["tight"].rows["ceiling"]["match_rate"].mean == 1


def test_alloys_can_be_held_to_charge_neutrality(folder: Path) -> None:
    assert rescored(folder, "--set", "composition.alloys=false", "--name", "no_alloys").exit_code == 0
    outcome = read_outcome(folder)
    strict = outcome.rescored["no_alloys"].rows["ceiling"]["compositional_validity"].mean
    assert strict < outcome.rows["ceiling"]["compositional_validity"].mean


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ([], "--preset"),
        (["--set", "match.stol=0.1"], "--name"),
        (["--set", "match.stol=9", "--name", "x"], "stol"),
        (["--set", "match.stool=9", "--name", "x"], "match.stol"),
        (["--preset", "paper", "--name", "a@b"], "cannot name columns"),
        (["--set", "stable_below=0.2", "--name", "x"], "metrics.stable_below=0.2"),
    ],
)
def test_bad_requests_are_refused(folder: Path, options: list[str], told: str) -> None:
    ran = rescored(folder, *options)
    assert ran.exit_code == 1
    assert told in ran.output


def test_duplicates_and_pairs_of_crystals_from_a_file(
    run_evaluate: Callable[..., Result], data: dict[str, Path], crystals: dict[str, list[Crystal]], tmp_path: Path
) -> None:
    """Three noisy copies of each of three crystals with an original and one without; one copy in another cell."""
    generator = np.random.default_rng(0)
    named = {crystal.id: crystal for crystal in crystals["test"][:3]} | {"unknown": crystals["train"][0]}
    made = [
        Crystal.of(f"{name}__{i}", c.species, c.lattice, c.frac + 0.01 * generator.standard_normal(c.frac.shape))
        for name, c in named.items()
        for i in range(3)
    ]
    made[0] = Crystal.of(
        made[0].id,
        np.tile(made[0].species, 2),
        made[0].lattice * np.array([[2], [1], [1]]),
        np.concatenate([(made[0].frac + np.array([i, 0, 0])) * np.array([0.5, 1, 1]) for i in range(2)]),
    )
    write(made, tmp_path / "made.parquet")
    files = ("--structures", tmp_path / "made.parquet", "--reference", data["test"])
    assert run_evaluate(*files, "--out", tmp_path / "out", source=False).exit_code == 0
    tight = [f"{kind}.{key}" for kind in ("match", "duplicate") for key in ("stol=1e-4", "ltol=1e-4", "angle_tol=0.01")]
    ran = rescored(tmp_path / "out", *(word for each in tight for word in ("--set", each)), "--name", "tight")
    assert ran.exit_code == 0, ran.output
    model, references = read_tables(tmp_path / "out")
    lone = model["parent"].str.startswith("unknown")
    assert model.loc[lone, ["matched@tight", "rmsd@tight", "novel_vs_input@tight"]].isna().all(axis=None)
    assert model.loc[~lone, "matched"].eq(1).all()
    assert model.loc[~lone & (model["n_atoms"] > 1), "matched@tight"].eq(0).all()
    for column in ("structural_validity", "compositional_validity", "novel_vs_input"):
        assert model[f"{column}@tight"].astype(float).equals(model[column].astype(float)), column
    assert model["unique"].sum() == 4
    assert model["unique@tight"].sum() > 4
    assert references["ceiling"]["unique@tight"].sum() == 3
    outcome = read_outcome(tmp_path / "out")
    assert outcome.rescored["tight"].rows[outcome.name]["match_rate"].n == 9
    assert outcome.rescored["tight"].rows[outcome.name]["uniqueness"].n == 12


def test_a_name_keeps_its_settings(folder: Path) -> None:
    assert rescored(folder, "--preset", "paper", "--name", "mine").exit_code == 0
    ran = rescored(folder, "--preset", "smact4", "--name", "mine")
    assert ran.exit_code == 1
    assert "already has scores called 'mine'" in ran.output


def test_another_folder_is_refused(tmp_path: Path) -> None:
    ran = rescored(tmp_path, "--preset", "paper")
    assert ran.exit_code == 1
    assert "crystalsweep evaluate" in ran.output
