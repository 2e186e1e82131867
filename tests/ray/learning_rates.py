"""A sweep whose trials end as a test wants: pre-training at rates that learn, that do not, and that diverge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import click

import sweeps  # noqa: F401  brings the library that lies beside it, before another is imported
from crystalsweep.config import override
from crystalsweep.sweeping.command import sweep_command
from crystalsweep.sweeping.report.results import results_table
from crystalsweep.sweeping.report.sweep import reported_trainings, tell
from crystalsweep.sweeping.space.finished import FinishedSweep, Report
from crystalsweep.sweeping.space.parameters import Parameter
from crystalsweep.sweeping.space.spec import SearchSpace, SweepSpec
from crystalsweep.training.catalogue import preset
from crystalsweep.training.config import RestorationConfig


def search_space(name: str, settings: Sequence[str], *, rates: Sequence[float]) -> SearchSpace:
    config = cast(RestorationConfig, override(preset("pretrain", name), settings))
    return SearchSpace(
        stages={"pretrain": config},
        parameters=(Parameter(key="learning_rate", title="lr", values=tuple(rates)),),
    )


def report(finished: FinishedSweep) -> Report:
    trials = reported_trainings(finished)
    return tell(finished, trials, tables=[results_table(finished, trials, {})], history=("epoch", "loss"))


SWEEP = SweepSpec(name="learning_rates", question=__doc__, search_space=search_space, report=report)
main = sweep_command(SWEEP, click.option("--rates", type=float, multiple=True))

if __name__ == "__main__":
    main()
