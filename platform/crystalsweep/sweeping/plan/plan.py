"""What a sweep is going to do, resolved and priced before anything starts."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from statistics import fmean
from typing import Any

from crystalsweep.config import Leaf, as_parameters, leaves
from crystalsweep.data import DataSet
from crystalsweep.networks.architectures import BackboneConfig, run_as
from crystalsweep.sweeping.plan.budget import readable
from crystalsweep.sweeping.plan.forecast import Forecast, cost
from crystalsweep.sweeping.plan.points import known_points, num_samples
from crystalsweep.sweeping.plan.rehearsal import Rehearsal, rehearse
from crystalsweep.sweeping.plan.request import SweepRequest
from crystalsweep.sweeping.plan.room import Node, this_machine, trainings_that_fit
from crystalsweep.sweeping.space.objectives import OBJECTIVES, Objective, objectives
from crystalsweep.sweeping.space.settings import configured
from crystalsweep.sweeping.space.spec import SearchSpace, SweepSpec
from crystalsweep.training.config import StageConfig
from crystalsweep.training.job import Resources
from crystalsweep.wording.stranger import tabulated

_HOW = {"random": "drawn at random", "optuna": "proposed by Optuna (TPE)"}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A resolved sweep."""

    spec: SweepSpec
    request: SweepRequest
    space: SearchSpace
    nodes: tuple[Node, ...] = field(default_factory=this_machine)
    """Of the cluster."""

    @property
    def question(self) -> str:
        """What the sweep asks, in a line."""
        return self.spec.question.splitlines()[0]

    @property
    def scalar(self) -> Objective:
        """What schedulers and checkpoints go by: the objective, or where there are several the score, of property
        models the first."""
        asked = objectives(self.request.objectives)
        return OBJECTIVES["score"] if len(asked) > 1 and asked[0].of == "restorations" else asked[0]

    @property
    def gpus_per_worker(self) -> float:
        """As asked for, or one where there is any."""
        asked = self.request.gpus_per_worker
        return float(any(node.gpus for node in self.nodes)) if asked is None else asked

    @property
    def resources(self) -> Resources:
        """Of each training of the swept stage."""
        return Resources(
            workers=self.request.workers_per_trial,
            cpus_per_worker=self.request.cpus_per_worker,
            gpus_per_worker=self.gpus_per_worker,
        )

    @property
    def at_once(self) -> int:
        """Trainings at once: as many as asked for and as fit, or one. Of a population as many run as fit."""
        fit = trainings_that_fit(self.nodes, self.resources)
        return max(1, fit if self.request.scheduler == "pbt" else min(self.request.max_concurrent, fit))

    @property
    def keep_last(self) -> int:
        """Last checkpoints that a training keeps: of a population others may go on from, a few."""
        return 4 if self.request.scheduler == "pbt" else 1

    @property
    def points(self) -> list[dict[str, Any]]:
        """Settings of the first trials, in order."""
        return known_points(self.space, self.request)[: self.num_samples]

    @property
    def num_samples(self) -> int:
        """Trials in all."""
        return num_samples(self.space, self.request)

    @property
    def proposed(self) -> int:
        """Trials left to the search."""
        return self.num_samples - len(self.points)

    @property
    def trainings(self) -> int:
        """Of the swept stage: each trial with each seed."""
        return self.num_samples * self.request.seeds

    @property
    def stage(self) -> str:
        """The stage that is swept."""
        return list(self.space.stages)[-1]

    @property
    def prerequisites(self) -> dict[str, StageConfig]:
        """The stages before it, in order."""
        return {stage: config for stage, config in self.space.stages.items() if stage != self.stage}

    @property
    def swept(self) -> StageConfig:
        """Config of the stage that is swept, before a trial's settings."""
        return self.space.stages[self.stage]

    @property
    def chosen(self) -> dict[str, StageConfig]:
        """The swept config by what is chosen by name, as `painn`; by its stage where nothing is."""
        base = self.swept.model_dump(mode="json")
        return {
            name: configured(self.stage, base, {key: name}, self.space.choices)
            for key, names in self.space.choices.items()
            for name in names
        } or {self.stage: self.swept}

    def on(self, network: BackboneConfig) -> Plan:
        """Return the same plan with this network in every stage, run as each runs its own."""
        stages = {
            name: config.model_copy(update={"backbone": run_as(network, config.backbone)})
            for name, config in self.space.stages.items()
        }
        return replace(self, space=replace(self.space, stages=stages))

    def parameters(self) -> dict[str, str]:
        """Return what all trials share, before their settings, and the names that they choose from."""
        choices = self.space.choices
        shared = {path: value for path, value in as_parameters(self.swept).items() if not self._is_chosen(path)}
        return shared | {key: ", ".join(names) for key, names in choices.items()}

    def forecast(self, data: DataSet, *, found: Collection[str] = ()) -> Forecast:
        """Return the expected cost, from steps, validations and checkpoints made on this machine.

        Control arms come first where a scheduler cuts or changes the others. `found` are prerequisites, by stage, that
        need no training.
        """
        request, config, workers = self.request, self.swept, self.request.workers_per_trial
        measured = [self._measured(self.stage, each, data, workers) for each in self.chosen.values()]
        one = _mean(measured)
        kept = self.keep_last + request.keep_best
        priced = partial(cost, one, epochs=config.epochs, at_once=self.at_once, workers=workers, kept=kept)
        alone = min(len(self.space.controls), self.num_samples) * request.seeds if request.scheduler != "none" else 0
        swept = priced(trainings=alone) + priced(trainings=self.trainings - alone, scheduler=request.scheduler)
        stages, held = dict.fromkeys(self.prerequisites, 0.0), workers * swept.held
        for stage, before in self.prerequisites.items():
            if stage not in found:
                together = self.together(before)
                measured.append(self._measured(stage, before, data, together))
                each = cost(measured[-1], 1, before.epochs, at_once=1, workers=together, kept=0)
                stages[stage] = each.wall / 60
                held += together * each.held
        stages[self.stage] = swept.wall / 60
        return Forecast(
            minutes=sum(stages.values()),
            stages=stages,
            cpu_hours=held * request.cpus_per_worker / 3600,
            gpu_hours=held * self.gpus_per_worker / 3600,
            bytes=round(swept.bytes),
            epoch_minutes=max((max(each.epochs) / 60 for each in measured if each.epochs), default=None),
            epochs_per_trial=None if config.max_minutes is not None else swept.epochs / self.trainings,
        )

    def together(self, config: StageConfig) -> int:
        """Return workers that train a prerequisite: those of all trials, unless its batches are too small for so
        many."""
        return min(self.request.workers_per_trial * self.at_once, config.least_batch_size)

    def describe(self, forecast: Forecast) -> str:
        """Return the plan for a person: trials, configs, resources, expected cost."""
        request = self.request
        seeds = f"\neach with {request.seeds} seeds: {self.trainings} trainings" if request.seeds > 1 else ""
        more = f"\n…and {self.proposed} {_HOW[request.search]}" if self.proposed else ""
        configs = "\n\n".join(f"[{title}]\n{settings}" for title, settings in self._configs())
        gpu = f" + {self.gpus_per_worker:g} GPU" if self.gpus_per_worker else ""
        subject = f"subject to {', '.join(request.subject_to)} lost to the control\n" if request.subject_to else ""
        each = f"{request.workers_per_trial} worker(s) × ({request.cpus_per_worker:g} CPU{gpu})"
        return (
            f"{self.question}\n\n{self._trials()}{more}{seeds}\n\n{configs}\n\n"
            f"objective  {', '.join(request.objectives)}\n"
            f"{subject}search     {request.search}, scheduler {request.scheduler}\n"
            f"data       {request.data}\nresources  {each} per trial, {self.at_once} at once\n"
            f"storage    {request.storage}\ntracking   {request.tracking_uri}\n\n{self._priced(forecast)}"
        )

    def _trials(self) -> str:
        """Return a row per trial that is known beforehand, numbered from 1, control arms first."""
        known = {parameter.key: parameter for parameter in self.space.parameters}
        rows = []
        for number, point in enumerate(self.points, start=1):
            row: dict[str, Any] = {"trial": number}
            for key, value in point.items():
                parameter = known.get(key)
                title, shown = (parameter.title, parameter.shown(value)) if parameter else (key.split(".")[-1], value)
                row[title] = shown
            rows.append(row)
        return tabulated(rows, headers="keys") if rows else "no control arms"

    def _priced(self, forecast: Forecast) -> str:
        timed = self.swept.max_minutes is None
        how = "from steps timed just now; a cached stage takes none" if timed else "of the budget; nothing was timed"
        rows = "\n".join(f"  {stage:10} {value:6.1f}" for stage, value in forecast.stages.items())
        gpu = f" and {forecast.gpu_hours:.3g} GPU-hours" if self.gpus_per_worker else ""
        kept = ""
        if self.request.scheduler == "asha" and forecast.epochs_per_trial is not None:
            kept = f"\nasha leaves a training {forecast.epochs_per_trial:.1f} of {self.swept.epochs} epochs on average"
        return (
            f"expected minutes ({how})\n{rows}\n  {'total':10} {forecast.minutes:6.1f}\n"
            f"expected {forecast.cpu_hours:.3g} CPU-hours{gpu}, {readable(forecast.bytes)} of checkpoints{kept}"
        )

    def _measured(self, stage: str, config: StageConfig, data: DataSet, workers: int) -> Rehearsal:
        gpu = self.gpus_per_worker > 0
        return rehearse(stage, config, data, workers=workers, cpus=self.request.cpus_per_worker, gpu=gpu)

    def _configs(self) -> Iterator[tuple[str, str]]:
        """Yield settings of every stage, and apart from them what is chosen by name."""
        for stage, config in self.prerequisites.items():
            yield stage, _settings(leaves(config))
        yield self.stage, _settings(leaf for leaf in leaves(self.swept) if not self._is_chosen(leaf.path))
        if self.space.choices:
            for name, config in self.chosen.items():
                yield f"{self.stage} {name}", _settings(leaf for leaf in leaves(config) if self._is_chosen(leaf.path))

    def _is_chosen(self, path: str) -> bool:
        """Return whether a setting is among those that a name stands for."""
        keys = {key for names in self.space.choices.values() for meant in names.values() for key in meant}
        return any(path == key or path.startswith(f"{key}.") for key in keys)


def _mean(measured: list[Rehearsal]) -> Rehearsal:
    """Return the mean over what trials choose from."""
    budgets = [one.budget for one in measured if one.budget is not None]
    return Rehearsal(
        epochs=tuple(fmean(column) for column in zip(*(one.epochs for one in measured), strict=True)),
        budget=fmean(budgets) if budgets else None,
        checkpoint=round(fmean(one.checkpoint for one in measured)),
    )


def _settings(shown: Iterable[Leaf]) -> str:
    return "\n".join(f"{leaf.path} = {leaf.value}" for leaf in shown)
