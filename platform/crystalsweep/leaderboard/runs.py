"""Which runs of an MLflow store can be on a leaderboard, and which names in the registry point to them."""

from __future__ import annotations

import difflib
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from mlflow.entities import Experiment, Run
from mlflow.entities.model_registry import RegisteredModel
from mlflow.exceptions import MlflowException

from crystalsweep.tracking.tags import KIND, PARENT
from crystalsweep.tracking.tracker import Tracker
from crystalsweep.training.catalogue import stages

_RUN_ID = re.compile(r"[0-9a-f]{32}")
_PAGE = 1000


@dataclass(frozen=True, kw_only=True)
class Found:
    """Runs of a store that were asked for."""

    runs: list[Run]
    """All that this project made, but for sweeps."""
    sweeps: dict[str, Run]
    """Parents by id."""
    experiments: dict[str, str]
    """Names by id."""
    where: str
    """In words."""


def find_runs(tracker: Tracker, named: Sequence[str], *, sweep: str | None = None, query: str = "") -> Found:
    """Return the runs asked for.

    Args:
        tracker: The store.
        named: Experiments by name, or runs by id (a sweep's stands for its trials); none means all experiments.
        sweep: Only trials of the sweep of this name or run id, or of the `latest`.
        query: MLflow search expression that runs must satisfy as well.

    Raises:
        ValueError: An experiment, a run or the sweep is not there.
    """
    experiments = {str(each.experiment_id): str(each.name) for each in _experiments(tracker)}
    ids = [name for name in named if _RUN_ID.fullmatch(name)]
    chosen = [_experiment(name, experiments) for name in named if name not in ids]
    searched = chosen if named else list(experiments)
    runs = {str(run.info.run_id): run for run in _search(tracker, searched, _all_of(f"tags.`{KIND}` LIKE '%'", query))}
    for run in (_run(tracker, each) for each in ids):
        runs[str(run.info.run_id)] = run
        if run.data.tags.get(KIND) == "sweep":
            runs |= _children(tracker, run, query)
    sweeps = {key: run for key, run in runs.items() if run.data.tags.get(KIND) == "sweep"}
    if sweep:
        parent = _sweep(tracker, sweep, searched or list(experiments))
        runs, sweeps = _children(tracker, parent, query), {str(parent.info.run_id): parent}
    trials = [run for key, run in runs.items() if key not in sweeps]
    for parent in {run.data.tags.get(PARENT) for run in trials} - {None, *sweeps}:
        sweeps |= _known(tracker, str(parent))
    where = f"sweep {sweep}" if sweep else ", ".join(named) or "all experiments"
    return Found(runs=trials, sweeps=sweeps, experiments=experiments, where=where)


def aliases(tracker: Tracker) -> dict[str, list[str]]:
    """Return what the registry calls a run's versions: `crystal-generator@champion`, by run id. Empty without a
    registry."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    try:
        for model in _registered(tracker):
            for alias, version in sorted(model.aliases.items()):
                run = tracker.client.get_model_version(model.name, version).run_id
                found[str(run)].append(f"{model.name}@{alias}")
    except MlflowException:  # a server without a registry, or whose registry we may not read
        return {}
    return dict(found)


def unfinished(runs: Sequence[Run]) -> str:
    """Return why runs of generators that did not finish are left out, in words; empty where there is none."""
    states = Counter(run.info.status for run in runs if run.info.status != "FINISHED" and of_generator(run))
    told = ", ".join(f"{n} {state}" for state, n in sorted(states.items()))
    return f"{sum(states.values())} not finished ({told})" if told else ""


def of_generator(run: Run) -> bool:
    """Return whether a run may hold a generator."""
    kind = run.data.tags.get(KIND)
    return kind == "trial" or kind in {spec.name for spec in stages().values() if spec.leaves == "generator"}


def _experiments(tracker: Tracker) -> Iterator[Experiment]:
    token: str | None = None
    while True:
        page = tracker.client.search_experiments(max_results=_PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _registered(tracker: Tracker) -> Iterator[RegisteredModel]:
    token: str | None = None
    while True:
        page = tracker.client.search_registered_models(max_results=_PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _experiment(name: str, known: Mapping[str, str]) -> str:
    for identity, each in known.items():
        if each == name:
            return identity
    near = difflib.get_close_matches(name, known.values(), n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ValueError(f"there is no experiment {name!r}: {hint}the store has {', '.join(sorted(known.values()))}")


def _search(tracker: Tracker, experiments: Sequence[str], query: str) -> Iterator[Run]:
    token: str | None = None
    while experiments:
        page = tracker.client.search_runs(list(experiments), query, max_results=_PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _all_of(*conditions: str) -> str:
    return " and ".join(each for each in conditions if each)


def _run(tracker: Tracker, run: str) -> Run:
    try:
        return tracker.client.get_run(run)
    except MlflowException as error:
        raise ValueError(f"run {run} cannot be read in {tracker.uri}: {error}") from error


def _known(tracker: Tracker, run: str) -> dict[str, Run]:
    """Return the run by its id; empty where it was deleted for good."""
    try:
        return {run: tracker.client.get_run(run)}
    except MlflowException:
        return {}


def _children(tracker: Tracker, parent: Run, query: str) -> dict[str, Run]:
    condition = _all_of(f"tags.`{PARENT}` = '{parent.info.run_id}'", query)
    return {str(run.info.run_id): run for run in _search(tracker, [parent.info.experiment_id], condition)}


def _sweep(tracker: Tracker, name: str, experiments: Sequence[str]) -> Run:
    sweeps = list(_search(tracker, experiments, f"tags.`{KIND}` = 'sweep'"))
    sweeps.sort(key=lambda run: run.info.start_time, reverse=True)
    if name == "latest" and sweeps:
        return sweeps[0]
    for run in sweeps:
        if name in (run.info.run_name, run.info.run_id):
            return run
    there = ", ".join(str(run.info.run_name) for run in sweeps[:10]) or "none"
    raise ValueError(f"there is no sweep {name!r}: the store has {there}{' …' if len(sweeps) > 10 else ''}")
