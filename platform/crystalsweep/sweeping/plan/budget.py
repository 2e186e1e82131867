"""Caps of a sweep: hours of CPUs and GPUs held by its trainings, and bytes of checkpoints kept."""

from __future__ import annotations

from dataclasses import dataclass

from crystalsweep.training.job import Resources


@dataclass(frozen=True, kw_only=True)
class Caps:
    """What a sweep may use; None is without limit."""

    cpu_hours: float | None = None
    gpu_hours: float | None = None
    bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What a sweep has used, over all its sessions. Downtime is nobody's: only held resources count."""

    cpu_hours: float = 0.0
    gpu_hours: float = 0.0
    bytes: int = 0

    def plus(self, seconds: float, resources: Resources) -> Usage:
        """Return the usage with a training that held these resources for so many seconds."""
        hours = resources.workers * seconds / 3600
        return Usage(
            cpu_hours=self.cpu_hours + hours * resources.cpus_per_worker,
            gpu_hours=self.gpu_hours + hours * resources.gpus_per_worker,
            bytes=self.bytes,
        )


def exceeded(used: Usage, caps: Caps) -> str:
    """Return the cap that is reached, in words; empty while none is."""
    if caps.cpu_hours is not None and used.cpu_hours >= caps.cpu_hours:
        return f"--max-cpu-hours {caps.cpu_hours:g} is used up ({used.cpu_hours:.3g})"
    if caps.gpu_hours is not None and used.gpu_hours >= caps.gpu_hours:
        return f"--max-gpu-hours {caps.gpu_hours:g} is used up ({used.gpu_hours:.3g})"
    if caps.bytes is not None and used.bytes >= caps.bytes:
        return f"checkpoints take {readable(used.bytes)}, --max-bytes is {readable(caps.bytes)}"
    return ""


def told(used: Usage, caps: Caps) -> str:
    """Return what is used, beside its cap where there is one."""
    parts = [_part(f"{used.cpu_hours:.3g}", caps.cpu_hours, "CPU-hours")]
    if used.gpu_hours or caps.gpu_hours is not None:
        parts.append(_part(f"{used.gpu_hours:.3g}", caps.gpu_hours, "GPU-hours"))
    limit = f" of {readable(caps.bytes)}" if caps.bytes is not None else ""
    return ", ".join([*parts, f"{readable(used.bytes)}{limit}"])


def readable(size: float) -> str:
    """Return bytes for people: `41 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


def _part(used: str, cap: float | None, unit: str) -> str:
    return f"{used}{f' of {cap:g}' if cap is not None else ''} {unit}"
