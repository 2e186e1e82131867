"""A job in this very process, which several jobs may share one after the other; kept in the job's store."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch

from crystalsweep.data import DataSet, load_data
from crystalsweep.training.catalogue import config_from, stage_builder
from crystalsweep.training.job import Job, local_inputs, prepare
from crystalsweep.training.loop import fit
from crystalsweep.training.stored import StoredSession


def fit_alone(job: Job, gpu: bool, on_report: Callable[[dict[str, float], bool], None]) -> None:
    """Train `job` to its end, from its store's latest checkpoint, telling each epoch to `on_report(metrics, last)`."""
    prepare(job)
    session = StoredSession(job.store(), torch.device("cuda" if gpu else "cpu"), on_report)
    config = config_from(job.stage, job.config)
    fit(stage_builder(job.stage)(config, _data(job.source), session, local_inputs(job)), session)


@lru_cache(maxsize=1)
def _data(source: str) -> DataSet:
    """Return the data of the jobs that share this process."""
    return load_data(source)
