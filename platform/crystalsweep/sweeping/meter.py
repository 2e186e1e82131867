"""What the trainings of a stage use, held against the caps of their sweep."""

from __future__ import annotations

from collections.abc import Mapping

from crystalsweep.sweeping.live import Live
from crystalsweep.sweeping.plan.budget import Caps, Usage, exceeded, told
from crystalsweep.training.job import Resources


class Meter:
    """Adds up what trainings have used, in all sessions of a sweep."""

    def __init__(self, caps: Caps, before: Usage, resources: Resources) -> None:
        self.waiting: dict[str, float] = {}
        """By key, seconds for which trainings that earlier sessions left open held their resources."""
        self._caps, self._before, self._resources = caps, before, resources

    def used(self, trainings: Mapping[str, Live]) -> Usage:
        """Return what these trainings, those that wait, and the stages before them have used."""
        waiting = sum(seconds for key, seconds in self.waiting.items() if key not in trainings)
        held = waiting + sum(live.seconds for live in trainings.values())
        size = sum(live.size for live in trainings.values())
        used = self._before.plus(held, self._resources)
        return Usage(cpu_hours=used.cpu_hours, gpu_hours=used.gpu_hours, bytes=used.bytes + size)

    def exceeded(self, trainings: Mapping[str, Live]) -> str:
        """Return the cap that is reached, in words; empty while none is."""
        return exceeded(self.used(trainings), self._caps)

    def told(self, trainings: Mapping[str, Live]) -> str:
        """Return what is used beside its caps, for the display."""
        return told(self.used(trainings), self._caps)
