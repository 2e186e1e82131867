"""Whether the dossier's command gives the dossier's figures again, in a process of its own, on the CPU."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from crystalsweep.evaluation.outcome import Evaluation, Figure
from crystalsweep.evaluation.properties.outcome import PropertyEvaluation
from crystalsweep.registry.gates.gate import Check, Gate

Measured = Evaluation | PropertyEvaluation

SAME_MACHINE_TOLERANCE = 1e-6
"""Greatest difference of a figure between two runs on one machine; none is expected."""

SAME_CODE = "measured with the same code and libraries"
"""Check that fails where the figures may mean something else, though they be the same."""


def reproducibility(
    first: Measured, second: Measured, command: str, *, tolerance: float = SAME_MACHINE_TOLERANCE
) -> Gate:
    """Return the gate: every mean and bound of the evaluation, of both runs.

    Of other code, which may measure more, those of the first are asked for.
    """
    same_lock = first.metrics_lock == second.metrics_lock
    worst, where, n = _greatest_difference(first, second, also_new=same_lock)
    says = f"{n:,} figures, " + ("all the same" if not worst else f"the greatest difference is {worst:.2g} ({where})")
    checks = [
        Check(
            title="the command gives the same figures",
            passed=worst <= tolerance,
            says=f"{says} (limit {tolerance:g})",
            numbers={"figures": n, "greatest_difference": worst, "limit": tolerance},
        ),
        Check(
            title=SAME_CODE,
            passed=same_lock,
            says=f"metrics_lock {second.metrics_lock[:12]}" + ("" if same_lock else f", was {first.metrics_lock[:12]}"),
        ),
    ]
    return Gate(name="reproducibility", title="Reproducibility", checks=checks, notes=[command])


def _greatest_difference(first: Measured, second: Measured, *, also_new: bool) -> tuple[float, str, int]:
    """Return the greatest difference; infinite where the second lacks a figure, or has a new one that is asked for."""
    a, b = dict(_figures(first)), dict(_figures(second))
    worst, where = 0.0, ""
    for name in sorted(a.keys() | (b.keys() if also_new else set())):
        difference = _difference(a.get(name), b.get(name))
        if difference > worst:
            worst, where = difference, name
    return worst, where, len(a)


def _difference(a: Figure | None, b: Figure | None) -> float:
    if a is None or b is None:
        return float("inf")
    pairs = ((a.mean, b.mean), (a.low, b.low), (a.high, b.high), (float(a.n), float(b.n)))
    if any((one is None) != (other is None) for one, other in pairs):
        return float("inf")
    return max(abs(one - other) for one, other in pairs if one is not None and other is not None)


def _figures(outcome: Measured) -> Iterator[tuple[str, Figure]]:
    if isinstance(outcome, PropertyEvaluation):
        for target, found in outcome.targets.items():
            for row, figures in found.rows.items():
                yield from _named(f"{target}/{row}", figures)
            for by, bins in found.strata.items():
                for each in bins:
                    for row, figures in each.rows.items():
                        yield from _named(f"{target}/{by}/{each.bin}/{row}", figures)
        return
    for row, figures in outcome.rows.items():
        yield from _named(row, figures)
    for row, conditions in outcome.conditions.items():
        for condition, figures in conditions.items():
            yield from _named(f"{row}/{condition}", figures)


def _named(prefix: str, figures: Mapping[str, Figure]) -> Iterator[tuple[str, Figure]]:
    for name, figure in figures.items():
        yield f"{prefix}/{name}", figure
