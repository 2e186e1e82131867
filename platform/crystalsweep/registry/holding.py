"""Whether what a dossier says still holds: gates asked again, and held against those of then."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from crystalsweep.registry.dossier import Dossier
from crystalsweep.registry.gates.gate import Check, Gate

TOLERANCE = 1e-3
"""Greatest difference of a figure that another machine's arithmetic may make."""

READABLE = "readable"
"""Check of what could not be asked, since the version's own files cannot be read."""


def asked(name: str, title: str, ask: Callable[[], Gate]) -> Gate:
    """Return a gate; one that fails where the version's files cannot be read."""
    try:
        return ask()
    except (ValueError, KeyError, TypeError, OSError) as error:
        return failed(name, title, READABLE, error)


def failed(name: str, title: str, check: str, error: Exception) -> Gate:
    """Return a gate that does not pass for this error."""
    says = " ".join(str(error).split()) or type(error).__name__
    return Gate(name=name, title=title, checks=[Check(title=check, passed=False, says=says)])


def as_before(dossier: Dossier, now: Gate) -> Gate:
    """Return what passed then must pass now; what was forced may fail again."""
    then = next((gate for gate in dossier.gates if gate.name == now.name), None)
    failed_before = {check.title for check in then.checks if not check.passed} if then else set()
    checks = [
        check.model_copy(update={"passed": True, "says": f"fails as it did then: {check.says}"})
        if not check.passed and check.title in failed_before
        else check
        for check in now.checks
    ]
    return now.model_copy(update={"checks": checks})


def recorded(dossier: Dossier) -> list[str]:
    """Return the data sets that were looked at then and are here still."""
    return [source for source in dossier.trained_on if all(Path(part).exists() for part in source.split(","))]


def claims(same: dict[str, bool]) -> Gate:
    """Return whether what a dossier says of the files beside it is so, by name of what it says."""
    differing = ", ".join(name for name, each in same.items() if not each)
    says = f"its {differing} differ from the files" if differing else f"{', '.join(same)} are those of the files"
    return Gate(name="claims", title="Dossier", checks=[Check(title="true", passed=not differing, says=says)])
