"""Copies looked for in parts: the same answers as all at once, few crystals in memory, and tables written in parts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from crystalsweep.data import load_bundled
from crystalsweep.evaluation import whole_table
from crystalsweep.evaluation.run import (
    REFERENCES_FILE,
    ROWS,
    STRUCTURES,
    open_folder,
    run_evaluation,
    write_results,
    write_tables,
)
from crystalsweep.evaluation.spread import Tables, Workers
from crystalsweep.evaluation.structures import SCORED
from crystalsweep.evaluation.whole_table import unique_within_conditions
from crystalsweep.metrics.settings import MetricConfig
from crystalsweep.metrics.uniqueness import kinds
from crystalsweep.structures.crystal import Crystal

DUPLICATE = MetricConfig().duplicate
CONDITIONS = [(mask, sigma) for mask in ("species", "random15") for sigma in (0.0, 0.1)]


def noisy(crystal: Crystal, sigma: float, seed: int) -> Crystal:
    noise = np.random.default_rng(seed).normal(scale=sigma, size=(len(crystal), 3))
    return Crystal.of(
        crystal.id, crystal.species, crystal.lattice, crystal.frac + noise @ np.linalg.inv(crystal.lattice)
    )


@pytest.fixture(scope="module")
def made() -> tuple[pd.DataFrame, list[Crystal]]:
    """Rows of four conditions in turn: copies, other compositions, and some that cannot be compared."""
    parents = [crystal for crystal in load_bundled()[::100] if 2 <= len(crystal) <= 6][:8]
    crystals, rows = [], []
    for seed in range(4):
        for parent in parents:
            for mask, sigma in CONDITIONS:
                broken = seed == 1 and len(crystals) % 3 == 0
                crystals.append(noisy(parent, np.nan if broken else 0.3 * sigma, seed))
                rows.append((mask, sigma))
    return pd.DataFrame(rows, columns=["mask_type", "sigma_noise"]), crystals


@pytest.mark.parametrize("at_once", [1, 7, 10_000])
def test_parts_say_what_a_whole_condition_says(
    made: tuple[pd.DataFrame, list[Crystal]], monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    table, crystals = made
    monkeypatch.setattr(whole_table, "CRYSTALS_PER_PART", at_once)
    most, species = 0, [crystal.species for crystal in crystals]

    def of(rows: whole_table.Indices) -> Sequence[Crystal]:
        nonlocal most
        most = max(most, len(rows))
        return [crystals[i] for i in rows]

    found = unique_within_conditions(table, species, of, DUPLICATE)
    for rows in table.groupby(["mask_type", "sigma_noise"]).indices.values():
        whole = kinds([crystals[i] for i in rows], DUPLICATE)
        np.testing.assert_array_equal(found["unique"][rows], whole.unique)
        assert found["unique_undecided"][rows].tolist() == whole.undecided
    assert 0 < found["unique"].sum() < len(table)
    assert most < len(table) / len(CONDITIONS), "crystals of several compositions were made together"


class Written:
    """A task whose parts differ in what is known: no reason, some, and no number."""

    def score(self, part: int) -> Tables:
        model = pd.DataFrame(
            {
                "parent": [f"{part}-{row}" for row in range(3)],
                "failure": ["", "no atoms", ""] if part else [""] * 3,
                "rmsd": [np.nan] * 3 if part == 1 else [0.25, np.nan, 1e-9],
                "matched": [True, False, None] if part == 2 else [True] * 3,
                "n_atoms": [1, 2, 3],
                "species_after": pd.Series([np.arange(1, row + 2) for row in range(3)], dtype=object),
                "frac_before": pd.Series([np.arange(3.0 * row + 3) for row in range(3)], dtype=object),
            }
        )
        scores = model[["parent", "matched", "n_atoms"]]
        return {"ceiling": scores.assign(novel=0.5), "identity": scores.assign(noise=float(part)), "model": model}


def test_tables_written_part_by_part_are_the_tables(tmp_path: Path) -> None:
    open_folder(tmp_path, {"what": "test"})
    read = run_evaluation(Written(), [0, 1, 2], [3, 3, 3], tmp_path, Workers())["model"]
    assert (tmp_path / ROWS).exists()
    assert set(Written().score(0)["model"]) - set(read) == {"frac_before"} & set(SCORED)
    unique = pd.DataFrame({"unique": np.arange(9) / 8, "unique_undecided": ["", "why", ""] * 3})
    added = {"ceiling": unique, "identity": unique[[]], "model": unique}
    write_results(tmp_path, "model", added)
    made = [Written().score(part) for part in range(3)]
    whole = {name: pd.concat([part[name] for part in made], ignore_index=True).join(added[name]) for name in added}
    (tmp_path / "whole").mkdir()
    write_tables(tmp_path / "whole", whole.pop("model"), whole)
    for name in (STRUCTURES, REFERENCES_FILE):
        one, other = pd.read_parquet(tmp_path / name), pd.read_parquet(tmp_path / "whole" / name)
        pd.testing.assert_frame_equal(one, other, check_exact=True)
