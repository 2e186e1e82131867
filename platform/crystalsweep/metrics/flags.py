"""What makes a row's numbers hollow, in plain sentences.

Each of the four metrics of Liu et al., iScience 27, 110672 (2024), Fig. 4, can be had without restoring anything: one
good crystal for every input is valid, alloys are exempt from charge neutrality, a huge cell has no short distance, and
Eq. 5 is 1 for a model that never restores a composition. doi:10.1016/j.isci.2024.110672
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import pandas as pd

from crystalsweep.metrics.charge_balance import metals_alone
from crystalsweep.metrics.novelty import reduced_composition
from crystalsweep.metrics.pairing import pairing_keys
from crystalsweep.metrics.summary import METRICS, SECONDARY, available, metric_difference

FEW_DISTINCT = 0.1
"""Distinct crystals per parent below this: a restoration gives at least one for each parent."""
MIN_PARENTS = 10
"""Below this many parents little can be said of variety."""
ALLOY_EXCESS = 0.2
"""Share of alloys and elements above that of the true crystals; a model that errs on species shifts it by a few %."""
FAILED = 0.01
"""Share of one kind of failure; an honest network always gives as many finite atoms as it got."""
VISIBLE_KEPT = 0.9
"""Visible accuracy below this; the visible atoms are in the input."""
CELL_CHANGED = 0.05
"""Relative change of volume per atom. Distances are measured in the parent's cell and do not see it."""
CELLS_CHANGED = 0.01
"""Share of crystals whose cell changed."""
RARELY_RESTORED = 0.05
"""Share of crystals with the composition restored; filling in the most common element reaches about this."""
FEW_RESTORED = 20
"""Parents with a restored composition; intervals over fewer are too narrow."""
HIGH_EQ5 = 0.9
"""Eq. 5 above this while compositions are rarely restored says nothing of positions."""
COPIED = 0.5
"""Share of training crystals among those that miss their parent; substitution of species can hit a known crystal."""
DENSITIES = (0.1, 25.0)
"""g/cm³; osmium, the densest crystal, has 22.6, the lightest bundled crystals 0.2."""
IMPLAUSIBLE = 0.01
"""Share of crystals outside of it."""

_Check = Callable[[pd.DataFrame, pd.DataFrame | None], Iterator[str]]
"""(table, ceiling) -> warnings."""


def flags(tables: Mapping[str, pd.DataFrame]) -> dict[str, list[str]]:
    """Return, per row name, one sentence with its numbers for each thing that makes them hollow; empty where there is
    none.

    `tables` are scored tables. The row `ceiling`, the true crystals, is what validity and alloys are held against;
    without it, or without a column that a check needs, that check is left out.
    """
    ceiling = tables.get("ceiling")
    return {
        name: [] if table is ceiling else [warning for check in _CHECKS for warning in check(table, ceiling)]
        for name, table in tables.items()
    }


def _failures(table: pd.DataFrame, _: pd.DataFrame | None) -> Iterator[str]:
    reasons = table["failure"].fillna("")
    kinds = reasons[reasons != ""].str.replace(r"^\d+ atoms instead of \d+$", "another number of atoms", regex=True)
    for kind, count in kinds.value_counts().items():
        if count > FAILED * len(table):
            yield f"{_of(count, table)} could not be scored: {kind}."


def _variety(table: pd.DataFrame, _: pd.DataFrame | None) -> Iterator[str]:
    parents = table["parent"].nunique()
    if parents < MIN_PARENTS:
        return
    if "species_after" in table:
        distinct = _compositions(table["species_after"]).nunique()
        if distinct < FEW_DISTINCT * parents:
            noun = "composition" if distinct == 1 else "compositions"
            yield f"{distinct:,} distinct {noun} in {len(table):,} crystals made from {parents:,} parents."
            return
    if "unique" in table and (unique := table["unique"].astype(float).sum()) < FEW_DISTINCT * parents:
        noun = "crystal" if unique == 1 else "crystals"
        yield f"{unique:,.0f} distinct {noun} among {len(table):,} made from {parents:,} parents."


def _alloys(table: pd.DataFrame, ceiling: pd.DataFrame | None) -> Iterator[str]:
    if "species_after" not in table:
        return
    made, true = table["species_after"], None if ceiling is None else ceiling.get("species_after")
    if "species_before" in table:
        known = _sizes(table["species_before"]) > 0  # none without an original
        made, true = made[known], table.loc[known, "species_before"]
    if true is None:
        return
    share, share_of_true = _exempt(made), _exempt(true)
    if share > share_of_true + ALLOY_EXCESS:
        yield (
            f"{share:.0%} of its crystals are alloys or elements, which compositional validity accepts whatever their "
            f"composition; {share_of_true:.0%} of the true crystals are."
        )


def _visible_atoms(table: pd.DataFrame, _: pd.DataFrame | None) -> Iterator[str]:
    kept = _mean("visible_accuracy", table)
    if kept < VISIBLE_KEPT:
        yield f"It keeps the species of {kept:.0%} of the visible atoms, which its input shows."


def _cells(table: pd.DataFrame, _: pd.DataFrame | None) -> Iterator[str]:
    names = ("lattice_before", "lattice_after"), ("species_before", "species_after")
    if not {*names[0], *names[1]} <= set(table):
        return
    # Per atom: crystals from a file may be in another cell than their original.
    before, after = (_volumes(table[cell]) / _sizes(table[atoms]) for cell, atoms in zip(*names, strict=True))
    changed = int((np.abs(after - before) > CELL_CHANGED * before).sum())
    if changed > CELLS_CHANGED * len(table):
        yield (
            f"{_of(changed, table)} have another cell than their input (volume per atom off by more than "
            f"{CELL_CHANGED:.0%})."
        )


def _restoration(table: pd.DataFrame, _: pd.DataFrame | None) -> Iterator[str]:
    table = table[table["compositional_similarity"].notna()]  # NaN without an original
    if table.empty or table["given_composition"].astype(bool).any():
        return
    restored = table["compositional_similarity"].astype(bool)
    parents, restored_parents = table["parent"].nunique(), table.loc[restored, "parent"].nunique()
    if restored.mean() >= RARELY_RESTORED and restored_parents >= min(FEW_RESTORED, parents / 2):
        return
    eq5 = _mean("paper_eq5", table)
    trap = f", and Eq. 5 reads {eq5:.3f} for that reason" if eq5 > HIGH_EQ5 else ""
    rests = f"rests on those, from {restored_parents:,} of {parents:,} parents" if restored.any() else "is undefined"
    yield f"It restores the composition of {_of(int(restored.sum()), table)}: structural similarity {rests}{trap}."


def _copies(table: pd.DataFrame, _: pd.DataFrame | None) -> Iterator[str]:
    if "novel_vs_reference" not in table:
        return
    same = "matched" if "matched" in table else "compositional_similarity_permuted"
    missed = table[(table[same].astype(float) != 1) & table["novel_vs_reference"].notna()]
    # A crystal that cannot be compared is not novel either; only one that was found is a copy.
    found = missed["reference_match"] != "" if "reference_match" in missed else missed["novel_vs_reference"] == 0
    copied = int(found.sum())
    if len(missed) > RARELY_RESTORED * len(table) and copied > COPIED * len(missed):
        yield f"{copied:,} of the {len(missed):,} crystals that are not their parent are copies of training crystals."


def _too_valid(table: pd.DataFrame, ceiling: pd.DataFrame | None) -> Iterator[str]:
    if ceiling is None:
        return
    for metric in METRICS[:2]:
        try:
            excess = metric_difference(table, ceiling, metric, keys=pairing_keys(table, ceiling))
        except ValueError:  # keys repeat: nothing to pair
            continue
        if excess.low > 0:
            yield f"{metric.title} is above that of the true crystals by {excess}, paired: more valid than real ones."


def _density(table: pd.DataFrame, _: pd.DataFrame | None) -> Iterator[str]:
    if "density" not in table:
        return
    density = table["density"].dropna()
    outside = int((~density.between(*DENSITIES)).sum())
    if outside > IMPLAUSIBLE * len(table):
        low, high = DENSITIES
        yield (
            f"{_of(outside, table)} have a density outside {low:g}–{high:g} g/cm³ (median {density.median():.2g}), "
            "which structural validity does not see."
        )


_CHECKS: tuple[_Check, ...] = (
    _failures,
    _variety,
    _alloys,
    _visible_atoms,
    _cells,
    _restoration,
    _copies,
    _too_valid,
    _density,
)


def _of(count: int, table: pd.DataFrame) -> str:
    return f"{count:,} of {len(table):,} crystals"


def _mean(name: str, table: pd.DataFrame) -> float:
    """Return mean of a secondary metric; NaN where the table does not define it."""
    metric = {metric.name: metric for metric in SECONDARY}[name]
    return metric.over(table, n_resamples=1).mean if available([metric], table) else np.nan


def _compositions(species: pd.Series) -> pd.Series:
    """Return reduced compositions of lists of atomic numbers, comparable; rows without atoms are left out."""
    return pd.Series([reduced_composition(row) for row in species if row is not None and len(row)], dtype=object)


def _exempt(species: pd.Series) -> float:
    """Share of compositions that are one element or metals only."""
    compositions = _compositions(species)
    exempt = [len(c) == 1 or metals_alone([z for z, _ in c]) for c in compositions]
    return float(np.mean(exempt)) if exempt else np.nan


def _sizes(species: pd.Series) -> np.ndarray:
    """Return (n,) atoms in lists of atomic numbers; NaN where there are none."""
    return np.array([len(row) if row is not None and len(row) else np.nan for row in species], dtype=float)


def _volumes(lattices: pd.Series) -> np.ndarray:
    """Return (n,) Å³ of flattened lattices (9,); NaN for anything else."""
    cells = [row if row is not None and len(row) == 9 else [np.nan] * 9 for row in lattices]
    with np.errstate(over="ignore", invalid="ignore"):
        return np.abs(np.linalg.det(np.array(cells, dtype=float).reshape(-1, 3, 3)))
