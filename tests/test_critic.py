"""The critic: what it minimises, that its generator stays as it is, what it is asked, and what its answer changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from crystalsweep.data import DataSet, load_data
from crystalsweep.inference.decoding.choosing import choose
from crystalsweep.inference.decoding.filling import fill
from crystalsweep.inference.decoding.judging import judged
from crystalsweep.inference.decoding.settings import DecodeConfig
from crystalsweep.inference.restorer import load
from crystalsweep.losses.critic import critic_loss
from crystalsweep.networks.architectures import PaiNNConfig
from crystalsweep.networks.checkpoint import load_critic, load_generator
from crystalsweep.networks.models import Critic, Generator, Judgement, one_hot, pristine_graph_of
from crystalsweep.structures.batch import collate, is_stable
from crystalsweep.structures.crystal import MASK, Crystal
from crystalsweep.training.local import LocalSession, train_here
from trainables.critic.choosing import chosen_species, surest
from trainables.critic.config import CriticConfig
from trainables.critic.train import CriticStage, build
from trainables.pretrain.config import PretrainConfig

BACKBONE = PaiNNConfig(width=16, layers=2, radial_functions=8, cutoff=4.0, max_neighbours=8)
CONFIG = CriticConfig(backbone=BACKBONE, batch_size=16, learning_rate=3e-3, epochs=2)


@pytest.fixture(scope="module")
def data() -> DataSet:
    bundled = load_data("bundled")
    small = [crystal for crystal in bundled.train if is_stable(crystal) and 2 <= len(crystal) <= 6]
    return replace(bundled, train=small[:48], val=small[48:72])


@pytest.fixture(scope="module")
def generator(data: DataSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("generator")
    config = PretrainConfig(backbone=BACKBONE, epochs=1, learning_rate=3e-3)
    return train_here("pretrain", config, data, {}, LocalSession(folder, device="cpu", progress=False))


def stage(data: DataSet, generator: Path, folder: Path, config: CriticConfig = CONFIG) -> CriticStage:
    return build(config, data, LocalSession(folder, device="cpu", progress=False), {"generator": generator})


def trained(
    data: DataSet, generator: Path, folder: Path, config: CriticConfig = CONFIG, *, resume: bool = False
) -> Path:
    session = LocalSession(folder, device="cpu", progress=False, resume=resume)
    return train_here("critic", config, data, {"generator": generator}, session)


def masked(crystal: Crystal, *atoms: int) -> Crystal:
    species = crystal.species.copy()
    species[list(atoms)] = MASK
    return Crystal.of(crystal.id, species, crystal.lattice, crystal.frac)


# The loss


def judgement(crystal: list[float], site: list[float]) -> Judgement:
    return Judgement(torch.tensor(crystal), torch.tensor(site, dtype=torch.float32))


def bools(*values: int) -> Tensor:
    return torch.tensor(values, dtype=torch.bool)


def test_the_loss_of_a_critic_that_knows_nothing_is_log_two() -> None:
    nothing = judgement([0.0, 0.0], [0.0] * 4)
    loss = critic_loss(nothing, nothing, bools(1, 1, 1, 0), bools(1, 0, 1, 0), bools(1, 1))
    assert [float(part) for part in loss] == pytest.approx([np.log(2)] * 3)


def test_the_loss_falls_when_true_is_called_true_and_replaced_replaced() -> None:
    sites, replaced = bools(1, 1, 0), bools(1, 0, 0)
    right = critic_loss(judgement([9.0], [9, 9, 0]), judgement([-9.0], [-9, 9, 0]), sites, replaced, bools(1))
    wrong = critic_loss(judgement([-9.0], [-9, -9, 0]), judgement([9.0], [9, -9, 0]), sites, replaced, bools(1))
    assert all(float(part) < 1e-3 for part in right)
    assert all(float(part) > 8 for part in wrong)


def test_pairs_that_are_alike_and_visible_sites_count_for_nothing() -> None:
    true, chosen = judgement([1.0, 5.0], [1, 2, 7]), judgement([-1.0, -5.0], [-1, 3, 7])
    other_true, other_chosen = judgement([1.0, -9.0], [1, 2, -7]), judgement([-1.0, 9.0], [-1, 3, -7])
    given = bools(1, 1, 0), bools(1, 0, 0), bools(1, 0)
    assert critic_loss(true, chosen, *given) == critic_loss(other_true, other_chosen, *given)
    none = critic_loss(true, chosen, bools(0, 0, 0), bools(0, 0, 0), bools(0, 0))
    assert [float(part) for part in none] == [0.0] * 3


# The network


def test_a_supercell_has_a_multiple_of_the_logit_and_visible_atoms_add_nothing(data: DataSet) -> None:
    torch.manual_seed(0)
    critic, crystal = Critic(BACKBONE).eval(), data.train[0]
    n = len(crystal)
    twice = Crystal.of(
        "twice",
        np.tile(crystal.species, 2),
        crystal.lattice * [[2], [1], [1]],
        np.concatenate([crystal.frac, crystal.frac + np.array([1, 0, 0])]) / [2, 1, 1],
    )

    def logit(of: Crystal, hidden: list[bool]) -> float:
        batch = collate([of])
        graph = pristine_graph_of(batch, BACKBONE)
        return float(critic(one_hot(batch.species), graph, torch.tensor(hidden)).crystal.detach())

    first = [True] + [False] * (n - 1)
    assert logit(twice, first * 2) == pytest.approx(2 * logit(crystal, first), rel=1e-4)
    assert logit(crystal, [False] * n) == 0.0


# Choosing


def test_the_surest_open_sites_are_filled_first() -> None:
    logits = torch.zeros(7, 118)
    logits[torch.arange(7), 0] = torch.tensor([1.0, 5.0, 3.0, 9.0, 2.0, 4.0, 8.0])
    crystal, left = torch.tensor([0, 0, 0, 0, 1, 1, 1]), bools(1, 1, 1, 0, 1, 1, 0)
    assert surest(logits, left, crystal, 2, 2).tolist() == [False, True, True, False, False, True, False]
    assert surest(logits, left, crystal, 2, 1).tolist() == left.tolist()


def test_choices_leave_visible_sites_and_repeat(data: DataSet, generator: Path, tmp_path: Path) -> None:
    made, network = stage(data, generator, tmp_path), load_generator(generator)
    task = made.prepare(collate(data.train[:16]), 0, 0)
    logits = network(one_hot(task.corrupted.species), task.graph).logits

    def choice(share: float, seed: int) -> Tensor:
        random, drawn = torch.Generator().manual_seed(seed), torch.full((16,), share < 1)
        chain = chosen_species(
            network, task.corrupted, task.graph, logits, passes=1, drawn=drawn, temperature=1.0, random=random
        )
        return chain.species

    hidden, true = task.corrupted.masked, task.corrupted.pristine.species
    likeliest = choice(1.0, 0)
    assert (likeliest[~hidden] == true[~hidden]).all()
    assert (likeliest[hidden] == logits.argmax(dim=-1)[hidden] + 1).all()
    assert torch.equal(choice(0.0, 1), choice(0.0, 1))
    assert not torch.equal(choice(0.0, 1), choice(0.0, 2))
    assert (choice(0.0, 1) > 0).all()


# The stage


def test_it_learns_and_leaves_the_generator_as_it_is(data: DataSet, generator: Path, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"epochs": 30, "argmax_share": 0.0})
    torch.manual_seed(0)
    made = stage(data, generator, tmp_path / "untrained", config)
    assert made.validate()["val/pair_accuracy"] < 0.75
    checkpoint = trained(data, generator, tmp_path / "critic", config)
    after = stage(data, generator, tmp_path / "again", config)
    critic = load_critic(checkpoint)
    assert critic is not None
    after.models["critic"].load_state_dict(critic.state_dict())
    measured = after.validate()
    assert measured["val/pair_accuracy"] > 0.75
    assert measured["val/pairs"] >= 20
    before, beside = load_generator(generator).state_dict(), load_generator(checkpoint).state_dict()
    assert all(torch.equal(before[name], beside[name]) for name in before)


def test_a_resumed_critic_is_the_uninterrupted_one(data: DataSet, generator: Path, tmp_path: Path) -> None:
    whole = trained(data, generator, tmp_path / "whole")
    trained(data, generator, tmp_path / "half", CONFIG.model_copy(update={"epochs": 1}))
    resumed = trained(data, generator, tmp_path / "half", resume=True)
    for name in ("critic", "generator"):
        one, other = (folder / f"{name}.safetensors" for folder in (whole, resumed))
        assert one.read_bytes() == other.read_bytes()


def test_it_needs_a_generator(data: DataSet, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="give the one that it is to judge"):
        build(CONFIG, data, LocalSession(tmp_path, device="cpu", progress=False), {})


# The judge


@pytest.fixture(scope="module")
def networks(generator: Path) -> tuple[Generator, Critic]:
    torch.manual_seed(5)
    critic = Critic(BACKBONE).eval()
    with torch.no_grad():
        list(critic.head.modules())[-1].weight.mul_(30)  # type: ignore[operator, union-attr]
    return load_generator(generator), critic


def test_candidates_are_ranked_by_both(data: DataSet, networks: tuple[Generator, Critic]) -> None:
    partials = [masked(crystal, 0, 1) for crystal in data.val[:6]]
    config = DecodeConfig(candidates=12)
    alone = fill(networks[0], partials, config)
    for weight in (0.0, 0.5, 1e6):
        for before, after in zip(
            alone, judged(*networks, partials, alone, DecodeConfig(critic_weight=weight)), strict=True
        ):
            ranks = [filling.log_probability + weight * filling.verdict for filling in after]
            assert ranks == sorted(ranks, reverse=True)
            assert {f.species.tobytes() for f in before} == {f.species.tobytes() for f in after}
            if weight == 0:
                assert [f.species.tolist() for f in before] == [f.species.tolist() for f in after]
            if weight == 1e6:
                assert after[0].verdict == max(filling.verdict for filling in after)


def test_a_verdict_is_of_the_crystal_alone(data: DataSet, networks: tuple[Generator, Critic]) -> None:
    partials = [masked(crystal, 0) for crystal in data.val[:4]]
    config = DecodeConfig(candidates=3, critic_weight=1.0)
    together = judged(*networks, partials, fill(networks[0], partials, config), config)
    for partial, fillings in zip(partials, together, strict=True):
        alone = judged(*networks, [partial], fill(networks[0], [partial], config), config)[0]
        assert [f.verdict for f in alone] == pytest.approx([f.verdict for f in fillings], abs=1e-4)


def test_neutral_ones_stay_first_where_preferred(data: DataSet, networks: tuple[Generator, Critic]) -> None:
    partials = [masked(crystal, 0, 1) for crystal in data.val[:6]]
    config = DecodeConfig(candidates=12, charge="prefer", critic_weight=3.0)
    for fillings in choose(networks[0], partials, config, critic=networks[1]):
        neutral = [filling.neutral for filling in fillings]
        assert neutral == sorted(neutral, reverse=True)


def test_asking_a_critic_that_is_not_there_says_how_to_get_one(
    data: DataSet, networks: tuple[Generator, Critic]
) -> None:
    with pytest.raises(ValueError, match=r"has no critic; train one with `crystalsweep train critic"):
        choose(networks[0], [masked(data.val[0], 0)], DecodeConfig(critic_weight=1.0))


def test_a_restorer_takes_the_critic_beside_its_generator(data: DataSet, generator: Path, tmp_path: Path) -> None:
    checkpoint = trained(data, generator, tmp_path, CONFIG.model_copy(update={"epochs": 1}))
    judging, plain = load(checkpoint), load(generator)
    assert plain.critic is None
    assert judging.critic is not None
    partial = masked(data.val[0], 0)
    done = judging.complete(partial, decode=DecodeConfig(critic_weight=1.0))
    assert any(candidate.verdict for candidate in done.candidates)
    ranks = [candidate.log_probability + candidate.verdict for candidate in done.candidates]
    assert ranks == sorted(ranks, reverse=True)
    probabilities = [candidate.probability for candidate in done.candidates]
    assert probabilities == sorted(probabilities, reverse=True)
    unjudged = judging.complete(partial, decode=DecodeConfig())
    assert sum(probabilities) == pytest.approx(sum(candidate.probability for candidate in unjudged.candidates))
