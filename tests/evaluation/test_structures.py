"""`crystalsweep evaluate --structures`: anyone's crystals, good, bad and impossible; every row in is a row out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import Result

from crystalsweep.crystal import Crystal
from crystalsweep.data import write
from crystalsweep.evaluation.outcome import Outcome, read_outcome
from crystalsweep.evaluation.run import read_tables

Evaluate = Callable[..., Result]


@pytest.fixture
def scored(run_evaluate: Evaluate, tmp_path: Path) -> Callable[..., tuple[pd.DataFrame, Outcome]]:
    """The table and figures of a file of crystals."""

    def score(structures: Path, reference: Path, *options: object) -> tuple[pd.DataFrame, Outcome]:
        folder = tmp_path / "out"
        ran = run_evaluate(
            *("--structures", structures, "--reference", reference, "--out", folder, *options), source=False
        )
        assert ran.exit_code == 0, ran.output
        return read_tables(folder)[0], read_outcome(folder)

    return score


Scored = Callable[..., tuple[pd.DataFrame, Outcome]]


def test_true_crystals_fed_as_generated(scored: Scored, data: dict[str, Path]) -> None:
    table, outcome = scored(data["test"], data["test"])
    means = {name: figure.mean for name, figure in outcome.rows[outcome.name].items()}
    assert means["compositional_similarity"] == means["structural_similarity"] == means["match_rate"] == 1
    assert means["rmsd"] == 0
    assert means["novel_vs_reference"] == 0
    assert means["compositional_validity"] == outcome.rows["ceiling"]["compositional_validity"].mean
    assert table["reference_match"].tolist() == table["parent"].tolist()


def test_true_crystals_are_new_against_another_set(scored: Scored, data: dict[str, Path]) -> None:
    _, outcome = scored(data["test"], data["train"], "--originals", data["test"])
    means = {name: figure.mean for name, figure in outcome.rows[outcome.name].items()}
    assert means["match_rate"] == means["novel_vs_reference"] == 1
    assert means["uniqueness"] == outcome.rows["ceiling"]["uniqueness"].mean


def test_several_crystals_of_one_original_are_paired_by_the_first_part_of_their_id(
    scored: Scored, data: dict[str, Path], crystals: dict[str, list[Crystal]], tmp_path: Path
) -> None:
    generator = np.random.default_rng(0)
    made = [
        Crystal.of(f"{c.id}__{i}", c.species, c.lattice, c.frac + 0.01 * generator.standard_normal(c.frac.shape))
        for c in crystals["test"][:4]
        for i in range(3)
    ]
    write(made, tmp_path / "made.parquet")
    table, outcome = scored(tmp_path / "made.parquet", data["test"])
    assert table["parent"].nunique() == 4
    assert outcome.rows[outcome.name]["compositional_similarity"].clusters == 4
    assert 0 < outcome.rows[outcome.name]["rmsd"].mean < 0.1
    assert table["structural_similarity"].between(-3, 1).all()


def impossible() -> pd.DataFrame:
    """Structures that no matcher, potential or rule was made for, beside one that is fine."""
    cube = [5.0, 0, 0, 0, 5.0, 0, 0, 0, 5.0]
    random = np.random.default_rng(0)
    rows = [
        ("rocksalt", [11, 17], [3.99, 0, 0, 2.0, 3.46, 0, 2.0, 1.15, 3.26], [0, 0, 0, 0.5, 0.5, 0.5]),
        ("nan", [11, 17], [float("nan"), *cube[1:]], [0.0, 0, 0, 0.5, 0.5, 0.5]),
        ("huge", [11, 17], [400.0, 0, 0, 0, 400.0, 0, 0, 0, 400.0], [0.0, 0, 0, 0.5, 0.5, 0.5]),
        ("noble gas", [2, 18], cube, [0.0, 0, 0, 0.5, 0.5, 0.5]),
        ("heavy", [118, 110], cube, [0.0, 0, 0, 0.5, 0.5, 0.5]),
        ("crowd", [26] * 300, [20.0, 0, 0, 0, 20.0, 0, 0, 0, 20.0], random.random(900).tolist()),
        ("on top", [11, 17], cube, [0.0, 0, 0, 0.04, 0, 0]),
        ("empty", [], cube, []),
    ]
    return pd.DataFrame(rows, columns=["material_id", "atomic_numbers", "lattice", "frac_coords"])


def test_impossible_structures_are_rows_with_a_reason(scored: Scored, data: dict[str, Path], tmp_path: Path) -> None:
    file = tmp_path / "impossible.parquet"
    impossible().to_parquet(file)
    table, outcome = scored(file, data["train"], "--calculator", "chgnet")
    rows = table.set_index("parent")
    assert sorted(rows.index) == sorted(impossible()["material_id"])
    assert outcome.data["unreadable"] == 2
    assert rows.loc["rocksalt", ["structural_validity", "compositional_validity"]].all()
    assert rows.loc["rocksalt", "energy"] < -2
    for name in ("nan", "empty"):
        assert "not readable" in rows.loc[name, "failure"]
        assert not rows.loc[name, "structural_validity"]
    assert not rows.loc["on top", "structural_validity"]
    assert not rows.loc[["noble gas", "heavy"], "compositional_validity"].any()
    for name in ("huge", "crowd", "on top", "heavy"):
        assert rows.loc[name, "energy_failure"], name
        assert np.isnan(rows.loc[name, "energy"]), name


def test_crystals_without_an_original_have_no_similarity(scored: Scored, data: dict[str, Path]) -> None:
    _, outcome = scored(data["test"], data["train"])
    assert "compositional_similarity" not in outcome.rows[outcome.name]
    assert "match_rate" not in outcome.rows[outcome.name]
    assert {"structural_validity", "compositional_validity", "novel_vs_reference", "uniqueness"} <= set(
        outcome.rows[outcome.name]
    )


def test_a_folder_of_cifs_is_scored(
    scored: Scored, data: dict[str, Path], crystals: dict[str, list[Crystal]], tmp_path: Path
) -> None:
    write(crystals["test"][:3], tmp_path / "cifs")
    table, _ = scored(tmp_path / "cifs", data["test"])
    assert table["matched"].astype(bool).all()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--structures", "nowhere.cif", "--reference", "bundled"], "nowhere.cif"),
        (["--structures", "STRUCTURES"], "--reference"),
        (["--structures", "STRUCTURES", "--reference", "BAD"], "atomic_numbers"),
    ],
)
def test_bad_requests_are_refused(
    run_evaluate: Evaluate, data: dict[str, Path], tmp_path: Path, options: list[str], told: str
) -> None:
    bad = tmp_path / "bad.parquet"
    pd.DataFrame({"x": [1]}).to_parquet(bad)
    named = [{"STRUCTURES": str(data["test"]), "BAD": str(bad)}.get(option, option) for option in options]
    ran = run_evaluate(*named, "--out", tmp_path / "out", source=False)
    assert ran.exit_code == 1
    assert told in ran.output
    assert not (tmp_path / "out").exists()
