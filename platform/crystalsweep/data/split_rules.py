"""Splits that ask a question: of new crystals, compositions, chemical or crystal systems, or of an element never seen.

Each is a frozen list of ids like any other `Split`. Fig. 1C and S5 of Liu et al., iScience 27, 110672 (2024), train
on cubic crystals and test on the other six systems. doi:10.1016/j.isci.2024.110672
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from crystalsweep.data.errors import DataError
from crystalsweep.data.packing import pack_of
from crystalsweep.data.splitting import Split, reduced_formulas, split_of_groups
from crystalsweep.structures.crystal import Crystal
from crystalsweep.structures.elements import atomic_number

By = Literal["random", "composition", "chemical-system", "crystal-system", "element", "matbench-fold"]
RULES: tuple[By, ...] = get_args(By)

ASKS: dict[By, str] = {
    "random": "crystals drawn at random; another polymorph of a test crystal may be in train",
    "composition": "compositions that training has not seen",
    "chemical-system": "sets of elements that training has not seen together",
    "crystal-system": "crystal systems that training has not seen",
    "element": "an element that training has not seen",
    "matbench-fold": "one of matbench's five folds, drawn at random; another polymorph may be in train",
}
"""What the test part of each is made of."""

Fractions = tuple[float, float, float]
"""Shares of train, val and test."""

MATBENCH_FOLDS, MATBENCH_SEED = 5, 18012019
"""Of matbench's regression tasks, such as log10 K and log10 G (Dunn et al., npj Comput. Mater. 6, 138 (2020),
doi:10.1038/s41524-020-00406-3)."""


@dataclass(frozen=True, kw_only=True)
class Divided:
    """A split, and what a reader must know of it."""

    split: Split
    told: tuple[str, ...] = ()


def divided(crystals: Sequence[Crystal], by: By, fractions: Fractions = (0.8, 0.1, 0.1), seed: int = 0) -> Divided:
    """Return a split at random, by composition or by chemical system; the same for the same crystals and seed.

    Raises `DataError` if the fractions do not add up to 1, or there are fewer groups than parts.
    """
    pack = pack_of(crystals)
    ids = pack.ids()
    if by == "random":
        return Divided(split=split_of_groups(ids, ids, fractions, seed, "crystals"))
    formulas = reduced_formulas(pack)
    if by == "composition":
        return Divided(split=split_of_groups(formulas, ids, fractions, seed))
    if by == "chemical-system":
        return Divided(split=split_of_groups([_elements_of(f) for f in formulas], ids, fractions, seed, "systems"))
    raise DataError(f"a split by {by} needs to be told what to train on; use `by_crystal_system` or `without_element`")


def by_crystal_system(
    crystals: Sequence[Crystal],
    systems: Sequence[str],
    trained: Sequence[str] = ("cubic",),
    fractions: Fractions = (0.8, 0.1, 0.1),
    seed: int = 0,
) -> Divided:
    """Return a split that trains on some crystal systems: theirs by composition, all crystals of others to test.

    Args:
        crystals: M of them.
        systems: (M,) crystal system of each, `unknown` where none was found; those are in no part, and counted.
        trained: Systems that train and val are of.
        fractions: Of the crystals of those systems; their test share is what others are held against.
        seed: Of the order of compositions.

    Raises:
        DataError: No crystal is of the systems to train on, or of another.
    """
    found = np.asarray(systems)
    inside, unknown = np.isin(found, trained), found == "unknown"
    if not inside.any() or not (~inside & ~unknown).any():
        there = ", ".join(f"{name} {n:,}" for name, n in Counter(systems).items())
        raise DataError(f"crystals of {', '.join(trained)} and of another system are needed; there are {there}")
    own = split_of_groups(*_of(crystals, inside), fractions, seed)
    others = [crystal.id for crystal, out in zip(crystals, ~inside & ~unknown, strict=True) if out]
    split = Split(train=own.train, val=own.val, test=tuple(sorted((*own.test, *others))))
    told = [f"trained on {', '.join(trained)}; test: {len(own.test):,} more of those and {len(others):,} of others"]
    if unknown.any():
        told.append(f"{int(unknown.sum()):,} left out of all parts: spglib finds no symmetry for them")
    return Divided(split=split, told=tuple(told))


def without_element(
    crystals: Sequence[Crystal], symbol: str, fractions: Fractions = (0.8, 0.1, 0.1), seed: int = 0
) -> Divided:
    """Return a split whose test part is every crystal with an element, and train and val the others by composition.

    Args:
        crystals: To split.
        symbol: The element, as `Fe`.
        fractions: Their first two say how train and val share the others; the third does not count.
        seed: Of the order of compositions.

    Raises:
        DataError: There is no such element, or no crystal with or without it.
    """
    z = atomic_number(symbol)
    if not z:
        raise DataError(f"{symbol!r} is no element; give its symbol, as Fe")
    inside = np.array([z in crystal.species for crystal in crystals], dtype=bool)
    if not inside.any() or inside.all():
        raise DataError(f"{int(inside.sum()):,} of {len(crystals):,} crystals hold {symbol}; some must, and some not")
    share = fractions[0] / (fractions[0] + fractions[1])
    own = split_of_groups(*_of(crystals, ~inside), (share, 1 - share, 0.0), seed)
    test = tuple(sorted(crystal.id for crystal, within in zip(crystals, inside, strict=True) if within))
    return Divided(split=Split(train=own.train, val=own.val, test=test), told=(f"test: {len(test):,} with {symbol}",))


def matbench_fold(
    crystals: Sequence[Crystal], fold: int, fractions: Fractions = (0.8, 0.1, 0.1), seed: int = 0
) -> Divided:
    """Return a split whose test part is one of matbench's folds, as scikit-learn's KFold draws them from the rows.

    Args:
        crystals: Every row of the benchmark's data set in its order, on which the folds depend.
        fold: 0 to 4.
        fractions: Their first two say how train and val share the other folds; the third does not count.
        seed: Of the order of compositions, by which val is taken from the other folds.

    Raises:
        DataError: There is no such fold, or there are fewer crystals than folds.
    """
    from sklearn.model_selection import KFold

    if not 0 <= fold < MATBENCH_FOLDS:
        raise DataError(f"there is no fold {fold}; matbench has 0 to {MATBENCH_FOLDS - 1}")
    if len(crystals) < MATBENCH_FOLDS:
        raise DataError(f"{len(crystals)} crystals make no {MATBENCH_FOLDS} folds")
    folds = KFold(MATBENCH_FOLDS, shuffle=True, random_state=MATBENCH_SEED).split(np.zeros(len(crystals)))
    held_out = np.zeros(len(crystals), dtype=bool)
    held_out[list(folds)[fold][1]] = True
    share = fractions[0] / (fractions[0] + fractions[1])
    own = split_of_groups(*_of(crystals, ~held_out), (share, 1 - share, 0.0), seed)
    test = tuple(sorted(crystal.id for crystal, out in zip(crystals, held_out, strict=True) if out))
    told = f"test: fold {fold} of {MATBENCH_FOLDS}, which rest on the order of the {len(crystals):,} rows"
    return Divided(split=Split(train=own.train, val=own.val, test=test), told=(told,))


def _of(crystals: Sequence[Crystal], chosen: np.ndarray) -> tuple[list[str], list[str]]:
    """Return formulas and ids of some crystals."""
    pack = pack_of([crystal for crystal, inside in zip(crystals, chosen, strict=True) if inside])
    return reduced_formulas(pack), pack.ids()


def _elements_of(formula: str) -> str:
    """Return the atomic numbers of a reduced formula, `11:1 17:1` -> `11 17`."""
    return " ".join(term.split(":")[0] for term in formula.split())
