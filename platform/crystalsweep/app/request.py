"""What the page asks for: a crystal, which of its sites are masked, and what candidates must fulfil."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Base64Bytes, Field

from crystalsweep.config import Config
from crystalsweep.data.checks import Problem
from crystalsweep.data.readers import MAX_ID
from crystalsweep.data.reading import Reject
from crystalsweep.inference.completion import refusal
from crystalsweep.inference.decoding.constraints import Constraints, room_of
from crystalsweep.inference.decoding.settings import DecodeConfig
from crystalsweep.structures.crystal import Crystal

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


class SitesRequest(Config):
    """A crystal, as `answer.crystal_json` gives it."""

    name: Annotated[str, Field(max_length=MAX_ID)]
    lattice: tuple[Vector, Vector, Vector]
    """Å; rows are the lattice vectors."""
    elements: Annotated[list[str | None], Field(max_length=MAX_ATOMS)]
    """Symbols; null where unknown."""
    frac: Annotated[list[Vector], Field(max_length=MAX_ATOMS)]
    """Fractional coordinates."""


class CompletionRequest(Config):
    """A crystal to complete, and how. Elements are symbols in a text, as `Li-Fe-P-O`."""

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
        if errors := [(name, says) for name, text in given.items() for says in _wrong({name: text}, partial)]:
            raise MistakenError(errors)
        if errors := [("constraints", says) for says in _wrong(given, partial)]:
            raise MistakenError(errors)
        return Constraints.of(**given)

    def require_work(self, partial: Crystal) -> None:
        """Raise `MistakenError` where the crystal is too large or nothing is to be done."""
        if problem := refusal(partial, keep_positions=self.keep_positions, max_atoms=MAX_ATOMS):
            raise MistakenError([("masked", said(problem))])


_FIELDS = ("allowed", "required", "excluded", "formula")
"""Those that constrain candidates."""


def _wrong(given: Mapping[str, Any], partial: Crystal) -> Iterator[str]:
    try:
        room_of(partial, Constraints.of(**given))
    except ValueError as error:
        yield str(error).removeprefix(f"{partial.id}: ")


def said(problem: Problem) -> str:
    """Return a problem as one line."""
    return str(Reject(where="", id="", **problem._asdict())).partition(": ")[2]
