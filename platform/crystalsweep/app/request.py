"""What the page asks for: a crystal, which of its sites are masked, and what candidates must fulfil."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Base64Bytes, Field

from crystalsweep.config import Config
from crystalsweep.data.checks import Problem
from crystalsweep.data.readers import MAX_ID, admit
from crystalsweep.data.reading import Reject
from crystalsweep.inference.completion import refusal
from crystalsweep.inference.decoding.constraints import Constraints, Sublattice, elements, room_of
from crystalsweep.inference.decoding.settings import DecodeConfig
from crystalsweep.structures.crystal import MASK, N_ELEMENTS, Crystal
from crystalsweep.structures.elements import atomic_number

MAX_ATOMS = 400
"""Of one crystal, its symmetry copies included: a quarter of a minute on one slow core, in which others wait."""

MAX_CANDIDATES = 50
"""More than a page shows."""

_MAX_TEXT = 500
"""Characters of a field; all elements have fewer."""

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


class SharedRequest(Config):
    """Sites that several elements share, of which it is known how many each has."""

    atoms: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1, max_length=MAX_ATOMS)]
    """From 0 on; their elements are null."""
    counts: Annotated[dict[str, Annotated[int, Field(ge=1)]], Field(max_length=N_ELEMENTS)]
    """By symbol; they add up to the number of atoms."""


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
        if beyond := [site for site in masked if site >= len(species)]:
            raise MistakenError([("masked", f"there is no site {beyond[0] + 1}; there are {len(species)}")])
        species[list(masked)] = MASK
        made = admit(self.name, species, self.lattice, self.frac, {}, partial=True)
        if isinstance(made, Problem):
            raise MistakenError([("crystal", said(made))])
        return made

    def sublattices(self) -> tuple[Sublattice, ...]:
        """Return its shared sites. Raises `MistakenError` where they contradict its elements or each other."""
        open_sites = {site for site, symbol in enumerate(self.elements) if symbol is None}
        atoms = [atom for each in self.shared for atom in each.atoms]
        whole = all(sum(each.counts.values()) == len(each.atoms) for each in self.shared)
        if len(set(atoms)) < len(atoms) or not open_sites.issuperset(atoms) or not whole:
            raise MistakenError([("crystal", "its shared sites do not fit its elements; read its file again")])
        try:
            return tuple(Sublattice(atoms=tuple(each.atoms), counts=_numbers(each.counts)) for each in self.shared)
        except ValueError as error:
            raise MistakenError([("crystal", str(error))]) from error


class CompletionRequest(Config):
    """A crystal to complete, and how. Elements are symbols in a text, as `Li-Fe-P-O`; an empty one asks for nothing."""

    crystal: SitesRequest
    masked: Annotated[list[Annotated[int, Field(ge=0)]], Field(max_length=MAX_ATOMS)] = []
    """Sites, from 0 on, beside those that are null anyway."""
    allowed: Text = ""
    """Of masked sites, nothing else; empty allows all."""
    required: Text = ""
    excluded: Text = ""
    formula: Text = ""
    """Of the whole crystal."""
    charge: Literal["any", "prefer", "require"] = "any"
    tie: Literal["none", "symmetry", "all"] = "symmetry"
    keep_positions: bool = False
    candidates: Annotated[int, Field(ge=1, le=MAX_CANDIDATES)] = 10

    def decode(self) -> DecodeConfig:
        """Return how candidates are found."""
        return DecodeConfig(tie=self.tie, charge=self.charge, candidates=self.candidates)

    def constraints(self, partial: Crystal) -> Constraints:
        """Return what candidates must fulfil. Raises `MistakenError`, with the field, where nothing can."""
        given = {name: text for name in _FIELDS if (text := getattr(self, name).strip())}
        shared = self.crystal.sublattices()
        asked = {name: _asked({name: text}, shared, partial) for name, text in given.items()}
        if errors := [(name, says) for name, says in asked.items() if isinstance(says, str)]:
            raise MistakenError(errors)
        together = _asked(given, shared, partial)
        if isinstance(together, str):
            raise MistakenError([("constraints", together)])
        return together

    def require_work(self, partial: Crystal) -> None:
        """Raise `MistakenError` where the crystal is too large or nothing is to be done."""
        if problem := refusal(partial, keep_positions=self.keep_positions, max_atoms=MAX_ATOMS):
            raise MistakenError([("masked", said(problem))])


_FIELDS = ("allowed", "required", "excluded", "formula")
"""Those that constrain candidates."""


def _asked(given: Mapping[str, Any], shared: tuple[Sublattice, ...], partial: Crystal) -> Constraints | str:
    """Return constraints, or why no crystal fulfils them."""
    try:
        made = replace(Constraints.of(**given), sublattices=shared)
        room_of(partial, made)
    except ValueError as error:
        return str(error).removeprefix(f"{partial.id}: ")
    return made


def _numbers(counts: Mapping[str, int]) -> dict[int, int]:
    return {next(iter(elements([symbol]))): n for symbol, n in counts.items()}


def said(problem: Problem) -> str:
    """Return a problem as one line."""
    return str(Reject(where="", id="", **problem._asdict())).partition(": ")[2]
