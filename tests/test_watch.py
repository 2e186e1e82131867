"""What a resumed sweep makes of trainings that an earlier process left."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from ray.tune.schedulers import ASHAScheduler

from crystalsweep.artifacts.checkpoint_store import CheckpointStore
from crystalsweep.sweeping.display.display import display
from crystalsweep.sweeping.meter import Meter
from crystalsweep.sweeping.plan.budget import Caps, Usage
from crystalsweep.sweeping.prerequisites import Single
from crystalsweep.sweeping.runs import TrainingRuns
from crystalsweep.sweeping.screen import Screen
from crystalsweep.sweeping.space.objectives import OBJECTIVES
from crystalsweep.sweeping.space.training import Training
from crystalsweep.sweeping.trainings import Schedule, _recall, _scheduler
from crystalsweep.sweeping.trial import Assignment
from crystalsweep.sweeping.watch import Watch
from crystalsweep.tracking.outbox import Outbox
from crystalsweep.tracking.tracker import Tracker
from crystalsweep.training.alone import fit_alone
from crystalsweep.training.catalogue import preset
from crystalsweep.training.job import Job, Resources, job_for

CONFIG = preset("pretrain", "smoke").model_copy(update={"epochs": 1, "max_crystals": 16})
SCORE = OBJECTIVES["score"]


def watch(folder: Path) -> Watch:
    job = Job(**{**vars(job_for("pretrain", CONFIG, "bundled")), "checkpoints": str(folder / "checkpoints")})
    assignment = Assignment(job=job, choices={}, resources=Resources(), folder=str(folder), mutating=False)
    outbox = Outbox(Tracker(f"sqlite:///{folder / 'mlflow.db'}"))
    return Watch(
        assignment,
        Single("pretrain", lambda *_: None),
        runs=TrainingRuns(outbox, assignment, SCORE, experiment="0", kind="trial"),
        meter=Meter(Caps(), Usage(), Resources()),
        screen=Screen(display(json=False), title="w_pos", stage="pretrain", config=CONFIG, objective=SCORE),
        epochs=CONFIG.epochs,
        folder=folder,
        timeout=60.0,
        note=lambda *_: None,
    )


@pytest.mark.parametrize(("state", "left"), [("pruned", []), ("complete", [1])])
def test_space_of_what_was_cut_just_before_a_kill_is_freed(tmp_path: Path, state: Any, left: list[int]) -> None:
    resumed = watch(tmp_path)
    store = CheckpointStore(tmp_path / "checkpoints" / "0000-s0")
    fit_alone(Job(**{**vars(resumed.assignment.job), "checkpoints": store.address}), False, lambda *_: None)
    resumed.remember(Training(key="0000-s0", name="a training", settings={}), state, "")
    assert resumed.meter.used(resumed.live).bytes == store.size() > 0
    resumed.settle()
    assert store.epochs() == left
    assert (resumed.meter.used(resumed.live).bytes > 0) == bool(left)


def halving() -> ASHAScheduler:
    nobody = cast(Watch, SimpleNamespace(live={}))
    made = _scheduler(Schedule(kind="asha", objective=SCORE, epochs=18), nobody)
    assert isinstance(made, ASHAScheduler)
    return made


def told(scheduler: ASHAScheduler, trial: str, epoch: int, value: float) -> str:
    return str(scheduler._brackets[0].on_result(SimpleNamespace(trial_id=trial), epoch, value))  # type: ignore[arg-type]


def test_a_resumed_training_is_not_judged_again_at_a_rung_that_it_has_passed() -> None:
    """It had 0.5 at rung 6, as good as the best; by epoch 9 the others' values there are no match for it."""
    history = {epoch: {SCORE.metric: 0.5} for epoch in range(1, 9)}
    fresh, resumed = halving(), halving()
    for scheduler in (fresh, resumed):
        for n in range(4):
            _recall(scheduler, SCORE, f"earlier{n}", {6: {SCORE.metric: 0.5}})
    _recall(resumed, SCORE, "again", history)
    assert told(fresh, "again", 9, 0.4) == "STOP"
    assert told(resumed, "again", 9, 0.4) == "CONTINUE"
    rungs = dict(resumed._brackets[0]._rungs)
    assert [rungs[milestone].get("again") for milestone in (2, 6, 18)] == [0.5, 0.5, None]


class Recorder:
    """Remembers what is sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *given, **_: self.sent.append((name, *given))


@pytest.mark.parametrize("keeps", [True, False])
def test_the_last_values_of_a_run_are_those_of_its_checkpoint(tmp_path: Path, keeps: bool) -> None:
    """Boards read a run's last values, and its table from the checkpoint."""
    resumed = watch(tmp_path)
    first = {"keep_best": True, "best_by": "step", "best_mode": "min"} if keeps else {}
    settings = CONFIG.model_copy(update={"epochs": 2, **first})
    described = {**vars(resumed.assignment.job), "config": settings.model_dump(mode="json")}
    store = CheckpointStore(tmp_path / "checkpoints" / "0000-s0")
    fit_alone(Job(**{**described, "checkpoints": store.address}), False, lambda *_: None)
    rows = store.history()
    best = rows[0] if keeps else rows[-1]
    outbox, live = Recorder(), resumed._known(Training(key="0000-s0", name="a training", settings={}))
    live.history = {int(row["epoch"]): row for row in rows}
    live.end("complete", "")
    TrainingRuns(cast(Outbox, outbox), resumed.assignment, SCORE, experiment="0", kind="trial").resend(live)
    logged = [(values, step) for name, *given in outbox.sent if name == "log" for _, values, step in [given]]
    assert [step for _, step in logged] == ([1, 2, 3] if keeps else [1, 2])
    assert logged[-1][0][SCORE.metric] == best[SCORE.metric]
    (note,) = [given[1]["mlflow.note.content"] for name, *given in outbox.sent if name == "tag"]
    assert ("after 2 epochs, of which 1 was kept" in note) == keeps
