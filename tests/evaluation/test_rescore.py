"""`crystalsweep rescore`: other settings, the same crystals, new columns."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
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


@pytest.mark.parametrize("column", ["lattice_before", "lattice_after", "frac_after", "frac_corrupted"])
@pytest.mark.parametrize("value", [0.0, 1e300])
def test_a_crystal_that_cannot_be_is_told_by_file_and_row(folder: Path, column: str, value: float) -> None:
    file = folder / "structures.parquet"
    table = pd.read_parquet(file)
    table[column] = [row * 0 + value if number == 2 else row for number, row in enumerate(table[column])]
    table.to_parquet(file)
    ran = rescored(folder, "--preset", "paper")
    if column.startswith("frac") and value == 0:
        assert ran.exit_code == 0, ran.output
        return
    assert ran.exit_code == 1
    assert f"{file}: {column} is" in ran.output
    assert f"1 row, the first is row 3, of {table['parent'].iloc[2]}" in ran.output


@pytest.mark.parametrize("config", [[], {"corruption": []}, {"corruption": {"sigma_noise": 10**400}}, "x", None])
def test_a_models_record_that_is_none_is_no_traceback(folder: Path, config: object) -> None:
    edit(folder, lambda content: content["model"].update(config=config))
    assert rescored(folder, "--preset", "paper").exit_code == 0


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content["distributions"].update(density={}),
        lambda content: content["distributions"]["density"].update(distance="x"),
        lambda content: content["strata"]["n_atoms"].append({}),
        lambda content: content["strata"]["n_atoms"][0].update(mean="x"),
        lambda content: content.update(replacement={"novel_crystals": "x"}),
        lambda content: content.update(energies={"doubts": 5}),
        lambda content: content["data"].update(reference="x", reference_crystals=None),
    ],
)
def test_figures_that_cannot_be_shown_are_told_by_their_file_before_the_work(
    folder: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    edit(folder, change)
    before = (folder / "structures.parquet").read_bytes()
    ran = rescored(folder, "--preset", "paper")
    assert ran.exit_code == 1
    assert f"{folder / 'metrics.json'}: its figures cannot be shown" in ran.output
    assert (folder / "structures.parquet").read_bytes() == before


def edit(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads((folder / "metrics.json").read_text())
    change(content)
    (folder / "metrics.json").write_text(json.dumps(content))


@pytest.mark.parametrize("name", ["structures.parquet", "references.parquet"])
def test_a_flipped_bit_in_any_page_of_a_table_is_seen(folder: Path, name: str) -> None:
    """As of a disk or a copy that went wrong; what lies between the pages is the footer and their headers."""
    file, generator = folder / name, np.random.default_rng(0)
    whole, footer = file.read_bytes(), pq.read_metadata(file)
    chunks = [footer.row_group(0).column(k) for k in range(footer.num_columns)]
    for chunk in generator.choice(np.array(chunks, dtype=object), 40):
        begin = chunk.dictionary_page_offset or chunk.data_page_offset
        damaged = bytearray(whole)
        damaged[begin + chunk.total_compressed_size - 1] ^= 1  # the last byte of its last page
        file.write_bytes(damaged)
        ran = rescored(folder, "--preset", "paper")
        assert ran.exit_code == 1, chunk.path_in_schema
        assert str(file) in ran.output


def test_a_name_keeps_its_settings(folder: Path) -> None:
    assert rescored(folder, "--preset", "paper", "--name", "mine").exit_code == 0
    ran = rescored(folder, "--preset", "smact4", "--name", "mine")
    assert ran.exit_code == 1
    assert "already has scores called 'mine'" in ran.output


def test_another_folder_is_refused(tmp_path: Path) -> None:
    ran = rescored(tmp_path, "--preset", "paper")
    assert ran.exit_code == 1
    assert "crystalsweep evaluate" in ran.output
