"""The ledger: an Optuna study that says, after any restart, what to train next and how each training ended."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from crystalsweep.artifacts.kept import KEPT
from crystalsweep.sweeping.space.limits import limits
from crystalsweep.sweeping.space.objectives import objectives
from crystalsweep.sweeping.space.outcome import TrainingState
from crystalsweep.sweeping.space.parameters import Parameter
from crystalsweep.sweeping.space.training import Training
from crystalsweep.sweeping.study import Ledger
from crystalsweep.training.catalogue import preset, stage_spec
from sweeps.axes import AS_RELEASED, SIGMA, learning_rate_ratio, sigma_noise, w_wasserstein
from sweeps.axes import W as W_KEY

W = Parameter(key="w", title="w", values=(0.1, 1.0, 10.0), low=0.01, high=100.0, log=True, mutable=True)
KIND = Parameter(key="kind", title="kind", values=("a", "b"))
GRID = [{"w": w} for w in W.values]
CONTROL = {"w": 0.0}
SCORE, POSITION = "val/score", "loss/position"


def ledger(folder: Path, **changes: Any) -> Ledger:
    given: dict[str, Any] = {
        "parameters": [W],
        "objectives": objectives(("score",)),
        "search": "grid",
        "num_samples": 3,
    }
    return Ledger(folder, "sweep", **{**given, "seeds": 1, "stage": "gan", **changes})


def begun(of: Ledger) -> list[Training]:
    return list(iter(of.next, None))


def end(
    of: Ledger, training: Training, values: list[float], state: TrainingState = "complete", seconds: float = 1.0
) -> None:
    rows = [{"epoch": float(epoch), SCORE: value, POSITION: -value} for epoch, value in enumerate(values, start=1)]
    of.end(training.key, state, "" if state == "complete" else "why", rows, seconds)


def test_a_grid_is_given_once_and_in_order(tmp_path: Path) -> None:
    found = ledger(tmp_path)
    found.enqueue(GRID, 0)
    assert found.planned == 3
    assert [(t.key, dict(t.settings), t.name) for t in begun(found)] == [
        ("0000-s0", {"w": 0.1}, "gan w=0.1 seed 0"),
        ("0001-s0", {"w": 1.0}, "gan w=1 seed 0"),
        ("0002-s0", {"w": 10.0}, "gan w=10 seed 0"),
    ]
    assert found.next() is None


def test_a_trial_is_judged_by_the_epoch_that_its_training_kept(tmp_path: Path) -> None:
    found = ledger(tmp_path)
    found.enqueue(GRID, 0)
    last, best, _ = begun(found)
    rows = [{"epoch": float(epoch), SCORE: value} for epoch, value in enumerate((0.2, 0.7, 0.4), start=1)]
    found.end(last.key, "complete", "", rows, 1.0)
    found.end(best.key, "complete", "", [{**row, KEPT: min(row["epoch"], 2.0)} for row in rows], 1.0)
    assert [trial.value for trial in found.study.get_trials()[:2]] == [0.4, 0.7]


def test_another_process_goes_on_with_what_was_left(tmp_path: Path) -> None:
    first = ledger(tmp_path)
    first.enqueue(GRID, 0)
    done, left = first.next(), first.next()
    assert done
    assert left
    end(first, done, [0.1, 0.4])
    first.progress(left.key, 12.5)

    second = ledger(tmp_path)
    second.enqueue(GRID, 0)
    again = begun(second)
    assert [(t.key, dict(t.settings), t.seconds) for t in again] == [
        ("0001-s0", {"w": 1.0}, 12.5),
        ("0002-s0", {"w": 10.0}, 0.0),
    ]
    assert len(second.study.get_trials()) == 3
    for training in again:
        end(second, training, [0.2])
    third = ledger(tmp_path)
    third.enqueue(GRID, 0)
    assert begun(third) == []
    assert [e.state for e in third.ended()] == ["complete"] * 3


def test_a_stopped_training_stays_open_and_is_given_again(tmp_path: Path) -> None:
    found = ledger(tmp_path, num_samples=1)
    found.enqueue(GRID[:1], 0)
    (training,) = begun(found)
    end(found, training, [0.3], state="stopped", seconds=7.0)
    assert [(e.state, e.training.seconds) for e in found.ended()] == [("stopped", 7.0)]
    assert found.study.get_trials()[0].state == TrialState.RUNNING
    (again,) = begun(found)
    assert (again.key, again.seconds) == (training.key, 7.0)


def test_more_samples_go_on_where_a_finished_search_ended(tmp_path: Path) -> None:
    first = ledger(tmp_path, search="optuna", num_samples=3)
    for value, training in enumerate(begun(first)):
        end(first, training, [float(value)])
    before = [trial.params for trial in first.study.get_trials()]
    second = ledger(tmp_path, search="optuna", num_samples=5)
    assert [training.key for training in begun(second)] == ["0003-s0", "0004-s0"]
    now = [trial.params for trial in second.study.get_trials()]
    assert now[:3] == before
    assert len({params["w"] for params in now}) == 5
    assert all(0.01 <= params["w"] <= 100.0 for params in now)


def test_control_arms_come_first_and_keep_settings_that_no_search_proposes(tmp_path: Path) -> None:
    found = ledger(tmp_path, search="random", num_samples=4, parameters=[W, KIND])
    arms: list[dict[str, Any]] = [{"w": 0.0}, {"w": 0.1, "cut": "none"}]
    found.enqueue(arms, 2)
    controls = list(iter(lambda: found.next(control=True), None))
    assert [(t.control, dict(t.settings)) for t in controls] == [(True, arm) for arm in arms]
    others = list(iter(lambda: found.next(control=False), None))
    assert [t.control for t in others] == [False, False]
    assert all(set(t.settings) == {"w", "kind"} for t in others)
    assert "w" not in found.study.get_trials()[0].params
    assert found.study.get_trials()[1].params == {"w": 0.1}


def test_without_a_scheduler_control_arms_are_given_with_the_others(tmp_path: Path) -> None:
    found = ledger(tmp_path, num_samples=4)
    found.enqueue([CONTROL, *GRID], 1)
    assert [t.control for t in begun(found)] == [True, False, False, False]


def test_a_trial_of_several_seeds_is_told_their_mean(tmp_path: Path) -> None:
    found = ledger(tmp_path, num_samples=1, seeds=2)
    found.enqueue(GRID[:1], 0)
    first, second = begun(found)
    assert [first.key, second.key] == ["0000-s0", "0000-s1"]
    assert (first.seed, second.seed) == (0, 1)
    end(found, second, [0.1, 0.3])
    assert found.study.get_trials()[0].state == TrialState.RUNNING
    end(found, first, [0.3, 0.7])
    (trial,) = found.study.get_trials()
    assert trial.state == TrialState.COMPLETE
    assert trial.value == pytest.approx(0.5)
    assert trial.intermediate_values == pytest.approx({1: 0.2, 2: 0.5})


def test_a_seed_that_failed_does_not_count(tmp_path: Path) -> None:
    found = ledger(tmp_path, num_samples=1, seeds=2)
    found.enqueue(GRID[:1], 0)
    first, second = begun(found)
    end(found, first, [0.3])
    end(found, second, [0.1], state="failed")
    (trial,) = found.study.get_trials()
    assert (trial.state, trial.value) == (TrialState.COMPLETE, 0.3)
    assert [e.state for e in found.ended()] == ["complete", "failed"]


def test_several_objectives_give_a_front(tmp_path: Path) -> None:
    found = ledger(tmp_path, objectives=objectives(("score", "loss_position")))
    found.enqueue(GRID, 0)
    for training, value in zip(begun(found), (0.2, 0.5, 0.1), strict=True):
        rows = [{"epoch": 1.0, SCORE: value, POSITION: 0.3 if value == 0.5 else value}]
        found.end(training.key, "complete", "", rows, 1.0)
    assert [trial.values for trial in found.study.get_trials()] == [[0.2, 0.2], [0.5, 0.3], [0.1, 0.1]]
    assert {trial.number for trial in found.study.best_trials} == {0, 1, 2}


@pytest.mark.parametrize(
    ("states", "values", "told"),
    [
        (["pruned"], [0.3], TrialState.PRUNED),
        (["failed"], [], TrialState.FAIL),
        (["pruned", "failed"], [0.3], TrialState.PRUNED),
        (["pruned", "complete"], [0.3], TrialState.PRUNED),
    ],
)
def test_how_a_trial_is_told(
    tmp_path: Path, states: list[TrainingState], values: list[float], told: TrialState
) -> None:
    found = ledger(tmp_path, num_samples=1, seeds=len(states))
    found.enqueue(GRID[:1], 0)
    for training, state in zip(begun(found), states, strict=True):
        end(found, training, values, state=state)
    (trial,) = found.study.get_trials()
    assert trial.state == told


def test_what_no_crystal_defines_is_worst_and_a_loss_that_is_none_has_failed(tmp_path: Path) -> None:
    for name, told, values in (("score", TrialState.COMPLETE, [0.0]), ("loss_position", TrialState.FAIL, None)):
        (tmp_path / name).mkdir()
        found = ledger(tmp_path / name, objectives=objectives((name,)), num_samples=1)
        found.enqueue(GRID[:1], 0)
        (training,) = begun(found)
        end(found, training, [math.nan])
        (trial,) = found.study.get_trials()
        assert (trial.state, trial.values) == (told, values)


def test_points_that_a_kill_left_out_are_enqueued_afterwards(tmp_path: Path) -> None:
    ledger(tmp_path).enqueue(GRID[:1], 0)
    again = ledger(tmp_path)
    again.enqueue(GRID, 0)
    assert [dict(training.settings) for training in begun(again)] == GRID


def test_a_trial_whose_process_was_killed_before_it_was_told_is_told_by_the_next(tmp_path: Path) -> None:
    first = ledger(tmp_path, num_samples=1)
    first.enqueue(GRID[:1], 0)
    (training,) = begun(first)
    first._update(training.key, {"state": "complete", "reason": "", "curve": {"1": [0.4]}})  # and no further
    assert first.study.get_trials()[0].state == TrialState.RUNNING
    (trial,) = ledger(tmp_path, num_samples=1).study.get_trials()
    assert (trial.state, trial.value) == (TrialState.COMPLETE, 0.4)


def test_fewer_samples_than_are_begun_do_not_hide_open_trainings(tmp_path: Path) -> None:
    first = ledger(tmp_path, search="random", num_samples=4)
    assert len(begun(first)) == 4
    assert ledger(tmp_path, search="random", num_samples=2).planned == 4


def test_a_score_that_no_crystal_defines_counts_as_the_worst(tmp_path: Path) -> None:
    found = ledger(tmp_path, num_samples=1)
    found.enqueue(GRID[:1], 0)
    (training,) = begun(found)
    end(found, training, [math.nan])
    assert found.study.get_trials()[0].values == [0.0]


def test_mutated_settings_are_those_that_a_resumed_training_has(tmp_path: Path) -> None:
    first = ledger(tmp_path, num_samples=2, search="random")
    training, other = begun(first)
    first.progress(training.key, 3.0, {"w": 42.0})
    again = {t.key: t for t in begun(ledger(tmp_path, num_samples=2, search="random"))}
    assert dict(again[training.key].settings) == {"w": 42.0}
    assert dict(again[other.key].settings) == dict(other.settings)


def test_optuna_proposes_from_what_it_was_told(tmp_path: Path) -> None:
    """Small w is better by far; after its random start TPE proposes small ones, also in another process."""
    for total in (12, 24):
        found = ledger(tmp_path, search="optuna", num_samples=total)
        while (training := found.next()) is not None:
            end(found, training, [-abs(math.log10(training.settings["w"]) + 1.5)])
    proposed = [trial.params["w"] for trial in found.study.get_trials()]
    assert sum(w < 0.3 for w in proposed[12:]) >= 8


def test_names_of_gan_runs_say_noise_weight_and_balance_whether_varied_or_not(tmp_path: Path) -> None:
    config = preset("gan", "smoke")
    noise, weight = sigma_noise((0.1, 0.2)), w_wasserstein((0.1, 1.0), 0.01, 10.0)
    rate = learning_rate_ratio(config, (0.1, 1.0), 0.01, 1.0)
    found = ledger(tmp_path, parameters=[noise, weight, rate], seeds=2, named=stage_spec("gan").named, config=config)
    released = {SIGMA: 0.1, **AS_RELEASED}
    found.enqueue([{SIGMA: 0.2, W_KEY: 0.1, rate.key: 0.1 * config.learning_rate}, released], 0)
    assert [training.name for training in begun(found)] == [
        "gan σ=0.2 w_W=0.1 10:1 lr_D/lr_G=0.1 seed 0",
        "gan σ=0.2 w_W=0.1 10:1 lr_D/lr_G=0.1 seed 1",
        "gan σ=0.1 w_W=0.1 10:1 species_gradient=none seed 0",
        "gan σ=0.1 w_W=0.1 10:1 species_gradient=none seed 1",
    ]
    assert not stage_spec("pretrain").named


# What must not be lost to the control arms


SIMILARITY = "val/compositional_similarity"


def limited(folder: Path, **changes: Any) -> Ledger:
    """A control arm, and Optuna's proposals that may lose 0.01 of similarity to it."""
    found = ledger(
        folder,
        **{"limits": limits(("compositional_similarity=0.01",)), "search": "optuna", "num_samples": 24, **changes},
    )
    found.enqueue([CONTROL], 1)
    return found


def end_with(of: Ledger, training: Training, score: float, similarity: float | None, seed_score: float = 0.0) -> None:
    row = {"epoch": 1.0, SCORE: score + seed_score}
    of.end(training.key, "complete", "", [row if similarity is None else {**row, SIMILARITY: similarity}], 1.0)


def test_a_trial_is_told_once_it_is_known_what_it_lost(tmp_path: Path) -> None:
    found = limited(tmp_path)
    control, cheap, dear = (found.next() for _ in range(3))
    assert control and cheap and dear
    end_with(found, cheap, 0.6, 0.495)
    end_with(found, dear, 0.9, 0.4)
    assert [trial.state for trial in found.study.get_trials()] == 3 * [TrialState.RUNNING]
    assert [end.state for end in found.ended()] == ["complete", "complete"]
    end_with(found, control, 0.5, 0.5)
    told = found.study.get_trials()
    assert [trial.state for trial in told] == 3 * [TrialState.COMPLETE]
    assert [trial.constraints for trial in told] == [
        {},
        {"compositional_similarity": pytest.approx(-0.005)},
        {"compositional_similarity": pytest.approx(0.09)},
    ]
    assert found.study.best_trial.number == 1, "the best of those that keep to it"


def test_another_process_tells_those_that_waited(tmp_path: Path) -> None:
    first = limited(tmp_path)
    control, trial = first.next(), first.next()
    assert control and trial
    end_with(first, trial, 0.6, 0.3)
    second = limited(tmp_path)
    assert second.study.get_trials()[1].state == TrialState.RUNNING
    again = second.next()
    assert again
    assert again.key == control.key
    end_with(second, again, 0.5, 0.5)
    assert second.study.get_trials()[1].constraints == {"compositional_similarity": pytest.approx(0.19)}


def test_what_nothing_defines_is_the_worst_and_a_cut_trial_is_judged_by_its_objective(tmp_path: Path) -> None:
    found = limited(tmp_path)
    control, undefined, cut = (found.next() for _ in range(3))
    assert control and undefined and cut
    end_with(found, control, 0.5, 0.5)
    end_with(found, undefined, 0.6, None)
    end(found, cut, [0.1], "pruned")
    assert found.study.get_trials()[1].constraints == {"compositional_similarity": pytest.approx(0.49)}
    assert found.study.get_trials()[2].constraints == {}
    assert found.study.get_trials()[2].state == TrialState.PRUNED


def test_without_a_complete_control_arm_nothing_is_limited(tmp_path: Path) -> None:
    found = limited(tmp_path)
    control, trial = found.next(), found.next()
    assert control and trial
    end_with(found, trial, 0.6, 0.1)
    found.end(control.key, "failed", "it diverged", [], 1.0)
    assert found.study.get_trials()[1].state == TrialState.COMPLETE
    assert found.study.get_trials()[1].constraints == {}


def proposals(folder: Path, told: tuple[str, ...]) -> list[float]:
    """The last ten of 24 w that Optuna proposes where a larger one has a better score and less similarity."""
    folder.mkdir()
    found = limited(folder, limits=limits(told))
    control = found.next()
    assert control
    end_with(found, control, 0.5, 0.5)
    made = []
    for training in iter(found.next, None):
        w = training.settings["w"]
        end_with(found, training, 0.5 + 0.1 * math.log10(w / 0.01), 0.5 - 0.05 * math.log10(w / 0.01))
        made.append(w)
    return made[-10:]


def test_optuna_proposes_what_keeps_to_the_limit(tmp_path: Path) -> None:
    """A loss of 0.1 is that of w = 1, and without the limit the greatest w is best."""
    held = proposals(tmp_path / "held", ("compositional_similarity=0.1",))
    free = proposals(tmp_path / "free", ())
    assert sum(w <= 1.0 for w in held) > 5
    assert sum(w <= 1.0 for w in free) < 3


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ("similarity=0.01", "there is no figure 'similarity'"),
        ("compositional_similarity", "as compositional_similarity=0.01"),
        ("compositional_similarity=-1", "as compositional_similarity=0.01"),
        ("compositional_similarity=nan", "as compositional_similarity=0.01"),
    ],
)
def test_a_limit_that_is_none_is_refused(told: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        limits((told,))


def test_of_an_error_a_loss_is_a_rise() -> None:
    (limit,) = limits(("loss_position=0.5",))
    assert limit.best([2.0, 3.0, math.nan]) == 2.0
    assert limit.exceeded(2.4, 2.0) < 0 < limit.exceeded(2.6, 2.0)
    assert limit.exceeded(math.nan, 2.0) > 1e6
    assert limit.best([math.nan]) is None
