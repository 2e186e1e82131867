"""The forecast of a sweep: what a scheduler leaves of it, how long it takes, what its checkpoints weigh."""

from __future__ import annotations

import math
import random
from collections import Counter
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ray.tune.schedulers import ASHAScheduler

from crystalsweep.artifacts.addresses import Address
from crystalsweep.config import override
from crystalsweep.data import DataSet, load_data
from crystalsweep.sweeping.plan.forecast import FIRST_SECONDS, NESTED_SECONDS, REUSED_SECONDS, Forecast, cost
from crystalsweep.sweeping.plan.plan import Plan
from crystalsweep.sweeping.plan.points import PROPOSED
from crystalsweep.sweeping.plan.refusals import require_caps, require_patience
from crystalsweep.sweeping.plan.rehearsal import Rehearsal, rehearse
from crystalsweep.sweeping.plan.request import SweepRequest
from crystalsweep.sweeping.plan.room import Node, require_room
from crystalsweep.sweeping.plan.survival import asha, lasting, makespan, rungs, whole
from crystalsweep.training.catalogue import preset, stage_builder, stage_spec
from crystalsweep.training.config import StageConfig
from crystalsweep.training.local import LocalSession
from crystalsweep.training.loop import fit
from crystalsweep.training.restoration import TABLE

REQUEST = SweepRequest(
    preset="smoke",
    data="bundled",
    settings=(),
    search="grid",
    num_samples=None,
    seeds=1,
    scheduler="none",
    objectives=("score",),
    workers_per_trial=1,
    cpus_per_worker=1,
    gpus_per_worker=None,
    max_concurrent=8,
    keep_best=1,
    max_cpu_hours=None,
    max_gpu_hours=None,
    max_bytes=None,
    timeout=60,
    tracking_uri=Address("sqlite:///mlflow.db"),
    storage="here",
    own={"backbone": "painn"},
)


@pytest.fixture(scope="module")
def data() -> DataSet:
    return load_data("bundled")


def plan(name: str = "gan_noise", *nodes: Node, cpus: float = 2, gpus: float = 0, **asked: Any) -> Plan:
    request = replace(REQUEST, **asked)
    spec = import_module(f"sweeps.{name}").SWEEP
    space = request.search_space(spec)
    return Plan(spec=spec, request=request, space=space, nodes=nodes or (Node(cpus=cpus, gpus=gpus),))


# What ASHA leaves


def simulated(trainings: int, epochs: int, at_once: int, correlation: float, seed: int) -> list[int]:
    """Epochs of trainings under Ray's own ASHA; values of a training at two epochs are correlated."""
    draw, settings = random.Random(seed), asha(epochs)
    scheduler = ASHAScheduler(
        time_attr="epoch",
        metric="value",
        mode="max",
        max_t=epochs,
        grace_period=settings.grace,
        reduction_factor=settings.reduction,
    )
    merit = [draw.gauss(0, 1) for _ in range(trainings)]
    waiting, running, ended = list(range(trainings)), {}, []
    while waiting or running:
        while waiting and len(running) < at_once:
            number = waiting.pop(0)
            running[number] = SimpleNamespace(trial_id=str(number), epoch=0)
            scheduler.on_trial_add(None, running[number])
        for number, trial in list(running.items()):
            trial.epoch += 1
            own = math.sqrt(1 - correlation**2) * draw.gauss(0, 1)
            result = {"epoch": trial.epoch, "value": correlation * merit[number] + own}
            if scheduler.on_trial_result(None, trial, result) == "STOP":
                ended.append(trial.epoch)
                del running[number]
    return ended


@pytest.mark.parametrize(("trainings", "epochs"), [(8, 4), (16, 6), (40, 9), (16, 30)])
@pytest.mark.parametrize("at_once", [1, 4])
def test_survival_is_that_of_rays_asha(trainings: int, epochs: int, at_once: int) -> None:
    expected = lasting(trainings, epochs, scheduler="asha")
    mean = sum(length * count for length, count in expected) / trainings
    assert sum(count for _, count in expected) == pytest.approx(trainings)
    for correlation, tolerance in ((0.0, 0.1), (0.8, 0.2), (1.0, 0.3)):
        ends = [e for seed in range(40) for e in simulated(trainings, epochs, at_once, correlation, seed)]
        assert set(ends) <= {length for length, _ in expected}
        assert sum(ends) / len(ends) == pytest.approx(mean, rel=tolerance)


@pytest.mark.parametrize(
    ("epochs", "settings", "decided"),
    [(1, (1, 2), []), (2, (1, 2), [1]), (4, (1, 2), [1, 2]), (6, (1, 2), [1, 2, 4]), (30, (3, 3), [3, 9, 27])],
)
def test_settings_of_asha(epochs: int, settings: tuple[int, int], decided: list[int]) -> None:
    assert asha(epochs) == settings
    assert rungs(epochs) == decided


def test_the_first_of_all_is_never_cut() -> None:
    assert lasting(1, 30, scheduler="asha")[0] == (30, 1.0)


def test_without_a_scheduler_all_last() -> None:
    for scheduler in ("none", "pbt"):
        assert lasting(5, 7, scheduler=scheduler) == [(7, 5.0)]


@pytest.mark.parametrize("trainings", [1, 2, 7, 16, 61])
def test_single_trainings_are_as_many_as_there_are(trainings: int) -> None:
    ends = lasting(trainings, 9, scheduler="asha")
    each = whole(ends)
    assert len(each) == trainings
    assert each == sorted(each, reverse=True)
    for length, count in ends:
        assert abs(each.count(length) - count) <= 1


# What it costs


def test_time_until_all_are_done() -> None:
    assert makespan([10.0] * 8, 2, 0, 0) == 40
    assert makespan([10.0] * 5, 2, 3, 1) == 13 + 11 + 11
    assert makespan([30.0, 10.0, 10.0, 10.0], 2, 0, 0) == 30
    assert makespan([5.0], 8, 2, 1) == 7


def test_cost_of_trainings_that_all_last() -> None:
    measured = Rehearsal(epochs=(4.0, 3.0, 3.0), budget=None, checkpoint=100)
    found = cost(measured, 6, 3, at_once=2, workers=1, kept=2)
    assert found.wall == pytest.approx(FIRST_SECONDS + 3 * 10 + 2 * REUSED_SECONDS)
    assert found.held == pytest.approx(6 * 10 + 2 * FIRST_SECONDS + 4 * REUSED_SECONDS)
    assert (found.bytes, found.epochs) == (6 * 2 * 100, 18)
    assert cost(measured, 6, 3, at_once=2, workers=1, kept=5).bytes == 6 * 3 * 100  # there are but three
    assert cost(measured, 6, 3, at_once=2, workers=2, kept=2).wall == pytest.approx(3 * (10 + NESTED_SECONDS))
    assert cost(measured, 0, 3, at_once=2, workers=1, kept=2).wall == 0


def test_asha_saves_time_and_space() -> None:
    measured = Rehearsal(epochs=(1.0,) * 8, budget=None, checkpoint=100)
    priced = partial(cost, measured, 16, 8, at_once=2, workers=1, kept=2)
    all_last, cut = (priced(scheduler=scheduler) for scheduler in ("none", "asha"))
    assert cut.epochs < 0.6 * all_last.epochs
    assert cut.bytes < 0.5 * all_last.bytes
    assert cut.wall < 0.7 * all_last.wall


def test_a_budget_of_minutes_needs_no_epochs() -> None:
    measured = Rehearsal(epochs=(), budget=60.0, checkpoint=1)
    assert cost(measured, 3, 99999, at_once=1, workers=1, kept=2).wall == 180 + FIRST_SECONDS + 2 * REUSED_SECONDS


# What is measured


@pytest.mark.parametrize("stage", ["pretrain", "gan"])
def test_a_checkpoint_weighs_what_a_training_leaves(stage: str, data: DataSet, tmp_path: Path) -> None:
    every_step = ["g_steps_per_d_step=1"] if stage == "gan" else []  # else a short run leaves D's Adam empty
    config = override(preset(stage, "smoke"), ["epochs=1", *every_step])
    session = LocalSession(tmp_path / "run", progress=False, device="cpu")
    fit(stage_builder(stage)(config, data, session, {}), session)
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "run" / "checkpoint").iterdir()}
    real = sum(sizes.values())
    assert rehearse(stage, config, data).checkpoint == pytest.approx(real, rel=0.02)
    budgeted = rehearse(stage, override(config, ["max_minutes=2"]), data)
    bookkeeping = 0.3  # of what torch and JSON write around the numbers of so small a network
    assert budgeted.checkpoint == pytest.approx(real - sizes[TABLE], rel=bookkeeping)
    assert (budgeted.epochs, budgeted.seconds(1)) == ((), pytest.approx(126))


def test_every_epoch_has_its_seconds_and_threads_are_given_back(data: DataSet) -> None:
    config = override(preset("pretrain", "smoke"), ['batch_size={"0": 8, "2": 32}', "epochs=5"])
    before = torch.get_num_threads()
    measured = rehearse("pretrain", config, data, workers=2)
    assert len(measured.epochs) == 5
    assert all(seconds > 0 for seconds in measured.epochs)
    assert measured.seconds(2) == pytest.approx(sum(measured.epochs[:2]))
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(("ratio", "audit"), [(10, 20), (1, 20), (3, 4), (20, 1)])
def test_steps_of_every_kind_count_as_often_as_they_come(ratio: int, audit: int) -> None:
    config = override(preset("gan", "demo"), [f"g_steps_per_d_step={ratio}", f"audit_every={audit}"])
    steps = 60 * ratio * audit
    kinds = Counter(((n + 1) % ratio == 0, n % audit == 0) for n in range(steps))
    for number, share in stage_spec("gan").step_kinds(config):
        assert share == pytest.approx(kinds.pop(((number + 1) % ratio == 0, number % audit == 0)) / steps)
    assert not kinds
    plain: StageConfig = preset("pretrain", "demo")
    assert stage_spec("pretrain").step_kinds(plain) == [(0, 1.0)]


# The plan


def test_trials_of_a_plan() -> None:
    whole_grid = plan(seeds=3)
    assert (len(whole_grid.points), whole_grid.num_samples, whole_grid.proposed, whole_grid.trainings) == (8, 8, 0, 24)
    drawn = plan(search="optuna")
    assert (len(drawn.points), drawn.num_samples, drawn.proposed) == (2, 2 + PROPOSED, PROPOSED)
    few = plan(num_samples=3)
    assert few.points == whole_grid.points[:3]


def test_as_many_at_once_as_fit() -> None:
    assert plan(cpus=4).at_once == 4
    assert plan(cpus=4, workers_per_trial=2).at_once == 2
    assert plan(cpus=4, cpus_per_worker=0.5).at_once == 8
    assert plan(cpus=1, workers_per_trial=2).at_once == 1
    assert plan(cpus=32, gpus=2).at_once == 2
    assert plan(cpus=32, gpus=2, gpus_per_worker=0.25).at_once == 8
    assert plan(cpus=32, gpus=2, gpus_per_worker=0.0).at_once == 8
    assert plan(cpus=32, max_concurrent=3).at_once == 3
    small, large = Node(cpus=3, gpus=1), Node(cpus=8, gpus=4)
    assert plan("gan_noise", small, large, cpus_per_worker=2).at_once == 1 + 4
    assert plan("gan_noise", small, small, cpus_per_worker=2, gpus_per_worker=0.0).at_once == 2  # not six CPUs by two
    assert plan("gan_noise", small, large, workers_per_trial=3).at_once == 1  # of five workers


def test_what_fits_nowhere_is_refused() -> None:
    two = plan("gan_noise", Node(cpus=4, gpus=1), Node(cpus=4, gpus=1), workers_per_trial=3)
    with pytest.raises(ValueError, match=r"3 worker.* 2 node.*, with at most 4 CPUs and 1 GPUs, .* room for 2"):
        require_room(two.nodes, two.resources)
    require_room(two.nodes, replace(two.resources, workers=2))
    with pytest.raises(ValueError, match="--cpus-per-worker"):
        require_room(two.nodes, replace(two.resources, workers=1, cpus_per_worker=5))


def test_a_population_runs_as_it_fits() -> None:
    assert plan(cpus=16, max_concurrent=2, scheduler="pbt", search="random").at_once == 16


def test_an_epoch_longer_than_the_patience_is_refused() -> None:
    require_patience(None, 60)
    require_patience(59.0, 60)
    with pytest.raises(ValueError, match=r"takes about 80 min here, and --timeout 60 .* give --timeout 400"):
        require_patience(80.0, 60)


def test_a_cap_on_gpus_where_there_are_none_is_refused() -> None:
    capped = plan(max_gpu_hours=1.0)
    with pytest.raises(ValueError, match="--max-gpu-hours: no trial takes a GPU here"):
        require_caps(capped.request, capped.gpus_per_worker)
    require_caps(capped.request, plan(gpus=1).gpus_per_worker)
    require_caps(plan().request, 0.0)


def test_a_trial_keeps_what_was_asked_for() -> None:
    assert plan(keep_best=3).keep_last == 1
    assert plan(keep_best=3, scheduler="pbt", search="random").keep_last == 4


def test_schedulers_go_by_one_number() -> None:
    assert plan(objectives=("novelty",)).scalar.name == "novelty"
    assert plan(objectives=("novelty", "masked_accuracy")).scalar.name == "score"


def test_forecast_and_plan_of_a_sweep(data: DataSet) -> None:
    asked = plan(search="optuna", scheduler="asha", settings=("epochs=4",))
    forecast = asked.forecast(data)
    assert list(forecast.stages) == ["pretrain", "finetune", "gan"]
    assert forecast.minutes == pytest.approx(sum(forecast.stages.values()))
    assert forecast.epochs_per_trial is not None
    spared, cut = 2 * 4, sum(length * count for length, count in lasting(16, 4, scheduler="asha"))
    assert forecast.epochs_per_trial == pytest.approx((spared + cut) / 18)
    assert forecast.epoch_minutes is not None
    assert 0 < 4 * forecast.epoch_minutes < forecast.minutes
    assert forecast.gpu_hours == 0
    assert Forecast(**forecast.as_json()) == forecast
    told = asked.describe(forecast)
    for words in ("…and 16 proposed by Optuna (TPE)", "of 4 epochs on average"):
        assert words in told
    assert "expected minutes (from steps timed just now" in told


def test_what_is_there_already_costs_nothing(data: DataSet) -> None:
    forecast = plan(gpus=1).forecast(data, found=("pretrain", "finetune"))
    assert (forecast.stages["pretrain"], forecast.stages["finetune"]) == (0, 0)
    assert forecast.minutes == forecast.stages["gan"] > 0
    assert forecast.gpu_hours == forecast.cpu_hours > 0


def test_nothing_is_timed_where_minutes_end_a_training(data: DataSet) -> None:
    own = {"backbones": ["painn"], "minutes": None}
    asked = plan("backbones", max_concurrent=1, seeds=2, own=own)
    forecast = asked.forecast(data)
    assert forecast.epochs_per_trial is None
    assert forecast.epoch_minutes is None
    assert "each with 2 seeds: 2 trainings" in asked.describe(forecast)
    assert forecast.minutes == pytest.approx((2 * 0.05 * 63 + FIRST_SECONDS + REUSED_SECONDS) / 60)
    assert "nothing was timed" in asked.describe(forecast)
    assert forecast.bytes > 0
