"""Generators that game a metric, run through the protocol: each is named, none outranks one that learnt a little."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Structure

from crystalsweep.data import load_data
from crystalsweep.evaluation.protocol import evaluate_baseline, evaluate_chunks, evaluation_chunks
from crystalsweep.hyperparameters import EvaluationConfig
from crystalsweep.metrics import Baseline, ground_truth, most_common_species
from crystalsweep.metrics.distributions import density_of
from crystalsweep.metrics.flags import flags
from crystalsweep.metrics.summary import headline, ranking_score
from crystalsweep.networks.architectures import PaiNNConfig
from crystalsweep.structures.crystal import MASK, Crystal
from crystalsweep.training.local import LocalSession
from crystalsweep.training.loop import fit
from trainables.pretrain.config import PretrainConfig
from trainables.pretrain.train import build

DATA = load_data("bundled")
TRAIN = [crystal for crystal in DATA.train if 2 <= len(crystal) <= 8][:800]
POOL = TRAIN[:100]
"""What copies are taken from."""
VAL = [crystal for crystal in DATA.val if 2 <= len(crystal) <= 8]
PROTOCOL = EvaluationConfig(sigma_noise=(0.1,), draws=1, max_crystals=40)
ALUMINIUM, COPPER, OXYGEN = 13, 29, 8


def scored(baseline: Baseline, reference: Sequence[Crystal] = ()) -> pd.DataFrame:
    """The protocol's rows with the columns that an evaluation adds."""
    pairs: list[tuple[Crystal, Crystal]] = []

    def remember(original: Crystal, corrupted: Crystal) -> Crystal:
        pairs.append((original, baseline(original, corrupted)))
        return pairs[-1][1]

    table = evaluate_baseline(remember, VAL, PROTOCOL)
    columns = {
        "species_before": [original.species.tolist() for original, _ in pairs],
        "species_after": [generated.species.tolist() for _, generated in pairs],
        "lattice_before": [original.lattice.ravel().tolist() for original, _ in pairs],
        "lattice_after": [generated.lattice.ravel().tolist() for _, generated in pairs],
        "density": [density_of(generated) for _, generated in pairs],
    }
    if reference:
        columns["novel_vs_reference"] = [float(not matches_any(generated, reference)) for _, generated in pairs]
    return table.assign(**columns)


def matches_any(crystal: Crystal, reference: Sequence[Crystal]) -> bool:
    alike = [known for known in reference if known.reduced_formula == crystal.reduced_formula]
    return any(StructureMatcher().fit(structure(crystal), structure(known)) for known in alike)


def structure(crystal: Crystal) -> Structure:
    return Structure(crystal.lattice, crystal.species, crystal.frac)


# Generators that game a metric


def always_the_same(original: Crystal, corrupted: Crystal) -> Crystal:  # noqa: ARG001
    """One good crystal whatever the input."""
    return TRAIN[0]


def same_composition(original: Crystal, corrupted: Crystal) -> Crystal:  # noqa: ARG001
    """The same with the number of atoms right: copper on every site."""
    return replace(corrupted, species=np.full(len(corrupted), COPPER))


def alloys(original: Crystal, corrupted: Crystal) -> Crystal:  # noqa: ARG001
    """Metals in turn, exempt from charge neutrality."""
    return replace(corrupted, species=np.arange(len(corrupted)) % 2 * (COPPER - ALUMINIUM) + ALUMINIUM)


def cube(original: Crystal, corrupted: Crystal) -> Crystal:  # noqa: ARG001
    """One atom, which no other is too near to."""
    return Crystal.of("cube", [COPPER], 3 * np.eye(3), [[0, 0, 0]])


def copies(original: Crystal, corrupted: Crystal) -> Crystal:  # noqa: ARG001
    """A training crystal with as many atoms as the input."""
    alike = [crystal for crystal in POOL if len(crystal) == len(corrupted)]
    return alike[int(1e6 * corrupted.frac.sum()) % len(alike)]


def never_restored(original: Crystal, corrupted: Crystal) -> Crystal:  # noqa: ARG001
    """Perfect positions and one atom always wrong: Eq. 5 is 1 as it was for any other positions."""
    species = original.species.copy()
    species[0] = OXYGEN if species[0] != OXYGEN else OXYGEN + 8
    return replace(original, species=species)


def huge(original: Crystal, corrupted: Crystal) -> Crystal:  # noqa: ARG001
    """Atoms so far apart that all distances are long."""
    filled = np.where(corrupted.species == MASK, OXYGEN, corrupted.species)
    return replace(corrupted, species=filled, lattice=10 * corrupted.lattice)


def not_a_number(original: Crystal, corrupted: Crystal) -> Crystal:  # noqa: ARG001
    return replace(corrupted, frac=np.full_like(corrupted.frac, np.nan))


GIVEN_AWAY_BY = {
    always_the_same: ["another number of atoms", "1 distinct composition in 184 crystals made from 40 parents"],
    same_composition: ["1 distinct composition in 184", "alloys or elements", "of the visible atoms"],
    alloys: ["100% of its crystals are alloys or elements", "of the visible atoms"],
    cube: ["184 of 184 crystals could not be scored: another number of atoms", "1 distinct composition"],
    copies: ["are copies of training crystals", "have another cell", "of the visible atoms"],
    never_restored: ["of 0 of 184 crystals: structural similarity is undefined", "Eq. 5 reads 1.000"],
    huge: ["184 of 184 crystals have another cell", "density outside 0.1–25 g/cm³"],
    not_a_number: ["184 of 184 crystals could not be scored: non-finite coordinates"],
}


@pytest.fixture(scope="module")
def ceiling() -> pd.DataFrame:
    return scored(ground_truth, POOL)


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """A small PaiNN after some seconds of training."""
    config = PretrainConfig(
        backbone=PaiNNConfig(width=32, layers=2, radial_functions=8, cutoff=4.0, max_neighbours=8),
        evaluation=EvaluationConfig(mask_types=("species",), sigma_noise=(0.1,), draws=1, max_crystals=2),
        batch_size=16,
        learning_rate=1e-2,
        schedule="cosine",
        epochs=12,
        stable_only=False,
    )
    session = LocalSession(tmp_path_factory.mktemp("honest"), device="cpu", progress=False)
    stage = build(config, replace(DATA, train=TRAIN, val=VAL[:4]), session, {})
    fit(stage, session)
    chunks = evaluation_chunks(VAL, PROTOCOL)
    return evaluate_chunks(stage.models["generator"], chunks, PROTOCOL.keep_known)  # type: ignore[arg-type]


@pytest.mark.parametrize("cheat", GIVEN_AWAY_BY, ids=lambda cheat: cheat.__name__)
def test_a_gaming_generator_is_named_for_what_gave_it_away(cheat: Baseline, ceiling: pd.DataFrame) -> None:
    found = flags({"model": scored(cheat, POOL if cheat is copies else ()), "ceiling": ceiling})
    for expected in GIVEN_AWAY_BY[cheat]:
        assert any(expected in sentence for sentence in found["model"]), (expected, found["model"])
    assert all(sentence.endswith(".") and any(c.isdigit() for c in sentence) for sentence in found["model"])
    assert found["ceiling"] == []


def test_no_gaming_generator_outranks_one_that_learnt_for_seconds(honest: pd.DataFrame) -> None:
    learnt = ranking_score(honest)
    for cheat in GIVEN_AWAY_BY:
        gamed = ranking_score(scored(cheat))
        assert gamed.high < learnt.mean, cheat.__name__


def test_alloys_do_outrank_it_in_single_metrics(honest: pd.DataFrame) -> None:
    """Why flags are needed: validity alone would crown them."""
    gamed, learnt = headline(scored(alloys)), headline(honest)
    assert gamed["compositional_validity"].mean > learnt["compositional_validity"].mean
    assert gamed["structural_validity"].mean >= learnt["structural_validity"].mean - 0.02


def test_the_truth_gets_no_flag_under_any_name(ceiling: pd.DataFrame) -> None:
    assert flags({"a model as good as it gets": ceiling.copy(), "ceiling": ceiling}) == {
        "a model as good as it gets": [],
        "ceiling": [],
    }


def test_an_honest_model_is_told_only_that_it_restores_few(honest: pd.DataFrame, ceiling: pd.DataFrame) -> None:
    found = flags({"model": honest, "ceiling": ceiling})["model"]
    assert all("restores the composition of" in sentence for sentence in found)


def test_filling_in_the_most_common_element_is_told_only_that_it_restores_few(ceiling: pd.DataFrame) -> None:
    table = scored(most_common_species({OXYGEN: 1}), POOL)
    found = flags({"most common": table, "ceiling": ceiling})["most common"]
    assert all("restores the composition of" in sentence for sentence in found), found


def test_more_valid_than_real_crystals_is_suspicious(ceiling: pd.DataFrame) -> None:
    real = ceiling.assign(compositional_validity=np.arange(len(ceiling)) % 2 == 0)
    found = flags({"model": ceiling.assign(compositional_validity=True), "ceiling": real})
    assert any("Compositional validity is above that of the true crystals by 0." in s for s in found["model"])
    assert flags({"model": ceiling.assign(compositional_validity=True)})["model"] == []


def test_duplicates_show_in_the_column_unique_too(ceiling: pd.DataFrame) -> None:
    light = ceiling.drop(columns=["species_after", "species_before"]).assign(unique=False)
    light.loc[0, "unique"] = True
    assert flags({"model": light})["model"] == ["1 distinct crystal among 184 made from 40 parents."]


def test_crystals_without_an_original_are_not_held_against_themselves(ceiling: pd.DataFrame) -> None:
    table, none = scored(alloys), np.zeros(0, dtype=np.int64)
    lone = table.assign(species_before=[none] * len(table))
    assert not any("alloys" in sentence for sentence in flags({"file": lone, "ceiling": ceiling})["file"])
    half = [before if i % 2 else none for i, before in enumerate(table["species_before"])]
    found = flags({"file": table.assign(species_before=half)})["file"]
    assert any("100% of its crystals are alloys or elements" in sentence for sentence in found)


def test_a_supercell_is_no_other_cell(ceiling: pd.DataFrame) -> None:
    table = ceiling.assign(
        species_after=[[*species, *species] for species in ceiling["species_after"]],
        lattice_after=[[2 * x for x in cell[:3]] + cell[3:] for cell in ceiling["lattice_after"]],
    )
    assert flags({"file": table})["file"] == []


def test_columns_of_a_table_read_from_parquet(tmp_path: Path, ceiling: pd.DataFrame) -> None:
    scored(alloys, TRAIN[:5]).to_parquet(tmp_path / "table.parquet")
    found = flags({"model": pd.read_parquet(tmp_path / "table.parquet"), "ceiling": ceiling})["model"]
    assert any("alloys or elements" in sentence for sentence in found)
