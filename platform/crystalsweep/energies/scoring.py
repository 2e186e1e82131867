"""The energy columns of a scored table: relative to the parent, and above the hull of a reference set.

ΔE is Liu et al.'s relative energy per atom of a generated crystal against its original (iScience 27, 110672 (2024)),
between crystals of the same composition; single-point and relaxed energies are different columns. What is relaxed is
compared with what is relaxed: parents and phases too. doi:10.1016/j.isci.2024.110672
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from crystalsweep.energies._base import FMAX, Energy, EnergyCalculator, Progress, Relaxed, silent
from crystalsweep.energies.hull import Decomposition, ReferenceHull
from crystalsweep.structures.crystal import Crystal

ENERGY_COLUMNS = (
    "energy",
    "energy_before",
    "delta_energy",
    "e_above_hull",
    "energy_relaxed",
    "delta_energy_relaxed",
    "e_above_hull_relaxed",
    "relax_converged",
    "energy_failure",
)
"""Of `energy_columns`, in order. eV/atom; `relax_converged` is 0 or 1, NaN where nothing was relaxed."""

_Evaluate = Callable[[Sequence[Crystal]], Sequence[Energy | Relaxed]]


def energy_columns(
    originals: Sequence[Crystal],
    generated: Sequence[Crystal],
    calculator: EnergyCalculator,
    hull: ReferenceHull | None = None,
    *,
    relax_steps: int | None = None,
    fmax: float = FMAX,
    progress: Progress = silent,
) -> pd.DataFrame:
    """Return the columns `ENERGY_COLUMNS` of the generated crystals, a row each, given their parents row by row.

    Parents, phases and equal crystals are computed once per calculator, also over several calls. A value that cannot
    be computed is NaN and `energy_failure` says why (`generated: …; parent: …; hull: …; relaxed …`); it is empty
    where only the composition differs, which makes ΔE undefined.

    Args:
        originals: The parents, one per row.
        generated: What a model made of them.
        calculator: Computes every energy of the table, those of the hull's phases included.
        hull: Without it, the energies above the hull are NaN.
        relax_steps: Most steps of a relaxation; None leaves the relaxed columns NaN.
        fmax: Force (eV/Å) below which a relaxation has converged.
        progress: Wrapped around the loops that compute, e.g. `tqdm.tqdm`.

    Raises:
        ValueError: The two differ in length.
    """
    if len(originals) != len(generated):
        raise ValueError(f"{len(generated)} generated crystals for {len(originals)} parents: pass one parent per row.")
    pairs = _Pairs(originals, generated, hull)
    single = _compare(pairs, lambda crystals: calculator.energies(crystals, progress), every_parent=True)
    table = pd.DataFrame(np.nan, index=range(len(generated)), columns=list(ENERGY_COLUMNS[:-1]), dtype=np.float64)
    table["energy"], table["energy_before"], table["e_above_hull"] = single.energy, single.before, single.above
    table["delta_energy"] = np.where(pairs.same, single.energy - single.before, np.nan)
    reasons = single.reasons
    if relax_steps is not None:
        steps = relax_steps
        relaxed = _compare(
            pairs, lambda crystals: calculator.relax(crystals, steps, fmax, progress), every_parent=False
        )
        table["energy_relaxed"], table["e_above_hull_relaxed"] = relaxed.energy, relaxed.above
        table["delta_energy_relaxed"] = np.where(pairs.same, relaxed.energy - relaxed.before, np.nan)
        table["relax_converged"] = [
            np.nan if found.crystal is None else float(found.converged)
            for found in calculator.relax(generated, steps, fmax)
        ]
        reasons = [
            [*a, *(f"relaxed {each}" for each in b if each not in a)]
            for a, b in zip(reasons, relaxed.reasons, strict=True)
        ]
    return table.assign(energy_failure=["; ".join(each) for each in reasons])


def sun(e_above_hull: ArrayLike, unique: ArrayLike, novel: ArrayLike, stable_below: float) -> NDArray[np.float64]:
    """Return (n,) 1 where a crystal is stable (`e_above_hull` <= `stable_below`, eV/atom), unique and novel, else 0.

    NaN where `e_above_hull` is, and where nothing decided whether a stable crystal is unique or novel: what has not
    been computed is neither.
    """
    above, *kinds = (np.asarray(each, dtype=np.float64) for each in (e_above_hull, unique, novel))
    failed = (above > stable_below) | np.any([kind == 0 for kind in kinds], axis=0)
    unknown = np.isnan(above) | (~failed & np.any([np.isnan(kind) for kind in kinds], axis=0))
    return np.where(unknown, np.nan, (~failed).astype(np.float64))


class _Pairs:
    """Generated crystals beside their parents, with what the hull has below them."""

    def __init__(self, originals: Sequence[Crystal], generated: Sequence[Crystal], hull: ReferenceHull | None) -> None:
        self.originals, self.generated, self.hull = originals, generated, hull
        self.same = np.array(
            [len(b) > 0 and a.reduced_formula == b.reduced_formula for a, b in zip(originals, generated, strict=True)],
            dtype=bool,
        )


@dataclass(frozen=True)
class _Compared:
    """Energies (n,) of the generated crystals and of their parents, and above the hull; reasons per row."""

    energy: NDArray[np.float64]
    before: NDArray[np.float64]
    above: NDArray[np.float64]
    reasons: list[list[str]]


def _compare(pairs: _Pairs, evaluate: _Evaluate, *, every_parent: bool) -> _Compared:
    found = evaluate(pairs.generated)
    reasons = [[f"generated: {each.failure}"] if each.failure else [] for each in found]
    energy = np.array([each.per_atom for each in found], dtype=np.float64)
    before = np.full(len(found), np.nan)
    wanted = [i for i in range(len(found)) if every_parent or pairs.same[i]]
    for i, parent in zip(wanted, evaluate([pairs.originals[i] for i in wanted]), strict=True):
        before[i] = parent.per_atom
        reasons[i] += [f"parent: {parent.failure}"] if parent.failure else []
    above = np.full(len(found), np.nan)
    if pairs.hull is not None:
        computed = np.flatnonzero(~np.isnan(energy)).tolist()
        decomposed = {i: pairs.hull.decompose(pairs.generated[i].species) for i in computed}
        below = _hull_energies(decomposed, evaluate)
        for i, (value, reason) in below.items():
            above[i] = energy[i] - value
            reasons[i] += [f"hull: {reason}"] if reason else []
    return _Compared(energy, before, above, reasons)


def _hull_energies(decomposed: dict[int, Decomposition], evaluate: _Evaluate) -> dict[int, tuple[float, str]]:
    """Return the hull's energy (eV/atom) below each row, NaN with the reason where a phase has none."""
    complete = [each for each in decomposed.values() if not each.missing]
    crystals = dict.fromkeys(phase.crystal for each in complete for phase in each.phases if phase.crystal)
    known = dict(zip(crystals, evaluate(list(crystals)), strict=True))
    below = {}
    for i, each in decomposed.items():
        if each.missing:
            below[i] = (np.nan, each.missing)
            continue
        phases = [(phase.crystal.id, known[phase.crystal]) for phase in each.phases if phase.crystal]
        failed = [f"phase {name}: {energy.failure}" for name, energy in phases if energy.failure]
        below[i] = (each.energy([energy.per_atom for _, energy in phases]), ", ".join(failed))
    return below
