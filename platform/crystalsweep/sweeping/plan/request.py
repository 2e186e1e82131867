"""What a user asked of a sweep on the command line; kept in the sweep's folder, so that it can be resumed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from crystalsweep.artifacts.addresses import Address
from crystalsweep.sweeping.space.spec import SearchSpace, SweepSpec

Search = Literal["grid", "random", "optuna"]
Scheduler = Literal["none", "asha", "pbt"]

CHAMPION, SCRATCH = "champion", "scratch"
"""Of `start_from`: the registry's champion where it fits, and nothing; else it is a checkpoint's reference."""

FREE = (
    "num_samples",
    "max_concurrent",
    "max_cpu_hours",
    "max_gpu_hours",
    "max_bytes",
    "timeout",
    "tracking_uri",
)
"""What may be asked anew when a sweep is resumed; everything else is as it was."""


@dataclass(frozen=True, kw_only=True)
class SweepRequest:
    """The options of a sweep, as given or by default."""

    preset: str
    data: str
    """Absolute, as `crystalsweep.data.absolute_source` gives it."""
    settings: tuple[str, ...]
    """`--set` assignments."""
    search: Search
    num_samples: int | None
    """Trials in all, control arms included; None: the whole grid, or 16 beyond the controls."""
    seeds: int
    """Trainings of each trial, seeded 0, 1, …"""
    scheduler: Scheduler
    objectives: tuple[str, ...]
    workers_per_trial: int
    cpus_per_worker: float
    gpus_per_worker: float | None
    """None: one if the cluster has GPUs."""
    max_concurrent: int
    keep_best: int
    """Checkpoints of each training to keep beside the last, the best by the objective."""
    max_cpu_hours: float | None
    max_gpu_hours: float | None
    max_bytes: int | None
    timeout: float
    """Minutes without a report after which a training is given up."""
    tracking_uri: Address
    storage: str
    """Folder, or `s3://…` without keys."""
    start_from: str = SCRATCH
    """Generator that the GAN starts from; sweeps that were begun before this was asked pre-train."""
    subject_to: tuple[str, ...] = ()
    """What trials must not lose to the control arms, as `compositional_similarity=0.01`."""
    own: dict[str, Any]
    """Options of this sweep file alone."""

    def search_space(self, sweep: SweepSpec) -> SearchSpace:
        """Return what a sweep tries under this request. Raises `ValueError` for unknown names and bad values."""
        return sweep.search_space(self.preset, self.settings, **self.own)

    def as_json(self) -> dict[str, Any]:
        """Return plain values, without a password."""
        return asdict(self) | {"tracking_uri": str(self.tracking_uri)}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> SweepRequest:
        """Read a request from what `as_json` gave."""
        lists = ("settings", "objectives", "subject_to")
        tuples: dict[str, Any] = {name: tuple(content[name]) for name in lists if name in content}
        return cls(**{**content, **tuples, "tracking_uri": Address(content["tracking_uri"])})
