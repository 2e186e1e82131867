"""Running trainings under Ray Tune: the same for one prerequisite as for a whole sweep."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from pyarrow.fs import FileSystem, LocalFileSystem
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler, PopulationBasedTraining, TrialScheduler
from ray.tune.search import BasicVariantGenerator, ConcurrencyLimiter, Searcher

from crystalsweep.sweeping.plan.request import Scheduler
from crystalsweep.sweeping.plan.survival import asha
from crystalsweep.sweeping.private import recall_at_rungs
from crystalsweep.sweeping.space.objectives import Objective
from crystalsweep.sweeping.space.parameters import Parameter
from crystalsweep.sweeping.space.training import Training
from crystalsweep.sweeping.trial import TRAINING_KEY, Assignment, resources_of, run_trial
from crystalsweep.sweeping.watch import Cap, Watch

RETRIES = 3
"""Attempts beyond the first that a training whose process or node dies is given."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Which trainings are cut, or changed, while they run."""

    kind: Scheduler
    objective: Objective
    """The one scalar it goes by."""
    epochs: int
    parameters: tuple[Parameter, ...] = ()


def run_trainings(watch: Watch, take: Callable[[], Training | None], schedule: Schedule, max_concurrent: int) -> None:
    """Train all that `take` gives, `max_concurrent` at once. What a cap or a failing storage cut short is `stopped`."""
    assignment, planned = watch.assignment, watch.planned
    watch.cutting = schedule.kind == "asha"
    watch.check_caps()
    scheduler = _scheduler(schedule, watch)

    def begun(trial_id: str, training: Training) -> None:
        if isinstance(scheduler, ASHAScheduler):
            _recall(scheduler, schedule.objective, trial_id, watch.live[training.key].history)

    search, samples, space = _search(_expected(watch, take), begun, schedule, max_concurrent, planned)
    if samples == 0:
        return
    filesystem, path = _tune_folder(assignment, watch.folder / "tune")
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(run_trial, assignment=assignment), resources_of(assignment.resources)),
        param_space=space,
        tune_config=tune.TuneConfig(
            search_alg=search,
            num_samples=samples,
            scheduler=scheduler,
            reuse_actors=assignment.resources.workers == 1,
            trial_name_creator=_name,
            trial_dirname_creator=_name,
        ),
        run_config=tune.RunConfig(
            name=f"{datetime.now():%Y%m%d-%H%M%S-%f}",
            storage_path=path,
            storage_filesystem=filesystem,
            verbose=0,
            stop=Cap(watch),
            failure_config=tune.FailureConfig(max_failures=RETRIES),
            callbacks=[watch],
        ),
    )
    try:
        tuner.fit()
    finally:
        watch.settle()


class Issue(Searcher):
    """Hands the source's trainings to Tune, at each call the next one, and says which trial it became."""

    def __init__(self, take: Callable[[], Training | None], begun: Callable[[str, Training], None]) -> None:
        super().__init__()
        self._take, self._begun = take, begun

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return settings of a training, under `key` its name."""
        training = self._take()
        if training is None:
            return Searcher.FINISHED
        self._begun(trial_id, training)
        return _config(training)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Do nothing: the ledger hears of it from the watch."""

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the study is on disk already."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: a resumed sweep reads the study."""

    def __getstate__(self) -> dict[str, Any]:
        """Pickle nothing of the ledger, whose database stays with this process."""
        return {}


def _expected(watch: Watch, take: Callable[[], Training | None]) -> Callable[[], Training | None]:
    """Return `take`, of which the watch hears first."""

    def next_one() -> Training | None:
        training = None if watch.halted else take()
        if training is not None:
            watch.expect(training)
        return training

    return next_one


def _search(
    take: Callable[[], Training | None],
    begun: Callable[[str, Training], None],
    schedule: Schedule,
    max_concurrent: int,
    planned: int,
) -> tuple[Any, int, dict[str, Any]]:
    """Return what proposes trials to Tune, how many, and with which keys.

    A population is known from the start and shares the resources by turns; other trials come one by one.
    """
    if schedule.kind != "pbt":
        return ConcurrencyLimiter(Issue(take, begun), max_concurrent=max_concurrent), planned, {}
    points = [_config(training) for training in iter(take, None)]
    keys: dict[str, Any] = dict.fromkeys(key for point in points for key in point)
    return BasicVariantGenerator(points_to_evaluate=points), len(points), keys


def _scheduler(schedule: Schedule, watch: Watch) -> TrialScheduler | None:
    metric, mode = schedule.objective.metric, schedule.objective.mode
    if schedule.kind == "asha":
        grace, reduction = asha(schedule.epochs)
        halving = ASHAScheduler(
            time_attr="epoch",
            metric=metric,
            mode=mode,
            max_t=schedule.epochs,
            grace_period=grace,
            reduction_factor=reduction,
        )
        for key, live in watch.live.items():
            if live.state in ("complete", "pruned") and not live.training.control:
                _recall(halving, schedule.objective, key, live.history)
        return halving
    if schedule.kind == "pbt":
        return PopulationBasedTraining(
            time_attr="epoch",
            metric=metric,
            mode=mode,
            perturbation_interval=max(1, schedule.epochs // 6),
            hyperparam_mutations={p.key: _distribution(p) for p in schedule.parameters if p.mutable},
            custom_explore_fn=partial(_within, schedule.parameters),
            quantile_fraction=0.25,
            synch=True,  # else, where a population takes turns, the clones of a waiting trial run for ever
        )
    return None


def _recall(
    halving: ASHAScheduler, objective: Objective, trial: str, history: Mapping[int, Mapping[str, float]]
) -> None:
    """Recall what a training had at each rung that it reached in an earlier session: it is not judged there again."""
    values = {epoch: row.get(objective.metric) for epoch, row in history.items()}
    recall_at_rungs(halving, trial, values, greater_is_better=objective.mode == "max")


def _distribution(parameter: Parameter) -> Any:
    """Return what population-based training draws from anew, a quarter of the times; else it multiplies by 0.8 or
    1.2."""
    if parameter.low is None or parameter.high is None:
        return list(parameter.values)  # PBT then goes to a neighbour, where it would multiply a drawn number
    if parameter.integer:
        draw = tune.lograndint if parameter.log else tune.randint
        return draw(int(parameter.low), int(parameter.high) + 1)
    return (tune.loguniform if parameter.log else tune.uniform)(parameter.low, parameter.high)


def _within(parameters: Sequence[Parameter], config: dict[str, Any]) -> dict[str, Any]:
    """Return mutated settings, kept in the parameters' ranges."""
    bounded = dict(config)
    for p in parameters:
        if p.mutable and p.low is not None and p.high is not None and p.key in config:
            bounded[p.key] = type(config[p.key])(min(max(config[p.key], p.low), p.high))
    return bounded


def _config(training: Training) -> dict[str, Any]:
    return {TRAINING_KEY: training.key, **training.settings}


def _name(trial: Trial) -> str:
    return str(trial.config[TRAINING_KEY])


def _tune_folder(assignment: Assignment, local: Path) -> tuple[FileSystem, str]:
    """Return where Tune keeps what it wants to keep; only a population's pointers must be seen by all nodes."""
    if assignment.mutating and "://" in assignment.job.checkpoints:
        filesystem, path = FileSystem.from_uri(assignment.job.checkpoints)
        return filesystem, f"{path}/tune"
    return LocalFileSystem(), str(local)
