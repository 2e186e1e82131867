"""A run in MLflow that is found again by its key, by whichever process asks, and that holds nothing twice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from mlflow.entities import Metric, Run

from crystalsweep.tracking.tags import PARENT
from crystalsweep.tracking.tracker import Tracker, stored

RUN_KEY = "crystalsweep.key_in_sweep"
"""Tag: what a sweep calls the run, the same after a restart."""


@dataclass(frozen=True)
class Opening:
    """What a run is opened with, asked for `at` (ms since 1970)."""

    experiment: str
    name: str
    kind: str
    parent: str | None
    params: Mapping[str, str]
    tags: Mapping[str, str]
    at: int


@dataclass
class KeyedRun:
    """One run, known by its key, and what it already holds. One thread writes; any may read `id` and `refused`."""

    key: str
    tracker: Tracker
    id: str | None = None
    refused: str | None = None
    _last: dict[str, int] = field(default_factory=dict)
    """The last step that MLflow had of each metric when the run was opened."""
    _steps: defaultdict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    """The steps of each metric that are known to be in MLflow."""

    @property
    def opened(self) -> str:
        """The run's id in MLflow; ValueError where it is not open."""
        if self.id is None:
            raise ValueError(self.refused or f'run "{self.key}" is not open')
        return self.id

    def log(self, metrics: Iterable[Metric]) -> None:
        """Log metrics of any steps, in one request where they are at most 1000, without those that MLflow has."""
        fresh = self._without_known(metrics)
        self.tracker.log_points(self.opened, list(fresh.values()))
        for name, step in fresh:
            self._steps[name].add(step)

    def open(self, opening: Opening, say: Callable[[str, str, str], None]) -> None:
        """Find the run or make it; may be called again after any failure."""
        own = self._own_tags(opening.parent)
        found = self.tracker.tagged(opening.experiment, own)
        if found:
            self.tracker.reopen(found[0], opening.tags)
        else:
            tags = {**opening.tags, RUN_KEY: self.key}
            self.tracker.start(
                opening.experiment, opening.name, kind=opening.kind, parent=opening.parent, tags=tags, at=opening.at
            )
            found = self.tracker.tagged(opening.experiment, own)
        run, *others = found
        for other in others:  # MLflow repeats a request whose answer was lost
            if other.info.start_time == run.info.start_time:
                self.tracker.client.delete_run(other.info.run_id)
        self._take(run)
        self._add_parameters(run.data.params, opening.params, say)

    def attach(self, experiment: str, parent: str | None) -> None:
        """Find the run and leave it as it is; ValueError where there is none."""
        if self.id is not None:
            return
        found = self.tracker.tagged(experiment, self._own_tags(parent))
        if not found:
            raise ValueError(f"there is no run of this key in experiment {experiment}")
        self._take(found[0])

    def _own_tags(self, parent: str | None) -> dict[str, str]:
        return {RUN_KEY: self.key} | ({PARENT: parent} if parent else {})

    def _take(self, run: Run) -> None:
        self._last = {metric.key: metric.step for metric in run.data.to_proto().metrics}
        self.id, self.refused = str(run.info.run_id), None

    def _add_parameters(
        self, known: Mapping[str, str], given: Mapping[str, str], say: Callable[[str, str, str], None]
    ) -> None:
        self.tracker.parameters(self.opened, {name: value for name, value in given.items() if name not in known})
        for name, value in given.items():
            if name in known and known[name] != stored(value):
                why = f"parameter {name} stays {known[name]} in MLflow, {value} was given"
                say(self.key, why, f'run "{self.key}": {why}')

    def _without_known(self, metrics: Iterable[Metric]) -> dict[tuple[str, int], Metric]:
        """Return metrics by name and step that MLflow lacks; of two of the same name and step the first."""
        fresh: dict[tuple[str, int], Metric] = {}
        for metric in metrics:
            if metric.step <= self._last.get(metric.key, metric.step - 1):
                history = self.tracker.client.get_metric_history(self.opened, metric.key)
                self._steps[metric.key].update(point.step for point in history)
                del self._last[metric.key]
            if metric.step not in self._steps[metric.key]:
                fresh.setdefault((metric.key, metric.step), metric)
        return fresh
