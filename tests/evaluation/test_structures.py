"""`crystalsweep evaluate --structures`: anyone's crystals, good, bad and impossible; every row in is a row out."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import Result

from crystalsweep.config import override
from crystalsweep.data import Reject, write
from crystalsweep.evaluation.driver import evaluate_structures
from crystalsweep.evaluation.outcome import Evaluation, read_outcome
from crystalsweep.evaluation.request import EvaluationRequest, Machine
from crystalsweep.evaluation.run import read_tables
from crystalsweep.evaluation.settings import EvaluationSettings
from crystalsweep.evaluation.submitted import Submission, SubmissionTask, pair
from crystalsweep.structures.crystal import Crystal

Evaluate = Callable[..., Result]


@pytest.fixture
def scored(run_evaluate: Evaluate, tmp_path: Path) -> Callable[..., tuple[pd.DataFrame, Evaluation]]:
    """The table and figures of a file of crystals."""

    def score(structures: Path, reference: Path, *options: object) -> tuple[pd.DataFrame, Evaluation]:
        folder = tmp_path / "out"
        ran = run_evaluate(
            *("--structures", structures, "--reference", reference, "--out", folder, *options), source=False
        )
        assert ran.exit_code == 0, ran.output
        return read_tables(folder)[0], read_outcome(folder)

    return score


Scored = Callable[..., tuple[pd.DataFrame, Evaluation]]


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


def doubled(crystal: Crystal) -> Crystal:
    """The same crystal as a 2×1×1 supercell."""
    halves = [np.column_stack([(crystal.frac[:, 0] + i) / 2, crystal.frac[:, 1:]]) for i in range(2)]
    lattice = crystal.lattice * np.array([[2], [1], [1]])
    return Crystal.of(crystal.id, np.tile(crystal.species, 2), lattice, np.concatenate(halves))


def test_true_crystals_in_another_cell_are_as_good_as_the_ceiling(
    scored: Scored, data: dict[str, Path], crystals: dict[str, list[Crystal]], tmp_path: Path
) -> None:
    wrong = Crystal.of(f"{crystals['test'][0].id}__other", [26], 3 * np.eye(3), [0, 0, 0])
    write([*map(doubled, crystals["test"]), wrong], tmp_path / "made.parquet")
    table, outcome = scored(tmp_path / "made.parquet", data["test"])
    own, ceiling = table.iloc[:-1], read_tables(tmp_path / "out")[1]["ceiling"].iloc[:-1]
    for column in ("structural_validity", "compositional_validity", "density"):
        assert own[column].to_numpy(float) == pytest.approx(ceiling[column].to_numpy(float)), column
    assert own[["matched", "compositional_similarity_permuted"]].eq(1).all(axis=None)
    assert own["rmsd"].max() < 1e-3
    assert (table["failure"] == "").all()
    assert own["n_atoms"].tolist() == [len(crystal) for crystal in crystals["test"]]
    site_by_site = ["compositional_similarity", "structural_similarity", "distance", "paper_eq5_term"]
    assert own[site_by_site].isna().all(axis=None)
    assert table.iloc[-1][["compositional_similarity", "compositional_similarity_permuted", "matched"]].eq(0).all()
    cells = [sentence for sentence in outcome.flags[outcome.name] if "another cell" in sentence]
    assert all(sentence.startswith("1 of 13") for sentence in cells), "only the wrong one"
    assert outcome.rows[outcome.name]["failed"].mean == 0


@pytest.mark.parametrize("originals_first", [True, False])
def test_a_ceiling_of_those_rows_that_have_originals(
    scored: Scored,
    data: dict[str, Path],
    crystals: dict[str, list[Crystal]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    originals_first: bool,
) -> None:
    monkeypatch.setattr("crystalsweep.evaluation.submitted.PER_PART", 3)
    known, unknown = crystals["test"][:4], [replace(c, id=f"new-{i}") for i, c in enumerate(crystals["train"][:4])]
    write([*known, *unknown] if originals_first else [*unknown, *known], tmp_path / "made.parquet")
    table, outcome = scored(tmp_path / "made.parquet", data["test"])
    assert read_tables(tmp_path / "out")[1]["ceiling"]["parent"].tolist() == [crystal.id for crystal in known]
    assert outcome.data["with_original"] == 4
    lone = table[table["parent"].str.startswith("new-")]
    assert len(lone) == 4
    assert lone[["compositional_similarity", "matched", "rmsd", "novel_vs_input", "noise"]].isna().all(axis=None)
    for column in ("species_before", "lattice_before", "frac_before"):
        assert lone[column].map(len).eq(0).all()
        assert table.drop(lone.index)[column].map(len).gt(0).all()
    assert set(lone["crystal_system"]) == {"unknown"}
    assert "unknown" not in set(table.drop(lone.index)["crystal_system"])
    assert outcome.rows[outcome.name]["match_rate"].n == 4


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
    assert rows[["energy_before", "delta_energy"]].isna().all(axis=None), "no original"
    assert not rows["energy_failure"].str.contains("parent").any()
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


@pytest.mark.parametrize("setting", ["protocol.max_crystals=5", "max_atoms=5", "stable_only=true"])
def test_a_file_is_scored_whole(data: dict[str, Path], tmp_path: Path, setting: str) -> None:
    settings, file = override(EvaluationSettings(), [setting]), data["test"]
    out, machine = tmp_path / "out", Machine(workers=1)
    asked = EvaluationRequest(structures=file, reference=str(file), settings=settings, out=out, machine=machine)
    with pytest.raises(ValueError, match=f"{setting.partition('=')[0]} go with --checkpoint"):
        evaluate_structures(asked)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("paired", [True, False])
def test_what_no_reader_lets_through_is_a_row_too(crystals: dict[str, list[Crystal]], paired: bool) -> None:
    good = crystals["test"][0]
    n = len(good)
    bad = [
        replace(good, frac=np.full((n, 3), np.nan)),
        replace(good, lattice=np.full((3, 3), np.nan)),
        replace(good, lattice=np.zeros((3, 3))),
        replace(good, species=np.full(3 * n, 11), lattice=np.full((3, 3), np.nan), frac=np.zeros((3 * n, 3))),
    ]
    part = [
        Submission(id=f"x{i}", generated=each, original=good if paired else None, draw=i) for i, each in enumerate(bad)
    ]
    table = SubmissionTask(settings=EvaluationSettings(), with_ceiling=paired).score(part)["model"]
    assert not table["structural_validity"].any()
    assert (table["failure"] != "").tolist() == [True, True, False, True]
    assert (table["matched"] == 0).all() if paired else table["matched"].isna().all()


def test_outputs_that_cannot_be_read_have_failed(
    scored: Scored, data: dict[str, Path], crystals: dict[str, list[Crystal]], tmp_path: Path
) -> None:
    """Kind "denominator": half of them broken, with and without an id; the other half is right."""
    good, broken = crystals["test"][:4], crystals["test"][4:8]
    write(good, tmp_path / "half.extxyz")
    frames = [f'1\nLattice="4 0 0 0 4 0 0 0 4" id={crystal.id}\nFe nan 0 0\n' for crystal in broken[:3]]
    with (tmp_path / "half.extxyz").open("a") as file:
        file.write("".join([*frames, "2\nno lattice\nFe 0 0 0\nFe 1 1 1\n"]))
    table, outcome = scored(tmp_path / "half.extxyz", data["test"])
    figures = outcome.rows[outcome.name]
    for name in ("match_rate", "compositional_similarity", "uniqueness"):
        assert (figures[name].mean, figures[name].n) == (0.5, 8), name
    assert figures["novel_vs_reference"].mean == 0
    assert table["failure"].str.startswith("not readable").sum() == 4


def test_what_no_test_can_tell_stands_beside_the_figures(scored: Scored, tmp_path: Path) -> None:
    """Kind "not compared is not different": one pair of crystals that no matcher is given."""
    long = np.diag([3.0, 3.0, 900.0])
    sites = np.array([[0, 0, 0], [0.5, 0.5, 0.5]])
    known = Crystal.of("known", [11, 17], long, sites)
    write([known, Crystal.of("else", [11], 4 * np.eye(3), [[0, 0, 0]])], tmp_path / "reference.parquet")
    made = [Crystal.of("known", [11, 17], long, sites * [1, 1, 0.2]), Crystal.of("new", [12, 8], 4 * np.eye(3), sites)]
    write(made, tmp_path / "made.parquet")
    table, outcome = scored(tmp_path / "made.parquet", tmp_path / "reference.parquet")
    novel = outcome.rows[outcome.name]["novel_vs_reference"]
    assert (novel.mean, novel.n, novel.undecided) == (1.0, 1, 1)
    matched = outcome.rows[outcome.name]["match_rate"]
    assert (matched.mean, matched.n, matched.undecided) == (None, 0, 1)
    assert "elongated" in table["novel_undecided"][0]
    assert "1 undecided" in (tmp_path / "out" / "report.html").read_text()


def test_rejects_of_the_reference_are_told_beside_novelty(
    scored: Scored, data: dict[str, Path], crystals: dict[str, list[Crystal]], tmp_path: Path
) -> None:
    write(crystals["train"], tmp_path / "reference.extxyz")
    with (tmp_path / "reference.extxyz").open("a") as file:
        file.write("2\nno lattice\nFe 0 0 0\nFe 1 1 1\n")
    _, outcome = scored(data["test"], tmp_path / "reference.extxyz")
    told = " ".join(outcome.flags["data"])
    assert f"1 of {len(crystals['train']) + 1} rows rejected: no lattice (1)" in told
    assert f"against the {len(crystals['train'])} reference crystals that could be read; 1 more rows" in told
    assert "1 more rows could not be read" in (tmp_path / "out" / "report.html").read_text()


def test_rows_keep_their_number_whatever_other_rows_could_be_read(crystals: dict[str, list[Crystal]]) -> None:
    """Else `compare` would pair one crystal's first sample with another file's second."""
    original = crystals["test"][0]
    originals = {original.id: original}
    names = [f"{original.id}__{i}" for i in ("0", "1", "relaxed")]
    whole = pair([replace(original, id=name) for name in names], [], originals)
    broken = [Reject(where="x", id=names[0], reason="no atoms")]
    part = pair([replace(original, id=name) for name in reversed(names[1:])], broken, originals)
    assert {each.id: each.draw for each in whole} == {each.id: each.draw for each in part}
    assert len({each.draw for each in whole}) == 3
    assert all(each.original is original for each in part)


def test_several_counters_behind_an_id_lead_to_the_longest_id_there_is(crystals: dict[str, list[Crystal]]) -> None:
    one = crystals["test"][0]
    nested = replace(one, id=f"{one.id}__2")
    found = pair([replace(one, id=f"{one.id}__2__3")], [], {one.id: one, nested.id: nested})
    assert found[0].original is nested
    assert pair([replace(one, id=f"{one.id}__2__3")], [], {one.id: one})[0].original is one


def test_other_originals_are_another_evaluation(
    run_evaluate: Evaluate, data: dict[str, Path], crystals: dict[str, list[Crystal]], tmp_path: Path
) -> None:
    shutil.copy(data["test"], tmp_path / "originals.parquet")
    asked = ("--structures", data["test"], "--reference", data["train"], "--out", tmp_path / "out")
    asked = (*asked, "--originals", tmp_path / "originals.parquet")
    assert run_evaluate(*asked, source=False).exit_code == 0
    write([replace(c, species=np.full(len(c), 26)) for c in crystals["test"]], tmp_path / "originals.parquet")
    again = run_evaluate(*asked, source=False)
    assert again.exit_code == 1
    assert "holds another" in again.output or "other" in again.output
