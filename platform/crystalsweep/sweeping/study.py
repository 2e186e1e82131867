"""A sweep's ledger: an Optuna study on disk. What has been tried, with which settings, and how each training ended.

Each point is one trial of the study, trained with one or more seeds; what happened to a training is a user attribute
`s0`, `s1`, … of its trial. The study is all that a resumed sweep needs beside the checkpoints, and optuna-dashboard
opens it while the sweep runs.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import optuna
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from crystalsweep.artifacts.addresses import sqlite_address
from crystalsweep.artifacts.kept import KEPT, kept_row
from crystalsweep.config import value_at
from crystalsweep.sweeping.notes import TrainingNote
from crystalsweep.sweeping.plan.request import Search
from crystalsweep.sweeping.private import live_trial
from crystalsweep.sweeping.space.limits import Limit
from crystalsweep.sweeping.space.objectives import Objective
from crystalsweep.sweeping.space.outcome import TrainingState
from crystalsweep.sweeping.space.parameters import Parameter, always_named, run_name
from crystalsweep.sweeping.space.training import Training, parse_training_key, training_key
from crystalsweep.sweeping.study_file import STUDY_FILE, keep_copy, telling
from crystalsweep.training.config import StageConfig

P = ParamSpec("P")
T = TypeVar("T")

SETTINGS_ATTRIBUTE, CONTROL_ATTRIBUTE = "settings", "control"
LIMITED = "limited"
"""Of what a trial knows of a seed: the figures that the search limits, by name."""

_PATIENCE = 60
"""Seconds that a write waits for whoever holds the database, as optuna-dashboard may."""

_STARTUP = 8
"""Trials that TPE draws at random before it proposes, unless there are fewer than thrice as many in all."""


@dataclass(frozen=True, kw_only=True)
class TrainingEnd:
    """How a training ended, as the study has it."""

    training: Training
    number: int
    state: TrainingState
    reason: str


@dataclass(frozen=True, kw_only=True)
class Recalled:
    """What a ledger has learnt from the sweep's folder."""

    ended: int
    """Trainings that are over."""
    resumed: int
    """Trainings that are begun and go on from their checkpoints."""
    lost: tuple[int, ...]
    """Numbers of trials whose settings are known nowhere."""

    def __str__(self) -> str:
        """Return it in words; empty where there was nothing to learn."""
        parts = [f"{self.ended} trainings had ended" * bool(self.ended), f"{self.resumed} go on" * bool(self.resumed)]
        lost = ", ".join(map(str, self.lost))
        parts += [f"trials {lost} count as failed, for their settings are known nowhere" * bool(lost)]
        return "; ".join(filter(None, parts))


def _told(method: Callable[Concatenate[Ledger, P], T]) -> Callable[Concatenate[Ledger, P], T]:
    """Have a method of the ledger raise `LedgerError`, with what is wrong and what to do."""

    @wraps(method)
    def telling_method(self: Ledger, *args: P.args, **named: P.kwargs) -> T:
        with telling(self.file):
            return method(self, *args, **named)

    return telling_method


class Ledger:
    """The study of one sweep; one process at a time writes it."""

    def __init__(
        self,
        folder: Path,
        name: str,
        *,
        parameters: Sequence[Parameter],
        objectives: Sequence[Objective],
        search: Search,
        num_samples: int,
        seeds: int,
        stage: str,
        seed: int = 0,
        limits: Sequence[Limit] = (),
        named: Mapping[str, str] | None = None,
        config: StageConfig | None = None,
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._folder, self.file = folder, folder / STUDY_FILE
        self.address = sqlite_address(self.file)
        self.parameters, self.objectives, self.limits = parameters, objectives, limits
        self._named = always_named(named or {})
        self._shared = {key: value_at(config.model_dump(mode="json"), key) for key in named} if config and named else {}
        self._num_samples, self._seeds, self._stage, self._search = num_samples, seeds, stage, search
        self._issued: set[str] = set()
        self._written: dict[int, Trial] = {}
        """By number: to be given anew, Optuna would read all open trials, and many report at once."""
        self._planned: int | None = None
        with telling(self.file):
            self.study = optuna.create_study(
                storage=RDBStorage(self.address, engine_kwargs={"connect_args": {"timeout": _PATIENCE}}),
                study_name=name,
                directions=[objective.direction for objective in objectives],
                load_if_exists=True,
            )
            self.study.sampler = _sampler(search, seed + len(self.study.get_trials(deepcopy=False)), num_samples)
            for trial in self._trials(TrialState.RUNNING):  # an earlier process was killed before it could say so
                self._tell_those_over(trial)

    @_told
    def enqueue(self, points: Sequence[Mapping[str, Any]], controls: int) -> None:
        """Put these settings first, the first `controls` of them as control arms; those that are there stay."""
        self._planned = None
        begun = len(self.study.get_trials(deepcopy=False))
        for i, point in enumerate(points[begun:], begun):
            known = {p.key: point[p.key] for p in self.parameters if p.key in point and p.contains(point[p.key])}
            attributes = {SETTINGS_ATTRIBUTE: dict(point), CONTROL_ATTRIBUTE: i < controls}
            self.study.enqueue_trial(known, user_attrs=attributes)

    @_told
    def recall(
        self, noted: Mapping[str, TrainingNote | None], history: Callable[[str], Sequence[Mapping[str, float]]]
    ) -> Recalled:
        """Take in what is known elsewhere of trainings, and not here: all of it where the ledger is made anew.

        A trial whose settings nobody knows any more has failed, so that no other is trained under its name.

        Args:
            noted: By key, what the sweep's folder tells of its trainings; None of one of which it knows no settings.
            history: Gives the epochs of a training.
        """
        self._planned = None
        before = {trial.number for trial in self._trials() if trial.state != TrialState.WAITING}
        numbers = range(1 + max((parse_training_key(key)[0] for key in noted), default=-1))
        lost = [number for number in numbers if not self._have_asked(number, noted)]
        ended, resumed = [], []
        for key, note in sorted(noted.items()):
            number, seed = parse_training_key(key)
            known = self._trial(number).user_attrs.get(f"s{seed}", {})
            if note is None or number in lost or seed >= self._seeds or known.get("state"):
                continue
            rows = history(key) if note.state != "stopped" else []
            if rows or note.state == "failed":
                self._recall_settings(key, note)
                self.end(key, note.state, note.reason, rows, note.seconds)
                ended.append(key)
            elif number not in before:
                self._recall_settings(key, note)
                self.progress(key, note.seconds)
                resumed.append(key)
        return Recalled(ended=len(ended), resumed=len(resumed), lost=tuple(lost))

    def _recall_settings(self, key: str, note: TrainingNote) -> None:
        """Keep settings that a training was mutated to."""
        if dict(note.settings) != self._trial(parse_training_key(key)[0]).user_attrs.get(SETTINGS_ATTRIBUTE):
            self._update(key, {SETTINGS_ATTRIBUTE: dict(note.settings)})

    def _have_asked(self, number: int, noted: Mapping[str, TrainingNote | None]) -> bool:
        """See to it that a trial has begun, those before it have; returns whether its settings are known."""
        trials = self._trials()
        if number < len(trials) and trials[number].state != TrialState.WAITING:
            return True
        if number == len(trials):
            of_it = (note for key, note in sorted(noted.items()) if note and parse_training_key(key)[0] == number)
            note = next(of_it, None)
            if note is None:
                self.study.tell(self.study.ask(), state=TrialState.FAIL)
                return False
            settings = dict(note.settings)
            known = [p for p in self.parameters if p.key in settings]
            fixed = {p.key: settings[p.key] for p in known if p.contains(settings[p.key])}
            attributes = {SETTINGS_ATTRIBUTE: settings, CONTROL_ATTRIBUTE: note.control}
            self.study.enqueue_trial(fixed, user_attrs=attributes)
        self._settings(self.study.ask())
        return True

    @_told
    def next(self, *, control: bool | None = None) -> Training | None:
        """Return a training that this process has not begun: one that an earlier process left unfinished, else a new
        one.

        With `control`, only control arms, or only others.
        """
        for trial in self._trials(TrialState.RUNNING):
            if control is not None and bool(trial.user_attrs.get(CONTROL_ATTRIBUTE)) != control:
                continue
            for seed in range(self._seeds):
                key, known = training_key(trial.number, seed), trial.user_attrs.get(f"s{seed}", {})
                if key not in self._issued and not known.get("state"):
                    settings = self._settings(self._live(trial))
                    self._issued.add(key)
                    return self._training(trial, seed, settings, known)
        waiting = self._trials(TrialState.WAITING)
        arms = [trial for trial in waiting if trial.user_attrs.get(CONTROL_ATTRIBUTE)]
        if self._begun() >= self._num_samples or (self._search == "grid" and not waiting):
            return None
        if control is not None and control != bool(arms):  # the study asks for control arms first
            return None
        self._planned = None
        self._settings(self.study.ask())
        return self.next(control=control)

    @property
    @_told
    def planned(self) -> int:
        """Trainings of the whole sweep."""
        if self._planned is None:  # asked for at every step of a sweep: Optuna reads all open trials each time
            known = len(self.study.get_trials(deepcopy=False))
            asked = min(self._num_samples, known) if self._search == "grid" else self._num_samples
            self._planned = self._seeds * max(asked, self._begun())
        return self._planned

    @_told
    def progress(self, key: str, seconds: float, settings: Mapping[str, Any] | None = None) -> None:
        """Keep for how long a training held its resources, and the settings that it was mutated to."""
        self._update(key, {"seconds": seconds} | ({SETTINGS_ATTRIBUTE: dict(settings)} if settings else {}))

    @_told
    def end(
        self, key: str, state: TrainingState, reason: str, history: Sequence[Mapping[str, float]], seconds: float
    ) -> None:
        """Note that a training is over; with its last seed, its trial is. A stopped one stays open, to be resumed."""
        if state == "stopped":
            self._update(key, {"seconds": seconds})
            self._issued.discard(key)
            return
        curve = {str(int(row["epoch"])): self._values(row) for row in history}
        kept = {"kept": str(int(kept_row(history)["epoch"]))} if history and KEPT in history[-1] else {}
        limited = {limit.objective.name: kept_row(history).get(limit.objective.metric) for limit in self.limits}
        known = {"state": state, "reason": reason, "seconds": seconds, "curve": curve, LIMITED: limited, **kept}
        self._update(key, known)
        number = parse_training_key(key)[0]
        del self._written[number]
        self._tell_those_over(self._trial(number))
        keep_copy(self._folder)

    @_told
    def ended(self) -> list[TrainingEnd]:
        """Return all trainings that are over, and as `stopped` those that are begun."""
        found = []
        for trial in self.study.get_trials(deepcopy=False):
            for seed in range(self._seeds):
                known = trial.user_attrs.get(f"s{seed}")
                if known is None:
                    continue
                settings = trial.user_attrs.get(SETTINGS_ATTRIBUTE, trial.params)
                training = self._training(trial, seed, settings, known)
                state, reason = known.get("state", "stopped"), known.get("reason", "")
                found.append(TrainingEnd(training=training, number=trial.number, state=state, reason=reason))
        return found

    @_told
    def importances(self) -> dict[str, float]:
        """Return importance of each parameter for the first objective (fANOVA); empty where too few trials tell."""
        complete = self._trials(TrialState.COMPLETE)
        known = [
            p.key for p in self.parameters if len({t.params.get(p.key) for t in complete if p.key in t.params}) > 1
        ]
        usable = [trial for trial in complete if all(key in trial.params for key in known)]
        if not known or len(usable) < 4 or len({trial.values[0] for trial in usable}) == 1:
            return {}
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return dict(
                optuna.importance.get_param_importances(
                    self.study, evaluator=evaluator, params=known, target=lambda trial: trial.values[0]
                )
            )

    def _tell_those_over(self, trial: FrozenTrial) -> None:
        """Close a trial that is over, and with the last control arm those that waited for what they may lose to it."""
        if not self._is_over(trial) or trial.state.is_finished():
            return
        control = bool(trial.user_attrs.get(CONTROL_ATTRIBUTE))
        if not self.limits or control:
            self._tell(trial, self._seeds_of(trial))
        if self.limits and not self._open_controls():
            for each in self._trials(TrialState.RUNNING):
                if self._is_over(each):
                    self._tell(each, self._seeds_of(each))

    def _seeds_of(self, trial: FrozenTrial) -> list[Mapping[str, Any]]:
        return [trial.user_attrs.get(f"s{seed}", {}) for seed in range(self._seeds)]

    def _is_over(self, trial: FrozenTrial) -> bool:
        return all(known.get("state") for known in self._seeds_of(trial))

    def _open_controls(self) -> bool:
        """Return whether a control arm is still to be trained."""
        left = self._trials(TrialState.WAITING, TrialState.RUNNING)
        return any(trial.user_attrs.get(CONTROL_ATTRIBUTE) for trial in left)

    def _limit(self, trial: FrozenTrial, seeds: Sequence[Mapping[str, Any]]) -> None:
        """Tell Optuna by how much a trial goes beyond each limit; nothing of a control arm or where none is complete.

        A trial that was cut is judged by its objective alone: it had not learnt as long as a control arm.
        """
        if trial.user_attrs.get(CONTROL_ATTRIBUTE) or any(known["state"] != "complete" for known in seeds):
            return
        arms = [each for each in self._trials(TrialState.COMPLETE) if each.user_attrs.get(CONTROL_ATTRIBUTE)]
        for limit in self.limits:
            name = limit.objective.name
            control = limit.best(_limited(self._seeds_of(arm), name) for arm in arms)
            if control is not None:
                self._live(trial).set_constraint(name, limit.exceeded(_limited(seeds, name), control))

    def _tell(self, trial: FrozenTrial, seeds: Sequence[Mapping[str, Any]]) -> None:
        """Close a trial: as pruned if a seed was, else with the mean over seeds that completed, else as failed."""
        complete = [_judged(known) for known in seeds if known["state"] == "complete"]
        if len(self.objectives) == 1:
            live = self._live(trial)
            for step, value in _means([known["curve"] for known in seeds]).items():
                live.report(value, step)
        values = [sum(column) / len(complete) for column in zip(*complete, strict=True)]
        if any(known["state"] == "pruned" for known in seeds):
            self.study.tell(trial.number, state=TrialState.PRUNED)
        elif values and all(math.isfinite(value) for value in values):
            self._limit(trial, seeds)
            self.study.tell(trial.number, values)
        else:
            self.study.tell(trial.number, state=TrialState.FAIL)

    def _values(self, row: Mapping[str, float]) -> list[float]:
        """Return the objectives; what no crystal defines, as similarity where none was restored, counts as worst."""
        found = [(objective, float(row.get(objective.metric, math.nan))) for objective in self.objectives]
        return [
            objective.undefined if math.isnan(value) and objective.undefined is not None else value
            for objective, value in found
        ]

    def _settings(self, trial: Trial) -> dict[str, Any]:
        """Return the settings of an asked trial; what it was not enqueued with, the sampler proposes."""
        fixed = trial.user_attrs.get(SETTINGS_ATTRIBUTE)
        if fixed is None:
            fixed = {parameter.key: parameter.suggest(trial) for parameter in self.parameters}
            trial.set_user_attr(SETTINGS_ATTRIBUTE, fixed)
            trial.set_user_attr(CONTROL_ATTRIBUTE, False)
        else:  # parameters of the study too, where its ranges hold them
            for parameter in self.parameters:
                if parameter.key in fixed and parameter.contains(fixed[parameter.key]):
                    parameter.suggest(trial)
        return dict(fixed)

    def _training(
        self, trial: FrozenTrial, seed: int, settings: Mapping[str, Any], known: Mapping[str, Any]
    ) -> Training:
        meant = known.get(SETTINGS_ATTRIBUTE, settings)
        shown = run_name([*self._named, *self.parameters], self._shared | dict(meant))
        return Training(
            key=training_key(trial.number, seed),
            name=f"{self._stage} {shown} seed {seed}",
            settings=meant,
            seed=seed,
            control=bool(trial.user_attrs.get(CONTROL_ATTRIBUTE)),
            seconds=float(known.get("seconds", 0.0)),
        )

    def _update(self, key: str, known: Mapping[str, Any]) -> None:
        number, seed = parse_training_key(key)
        if number not in self._written:
            self._written[number] = self._live(self._trial(number))
        trial = self._written[number]
        trial.set_user_attr(f"s{seed}", trial.user_attrs.get(f"s{seed}", {}) | dict(known))

    def _begun(self) -> int:
        return len([t for t in self.study.get_trials(deepcopy=False) if t.state != TrialState.WAITING])

    def _trials(self, *states: TrialState) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False, states=states or None)

    def _trial(self, number: int) -> FrozenTrial:
        return self.study.get_trials(deepcopy=False)[number]

    def _live(self, trial: FrozenTrial) -> Trial:
        return live_trial(self.study, trial)


def _sampler(search: Search, seed: int, num_samples: int) -> BaseSampler:
    if search == "optuna":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            startup = min(_STARTUP, max(2, num_samples // 3))
            return TPESampler(seed=seed, n_startup_trials=startup, multivariate=True, group=True, constant_liar=True)
    return RandomSampler(seed=seed)


def _limited(seeds: Sequence[Mapping[str, Any]], name: str) -> float:
    """Return the mean of a limited figure over a trial's complete seeds; NaN where one has none."""
    found = [known.get(LIMITED, {}).get(name) for known in seeds if known["state"] == "complete"]
    values = [math.nan if value is None else float(value) for value in found]
    return sum(values) / len(values) if values else math.nan


def _judged(known: Mapping[str, Any]) -> list[float]:
    """Return the objectives of a training: of the epoch it kept, else of its last."""
    curve: Mapping[str, list[float]] = known["curve"]
    return curve[known.get("kept") or max(curve, key=int)]


def _means(curves: Sequence[Mapping[str, list[float]]]) -> dict[int, float]:
    """Return mean of the first value over all curves that have a step, by step."""
    steps = sorted({int(step) for curve in curves for step in curve})
    found = {step: [curve[str(step)][0] for curve in curves if str(step) in curve] for step in steps}
    return {step: sum(values) / len(values) for step, values in found.items()}
