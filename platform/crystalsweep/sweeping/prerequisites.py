"""Checkpoints that a sweep starts from, trained once and found again by what made them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from crystalsweep.artifacts.checkpoint_store import CheckpointStore, child
from crystalsweep.data import DataSet
from crystalsweep.networks.checkpoint import read_info
from crystalsweep.provenance import training_sha256
from crystalsweep.sweeping.space.outcome import TrainingState
from crystalsweep.sweeping.space.training import Training
from crystalsweep.tracking.tracker import Tracker
from crystalsweep.training.catalogue import stage_spec
from crystalsweep.training.config import StageConfig

PREREQUISITE_KEY = "crystalsweep.key"
"""Tag: hash of the config, data, split and code that made a prerequisite, and of what it started from."""

PREREQUISITES = "prerequisites"


@dataclass(frozen=True, kw_only=True)
class Prerequisite:
    """A trained checkpoint that later stages start from."""

    stage: str
    key: str
    run: str
    """MLflow run id."""
    checkpoint: str
    """Folder that all nodes share, or address of its store."""


class Single:
    """The one training of a prerequisite, as a source of trainings."""

    planned = 1

    def __init__(self, stage: str, note: Callable[[float], None], *, name: str = "") -> None:
        self.stage, self._note = stage, note
        self._left = [Training(key=stage, name=name or stage, settings={})]
        self.state: TrainingState = "stopped"
        self.reason = ""

    def next(self) -> Training | None:
        """Return the training, once."""
        return self._left.pop() if self._left else None

    def progress(self, key: str, seconds: float, settings: Mapping[str, object] | None = None) -> None:
        """Note the seconds; its checkpoints hold all else there is to know."""
        del key, settings
        self._note(seconds)

    def end(
        self, key: str, state: TrainingState, reason: str, history: Sequence[Mapping[str, float]], seconds: float
    ) -> None:
        """Note how it ended."""
        del key, history
        self.state, self.reason = state, reason
        self._note(seconds)

    def made(self, key: str, storage: str, run: str) -> Prerequisite:
        """Return what it left. Raises `RuntimeError` with the reason when it did not get to its end."""
        if self.state != "complete":
            raise RuntimeError(f"{self.stage} {self.state}: {self.reason}")
        store = CheckpointStore(child(home(storage, key), self.stage))
        return Prerequisite(stage=self.stage, key=key, run=run, checkpoint=shared(store))


def prerequisite_key(stage: str, config: StageConfig, data: DataSet, inputs: Mapping[str, str]) -> str:
    """Return the sha256 of stage, config, data, split, code and the keys of the inputs: any change is another key."""
    parts = [stage, config.fingerprint(), data.data_sha256, data.split_sha256]
    parts += [training_sha256(stage_spec(stage).package)]
    parts += [f"{name}={inputs[name]}" for name in sorted(inputs)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def home(storage: str, key: str) -> str:
    """Return address below which the checkpoints of a prerequisite are kept."""
    return child(child(storage, "prerequisites"), key[:16])


def kept(known: Prerequisite, storage: str) -> Prerequisite | None:
    """Return the same, where it is now if `storage` was moved; None where it is gone."""
    store = CheckpointStore(child(home(storage, known.key), known.stage))
    return None if store.latest() is None else replace(known, checkpoint=shared(store))


def find_prerequisite(tracker: Tracker, experiment: str, stage: str, key: str, storage: str) -> Prerequisite | None:
    """Return the prerequisite with this key that has finished in MLflow; its checkpoint comes from there if it must.

    One process at a time may do this with a key.

    Args:
        tracker: The server.
        experiment: Id of the prerequisites' experiment.
        stage: That made it.
        key: Of what decides it (`prerequisite_key`).
        storage: Where checkpoints are kept.
    """
    found = tracker.finished_with(experiment, PREREQUISITE_KEY, key)
    if not found:
        return None
    run = str(found.info.run_id)
    store = CheckpointStore(child(home(storage, key), stage))
    if store.latest() != found.data.metrics.get("epoch"):  # another storage's, or what was begun here and not ended
        with TemporaryDirectory() as scratch:
            fetched = tracker.download(run, "checkpoint", Path(scratch))
            info = read_info(fetched)
            store.adopt(fetched, info.epoch, info.config)
    return Prerequisite(stage=stage, key=key, run=run, checkpoint=shared(store))


def shared(store: CheckpointStore) -> str:
    """Return how all nodes reach the last checkpoint."""
    latest = store.latest()
    assert latest is not None
    return store.address if "://" in store.address else str(store.fetch(latest))
