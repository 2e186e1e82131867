"""What the gates say of trained, untrained and broken generators, and of planted leaks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from crystalsweep.data import load_bundled
from crystalsweep.evaluation.outcome import Evaluation, Figure
from crystalsweep.metrics.summary import METRICS, ROW_SCORE
from crystalsweep.networks.checkpoint import lineage, load_generator, read_backbone
from crystalsweep.networks.models import Generator, Restoration
from crystalsweep.registry.gates.gain import gain, gain_over_baselines, judged
from crystalsweep.registry.gates.leakage import Ancestor, leakage, leaks, trainings_of
from crystalsweep.registry.gates.physics import ROCK_SALT, physics
from crystalsweep.registry.gates.reproducibility import reproducibility
from crystalsweep.structures.crystal import Crystal
from crystalsweep.structures.graph import Graph


def test_rock_salt_is_rock_salt() -> None:
    assert ROCK_SALT.min_edge == pytest.approx(5.64 / 2)
    assert ROCK_SALT.reduced_formula == "11:1 17:1"


def test_a_trained_generator_passes(control: Path) -> None:
    gate = physics(load_generator(control))
    assert gate.passed, gate.reasons


def test_one_that_forgot_rock_salt_is_told_by_its_numbers(adversarial: Path) -> None:
    gate = physics(load_generator(adversarial))
    assert [check.title for check in gate.checks if not check.passed] == [
        "NaCl with one Na masked",
        "NaCl with one Cl masked",
    ]
    assert all(check.numbers["share"] < 0.5 for check in gate.checks if not check.passed)


def test_an_untrained_one_is_equivariant_and_restores_nothing(control: Path) -> None:
    torch.manual_seed(0)
    gate = physics(Generator(read_backbone(control)).eval())
    failed = [check.title for check in gate.checks if not check.passed]
    assert failed
    assert all(title.startswith("NaCl") for title in failed)


class Anchored(Generator):
    """Knows where the origin is, which no crystal tells."""

    def forward(self, species: Tensor, graph: Graph) -> Restoration:
        found = super().forward(species, graph)
        return Restoration(found.logits * (1 + 0.1 * graph.cart[:, :1]), found.perturbation)


class Leaning(Generator):
    """Pushes all atoms along x."""

    def forward(self, species: Tensor, graph: Graph) -> Restoration:
        found = super().forward(species, graph)
        return Restoration(found.logits, found.perturbation + torch.tensor([0.05, 0.0, 0.0]))


class Undefined(Generator):
    """Says nothing of crystals with one atom."""

    def forward(self, species: Tensor, graph: Graph) -> Restoration:
        found = super().forward(species, graph)
        return Restoration(found.logits * (float("nan") if len(species) == 1 else 1.0), found.perturbation)


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (Anchored, {"rotation", "2×1×1 supercell"}),
        (Leaning, {"rotation", "one-atom cells"}),
        (Undefined, {"one-atom cells"}),
    ],
)
def test_what_breaks_a_symmetry_is_named(control: Path, broken: type[Generator], told: set[str]) -> None:
    generator = broken(read_backbone(control))
    generator.load_state_dict(load_generator(control).state_dict())
    failed = {check.title for check in physics(generator.eval()).checks if not check.passed}
    assert told <= failed


def supercell(crystal: Crystal, name: str, shake: float = 0.0) -> Crystal:
    """Twice the crystal along a, its atoms moved by up to `shake`, Å."""
    lattice = np.diag([2, 1, 1]) @ crystal.lattice
    cart = np.concatenate([crystal.cart, crystal.cart + crystal.lattice[0]])
    cart = cart + np.random.default_rng(0).uniform(-shake, shake, cart.shape)
    return Crystal.of(name, np.tile(crystal.species, 2), lattice, cart @ np.linalg.inv(lattice))


@pytest.fixture(scope="module")
def train() -> list[Crystal]:
    return [crystal for crystal in load_bundled("train") if 3 <= len(crystal) <= 8][:200]


def test_planted_leaks_are_found(train: list[Crystal]) -> None:
    rotation = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    known = train[0]
    planted = [
        Crystal.of(train[3].id, [11, 17], ROCK_SALT.lattice, [[0, 0, 0], [0.5, 0.5, 0.5]]),
        Crystal.of("turned and scaled", known.species, 1.01 * known.lattice @ rotation, known.frac + 0.3),
        supercell(train[1], "repeated"),
    ]
    clean = [crystal for crystal in load_bundled("test") if len(crystal) <= 8][:100]
    found = {leak.held_out: leak.how for leak in leaks(train, [*planted, *clean])}
    assert found == {train[3].id: "id", "turned and scaled": "structure", "repeated": "structure"}


def test_a_distorted_supercell_is_found_as_one(train: list[Crystal]) -> None:
    """Shaken so much that it does not reduce to its primitive cell."""
    shaken = [supercell(crystal, f"shaken {crystal.id}", shake=0.3) for crystal in train[:30]]
    found = {leak.held_out: leak.how for leak in leaks(train, shaken)}
    assert "supercell" in found.values()


def test_the_bundled_split_has_no_leak() -> None:
    train, test = load_bundled("train"), load_bundled("test")
    gate = leakage([Ancestor(told="bundled", train=train, val=test[:50])], [], test[50:150])
    assert gate.passed
    assert gate.checks[0].numbers["train"] == len(train)


def test_a_leak_refuses_and_names_the_crystal(train: list[Crystal]) -> None:
    gate = leakage([Ancestor(told="mine", train=train, val=[])], [], [train[7]])
    assert gate.refuses
    assert train[7].id in gate.reasons[0]


def test_training_data_that_is_not_at_hand_refuses(control: Path) -> None:
    known, unknown = trainings_of(lineage([control]), [])
    assert [each.told for each in known] == ["the training crystals of bundled"]
    assert not unknown
    other = [
        {"stage": "gan", "data_sha256": "0" * 64, "split_sha256": "0" * 64},
        {"stage": "published", "file": "uma.pt"},
    ]
    known, unknown = trainings_of(other, [])
    gate = leakage(known, unknown, [])
    assert gate.refuses
    assert "--trained-on" in gate.reasons[0]
    assert "uma.pt" in gate.reasons[1]
    known, unknown = trainings_of([{"stage": "unknown"}], [])
    assert not known
    assert "does not tell what it was started from" in unknown[0]


def test_a_checkpoint_that_kept_no_lineage_says_so(control: Path, tmp_path: Path) -> None:
    content = json.loads((control / "checkpoint.json").read_text())
    assert [each["stage"] for each in lineage([control])] == ["pretrain", "finetune", "gan"]
    del content["ancestry"]
    (tmp_path / "checkpoint.json").write_text(json.dumps(content))
    assert [each["stage"] for each in lineage([tmp_path])] == ["unknown", "gan"]
    (tmp_path / "checkpoint.json").write_text(json.dumps(content | {"ancestry": [{}]}))
    with pytest.raises(ValueError, match="ancestry is not"):
        lineage([tmp_path])


def scored(restored: float, seed: int, n: int = 60) -> pd.DataFrame:
    """Rows of n parents, a share of which is restored."""
    drawn = np.random.default_rng(seed).random(n) < restored
    return pd.DataFrame(
        {
            "parent": [f"p{i}" for i in range(n)],
            "mask_type": "species",
            "sigma_noise": 0.1,
            "draw": 0,
            "structural_validity": 1.0,
            "compositional_validity": 1.0,
            "compositional_similarity": drawn.astype(float),
            "structural_similarity": 0.5,
            "given_composition": False,
            "visible_correct": 2.0,
            "n_atoms": 3,
            "n_masked": 1,
        }
    )


def test_gain_needs_a_resolved_difference_and_no_resolved_loss() -> None:
    weak, strong = scored(0.2, 1), scored(0.8, 2)
    gate, frame = gain(strong, weak, ROW_SCORE, METRICS, holder="champion, version 1")
    assert gate.passed, gate.reasons
    assert len(frame) == len(gate.checks)
    gate, _ = gain(weak, strong, ROW_SCORE, METRICS, holder="champion, version 1")
    assert gate.refuses
    assert any("Compositional similarity is not worse: worse" in reason for reason in gate.reasons)
    gate, _ = gain(strong, strong.copy(), ROW_SCORE, METRICS, holder="champion, version 1")
    assert gate.reasons == ["Gain over champion, version 1: Score is better: " + gate.checks[0].says]
    assert gate.checks[0].says.startswith("not resolved")


def test_a_guarded_loss_refuses_what_gains_elsewhere() -> None:
    weak, strong = scored(0.2, 1), scored(0.8, 2).assign(structural_validity=0.0)
    gate, _ = gain(strong, weak, judged("compositional_similarity"), METRICS, holder="champion, version 1")
    assert gate.checks[0].passed
    assert [check.title for check in gate.checks if not check.passed] == ["Structural validity is not worse"]


def test_a_guard_that_the_candidate_leaves_undefined_refuses() -> None:
    weak, strong = scored(0.2, 1).assign(rmsd=0.1), scored(0.8, 2).assign(rmsd=np.nan)
    gate, _ = gain(strong, weak, ROW_SCORE, [judged("rmsd")], holder="champion, version 1")
    assert gate.refuses
    assert "not for the candidate" in gate.reasons[0]
    gate, _ = gain(strong, weak.assign(rmsd=np.nan), ROW_SCORE, [judged("rmsd")], holder="champion, version 1")
    assert gate.passed
    assert any("Not measured on this suite: RMSD" in note for note in gate.notes)


def test_each_metric_is_judged_by_itself() -> None:
    """More guards neither hide a loss nor a gain."""
    weak, strong = scored(0.5, 1, n=80), scored(0.62, 5, n=80)
    alone, _ = gain(strong, weak, judged("compositional_similarity"), [], holder="champion, version 1")
    among, _ = gain(strong, weak, judged("compositional_similarity"), METRICS, holder="champion, version 1")
    assert alone.checks[0] == among.checks[0]


def test_the_score_does_not_ask_for_positions_where_nothing_was_displaced() -> None:
    lost, kept = (scored(share, 1).assign(structural_similarity=np.nan, noise_aligned=0.0) for share in (0.0, 1.0))
    assert ROW_SCORE.values(kept).notna().all()
    _, frame = gain(kept, lost, ROW_SCORE, [], holder="champion, version 1")
    assert frame["n"].tolist() == [60]
    assert frame["difference"].tolist() == pytest.approx([1 / 3])


def test_the_first_champion_must_beat_the_best_baseline() -> None:
    baselines = {"identity": scored(0.0, 3), "most common": scored(0.5, 4), "ceiling": scored(1.0, 5)}
    gate, _ = gain_over_baselines(scored(0.95, 6), baselines, ROW_SCORE)
    assert gate.passed
    assert "most common" in gate.title
    gate, _ = gain_over_baselines(scored(0.1, 7), baselines, ROW_SCORE)
    assert gate.refuses


def test_unknown_metrics_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="did you mean 'masked_accuracy'"):
        judged("masked_acuracy")


def test_figures_that_do_not_come_again_refuse(outcome: Evaluation) -> None:
    assert reproducibility(outcome, outcome, "command").passed
    name = outcome.name
    figure = outcome.rows[name]["masked_accuracy"]
    assert figure.mean is not None
    moved = Figure(**{**figure.model_dump(), "mean": figure.mean + 1e-4})
    other = outcome.model_copy(update={"rows": outcome.rows | {name: outcome.rows[name] | {"masked_accuracy": moved}}})
    gate = reproducibility(outcome, other, "command")
    assert gate.refuses
    assert f"{name}/masked_accuracy" in gate.reasons[0]
    assert reproducibility(outcome, other, "command", tolerance=1e-3).passed
    fewer = outcome.model_copy(update={"rows": {name: {}}})
    assert reproducibility(outcome, fewer, "command", tolerance=1e-3).refuses


def test_other_code_may_measure_more_but_nothing_less(outcome: Evaluation) -> None:
    name = outcome.name
    more = {"rows": outcome.rows | {name: outcome.rows[name] | {"elegance": outcome.rows[name]["masked_accuracy"]}}}
    assert not reproducibility(outcome, outcome.model_copy(update=more), "command").checks[0].passed
    newer = outcome.model_copy(update=more | {"metrics_lock": "0" * 64})
    assert [check.passed for check in reproducibility(outcome, newer, "command").checks] == [True, False]
    assert [check.passed for check in reproducibility(newer, outcome, "command").checks] == [False, False]
