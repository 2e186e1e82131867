"""What the page asks for: a crystal, which of its sites are masked, and what candidates must fulfil."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Base64Bytes, Field

from crystalsweep.config import Config
from crystalsweep.data.checks import Problem
from crystalsweep.data.readers import MAX_ID, admit
from crystalsweep.data.reading import Reject
from crystalsweep.inference.asking import Charge, Question, decoder_of
from crystalsweep.inference.completion import refusal
from crystalsweep.inference.decoding.constraints import Constraints, Sublattice, elements, room_of
from crystalsweep.inference.inputs import Partial, tied_elements
from crystalsweep.structures.crystal import MASK, N_ELEMENTS, Crystal
from crystalsweep.structures.elements import atomic_number

MAX_ATOMS = 400
"""Of one crystal, its symmetry copies included: a quarter of a minute on one slow core, in which others wait."""

MAX_CANDIDATES = 50
"""More than a page shows."""

_MAX_TEXT = 500
"""Characters of a field; all elements have fewer."""

Site = Annotated[int, Field(ge=1)]
"""Sites of a crystal count from 1, as in answers."""
Text = Annotated[str, Field(max_length=_MAX_TEXT)]
Vector = tuple[float, float, float]


class MistakenError(ValueError):
    """A request that cannot be fulfilled."""

    def __init__(self, errors: list[tuple[str, str]]) -> None:
        super().__init__("; ".join(says for _, says in errors))
        self.errors = errors
        """What is wrong, each with the field it is about, or none."""


class UploadRequest(Config):
    """A file, or the text of a CIF."""

    name: Annotated[str, Field(max_length=255)] = ""
    """Of the file; empty where a text was pasted."""
    content: Base64Bytes
    """In base64."""
    supercell: Text = ""
    """In which sites that several elements share are ordered, as `2x2x2`; empty for the smallest that can be."""


class SharedRequest(Config):
    """Sites that several elements share, of which it is known how many each has."""

    atoms: Annotated[list[Site], Field(min_length=1, max_length=MAX_ATOMS)]
    """Their elements are null."""
    counts: Annotated[dict[str, Annotated[int, Field(ge=1)]], Field(max_length=N_ELEMENTS)]
    """By symbol; they add up to the number of atoms."""

    def sublattice(self) -> Sublattice:
        """Return it for the decoder. Raises `ValueError` for a symbol that is none."""
        counts = {z: n for symbol, n in self.counts.items() for z in elements([symbol])}
        return Sublattice(atoms=tuple(atom - 1 for atom in self.atoms), counts=counts)


class SitesRequest(Config):
    """A crystal, as `answer.crystal_json` gives it."""

    name: Annotated[str, Field(max_length=MAX_ID)]
    lattice: tuple[Vector, Vector, Vector]
    """Å; rows are the lattice vectors."""
    elements: Annotated[list[str | None], Field(max_length=MAX_ATOMS)]
    """Symbols; null where unknown."""
    frac: Annotated[list[Vector], Field(max_length=MAX_ATOMS)]
    """Fractional coordinates."""
    shared: Annotated[list[SharedRequest], Field(max_length=MAX_ATOMS)] = []

    def crystal(self, masked: Sequence[int] = ()) -> Crystal:
        """Return it with more sites masked. Raises `MistakenError` where it is none, or has no such site."""
        if unknown := [each for each in self.elements if each is not None and atomic_number(each) == MASK]:
            raise MistakenError([("crystal", f"{unknown[0]!r} is no element")])
        species = np.array([MASK if each is None else atomic_number(each) for each in self.elements], dtype=np.int64)
        if beyond := [site for site in masked if site > len(species)]:
            raise MistakenError([("masked", f"there is no site {beyond[0]}; there are {len(species)}")])
        species[[site - 1 for site in masked]] = MASK
        made = admit(self.name, species, self.lattice, self.frac, {}, partial=True)
        if isinstance(made, Problem):
            raise MistakenError([("crystal", said(made))])
        return made

    def sublattices(self) -> tuple[Sublattice, ...]:
        """Return its shared sites. Raises `MistakenError` where they contradict its elements or each other."""
        open_sites = {site for site, symbol in enumerate(self.elements, start=1) if symbol is None}
        atoms = [atom for each in self.shared for atom in each.atoms]
        whole = all(sum(each.counts.values()) == len(each.atoms) for each in self.shared)
        if len(set(atoms)) < len(atoms) or not open_sites.issuperset(atoms) or not whole:
            raise MistakenError([("crystal", "its shared sites do not fit its elements; read its file again")])
        try:
            return tuple(each.sublattice() for each in self.shared)
        except ValueError as error:
            raise MistakenError([("crystal", str(error))]) from error


class CompletionRequest(Config):
    """A crystal to complete, and how: the options of `crystalsweep complete`; an empty text asks for nothing."""

    crystal: SitesRequest
    masked: Annotated[list[Site], Field(max_length=MAX_ATOMS)] = []
    """Sites beside those that are null anyway."""
    allowed: Text = ""
    required: Text = ""
    exclude: Text = ""
    formula: Text = ""
    charge: Charge = "any"
    tie: Literal["none", "symmetry", "all"] = "symmetry"
    keep_positions: bool = False
    top: Annotated[int, Field(ge=1, le=MAX_CANDIDATES)] = 10

    def partial(self) -> Partial:
        """Return what is to be completed. Raises `MistakenError` where it is too large or nothing is to be done."""
        crystal = self.crystal.crystal(self.masked)
        if problem := refusal(crystal, keep_positions=self.keep_positions, max_atoms=MAX_ATOMS):
            raise MistakenError([("masked", said(problem))])
        return Partial(
            where=crystal.id,
            crystal=crystal,
            sublattices=self.crystal.sublattices(),
            tied=tuple(tied_elements(self.crystal.crystal(), crystal)),
        )

    def question(self, partial: Partial, critic_weight: float) -> Question:
        """Return what is asked, candidates ranked by log p + `critic_weight` · critic.

        Raises `MistakenError`, with the field, where nothing can fulfil it.
        """
        given = {name: text for field, name in _FIELDS.items() if (text := getattr(self, field).strip())}
        alone = {field: _asked({name: given[name]}, partial) for field, name in _FIELDS.items() if name in given}
        if errors := [(field, says) for field, says in alone.items() if isinstance(says, str)]:
            raise MistakenError(errors)
        together = _asked(given, partial)
        if isinstance(together, str):
            raise MistakenError([("constraints", together)])
        decode = decoder_of(top=self.top, charge=self.charge, tie=self.tie, critic_weight=critic_weight)
        return Question(decode=decode, constraints=together, top=self.top, keep_positions=self.keep_positions)


_FIELDS = {"allowed": "allowed", "required": "required", "exclude": "excluded", "formula": "formula"}
"""What they are called as constraints."""


def _asked(given: Mapping[str, Any], partial: Partial) -> Constraints | str:
    """Return constraints together with the crystal's own, or why it cannot fulfil them."""
    try:
        made = partial.constrained(Constraints.of(**given))
        room_of(partial.crystal, made)
    except ValueError as error:
        return str(error).removeprefix(f"{partial.crystal.id}: ")
    return made


def said(problem: Problem) -> str:
    """Return a problem as one line."""
    return str(Reject(where="", id="", **problem._asdict())).partition(": ")[2]
