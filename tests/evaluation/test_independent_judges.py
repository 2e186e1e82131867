"""Energies and bond valences of what decoders restore: of a sample's parents, at the parent's composition."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from crystalsweep.data import load_bundled
from crystalsweep.evaluation.decoded import decoded_tables
from crystalsweep.evaluation.energy_rows import Energies
from crystalsweep.evaluation.judges import IndependentJudges, sampled_parents
from crystalsweep.evaluation.protocol import Chunk, evaluation_chunks
from crystalsweep.evaluation.settings import EnergyConfig
from crystalsweep.hyperparameters import EvaluationConfig
from crystalsweep.inference.decoding.settings import ARGMAX
from crystalsweep.networks.architectures import size
from crystalsweep.networks.models import Generator
from crystalsweep.structures.crystal import Crystal


@pytest.fixture(scope="module")
def chunks() -> list[Chunk]:
    crystals = [crystal for crystal in load_bundled("test") if 2 <= len(crystal) <= 6][:6]
    return list(evaluation_chunks(crystals, EvaluationConfig(sigma_noise=(0.1,), draws=1, max_crystals=6)))


@pytest.fixture(scope="module")
def judges(chunks: list[Chunk]) -> IndependentJudges:
    return IndependentJudges(Energies(EnergyConfig(), [], "cpu"), sampled_parents(chunks, 3, seed=1))


def test_a_sample_is_seeded_and_of_parents(chunks: list[Chunk]) -> None:
    parents = {crystal.id for chunk in chunks for crystal in chunk.originals}
    sampled = sampled_parents(chunks, 3, seed=1)
    assert len(sampled) == 3 and sampled < parents
    assert sampled == sampled_parents(chunks, 3, seed=1)
    assert sampled_parents(chunks, 99, seed=1) == parents


def test_only_what_has_the_parents_composition_gets_an_energy(chunks: list[Chunk], judges: IndependentJudges) -> None:
    chunk = chunks[0]
    exact = judges.columns(chunk, chunk.originals)
    sampled = np.array([crystal.id in judges.parents for crystal in chunk.originals])
    assert sampled.any() and not sampled.all()
    assert exact["delta_energy"].notna().to_numpy().tolist() == sampled.tolist()
    assert np.allclose(exact["delta_energy"][sampled], 0.0, atol=1e-5)
    assert exact["energy_sampled"].to_numpy().tolist() == sampled.tolist()
    other = [Crystal.of(each.id, np.full(len(each), 11), each.lattice, each.frac) for each in chunk.originals]
    assert judges.columns(chunk, other)["delta_energy"].isna().all()
    answered = exact["charges_balance"].notna() | (exact["bond_valence_failure"] != "")
    assert answered.all()


def test_tables_are_the_same_with_judges_beside(chunks: list[Chunk], judges: IndependentJudges) -> None:
    torch.manual_seed(0)
    generator = Generator(size("painn", "smoke")).eval()
    plain = decoded_tables(generator, chunks, {"one pass": ARGMAX})["one pass"]
    told = decoded_tables(generator, chunks, {"one pass": ARGMAX}, judges=judges)["one pass"]
    assert told[list(plain)].equals(plain)
    assert {"delta_energy", "energy_failure", "charges_balance"} <= set(told)
