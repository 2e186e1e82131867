"""The stage in which the critic teaches: what each lesson says, who learns when, what its control arms do without."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from crystalsweep.config import override
from crystalsweep.data import DataSet, load_data
from crystalsweep.hyperparameters import EvaluationConfig
from crystalsweep.losses.preference import preference_loss
from crystalsweep.networks.architectures import PaiNNConfig
from crystalsweep.networks.checkpoint import load_critic
from crystalsweep.networks.models import Critic, one_hot
from crystalsweep.structures.batch import collate, is_stable
from crystalsweep.training.local import LocalSession, train_here
from crystalsweep.training.restoration import Task
from trainables.critic.choosing import Chain
from trainables.critic.config import CriticConfig
from trainables.pretrain.config import PretrainConfig
from trainables.teach.candidates import against_truth, candidates, ranked
from trainables.teach.config import ASKS_CRITIC, CONTROLS, PRESETS, TeachConfig, step_kinds
from trainables.teach.train import Teach, build

BACKBONE = PaiNNConfig(width=16, layers=2, radial_functions=8, cutoff=4.0, max_neighbours=8)
VALIDATION = EvaluationConfig(mask_types=("species",), sigma_noise=(0.1,), draws=1, max_crystals=4)
CONFIG = TeachConfig(
    backbone=BACKBONE,
    batch_size=16,
    learning_rate=1e-3,
    epochs=2,
    turn_steps=3,
    critic_share=1 / 3,
    candidates=4,
    audit_every=1,
    evaluation=VALIDATION,
)
LESSONS = (*CONTROLS, *ASKS_CRITIC)


@pytest.fixture(scope="module")
def data() -> DataSet:
    bundled = load_data("bundled")
    small = [crystal for crystal in bundled.train if is_stable(crystal) and 2 <= len(crystal) <= 6]
    return replace(bundled, train=small[:48], val=small[48:60])


@pytest.fixture(scope="module")
def generator(data: DataSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = PretrainConfig(backbone=BACKBONE, epochs=2, learning_rate=3e-3, evaluation=VALIDATION)
    session = LocalSession(tmp_path_factory.mktemp("generator"), device="cpu", progress=False)
    return train_here("pretrain", config, data, {}, session)


@pytest.fixture(scope="module")
def critic(data: DataSet, generator: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = CriticConfig(backbone=BACKBONE, batch_size=16, learning_rate=3e-3, epochs=2)
    session = LocalSession(tmp_path_factory.mktemp("critic"), device="cpu", progress=False)
    return train_here("critic", config, data, {"generator": generator}, session)


@pytest.fixture
def stage(data: DataSet, critic: Path, tmp_path: Path) -> Callable[..., Teach]:
    """A stage of its own for each call, with these settings."""
    folders = (tmp_path / str(i) for i in itertools.count())

    def make(*settings: str, start: Path = critic) -> Teach:
        session = LocalSession(next(folders), progress=False, device="cpu")
        return build(override(CONFIG, settings), data, session, {"generator": start})

    return make


def run(stage: Teach, steps: int, first: int = 0) -> list[dict[str, float]]:
    """Losses of these steps."""
    torch.manual_seed(0)
    taken = []
    for step in range(first, first + steps):
        batch = stage.prepare(collate(stage.train[:16]), 0, step)
        taken.append({name: float(value) for name, value in stage.step(batch, 0, step).items()})
    return taken


def weights(model: nn.Module) -> list[Tensor]:
    return [value.clone() for value in model.state_dict().values()]


def same(a: list[Tensor], b: list[Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


# Who learns when


@pytest.mark.parametrize("lesson", LESSONS)
def test_in_a_turn_the_generator_learns_and_then_the_critic(stage: Callable[..., Teach], lesson: str) -> None:
    made = stage(f"lesson={lesson}")
    generator, critic = (weights(made.models[name]) for name in ("generator", "critic"))
    first, second = run(made, 2)
    assert "loss" in first and "loss" in second
    assert not same(generator, weights(made.models["generator"]))
    assert same(critic, weights(made.models["critic"]))
    generator = weights(made.models["generator"])
    (last,) = run(made, 1, first=2)
    assert same(generator, weights(made.models["generator"]))
    assert not same(critic, weights(made.models["critic"]))
    assert "critic/loss" in last


def test_without_a_share_the_critic_stays_as_it_is(stage: Callable[..., Teach]) -> None:
    made = stage("critic_share=0")
    before = weights(made.models["critic"])
    assert all("loss" in losses for losses in run(made, 4))
    assert same(before, weights(made.models["critic"]))


def test_a_turn_must_have_a_part_for_both() -> None:
    with pytest.raises(ValueError, match="leaves 0 steps to the critic"):
        override(CONFIG, ["turn_steps=1"])


def test_a_critic_that_was_not_there_learns_first(stage: Callable[..., Teach], generator: Path) -> None:
    made = stage("critic_warmup=2", start=generator)
    before = weights(made.models["generator"])
    assert all("critic/loss" in losses for losses in run(made, 2))
    assert same(before, weights(made.models["generator"]))
    assert ["loss" in losses for losses in run(made, 3, first=2)] == [True, True, False]


@pytest.mark.parametrize("config", [CONFIG, CONFIG.model_copy(update={"critic_warmup": 4}), *PRESETS.values()])
def test_the_kinds_of_steps_are_what_a_training_takes(config: TeachConfig) -> None:
    kinds = step_kinds(config)
    assert sum(share for _, share in kinds) == pytest.approx(1)
    turn = range(config.critic_warmup, config.critic_warmup + config.turn_steps)

    def kind(step: int) -> tuple[bool, bool]:
        return config.critic_learns_at(step), not config.critic_learns_at(step) and config.audited_at(step)

    for number, share in kinds:
        assert share == pytest.approx(sum(kind(step) == kind(number) for step in turn) / len(turn))


# What is taught


@pytest.mark.parametrize("lesson", LESSONS)
def test_the_audit_shows_the_lessons_gradient(stage: Callable[..., Teach], lesson: str) -> None:
    made = stage(f"lesson={lesson}")
    run(made, 1)  # a preference has no gradient at the start where its pairs are alike, and a small one where not
    (losses,) = run(made, 1, first=1)
    if lesson == "none":
        assert losses["audit/adversarial_norm"] == 0
    else:
        assert losses["audit/adversarial_norm"] > 0
        assert abs(losses["audit/cosine"]) <= 1
    assert losses["audit/reconstruction_norm"] > 0


def test_the_gradients_ratio_is_held(stage: Callable[..., Teach]) -> None:
    (losses,) = run(stage("lesson=gradient", "gradient_ratio=0.25"), 1)
    assert losses["audit/ratio"] == pytest.approx(0.25, rel=1e-4)


def test_a_lesson_raises_what_it_teaches(stage: Callable[..., Teach]) -> None:
    """Taught by examples alone, the generator comes to choose by itself what the critic put first."""
    made = stage(
        "lesson=judged", "truth_weight=0", "w_pos=0", "critic_share=0", "temperature=0.5", "learning_rate=3e-3"
    )
    task = made.prepare(collate(made.train[:16]), 0, 0)
    losses = [float(made.step(task, 0, 0)["loss/lesson"]) for _ in range(20)]
    assert losses[-1] < 0.7 * losses[0]


def test_a_gradient_raises_the_critics_answer(stage: Callable[..., Teach]) -> None:
    made = stage("lesson=gradient", "gradient_ratio=1000", "critic_share=0", "learning_rate=3e-3", "temperature=0.5")
    task = made.prepare(collate(made.train[:16]), 0, 0)
    losses = [float(made.step(task, 0, 0)["loss/lesson"]) for _ in range(20)]
    assert losses[-1] < losses[0]


def _batch(made: Teach) -> tuple[Task, list[Chain]]:
    task = made.prepare(collate(made.train[:16]), 0, 0)
    network = made.models["generator"].eval()
    restored = network(one_hot(task.corrupted.species), task.graph)
    chains = candidates(network, task, restored.logits.detach(), made.config, torch.Generator().manual_seed(1))  # type: ignore[arg-type]
    return task, chains


def test_candidates_leave_visible_sites_and_the_first_is_the_likeliest_chain(stage: Callable[..., Teach]) -> None:
    made = stage("candidates=6", "passes=1")
    task, chains = _batch(made)
    hidden = task.corrupted.masked
    for chain in chains:
        assert torch.equal(chain.species[~hidden], task.corrupted.pristine.species[~hidden])
        assert (chain.log_probability <= chains[0].log_probability + 1e-5).all()  # in one pass it is the mode
    assert any(not torch.equal(chain.species, chains[0].species) for chain in chains[1:])


def test_the_critic_moves_the_ranking_by_its_weight(stage: Callable[..., Teach]) -> None:
    made = stage("candidates=8", "temperature=1.5", "passes=1")
    task, chains = _batch(made)
    critic = made.models["critic"].eval()
    assert isinstance(critic, Critic)
    restored = made.models["generator"](one_hot(task.corrupted.species), task.graph)

    def ends(weight: float) -> Tensor:
        return ranked(chains, task, restored, critic, made.config.model_copy(update={"critic_weight": weight})).first

    alone = ranked(chains, task, restored, None, made.config)
    assert torch.equal(ends(0.0), alone.first)
    assert torch.equal(alone.first, chains[0].species)
    assert alone.moved == 0
    assert not torch.equal(ends(1e4), alone.first)


def test_self_play_prefers_the_truth_to_the_likeliest_mistake(stage: Callable[..., Teach]) -> None:
    task, chains = _batch(stage("candidates=6", "temperature=1.5"))
    true, crystal = task.corrupted.pristine.species, task.corrupted.pristine.crystal
    ends = against_truth(chains, task)
    assert torch.equal(ends.first, true)
    for k in range(16):
        own = crystal == k
        wrong = [chain for chain in chains if not torch.equal(chain.species[own], true[own])]
        best = max(wrong, key=lambda chain: float(chain.log_probability[k])).species if wrong else true
        assert torch.equal(ends.last[own], best[own])


# The preference


def _loss(logits: Tensor, start: Tensor, better: list[int], worse: list[int], strength: float = 0.5) -> Tensor:
    masked, crystal = torch.tensor([True, True, False, True]), torch.tensor([0, 0, 0, 1])
    return preference_loss(
        logits, start, torch.tensor(better), torch.tensor(worse), masked, crystal, size=2, strength=strength
    )


def test_a_preference_is_that_of_its_equation() -> None:
    torch.manual_seed(0)
    logits, start = torch.randn(4, 118), torch.randn(4, 118)
    better, worse = [3, 8, 5, 9], [3, 11, 7, 9]  # of the second crystal alike, of the first at its second atom
    risen = logits.log_softmax(-1) - start.log_softmax(-1)
    expected = np.log1p(np.exp(-0.5 * float(risen[1, 7] - risen[1, 10])))
    assert float(_loss(logits, start, better, worse)) == pytest.approx(expected, rel=1e-5)
    assert float(_loss(logits, start, better, better)) == 0.0
    assert float(_loss(start, start, better, worse)) == pytest.approx(np.log(2))


def test_a_preference_raises_the_better_and_lowers_the_worse() -> None:
    logits = torch.zeros(4, 118, requires_grad=True)
    _loss(logits, torch.zeros(4, 118), [3, 8, 5, 9], [4, 11, 7, 2]).backward()
    assert logits.grad is not None
    assert logits.grad[1, 7] < 0 < logits.grad[1, 10]
    assert (logits.grad[2] == 0).all()  # visible


# As a stage


def test_a_resumed_training_is_the_uninterrupted_one(data: DataSet, critic: Path, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"lesson": "preference", "ema_decay": 0.9})

    def taught(folder: Path, epochs: int, *, resume: bool = False) -> Path:
        session = LocalSession(folder, device="cpu", progress=False, resume=resume)
        return train_here("teach", config.model_copy(update={"epochs": epochs}), data, {"generator": critic}, session)

    whole = taught(tmp_path / "whole", 2)
    taught(tmp_path / "half", 1)
    resumed = taught(tmp_path / "half", 2, resume=True)
    for name in ("generator", "critic", "start"):
        one, other = (folder / f"{name}.safetensors" for folder in (whole, resumed))
        assert one.read_bytes() == other.read_bytes()
    assert load_critic(resumed) is not None


def test_lessons_of_its_own_need_no_critic_and_others_say_so(stage: Callable[..., Teach], generator: Path) -> None:
    for lesson in CONTROLS:
        assert "loss" in run(stage(f"lesson={lesson}", start=generator), 1)[0]
    with pytest.raises(ValueError, match="give a run of `crystalsweep train critic`"):
        stage("lesson=judged", start=generator)
