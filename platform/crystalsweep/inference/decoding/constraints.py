"""What a completed crystal may be made of: elements, a formula, neutral charge."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import gcd

import numpy as np
from numpy.typing import NDArray

from crystalsweep.metrics.settings import DEFAULT_RULES, CompositionRules
from crystalsweep.metrics.validity import compositionally_valid
from crystalsweep.structures.crystal import MASK, N_ELEMENTS, Crystal
from crystalsweep.structures.elements import atomic_number, element_symbol


@dataclass(frozen=True, kw_only=True)
class Sublattice:
    """Masked sites of which it is known how many of them each element has."""

    atoms: tuple[int, ...]
    """Indices, from 0."""
    counts: Mapping[int, int]
    """By atomic number; they add up to the number of atoms."""


@dataclass(frozen=True, kw_only=True)
class Constraints:
    """What candidates must fulfil; the elements are atomic numbers."""

    allowed: frozenset[int] | None = None
    """Of masked sites, nothing else; None allows all."""
    excluded: frozenset[int] = frozenset()
    """Of masked sites, none of these."""
    required: frozenset[int] = frozenset()
    """Must be in the crystal, on visible or on masked sites."""
    formula: Mapping[int, int] | None = None
    """Atoms of each element in a formula unit of the whole crystal."""
    sublattices: tuple[Sublattice, ...] = ()
    """Of a certain crystal; on their sites `allowed` and `excluded` mean nothing."""
    rules: CompositionRules = field(default=DEFAULT_RULES)
    """What charge-neutral means, where the decoder asks for it."""

    @classmethod
    def of(
        cls,
        *,
        allowed: str | Iterable[str] | None = None,
        excluded: str | Iterable[str] = (),
        required: str | Iterable[str] = (),
        formula: str | None = None,
        rules: CompositionRules = DEFAULT_RULES,
    ) -> Constraints:
        """Return constraints from symbols, as a list or in a text such as `Li-Fe-P-O`, and a formula such as `LiFePO4`.

        Args:
            allowed: Of masked sites, nothing else.
            excluded: Of masked sites, none of these.
            required: Must be in the crystal.
            formula: Of the whole crystal, whose cell holds some units of it.
            rules: What charge-neutral means.

        Raises:
            ValueError: A symbol is none, the formula cannot be read or has parts of atoms, or the constraints
                contradict each other.
        """
        return cls(
            allowed=None if allowed is None else elements(allowed),
            excluded=elements(excluded),
            required=elements(required),
            formula=None if formula is None else _formula(formula),
            rules=rules,
        )

    def __post_init__(self) -> None:
        """Refuse what no crystal can fulfil."""
        if self.allowed is not None and not self.allowed - self.excluded:
            raise ValueError("no element is left: every allowed one is excluded too")
        if self.formula is not None and (missing := self.required - set(self.formula)):
            raise ValueError(f"required, but not in the formula: {_named(missing)}; leave one of the two out")

    @property
    def joint(self) -> bool:
        """Whether they are about several sites together."""
        return bool(self.required or self.sublattices) or self.formula is not None

    def told(self) -> list[str]:
        """Return each constraint in words."""
        lines = []
        if self.allowed is not None:
            lines.append(f"only {_named(self.allowed)} on masked sites")
        if self.excluded:
            lines.append(f"no {_named(self.excluded)} on masked sites")
        if self.required:
            lines.append(f"with {_named(self.required)}")
        if self.formula is not None:
            lines.append(f"formula {''.join(_count(z, n) for z, n in self.formula.items())}")
        for each in self.sublattices:
            lines.append(
                f"{len(each.atoms)} sites with {', '.join(f'{n} {element_symbol(z)}' for z, n in each.counts.items())}"
            )
        return lines


@dataclass(frozen=True, kw_only=True)
class Room:
    """What the constraints leave a certain crystal."""

    elements: NDArray[np.bool_]
    """(N, 118) which a masked site may become."""
    sublattice: NDArray[np.int64]
    """(N,) index of the sublattice that each atom is of, −1 where it is of none."""
    sublattices: tuple[Sublattice, ...]
    visible: Mapping[int, int]
    """Atoms that are not masked, by atomic number."""
    counts: Mapping[int, int] | None
    """Atoms of each element in the whole crystal, where a formula says so."""
    required: frozenset[int]
    """Elements that must be among the masked sites, since no visible site has them."""
    rules: CompositionRules
    """What charge-neutral means."""

    def admits(self, added: Mapping[int, int], open_units: int) -> bool:
        """Return whether a crystal with these atoms on masked sites can still be completed, or is if none are open.

        Args:
            added: Atoms on masked sites that are filled, by atomic number.
            open_units: Masked sites, or ties of such, that are still to be filled.
        """
        if len(self.required - added.keys()) > open_units:
            return False
        if self.counts is None:
            return True
        held = {z: self.visible.get(z, 0) + added.get(z, 0) for z in self.counts}
        return all(held[z] <= n for z, n in self.counts.items()) and (open_units > 0 or held == dict(self.counts))

    def shares(self, held: Mapping[tuple[int, int], int]) -> bool:
        """Return whether no sublattice has more of an element than it may: atoms by sublattice and atomic number."""
        return all(n <= self.sublattices[at].counts.get(z, 0) for (at, z), n in held.items())

    def neutral(self, added: Mapping[int, int]) -> bool:
        """Return whether the whole crystal can be charge-neutral."""
        held = dict(self.visible)
        for z, n in added.items():
            held[z] = held.get(z, 0) + n
        return is_neutral(held, self.rules)


def room_of(partial: Crystal, constraints: Constraints) -> Room:
    """Return what the constraints leave a crystal, whose masked sites have species `MASK`.

    Raises:
        ValueError: They leave nothing, saying why.
    """
    visible = _counted(partial.species[partial.species != MASK])
    masked = int((partial.species == MASK).sum())
    allowed = np.ones(N_ELEMENTS, dtype=bool)
    if constraints.allowed is not None:
        allowed[:] = False
        allowed[[z - 1 for z in constraints.allowed]] = True
    allowed[[z - 1 for z in constraints.excluded]] = False
    counts = None if constraints.formula is None else _counts(partial, visible, constraints.formula)
    at, everywhere = _sublattice_of(partial, constraints.sublattices), np.tile(allowed, (len(partial), 1))
    for index, each in enumerate(constraints.sublattices):
        everywhere[at == index] = np.isin(np.arange(1, N_ELEMENTS + 1), [*each.counts])
    if counts is not None:
        left = [z for z, n in counts.items() if n > visible.get(z, 0)]
        everywhere &= np.isin(np.arange(1, N_ELEMENTS + 1), left)
    open_to = everywhere[partial.species == MASK]
    required = constraints.required - visible.keys()
    if impossible := {z for z in required if not open_to[:, z - 1].any()}:
        raise ValueError(f"{partial.id}: {_named(impossible)} is required, but no masked site may become it")
    if len(required) > masked:
        raise ValueError(f"{partial.id}: {_named(required)} are required, but only {masked} sites are masked")
    if not open_to.any(axis=1).all():
        raise ValueError(f"{partial.id}: the constraints leave no element for the masked sites")
    return Room(
        elements=everywhere,
        sublattice=at,
        sublattices=constraints.sublattices,
        visible=visible,
        counts=counts,
        required=required,
        rules=constraints.rules,
    )


def _sublattice_of(partial: Crystal, sublattices: Sequence[Sublattice]) -> NDArray[np.int64]:
    at = np.full(len(partial), -1)
    for index, each in enumerate(sublattices):
        assert sum(each.counts.values()) == len(each.atoms), "a sublattice's counts are those of its sites"
        at[list(each.atoms)] = index
    assert (partial.species[at >= 0] == MASK).all(), "sites of sublattices are masked"
    return at


def is_neutral(counts: Mapping[int, int], rules: CompositionRules) -> bool:
    """Return whether atoms of each element can be charge-neutral, by SMACT's rule and the given settings of it."""
    divisor = gcd(*counts.values())
    return compositionally_valid(np.repeat(list(counts), [n // divisor for n in counts.values()]), rules)


def elements(given: str | Iterable[str]) -> frozenset[int]:
    """Return atomic numbers of symbols: a list, or a text such as `Li-Fe-P-O`, `Li,Fe` or `Li Fe`.

    Raises:
        ValueError: One is no element, naming it.
    """
    symbols = given.replace("-", " ").replace(",", " ").split() if isinstance(given, str) else list(given)
    return frozenset(_element(symbol) for symbol in symbols)


def _element(symbol: str) -> int:
    number = atomic_number(symbol)
    if number == MASK:
        raise ValueError(f"{symbol!r} is no element; write symbols such as Li-Fe-P-O")
    return number


def _formula(text: str) -> Mapping[int, int]:
    from pymatgen.core import Composition

    try:
        amounts = Composition(text).get_el_amt_dict()
    except Exception as error:  # pymatgen has several
        raise ValueError(f"{text!r} is no chemical formula; write one such as LiFePO4") from error
    if not amounts or any(n != round(n) for n in amounts.values()):
        raise ValueError(f"{text!r} has parts of atoms; write whole numbers, such as Li2Fe4P4O16")
    numbers = {_element(symbol): round(n) for symbol, n in amounts.items()}
    divisor = gcd(*numbers.values())
    return {z: n // divisor for z, n in numbers.items()}


def _counts(partial: Crystal, visible: Mapping[int, int], formula: Mapping[int, int]) -> Mapping[int, int]:
    """Return atoms of each element in the whole crystal. Raises `ValueError` where the formula cannot be its."""
    units, rest = divmod(len(partial), sum(formula.values()))
    written = "".join(_count(z, n) for z, n in formula.items())
    if rest:
        raise ValueError(f"{partial.id}: {len(partial)} atoms are no whole number of units of {written}")
    counts = {z: n * units for z, n in formula.items()}
    for z, n in visible.items():
        if n > counts.get(z, 0):
            raise ValueError(
                f"{partial.id}: {n} visible {element_symbol(z)}, but {units} units of {written} have {counts.get(z, 0)}"
            )
    return counts


def _counted(species: NDArray[np.int64]) -> dict[int, int]:
    numbers, counts = np.unique(species, return_counts=True)
    return dict(zip(numbers.tolist(), counts.tolist(), strict=True))


def _named(numbers: Iterable[int]) -> str:
    return ", ".join(element_symbol(z) for z in sorted(numbers))


def _count(z: int, n: int) -> str:
    return element_symbol(z) + (str(n) if n > 1 else "")
