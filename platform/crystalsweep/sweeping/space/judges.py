"""What a report asks of restored crystals beside its metrics. Imports without torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Judges:
    """Judges that no training and no decoder has seen: bond valences of all crystals, energies of some."""

    parents: int
    """Validation crystals whose restored ones get energies, a seeded sample."""
    calculator: str = "chgnet"
    """As `crystalsweep evaluate --calculator` takes it."""
