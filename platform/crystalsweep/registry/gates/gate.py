"""What a gate says."""

from __future__ import annotations

from crystalsweep.config import Config

Number = float | int | str | bool | None


class Check(Config):
    """One thing that a gate looked at."""

    title: str
    passed: bool
    says: str
    """With the numbers that decided it, and the limit."""
    numbers: dict[str, Number] = {}


class Gate(Config):
    """A group of checks; it passes when each of them does."""

    name: str
    title: str
    required: bool = True
    """Whether a promotion is refused where it does not pass."""
    checks: list[Check]
    notes: list[str] = []
    """What a reader must know of it."""

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)

    @property
    def refuses(self) -> bool:
        """Whether it stands in the way."""
        return self.required and not self.passed

    @property
    def reasons(self) -> list[str]:
        """What did not pass."""
        return [f"{self.title}: {check.title}: {check.says}" for check in self.checks if not check.passed]
