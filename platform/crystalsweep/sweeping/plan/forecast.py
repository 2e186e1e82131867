"""What a sweep will cost, as told before it starts and held against what came out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from crystalsweep.sweeping.plan.rehearsal import Rehearsal
from crystalsweep.sweeping.plan.request import Scheduler
from crystalsweep.sweeping.plan.survival import lasting, makespan, whole

FIRST_SECONDS = 7.0
"""Before the first step of the first training in a process: its start, imports, data. Like the next two it is what
benchmarks/sweep_overhead.py measured on two cores, rounded up."""

REUSED_SECONDS = 0.5
"""Of each later training in that process."""

NESTED_SECONDS = 20.0
"""Of a training with several workers, each in a new process: a Ray Train run of its own."""


_HELD = (0.8, 1.25)
"""Of what stages took over their forecast: between these it held, and nothing is said."""


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """The expected cost of a sweep."""

    minutes: float
    """Wall-clock of all stages."""
    stages: Mapping[str, float]
    """Minutes of each stage, in order; 0 for one that is there already."""
    cpu_hours: float
    """Of CPUs held, prerequisites included."""
    gpu_hours: float
    """Likewise of GPUs."""
    bytes: int
    """Of the checkpoints that the swept stage keeps."""
    epoch_minutes: float | None
    """Of the longest epoch of any stage; None where none was timed."""
    epochs_per_trial: float | None
    """Mean over trainings, after what the scheduler cuts; None where a budget of minutes ends them."""

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def corrected(stages: Mapping[str, float], swept: str, took: float) -> str:
    """Return what the swept stage should take by what the machine turned out to do; empty where the forecast held.

    Args:
        stages: Minutes forecast for each stage, 0 for one that was there.
        swept: The stage that is swept.
        took: Minutes that the stages before it took.
    """
    expected = sum(minutes for stage, minutes in stages.items() if stage != swept)
    if not expected or _HELD[0] <= took / expected <= _HELD[1]:
        return ""
    ratio = took / expected
    return (
        f"what came before {swept} took {took:.1f} minutes, {ratio:.2g} times its forecast of {expected:.1f}: "
        f"expect {ratio * stages[swept]:.1f} minutes for {swept}, not {stages[swept]:.1f}"
    )


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Of the trainings of one stage."""

    wall: float
    """Seconds from the first's start to the last's end."""
    held: float
    """Seconds for which resources were held, summed over trainings."""
    bytes: float
    epochs: float
    """Summed over trainings."""

    def __add__(self, then: Cost) -> Cost:
        return Cost(
            wall=self.wall + then.wall,
            held=self.held + then.held,
            bytes=self.bytes + then.bytes,
            epochs=self.epochs + then.epochs,
        )


def cost(
    measured: Rehearsal,
    trainings: int,
    epochs: int,
    *,
    scheduler: Scheduler = "none",
    at_once: int,
    workers: int,
    kept: int,
) -> Cost:
    """Return the cost of so many trainings that begin one after another as there is room for them, from one that was
    measured.

    Args:
        measured: One training, all epochs of it.
        trainings: How many.
        epochs: Of one that is not cut.
        scheduler: What cuts them.
        at_once: Trainings that have room beside each other.
        workers: Of each.
        kept: Checkpoints that a complete training keeps; one that was cut keeps none.
    """
    if trainings == 0:
        return Cost(wall=0.0, held=0.0, bytes=0.0, epochs=0.0)
    ends = lasting(trainings, epochs, scheduler=scheduler)
    seconds = [measured.seconds(length) for length in whole(ends)]
    first, later = (NESTED_SECONDS, NESTED_SECONDS) if workers > 1 else (FIRST_SECONDS, REUSED_SECONDS)
    fresh = min(at_once, trainings)
    return Cost(
        wall=makespan(seconds, at_once, first, later),
        held=sum(seconds) + fresh * first + (trainings - fresh) * later,
        bytes=min(kept, epochs) * ends[0][1] * measured.checkpoint,
        epochs=sum(length * count for length, count in ends),
    )
