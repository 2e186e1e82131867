"""How far generated crystals are, as a set, from reference crystals: density, elements, space groups, crystal systems.

Wasserstein distances of density and number of elements are CDVAE's (Xie et al., doi:10.48550/arXiv.2110.06197); shares
of elements and symmetries are compared by Jensen–Shannon distance (Lin, IEEE Trans. Inf. Theory 37, 145 (1991)).
Restoration is judged crystal by crystal (Liu et al., doi:10.1016/j.isci.2024.110672, Fig. 4); this sees a set drift.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crystalsweep.metrics.bootstrap import tails
from crystalsweep.metrics.settings import StructureRules
from crystalsweep.structures.crystal import MASK, N_ELEMENTS, Crystal
from crystalsweep.structures.elements import GRAMS_PER_CM3

os.environ.setdefault("SPGLIB_WARNING", "OFF")  # its library would print each failure; here they are values

GENERATED_SYMPREC = 0.1
"""Å; spglib's tolerance for generated crystals, whose positions carry noise."""

CRYSTAL_SYSTEMS = ("triclinic", "monoclinic", "orthorhombic", "tetragonal", "trigonal", "hexagonal", "cubic")
_LAST_GROUP = (2, 15, 74, 142, 167, 194, 230)

_MIN_VOLUME = StructureRules().min_volume
"""Å³; a smaller cell has no density worth a mean and no symmetry."""

N_FLOORS = 50
"""Pairs of resamples of the reference behind a floor."""

DISTANCES = ("quantity", "measure", "distance", "low", "high", "floor", "floor_high", "n", "clusters", "n_reference")
"""Columns of `distances`."""


def crystal_system_of(space_group: int) -> str:
    """Return the crystal system of a space group 1…230; `unknown` for anything else."""
    if not 1 <= space_group <= _LAST_GROUP[-1]:
        return "unknown"
    return CRYSTAL_SYSTEMS[int(np.searchsorted(_LAST_GROUP, space_group))]


_groups: WeakKeyDictionary[Crystal, dict[float, int]] = WeakKeyDictionary()


def space_group_of(crystal: Crystal, symprec: float = GENERATED_SYMPREC) -> int:
    """Return spglib's space group 1…230; 0 where there is none to find (NaN, no volume, no atoms, atoms on each other).

    Found once per crystal object.
    """
    known = _groups.setdefault(crystal, {})
    if symprec not in known:
        known[symprec] = _space_group(crystal, symprec)
    return known[symprec]


def _space_group(crystal: Crystal, symprec: float) -> int:
    import spglib

    if not _has_cell(crystal) or crystal.frac.shape != (len(crystal), 3) or not np.isfinite(crystal.frac).all():
        return 0
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # spglib's of a future change in how it reports failures
            found = spglib.get_symmetry_dataset((crystal.lattice, crystal.frac, crystal.species), symprec=symprec)
    except (spglib.SpglibError, ArithmeticError, LookupError, TypeError, ValueError):
        return 0
    return int(found.number) if found else 0


def density_of(crystal: Crystal) -> float:
    """Return mass density, g/cm³; NaN for a cell without volume and for atoms that are no element."""
    from ase.data import atomic_masses

    if not _has_cell(crystal) or (crystal.species <= MASK).any() or (crystal.species > N_ELEMENTS).any():
        return np.nan
    return float(atomic_masses[crystal.species].sum() / crystal.volume * GRAMS_PER_CM3)


def _has_cell(crystal: Crystal) -> bool:
    """Return atoms in a cell whose volume is finite and at least `_MIN_VOLUME`."""
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(len(crystal) and np.isfinite(crystal.lattice).all() and _MIN_VOLUME <= crystal.volume < np.inf)


def describe_crystals(crystals: Sequence[Crystal], symprec: float = GENERATED_SYMPREC) -> pd.DataFrame:
    """Return density (g/cm³, NaN without one), n_elements, space_group (0 without one), crystal_system; a row per
    crystal."""
    groups = [space_group_of(crystal, symprec) for crystal in crystals]
    return pd.DataFrame(
        {
            "density": [density_of(crystal) for crystal in crystals],
            "n_elements": [len(np.unique(crystal.species)) for crystal in crystals],
            "space_group": groups,
            "crystal_system": [crystal_system_of(group) for group in groups],
        }
    )


def reference_frame(crystals: Sequence[Crystal], symprec: float = GENERATED_SYMPREC) -> pd.DataFrame:
    """Return crystals as `distances` takes them: parent (each its own), species and what `describe_crystals` says."""
    ids = {"parent": [crystal.id for crystal in crystals], "species": [crystal.species for crystal in crystals]}
    return pd.DataFrame(ids).join(describe_crystals(crystals, symprec))


def generated_frame(table: pd.DataFrame) -> pd.DataFrame:
    """Return the generated crystals of a scored table as `distances` takes them, without rows that could not be scored.

    The table's `crystal_system` is the parent's; here it follows from `space_group`.
    """
    scored = table[table["failure"].fillna("") == ""] if "failure" in table else table
    renamed = scored.rename(columns={"species_after": "species"})
    kept = [name for name in ("parent", "species", "density", "n_elements", "space_group") if name in renamed]
    frame = renamed[kept].reset_index(drop=True)
    if "space_group" not in frame:
        return frame
    return frame.assign(crystal_system=[crystal_system_of(int(group)) for group in frame["space_group"]])


def distances(
    generated: pd.DataFrame, reference: pd.DataFrame, *, n_resamples: int = 200, seed: int = 0
) -> pd.DataFrame:
    """Return how far `generated` is from `reference`; a row per quantity that both have, with the columns `DISTANCES`.

    `density` (g/cm³) and `n_elements` by 1-Wasserstein distance; `elements` (shares of atoms), `space_groups` and
    `crystal_systems` by Jensen–Shannon distance (base 2, 0…1). Two samples of one population are never at distance
    zero: `floor` is the mean and `floor_high` the 95 % point of the distance between two resamples of the reference, as
    large as the generated parents and as the reference. (Where the reference is the parents themselves, a perfect
    restoration is at zero and lies below the floor.)

    The interval resamples the parents of `generated`, the reference being fixed. Resampling raises a distance, so the
    spread of the resampled ones is centred on the distance itself.

    Args:
        generated: `generated_frame` of a table.
        reference: `reference_frame` of crystals.
        n_resamples: Of the interval.
        seed: Of all resamples.
    """
    rows = []
    for quantity, (measure, columns) in _QUANTITIES.items():
        if columns in generated and columns in reference:
            sides = [frame[["parent", columns]].dropna() for frame in (generated, reference)]
            if all(side["parent"].nunique() > 1 for side in sides):
                row = _distance_row(measure, *sides, n_resamples=n_resamples, seed=seed)
                rows.append({"quantity": quantity, "measure": measure, **row})
    return pd.DataFrame(rows, columns=list(DISTANCES))


_QUANTITIES = {
    "density": ("Wasserstein", "density"),
    "n_elements": ("Wasserstein", "n_elements"),
    "elements": ("Jensen–Shannon", "species"),
    "space_groups": ("Jensen–Shannon", "space_group"),
    "crystal_systems": ("Jensen–Shannon", "crystal_system"),
}
"""Quantity: measure and column."""

_Weighted = Callable[[NDArray[np.float64], NDArray[np.float64]], float]
"""Distance between two sets whose parents count as often as (parents of a,) and (parents of b,) say."""


def _distance_row(
    measure: str, a: pd.DataFrame, b: pd.DataFrame, *, n_resamples: int, seed: int
) -> dict[str, float | int]:
    between = _wasserstein if measure == "Wasserstein" else _jensen_shannon
    distance, (n_a, n_b) = between(a, b), (a["parent"].nunique(), b["parent"].nunique())
    generator = np.random.default_rng(seed)
    point, all_b = distance(np.ones(n_a), np.ones(n_b)), np.ones(n_b)
    drawn = np.array([distance(_drawn(generator, n_a, n_a), all_b) for _ in range(n_resamples)])
    low, high = point + np.quantile(drawn - drawn.mean(), tails(n_a))
    within = between(b, b)
    floors = [within(_drawn(generator, n_a, n_b), _drawn(generator, n_b, n_b)) for _ in range(N_FLOORS)]
    return {
        "distance": point,
        "low": max(0.0, float(low)),
        "high": float(high),
        "floor": float(np.mean(floors)),
        "floor_high": float(np.quantile(floors, 0.95)),
        "n": len(a),
        "clusters": n_a,
        "n_reference": len(b),
    }


def _drawn(generator: np.random.Generator, n: int, size: int) -> NDArray[np.float64]:
    """Return (size,) how often each of `size` parents is drawn in `n` draws with replacement."""
    return np.bincount(generator.integers(size, size=n), minlength=size).astype(float)


def _wasserstein(a: pd.DataFrame, b: pd.DataFrame) -> _Weighted:
    """Return the Wasserstein distance of the numbers in the second column."""
    from scipy.stats import wasserstein_distance

    values, codes = zip(*[(side.iloc[:, 1].to_numpy(float), _codes(side)) for side in (a, b)], strict=True)
    return lambda of_a, of_b: float(wasserstein_distance(*values, of_a[codes[0]], of_b[codes[1]]))


def _jensen_shannon(a: pd.DataFrame, b: pd.DataFrame) -> _Weighted:
    """Return the Jensen–Shannon divergence of the shares of categories, or of lists of them (an atom counts once), in
    the second column."""
    from scipy.spatial.distance import jensenshannon

    long = [side.assign(code=_codes(side)).explode(side.columns[1]) for side in (a, b)]
    categories = pd.factorize(np.concatenate([part.iloc[:, 1].to_numpy() for part in long]))[0]
    counts, start = [], 0
    for part in long:
        table = np.zeros((part["code"].max() + 1, categories.max() + 1))
        np.add.at(table, (part["code"].to_numpy(), categories[start : start + len(part)]), 1)
        counts.append(table)
        start += len(part)
    return lambda of_a, of_b: float(np.nan_to_num(jensenshannon(of_a @ counts[0], of_b @ counts[1], base=2)))


def _codes(side: pd.DataFrame) -> NDArray[np.int64]:
    return pd.factorize(side["parent"], sort=True)[0]
