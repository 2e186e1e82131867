"""What is used of Ray and Optuna beyond their documented interfaces; tests/test_private.py names each.

Both are pinned to the versions that the tests ran on (pyproject.toml).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ray._private import worker
from ray.train.v2._internal.constants import ENV_VARS_TO_PROPAGATE
from ray.tune.schedulers import ASHAScheduler

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial, Trial


def silence_raylet() -> None:
    """Keep the raylet's lines off the terminal, which `log_to_driver=False` lets pass."""
    worker._worker_logs_enabled = False


def pass_on_to_train(variable: str) -> None:
    """Give an environment variable to all processes of nested Ray Train runs, also to that which frees workers."""
    ENV_VARS_TO_PROPAGATE.add(variable)


def live_trial(study: Study, trial: FrozenTrial) -> Trial:
    """Return a trial that an earlier process asked for, to go on with; Optuna gives it to nobody else."""
    from optuna.trial import Trial  # workers import this module and need none

    return Trial(study, trial._trial_id)


def recall_at_rungs(
    halving: ASHAScheduler, trial: str, values: Mapping[int, float | None], *, greater_is_better: bool
) -> None:
    """Tell ASHA what a trial had at each rung in an earlier session, so that it is not judged there again.

    Args:
        halving: The scheduler.
        trial: Tune's id of the trial.
        values: By epoch; None or absent where it has none.
        greater_is_better: Whether the objective is maximised.
    """
    for milestone, recorded in halving._brackets[0]._rungs:
        value = values.get(int(milestone))
        if value is not None:
            recorded[trial] = value if greater_is_better else -value
