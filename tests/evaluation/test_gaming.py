"""Generators that game a metric, through the whole evaluation: none outranks one that learnt for some seconds."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from crystalsweep.data import load_data
from crystalsweep.evaluation.models import reference_rows
from crystalsweep.evaluation.outcome import Figure, figures, metrics_of
from crystalsweep.evaluation.protocol import blocks
from crystalsweep.evaluation.results import named_tables
from crystalsweep.evaluation.run import open_folder, run_evaluation
from crystalsweep.evaluation.scoring import Protocol
from crystalsweep.evaluation.settings import EnergyConfig, EvaluationSettings
from crystalsweep.evaluation.spread import Tables, Workers
from crystalsweep.evaluation.whole_table import whole_table_columns
from crystalsweep.hyperparameters import EvaluationConfig
from crystalsweep.metrics import Baseline
from crystalsweep.metrics.flags import flags
from crystalsweep.metrics.novelty import Reference
from crystalsweep.metrics.summary import METRICS
from crystalsweep.networks.architectures import PaiNNConfig
from crystalsweep.networks.models import Generator
from crystalsweep.structures.crystal import Crystal
from crystalsweep.training.local import LocalSession
from crystalsweep.training.loop import fit
from trainables.pretrain.config import PretrainConfig
from trainables.pretrain.train import build

DATA = load_data("bundled")
TRAIN = [crystal for crystal in DATA.train if 2 <= len(crystal) <= 8][:800]
POOL = TRAIN[:100]
"""What copies are taken from, and what crystals are new against."""
TEST = [crystal for crystal in DATA.test if 2 <= len(crystal) <= 8]
SETTINGS = EvaluationSettings(
    protocol=EvaluationConfig(sigma_noise=(0.1,), draws=1, max_crystals=25), energies=EnergyConfig(calculator="none")
)
COUNTS = dict(Counter(int(z) for crystal in TRAIN for z in crystal.species))
ALUMINIUM, COPPER, OXYGEN = 13, 29, 8


def evaluated(restorer: Generator | Baseline, folder: Path, references: dict[str, Baseline]) -> Tables:
    """All tables of an evaluation, with the columns that it adds."""
    parts = blocks(TEST, SETTINGS.protocol)
    open_folder(folder, {"what": folder.name})
    task = Protocol(
        restorer=restorer,
        references=references,
        settings=SETTINGS,
        reference=Reference(POOL),
        train_counts=COUNTS,
    )
    tables = run_evaluation(task, parts, [len(part.cases) for part in parts], folder, Workers())
    parents = list({case.parent.id: case.parent for part in parts for case in part.cases}.values())
    return named_tables(whole_table_columns(tables, SETTINGS.metrics, parents), folder.name)


# Generators that game a metric


def always_the_same(original: Crystal, corrupted: Crystal) -> Crystal:  # noqa: ARG001
    """One good crystal whatever the input."""
    return TRAIN[0]


def alloy(original: Crystal, corrupted: Crystal) -> Crystal:  # noqa: ARG001
    """Metals in turn, exempt from charge neutrality."""
    return replace(corrupted, species=np.arange(len(corrupted)) % 2 * (COPPER - ALUMINIUM) + ALUMINIUM)


def cube(original: Crystal, corrupted: Crystal) -> Crystal:  # noqa: ARG001
    """One atom, which no other is too near to."""
    return Crystal.of("cube", [COPPER], 3 * np.eye(3), [[0, 0, 0]])


def copy(original: Crystal, corrupted: Crystal) -> Crystal:  # noqa: ARG001
    """A training crystal with as many atoms as the input."""
    alike = [crystal for crystal in POOL if len(crystal) == len(corrupted)]
    return alike[int(1e6 * corrupted.frac.sum()) % len(alike)]


def never_restored(original: Crystal, corrupted: Crystal) -> Crystal:  # noqa: ARG001
    """Perfect positions and one atom always wrong: Eq. 5 is 1."""
    species = original.species.copy()
    species[0] = OXYGEN if species[0] != OXYGEN else OXYGEN + 8
    return replace(original, species=species)


GIVEN_AWAY_BY = {
    always_the_same: ["another number of atoms", "1 distinct composition in"],
    alloy: ["100% of its crystals are alloys or elements", "of the visible atoms"],
    cube: ["crystals could not be scored: another number of atoms", "1 distinct composition in"],
    copy: ["are copies of training crystals", "have another cell", "of the visible atoms"],
    never_restored: ["structural similarity is undefined", "Eq. 5 reads 1.000"],
}
CHEATS = pytest.mark.parametrize("cheat", GIVEN_AWAY_BY, ids=lambda cheat: cheat.__name__)


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    """A small PaiNN after some seconds of training, with the reference rows."""
    config = PretrainConfig(
        backbone=PaiNNConfig(width=32, layers=2, radial_functions=8, cutoff=4.0, max_neighbours=8),
        evaluation=EvaluationConfig(mask_types=("species",), sigma_noise=(0.1,), draws=1, max_crystals=2),
        batch_size=16,
        learning_rate=1e-2,
        schedule="cosine",
        epochs=6,
        stable_only=False,
    )
    folder = tmp_path_factory.mktemp("honest")
    session = LocalSession(folder / "run", device="cpu", progress=False)
    stage = build(config, replace(DATA, train=TRAIN, val=TEST[:4]), session, {})
    fit(stage, session)
    generator = stage.models["generator"]
    assert isinstance(generator, Generator)
    return evaluated(generator, folder / "honest", reference_rows(COUNTS))


@pytest.fixture(scope="module")
def gamed(honest: Tables, tmp_path_factory: pytest.TempPathFactory) -> dict[Baseline, Tables]:
    """Every cheat, with the true crystals of the same protocol."""
    folder = tmp_path_factory.mktemp("gamed")
    rows = {row: table for row, table in honest.items() if row in reference_rows(COUNTS)}
    return {cheat: evaluated(cheat, folder / cheat.__name__, {}) | rows for cheat in GIVEN_AWAY_BY}


def row(table: pd.DataFrame) -> dict[str, Figure]:
    return figures(table, metrics_of(SETTINGS.metrics))


def better(one: Figure, other: Figure) -> bool:
    """Whether intervals say so."""
    return one.low is not None and other.high is not None and one.low > other.high


def test_the_tables_have_what_flags_look_at(gamed: dict[Baseline, Tables]) -> None:
    for cheat, tables in gamed.items():
        columns = {"unique", "novel_vs_reference", "density", "species_after", "lattice_after", "matched"}
        assert columns <= set(tables[cheat.__name__]), cheat.__name__


@CHEATS
def test_a_cheat_does_not_outrank_an_honest_model(
    cheat: Baseline, gamed: dict[Baseline, Tables], honest: Tables
) -> None:
    learnt, found = row(honest["honest"]), row(gamed[cheat][cheat.__name__])
    assert found["score"].high < learnt["score"].mean
    shared = [metric.name for metric in METRICS if metric.name in found]
    assert any(better(learnt[name], found[name]) for name in shared), "undefined ones do not count here"


@CHEATS
def test_a_cheat_matches_no_parent(cheat: Baseline, gamed: dict[Baseline, Tables], honest: Tables) -> None:
    assert row(gamed[cheat][cheat.__name__])["match_rate"].mean < 0.01 < row(honest["honest"])["match_rate"].mean


@CHEATS
def test_a_cheat_is_named_for_what_gave_it_away(cheat: Baseline, gamed: dict[Baseline, Tables]) -> None:
    found = flags(gamed[cheat])
    for expected in GIVEN_AWAY_BY[cheat]:
        assert any(expected in sentence for sentence in found[cheat.__name__]), (expected, found[cheat.__name__])
    assert found["ceiling"] == []


def test_an_honest_model_is_told_only_that_it_restores_few(honest: Tables) -> None:
    found = flags(honest)
    assert all("restores the composition of" in sentence for sentence in found["honest"]), found["honest"]


def test_one_crystal_for_all_is_unique_once_under_each_condition(gamed: dict[Baseline, Tables]) -> None:
    for cheat in (always_the_same, cube):
        table = gamed[cheat][cheat.__name__]
        assert table.groupby(["mask_type", "sigma_noise"])["unique"].sum().eq(1).all()


def test_copies_are_not_new(gamed: dict[Baseline, Tables], honest: Tables) -> None:
    assert row(gamed[copy]["copy"])["novel_vs_reference"].mean == 0
    assert row(honest["honest"])["novel_vs_reference"].mean > 0.9


def test_the_trap_of_equation_5_is_no_headline(gamed: dict[Baseline, Tables], honest: Tables) -> None:
    trapped = row(gamed[never_restored]["never_restored"])
    assert trapped["paper_eq5"].mean == 1 > row(honest["honest"])["paper_eq5"].mean
    assert "structural_similarity" not in trapped


def test_single_metrics_can_be_gamed(gamed: dict[Baseline, Tables], honest: Tables) -> None:
    """Why there are flags: validity alone would crown alloys."""
    fraud, learnt = row(gamed[alloy]["alloy"]), row(honest["honest"])
    assert fraud["compositional_validity"].mean == 1 > learnt["compositional_validity"].mean
