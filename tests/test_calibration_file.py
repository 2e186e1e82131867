"""`calibration.json` beside a checkpoint: used where it is there, refused where it is damaged."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from crystalsweep.artifacts.atomic import file_sha256
from crystalsweep.artifacts.sums import require_sums, write_sums
from crystalsweep.data import load_bundled
from crystalsweep.inference.calibration import (
    CALIBRATION,
    Calibration,
    JointGroup,
    JointOdds,
    MassRule,
    SetRule,
    read_calibration,
    write_calibration,
)
from crystalsweep.inference.completion import JOINTLY, Completion
from crystalsweep.inference.decoding.constraints import Constraints
from crystalsweep.inference.decoding.settings import ARGMAX
from crystalsweep.inference.familiarity import training_of, unfamiliar
from crystalsweep.inference.restorer import Restorer, load
from crystalsweep.structures.crystal import MASK, Crystal
from tests.checkpoints import random_checkpoint

SETS = (SetRule(coverage=0.8, least=0.02), SetRule(coverage=0.9, least=0.01))


def rock_salt(anion: int = MASK, edge: float = 5.64) -> Crystal:
    half = [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]
    sites = [*half, *(np.array(half) + 0.5).tolist()]
    return Crystal.of("rock salt", [11] * 4 + [anion] * 4, np.eye(3) * edge, sites)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_checkpoint(tmp_path_factory.mktemp("plain") / "checkpoint", seed=3)


@pytest.fixture
def checkpoint(plain: Path, tmp_path: Path) -> Path:
    return shutil.copytree(plain, tmp_path / "checkpoint")


def calibration(checkpoint: Path, **changes: object) -> Calibration:
    groups = (JointGroup(least_masked=2, cases=40, found=0.95, sets=SETS),)
    made = Calibration(
        weights_sha256=file_sha256(checkpoint / "generator.safetensors"),
        site_sharpness=2.0,
        chain_sharpness=3.0,
        site_cases=100,
        site_sets=SETS,
        joint=(JointOdds(decode=JOINTLY, groups=groups),),
        parents=30,
        parents_sha256="0" * 64,
        mask_types=("species",),
        sigma_noise=(0.0,),
        training=training_of(load_bundled("train")[:200]),
    )
    return made.model_copy(update=changes)


def told(completion: Completion) -> list[list[float]]:
    return [[odds.probability for odds in site] for site in completion.odds]


# What it does


def test_without_one_nothing_changes(plain: Path) -> None:
    done = load(plain).complete(rock_salt())
    assert not done.calibrated
    assert done.site_sets == ((), (), (), ())
    assert done.joint_sets == ()


def test_with_one_odds_are_sharpened_and_sets_are_told(plain: Path, checkpoint: Path) -> None:
    write_calibration(checkpoint, calibration(checkpoint))
    before, after = (load(folder).complete(rock_salt(), top_k=118) for folder in (plain, checkpoint))
    assert after.calibrated
    raw, sharp = np.array(told(before)[0]), np.array(told(after)[0])
    assert sharp == pytest.approx(raw**2 / (raw**2).sum(), abs=1e-6)
    assert after.best.log_probability > before.best.log_probability, "a likely choice is likelier when sharper"
    for site, sets in zip(after.odds, after.site_sets, strict=True):
        for rule, told_set in zip(SETS, sets, strict=True):
            expected = tuple(odds.element for odds in site if odds.probability >= rule.least)
            assert told_set == (rule.coverage, expected or (site[0].element,))


def test_sets_of_sites_grow_where_the_model_is_unsure(checkpoint: Path) -> None:
    rules = (MassRule(coverage=0.5, mass=0.4), MassRule(coverage=0.9, mass=0.85), MassRule(coverage=0.95, mass=1.0))
    write_calibration(checkpoint, calibration(checkpoint, site_sets=rules))
    done = load(checkpoint).complete(rock_salt(), top_k=118)
    for site, sets in zip(done.odds, done.site_sets, strict=True):
        assert [found.coverage for found in sets] == [0.5, 0.9], "95 % is not promised"
        for rule, found in zip(rules, sets, strict=False):
            chosen = [odds.probability for odds in site[: len(found.elements)]]
            assert found.elements == tuple(odds.element for odds in site[: len(chosen)])
            assert sum(chosen) >= rule.mass > sum(chosen[:-1])


def test_joint_sets_are_of_the_decoder_that_was_looked_at(checkpoint: Path) -> None:
    write_calibration(checkpoint, calibration(checkpoint))
    model = load(checkpoint)
    done = model.complete(rock_salt())
    for rule, found in zip(SETS, done.joint_sets, strict=True):
        likely = [i for i, each in enumerate(done.candidates) if each.probability >= rule.least]
        assert found == (rule.coverage, tuple(likely or [0]))
    assert model.complete(rock_salt(), decode=ARGMAX).joint_sets == ()
    assert model.complete(rock_salt(), constraints=Constraints.of(excluded="F")).joint_sets == (), "no such cases"
    one = Crystal.of("one", [11, MASK], np.eye(3) * 4, [[0, 0, 0], [0.5, 0.5, 0.5]])
    assert model.complete(one).joint_sets == (), "no crystals with one masked site were looked at"


def test_candidates_share_what_is_not_elsewhere(checkpoint: Path) -> None:
    group = JointGroup(least_masked=2, cases=40, found=0.9, sharpness=0.5, elsewhere=-1.0, sets=SETS)
    write_calibration(checkpoint, calibration(checkpoint, joint=(JointOdds(decode=JOINTLY, groups=(group,)),)))
    model = load(checkpoint)
    done = model.complete(rock_salt())
    weights = np.exp(0.5 * np.array([each.log_probability for each in done.candidates]))
    expected = weights / (weights.sum() + np.exp(-1.0))
    assert [each.probability for each in done.candidates] == pytest.approx(expected.tolist())
    neutral = model.complete(rock_salt(), decode=JOINTLY.model_copy(update={"charge": "require"}))
    assert sum(each.probability for each in neutral.candidates) == pytest.approx(1)


def test_candidates_divide_what_the_generator_gives_them_together(checkpoint: Path) -> None:
    group = JointGroup(least_masked=2, cases=40, found=0.9, sharpness=0.5, beyond=1.0, sets=SETS)
    write_calibration(checkpoint, calibration(checkpoint, joint=(JointOdds(decode=JOINTLY, groups=(group,)),)))
    done = load(checkpoint).complete(rock_salt())
    logs = np.array([each.log_probability for each in done.candidates])
    mass = np.exp(logs).sum()
    within = mass / (mass + (1 - mass) * np.e)
    expected = within * np.exp(0.5 * logs) / np.exp(0.5 * logs).sum()
    assert [each.probability for each in done.candidates] == pytest.approx(expected.tolist())
    neutral = load(checkpoint).complete(rock_salt(), decode=JOINTLY.model_copy(update={"charge": "require"}))
    assert sum(each.probability for each in neutral.candidates) == pytest.approx(1)


def test_sets_of_candidates_reach_their_mass_or_are_not_told(checkpoint: Path) -> None:
    rules = (MassRule(coverage=0.5, mass=0.3), MassRule(coverage=0.9, mass=0.9999), MassRule(coverage=0.95, mass=1.0))
    group = JointGroup(least_masked=2, cases=40, found=0.9, beyond=-8.0, sets=rules)
    write_calibration(checkpoint, calibration(checkpoint, joint=(JointOdds(decode=JOINTLY, groups=(group,)),)))
    done = load(checkpoint).complete(rock_salt())
    p = [each.probability for each in done.candidates]
    assert 0.3 < sum(p) < 0.9999
    (half,) = done.joint_sets
    chosen = [p[i] for i in half.candidates]
    assert half.coverage == 0.5
    assert sum(chosen) >= 0.3 > sum(chosen[:-1])


def test_a_coverage_that_is_not_reached_is_not_told(checkpoint: Path) -> None:
    none = (SetRule(coverage=0.9, least=0.0),)
    write_calibration(checkpoint, calibration(checkpoint, site_sets=none))
    assert load(checkpoint).complete(rock_salt()).site_sets == ((), (), (), ())


def test_what_is_new_to_the_model_is_flagged(checkpoint: Path) -> None:
    write_calibration(checkpoint, calibration(checkpoint))
    model = load(checkpoint)
    assert not [line for line in model.complete(rock_salt()).warnings if "atoms/Å³" in line]
    (line,) = [line for line in model.complete(rock_salt(edge=20.0)).warnings if "atoms/Å³" in line]
    assert "0.001 atoms/Å³" in line
    alien = Crystal.of("alien", [94, MASK], np.eye(3) * 4, [[0, 0, 0], [0.5, 0.5, 0.5]])
    training = training_of([crystal for crystal in load_bundled("train") if 94 not in crystal.species])
    assert next(unfamiliar(alien, training)).startswith("new to the model")
    assert "Pu" in next(unfamiliar(alien, training))


def test_rare_elements_are_counted_in_crystals() -> None:
    crystals = [rock_salt(17)] * 3
    training = training_of(crystals)
    assert training.elements[10] == 3
    assert "Na in 3" in next(unfamiliar(rock_salt(), training))


# What it refuses


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"site_sharpness": 1e9}, "site_sharpness"),
        ({"site_sharpness": "NaN"}, "site_sharpness"),
        ({"chain_sharpness": 0}, "chain_sharpness"),
        ({"site_sets": [{"coverage": 0.9, "least": 7}]}, "least"),
        ({"site_sets": [{"coverage": 0.9, "least": 0.1}] * 100_000}, "site_sets"),
        ({"weights_sha256": "a" * 64}, "other weights"),
        ({"weights_sha256": 7}, "weights_sha256"),
        ({"format": 2}, "format"),
        ({"surprise": 1}, "surprise"),
        ({"parents": -1}, "parents"),
    ],
)
def test_what_no_calibration_says_is_refused(checkpoint: Path, changed: dict[str, object], why: str) -> None:
    content = calibration(checkpoint).model_dump(mode="json") | changed
    (checkpoint / CALIBRATION).write_text(json.dumps(content))
    with pytest.raises(ValueError, match=why) as refused:
        read_calibration(checkpoint)
    assert "calibration.json" in str(refused.value)
    assert "model calibrate" in str(refused.value)


@pytest.mark.parametrize("text", ["", "[1, 2]", "{", "null", "[" * 100 + "]" * 100])
def test_what_is_no_calibration_is_refused(checkpoint: Path, text: str) -> None:
    (checkpoint / CALIBRATION).write_text(text)
    with pytest.raises(ValueError, match=r"calibration\.json"):
        load(checkpoint)


def test_a_checkpoint_with_sums_gets_one_of_its_calibration(checkpoint: Path) -> None:
    write_sums(checkpoint)
    write_calibration(checkpoint, calibration(checkpoint))
    assert require_sums(checkpoint)
    assert read_calibration(checkpoint) == calibration(checkpoint)
    changed = calibration(checkpoint, site_sharpness=1.5)
    (checkpoint / CALIBRATION).write_text(changed.model_dump_json(indent=1) + "\n")
    with pytest.raises(ValueError, match="was changed or damaged"):
        load(checkpoint)


def test_it_is_the_same_when_read_again(checkpoint: Path) -> None:
    made = calibration(checkpoint)
    write_calibration(checkpoint, made)
    assert read_calibration(checkpoint) == made
    assert isinstance(load(checkpoint), Restorer)
