"""What is asked of a generator: partial crystals of any form, masked as told, shared sites ready to be ordered.

The command, the page and Python all ask by this.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from crystalsweep.data.checks import Problem
from crystalsweep.data.masking import Masking, hidden_too, masked, partial_rows, sites_of
from crystalsweep.data.partial_cif import partial_cif
from crystalsweep.data.readers import ROUNDED, WHOLE, FileSites, SourceRow, admit, is_mixed
from crystalsweep.data.reading import Reject
from crystalsweep.inference.completion import MAX_ATOMS, Completion, refusal
from crystalsweep.inference.decoding.constraints import Constraints, Sublattice, elements
from crystalsweep.inference.decoding.settings import DecodeConfig
from crystalsweep.inference.decoding.symmetry import symmetry_of
from crystalsweep.inference.ordering import Shape, ordering_of
from crystalsweep.structures.crystal import MASK, Crystal
from crystalsweep.structures.elements import atomic_number, element_symbol

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core import Structure

NO_MASKING = Masking()

NAMELESS = "crystal"
"""Id of a crystal that brings none."""

ORDERS = 64
"""Orders of shared sites that are kept while others are looked for."""

NO_SUPERCELL = "no supercell was made: it is for sites that several elements share, and there are none"


@dataclass(frozen=True, kw_only=True, eq=False)
class Partial:
    """A crystal to be completed."""

    where: str
    """What it was read from, as `NaCl.cif` or `crystals.csv row 17`."""
    crystal: Crystal
    """Masked and shared sites have species `MASK`."""
    sublattices: tuple[Sublattice, ...] = ()
    """Of shared sites: what they may become."""
    notes: tuple[str, ...] = ()
    """On how it was read."""
    tied: tuple[str, ...] = ()
    """Of different elements whose masked sites symmetry makes equal: then none of the candidates is the crystal as it
    was, unless sites are not tied."""

    def constrained(self, constraints: Constraints | None) -> Constraints:
        """Return constraints with those that the crystal itself brings."""
        return replace(constraints or Constraints(), sublattices=self.sublattices)

    def decoded_by(self, decode: DecodeConfig) -> DecodeConfig:
        """Return how it is decoded: orders of shared sites are searched for widely, and ranked by the generator alone,
        since a critic learned to tell elements, and not orders of the same ones."""
        if not self.sublattices:
            return decode
        wide = max(decode.candidates, ORDERS)
        return decode.model_copy(update={"critic_weight": 0.0, "candidates": wide})

    def told_with(self, completion: Completion) -> Completion:
        """Return the completion of this crystal with what to know of how it was read; where different elements are tied
        no candidates hold it, and no sets are told."""
        if not (self.tied and completion.tied):
            return replace(completion, notes=self.notes)
        warnings = (*self.tied, *completion.warnings)
        return replace(completion, notes=self.notes, warnings=warnings, joint_sets=(), held=False)


def masking_of(
    mask: str | Iterable[str] = (), sites: str | int | Iterable[int] = (), atoms: Iterable[int] = ()
) -> Masking:
    """Return what is masked, from symbols such as `Ti,O` and numbers such as `3,5`, or lists of them.

    Raises:
        ValueError: A symbol is no element, or a number is none.
    """
    listed = [sites] if isinstance(sites, int | float) else sites
    words = listed.replace(",", " ").split() if isinstance(listed, str) else [str(each) for each in listed]
    if wrong := [word for word in words if not (word.isascii() and word.isdigit())]:
        raise ValueError(f"{wrong[0][:40]!r} is no number of a site; write numbers such as 3,5, counted from 1")
    return Masking(elements=elements(mask), sites=tuple(map(int, words)), atoms=tuple(atoms))


def partials_of(
    paths: Iterable[Path],
    masking: Masking = NO_MASKING,
    *,
    keep_positions: bool = False,
    max_atoms: int = MAX_ATOMS,
    supercell: Shape | None = None,
) -> Iterator[Partial | Reject]:
    """Yield every crystal of files and folders as what is to be completed, or why it cannot be, one at a time.

    Args:
        paths: Of any form that can be read.
        masking: What is masked beside what the files mask.
        keep_positions: As for `complete`: then a crystal without masked sites leaves nothing to do.
        max_atoms: Of one crystal.
        supercell: Of the cell, in which shared sites are ordered.  [default: the smallest that can be]
    """
    for path in paths:
        for row in partial_rows(path):
            yield partial_of_row(row, masking, keep_positions=keep_positions, max_atoms=max_atoms, supercell=supercell)


def partial_of_row(
    row: SourceRow,
    masking: Masking = NO_MASKING,
    *,
    keep_positions: bool = False,
    max_atoms: int = MAX_ATOMS,
    supercell: Shape | None = None,
) -> Partial | Reject:
    """Return a row as what is to be completed, or why it cannot be.

    Args:
        row: Of any form, read as partial.
        masking: As for `partials_of`.
        keep_positions: As there.
        max_atoms: As there.
        supercell: As there.
    """
    made = _asked(row, masking, keep_positions, max_atoms, supercell)
    return made if isinstance(made, Partial) else Reject(where=row.where, id=row.id, **made._asdict())


def _asked(
    row: SourceRow, masking: Masking, keep_positions: bool, max_atoms: int, supercell: Shape | None
) -> Partial | Problem:
    if isinstance(row.outcome, Problem):
        return row.outcome
    hidden = masked(row.outcome, masking, sites_of(row, row.outcome))
    if isinstance(hidden, Problem):
        return hidden
    crystal, sites = hidden
    unasked = [NO_SUPERCELL] if supercell and not sites.mixtures else []
    notes = (*row.notes, *hidden_too(row.outcome, masking, sites_of(row, row.outcome)), *unasked)
    tied = tuple(tied_elements(row.outcome, crystal))
    partial = Partial(where=row.where, crystal=crystal, notes=notes, tied=tied)
    if sites.mixtures:
        ordering = ordering_of(crystal, sites, supercell)
        if isinstance(ordering, Problem):
            return ordering
        notes = (*partial.notes, ordering.note)
        partial = replace(partial, crystal=ordering.crystal, sublattices=ordering.sublattices, notes=notes)
    return refusal(partial.crystal, keep_positions=keep_positions, max_atoms=max_atoms) or partial


def tied_elements(whole: Crystal, partial: Crystal) -> Iterator[str]:
    """Yield which elements of a crystal stand on sites that symmetry makes equal once they are masked."""
    hidden = partial.species == MASK
    if len(set(whole.species[hidden].tolist()) - {MASK}) < 2:
        return
    orbits = symmetry_of(partial).orbits
    for orbit in np.unique(orbits[hidden]):
        if len(mixed := set(whole.species[orbits == orbit].tolist()) - {MASK}) > 1:
            named = " and ".join(element_symbol(z) for z in sorted(mixed))
            yield (
                f"the sites of {named} are equal by symmetry once they are masked, and get one element together: none "
                "of the candidates is the crystal as it was; --tie none lets them differ"
            )


def partial_of(given: Any, masking: Masking = NO_MASKING, supercell: Shape | None = None) -> Partial:
    """Return one crystal as what is to be completed.

    Args:
        given: A `Crystal`, a pymatgen `Structure`, ASE `Atoms`, the path of a file with one crystal, or the text of a
            CIF, which has several lines.
        masking: What is masked beside what it masks itself.
        supercell: As for `partials_of`.

    Raises:
        ValueError: It is none of these, cannot be read, or leaves nothing to complete, with the reason.
    """
    rows = list(_rows(given))
    if len(rows) != 1:
        raise ValueError(f"{given}: {len(rows):,} crystals; give one, or complete them with `crystalsweep complete`")
    made = partial_of_row(rows[0], masking, supercell=supercell)
    if isinstance(made, Reject):
        raise ValueError(str(made))
    return made


def is_one(given: Any) -> bool:
    """Return whether this is one crystal of a form that `partial_of` takes, and no collection of such."""
    known = isinstance(given, str | Path | Crystal) or hasattr(given, "get_scaled_positions")
    return known or (hasattr(given, "lattice") and hasattr(given, "sites"))


def crystal_of(given: Any, name: str = NAMELESS) -> Crystal:
    """Return one whole crystal of anything that `partial_of` takes.

    Args:
        given: The crystal.
        name: Its id, where it brings none.

    Raises:
        ValueError: It cannot be read, or has a site without an element of its own.
    """
    rows = list(_rows(given))
    if len(rows) != 1:
        raise ValueError(f"{given}: {len(rows):,} crystals; give one each")
    made = whole_of_row(rows[0])
    if isinstance(made, Problem):
        raise ValueError(str(Reject(where=rows[0].where, id=rows[0].id, **made._asdict())))
    named = isinstance(given, Crystal | Path) or (isinstance(given, str) and "\n" not in given)
    return made if named else replace(made, id=name)


def whole_of_row(row: SourceRow) -> Crystal | Problem:
    """Return a row's crystal, or why it is none in which every site has one element."""
    if isinstance(row.outcome, Problem):
        return row.outcome
    open_sites = int((row.outcome.species == MASK).sum())
    if not open_sites:
        return row.outcome
    detail = f"{open_sites} of {len(row.outcome)} sites are masked (X, ?) or shared by several elements"
    return Problem("no whole crystal", detail, "give every site one element, or complete it first")


def _rows(given: Any) -> Iterable[SourceRow]:
    if isinstance(given, Crystal):
        return [SourceRow(given.id, given.id, given)]
    if isinstance(given, str) and "\n" in given:
        return [text_row(given)]
    if isinstance(given, str | Path):
        return partial_rows(Path(given))
    if hasattr(given, "get_scaled_positions"):
        return [_atoms_row(given)]
    if hasattr(given, "lattice") and hasattr(given, "sites"):
        return [_structure_row(given)]
    raise ValueError(f"{type(given).__name__}: give a Crystal, a pymatgen Structure, ASE Atoms, a path or a CIF's text")


def text_row(text: str, name: str = NAMELESS) -> SourceRow:
    """Return the row of a CIF's text."""
    read = partial_cif(text, name)
    return SourceRow("the given text", name, read.outcome, read.notes, read.sites)


def _atoms_row(atoms: Atoms) -> SourceRow:
    """Return what ASE's atoms are: those of number 0, its `X`, are masked."""
    if not atoms.pbc.all():
        problem = Problem("not periodic", f"pbc={atoms.pbc.tolist()}", "only crystals are completed: set pbc=True")
        return SourceRow("the given Atoms", NAMELESS, problem)
    where, frac = "the given Atoms", atoms.get_scaled_positions(wrap=False)
    mixed = _mixed_kinds(atoms)
    if mixed and "spacegroup_kinds" not in atoms.arrays:
        problem = Problem("partial occupancy", "info['occupancy'] without spacegroup_kinds", "give the file itself")
        return SourceRow(where, NAMELESS, problem)
    kinds = atoms.arrays.get("spacegroup_kinds", np.full(len(atoms), -1)).tolist()
    pairs = [(int(z), mixed.get(str(kind), {})) for z, kind in zip(atoms.numbers, kinds, strict=True)]
    sites = [shares if z in shares else {z: 1.0} for z, shares in pairs]  # another number was put there since
    return _row_of(where, sites, np.asarray(atoms.cell), frac)


def _mixed_kinds(atoms: Atoms) -> dict[str, dict[int, float]]:
    """Return the kinds of sites that are not one whole atom, as ASE has them of a CIF, whose numbers are of one element
    each: the share of each, by atomic number."""
    kinds = {str(kind): shares for kind, shares in (atoms.info.get("occupancy") or {}).items()}
    return {
        kind: {atomic_number(symbol): float(share) for symbol, share in shares.items()}
        for kind, shares in kinds.items()
        if is_mixed(shares)
    }


def _structure_row(structure: Structure) -> SourceRow:
    """Return what a pymatgen structure is: dummy species are masked, sites with several elements are mixtures."""
    from pymatgen.core import DummySpecies

    where, sites = "the given Structure", []
    if not all(structure.lattice.pbc):
        problem = Problem("not periodic", f"pbc={list(structure.lattice.pbc)}", "only crystals are completed")
        return SourceRow(where, NAMELESS, problem)
    for site in structure:
        shares: Counter[int] = Counter()
        for each, share in site.species.items():  # an element may be there in several oxidation states
            shares[MASK if isinstance(each, DummySpecies) else atomic_number(each.symbol)] += share
        sites.append(shares)
    return _row_of(where, sites, structure.lattice.matrix, structure.frac_coords)


def _row_of(
    where: str, sites: Sequence[Mapping[int, float]], lattice: NDArray[np.float64], frac: NDArray[np.float64]
) -> SourceRow:
    """Return the row of a crystal from the share of each element on each site, by atomic number."""
    for number, shares in enumerate(sites, start=1):
        rounded = ROUNDED * len(shares) if len(shares) > 1 else WHOLE
        if abs(sum(shares.values()) - 1) > rounded or (MASK in shares and len(shares) > 1):
            held = ", ".join(f"{element_symbol(z) if z else 'X'} {share:g}" for z, share in shares.items())
            remedy = "let its occupancies add up to 1, or make it a dummy X"
            return SourceRow(where, NAMELESS, Problem("partial occupancy", f"site {number} holds {held}", remedy))
    species = [MASK if len(shares) > 1 else next(iter(shares)) for shares in sites]
    mixtures = {
        number: {z: share / sum(shares.values()) for z, share in shares.items()}
        for number, shares in enumerate(sites, start=1)
        if len(shares) > 1
    }
    made = admit(NAMELESS, species, lattice, frac, {}, partial=True)
    return SourceRow(where, NAMELESS, made, sites=FileSites(np.arange(1, len(species) + 1), mixtures))
