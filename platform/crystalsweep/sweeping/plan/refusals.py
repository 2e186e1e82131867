"""Requests that make no sense, refused in a line before anything is loaded or started. Imports without torch."""

from __future__ import annotations

from pathlib import Path

from crystalsweep.artifacts.addresses import ray_address
from crystalsweep.artifacts.places import require_writable, state_folder
from crystalsweep.data.shipped import SHIPPED, is_shipped
from crystalsweep.inference.locate import require_understood
from crystalsweep.sweeping.plan.points import known_points
from crystalsweep.sweeping.plan.request import CHAMPION, SCRATCH, SweepRequest
from crystalsweep.sweeping.space.limits import limits
from crystalsweep.sweeping.space.objectives import OBJECTIVES, objectives
from crystalsweep.sweeping.space.spec import SearchSpace
from crystalsweep.tracking.opening import require_reachable
from crystalsweep.training.catalogue import stage_spec


def require_sound(request: SweepRequest, space: SearchSpace) -> None:
    """Raise `ValueError` naming the option and the remedy."""
    _require_objectives(request, space)
    _require_limits(request, space)
    _require_trials(request, space)
    _require_schedulable(request, space)
    _require_resources(request)
    _require_files(request)


def require_places(request: SweepRequest, *, dry_run: bool) -> None:
    """Raise `ValueError` where the storage cannot be written, or no tracking server or Ray cluster answers; of the
    last a dry run needs none."""
    require_writable(state_folder(request.storage), "give another folder with --storage or CRYSTALSWEEP_STORAGE")
    if not dry_run:
        ray_address()
    if request.tracking_uri:
        require_reachable(request.tracking_uri)


def require_patience(epoch_minutes: float | None, timeout: float) -> None:
    """Raise `ValueError` where an epoch takes longer than a training may be silent, in minutes."""
    if epoch_minutes is not None and epoch_minutes > timeout:
        raise ValueError(
            f"an epoch takes about {epoch_minutes:.3g} min here, and --timeout {timeout:g} gives up a training that "
            f"has reported none for so long: give --timeout {5 * epoch_minutes:.0f}, or more workers"
        )


def require_caps(request: SweepRequest, gpus_per_worker: float) -> None:
    """Raise `ValueError` for a cap that could not stop anything."""
    if request.max_gpu_hours is not None and not gpus_per_worker:
        raise ValueError("--max-gpu-hours: no trial takes a GPU here, so it caps nothing; give --max-cpu-hours")


def _require_objectives(request: SweepRequest, space: SearchSpace) -> None:
    stage = list(space.stages)[-1]
    scores = stage_spec(stage).scores
    for objective in objectives(request.objectives):
        if objective.of != scores:
            others = ", ".join(name for name, each in OBJECTIVES.items() if each.of == scores)
            raise ValueError(f"--objective {objective.name}: {stage} has none, it is judged by {scores}; give {others}")


def _require_limits(request: SweepRequest, space: SearchSpace) -> None:
    stage = list(space.stages)[-1]
    for limit in limits(request.subject_to):
        told = f"--subject-to {limit.objective.name}={limit.most:g}"
        if limit.objective.of != stage_spec(stage).scores:
            raise ValueError(f"{told}: {stage} has no such figure; give one of those that --objective takes here")
        if not space.controls:
            raise ValueError(f"{told}: this sweep has no control arm that a trial could lose to; leave it out")
        if request.scheduler == "pbt":
            raise ValueError(f"{told}: pbt changes settings by the objective alone; take --search optuna without it")


def _require_trials(request: SweepRequest, space: SearchSpace) -> None:
    asked, controls, known = request.num_samples, len(space.controls), len(known_points(space, request))
    if asked is None:
        return
    if asked < max(1, controls):
        raise ValueError(f"--num-samples {asked} leaves out control arms; give {max(1, controls)} or more")
    if request.search == "grid" and asked > known:
        raise ValueError(f"--num-samples {asked}: the grid has {known} trials; add --search optuna or random for more")


def _require_schedulable(request: SweepRequest, space: SearchSpace) -> None:
    if request.scheduler == "none":
        return
    stage, config = list(space.stages.items())[-1]
    if config.max_minutes is not None:
        raise ValueError(
            f"--scheduler {request.scheduler} compares trials after as many epochs, and here they have as many minutes "
            "(max_minutes); leave it out"
        )
    if request.seeds > 1:
        raise ValueError(
            f"--scheduler {request.scheduler} decides by single trainings, and of a trial's {request.seeds} some would "
            "be cut or changed: leave out --seeds and train the best again with it, or give --scheduler none"
        )
    if request.scheduler == "pbt" and not any(parameter.mutable for parameter in space.parameters):
        raise ValueError(f"--scheduler pbt: nothing that this sweep varies can change while {stage} runs; take asha")
    if request.scheduler == "pbt" and request.search == "grid":
        raise ValueError("--scheduler pbt changes settings while trials run, which is no grid; add --search random")
    if request.scheduler == "pbt" and (request.num_samples or 99) - len(space.controls) < 4:
        raise ValueError("--scheduler pbt needs a population of 4 or more beside the control arms: raise --num-samples")
    if request.scheduler == "pbt" and request.workers_per_trial > 1:
        raise ValueError("--scheduler pbt: trials of several workers cannot be cloned; leave out --workers-per-trial")


def _require_files(request: SweepRequest) -> None:
    """Require the files and folders that are named. What is in them, reading tells."""
    source = request.data
    if not is_shipped(source) and not Path(source).exists():
        for part in source.split(","):
            if not Path(part.strip()).exists():
                raise ValueError(
                    f"--data {source}: there is no file or folder {part.strip()}; check the path, or use one of those "
                    f"that come with crystalsweep: {', '.join(SHIPPED)}"
                )
    if request.start_from not in (CHAMPION, SCRATCH):
        try:
            require_understood(request.start_from)
        except ValueError as error:
            raise ValueError(f"--start-from {error}") from error


def _require_resources(request: SweepRequest) -> None:
    for option, number in (("cpus", request.cpus_per_worker), ("gpus", request.gpus_per_worker)):
        if number is not None and number > 1 and number != int(number):
            raise ValueError(f"--{option}-per-worker {number:g} is neither a share of one nor a whole number of them")
    gpus = request.gpus_per_worker
    if gpus is not None and 0 < gpus < 1 and request.workers_per_trial > 1:
        raise ValueError(
            f"--gpus-per-worker {gpus:g}: workers of one trial cannot share a GPU (NCCL refuses); give each 1, or "
            "leave out --workers-per-trial"
        )
