"""Completing many partial crystals one after the other: several pass the network together, in bounded memory.

One that cannot be completed is a reject and costs the others nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from crystalsweep.config import override
from crystalsweep.data.reading import Reject
from crystalsweep.inference.completion import JOINTLY, Completion
from crystalsweep.inference.decoding.constraints import Constraints
from crystalsweep.inference.decoding.settings import DecodeConfig
from crystalsweep.inference.inputs import Partial
from crystalsweep.inference.restorer import Restorer

ATOMS_TOGETHER = 400
"""Of the partial crystals that are completed at once, each in many ways."""

CANDIDATES = JOINTLY.candidates
"""Searched for even where fewer are shown: what a calibration is of."""

Charge = Literal["neutral", "prefer", "any"]
"""Whether candidates must be charge-neutral, as users write it."""

CHARGES = {"neutral": "require", "prefer": "prefer", "any": "any"}
"""What that is to the decoder."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked of the model about each crystal."""

    decode: DecodeConfig = JOINTLY
    """How candidates are found."""
    constraints: Constraints = field(default_factory=Constraints)
    """What they must fulfil."""
    top: int = 10
    """Candidates that are given, at most."""
    top_k: int = 5
    """Elements whose odds are given for each masked site."""
    keep_positions: bool = False
    """Leave every atom where it is."""


class Answered(NamedTuple):
    """A crystal and what the model makes of it."""

    partial: Partial
    completion: Completion


def decoder_of(
    *,
    method: str = JOINTLY.method,
    top: int = CANDIDATES,
    charge: Charge = "any",
    tie: str = JOINTLY.tie,
    passes: int = JOINTLY.position_passes,
    seed: int = 0,
    critic_weight: float = 0.0,
    settings: Sequence[str] = (),
) -> DecodeConfig:
    """Return a decoder from what a user asks for.

    Args:
        method: `beam`, `sampled`, `ordered` or `argmax`.
        top: Candidates that are wanted.
        charge: Whether they must be charge-neutral, are ranked first if they are, or may be anything.
        tie: Masked sites that get one element together: `none`, `symmetry` or `all`.
        passes: In which positions are restored, at most.
        seed: Of `sampled`.
        critic_weight: λ, by which candidates are ranked by a critic too, where the model has one.
        settings: `KEY=VALUE` of `DecodeConfig`, over all these.

    Raises:
        ValueError: One of them is out of range or unknown.
    """
    if charge not in CHARGES:
        raise ValueError(f"charge is {charge!r}; write {', '.join(CHARGES)}")
    if top < 1 or passes < 1:
        raise ValueError(f"{'top' if top < 1 else 'passes'} is {min(top, passes)}; give 1 or more")
    chosen: dict[str, Any] = {"method": method, "candidates": max(top, CANDIDATES), "charge": CHARGES[charge]}
    chosen |= {"tie": tie, "position_passes": passes, "seed": seed, "views": JOINTLY.views}
    chosen |= {"position_tolerance": JOINTLY.position_tolerance, "critic_weight": critic_weight}
    return override(DecodeConfig(), [*(f"{name}={value}" for name, value in chosen.items()), *settings])


def answers(
    restorer: Restorer, partials: Iterable[Partial | Reject], question: Question
) -> Iterator[Answered | Reject]:
    """Yield what becomes of each crystal, in order, as soon as it is known.

    Args:
        restorer: The model.
        partials: Read one by one, as they are needed; rejects are passed on.
        question: What is asked.
    """
    waiting: list[Partial | Reject] = []
    for partial in partials:
        alone = isinstance(partial, Partial) and bool(partial.sublattices)  # its constraints are its own
        if alone or _atoms(waiting) + _atoms([partial]) > ATOMS_TOGETHER:
            yield from _together(restorer, waiting, question)
            waiting = []
        waiting.append(partial)
        if alone:
            yield from _together(restorer, waiting, question)
            waiting = []
    yield from _together(restorer, waiting, question)


def _atoms(waiting: Sequence[Partial | Reject]) -> int:
    return sum(len(each.crystal) if isinstance(each, Partial) else 1 for each in waiting)


def _together(
    restorer: Restorer, waiting: Sequence[Partial | Reject], question: Question
) -> Iterator[Answered | Reject]:
    asked = [each for each in waiting if isinstance(each, Partial)]
    try:
        completed = iter(_completed(restorer, asked, question))
        done: list[Answered | Reject] = [next(completed) if isinstance(each, Partial) else each for each in waiting]
    except Exception:  # then one by one, to see whose fault it is
        done = [_alone(restorer, each, question) if isinstance(each, Partial) else each for each in waiting]
    yield from done


def _alone(restorer: Restorer, partial: Partial, question: Question) -> Answered | Reject:
    try:
        return _completed(restorer, [partial], question)[0]
    except Exception as error:  # one crystal must not cost the others their answer
        told = " ".join(str(error).split()).removeprefix(f"{partial.crystal.id}: ")
        detail = told if isinstance(error, ValueError) else f"{type(error).__name__}: {told}"
        remedy = "" if ";" in detail else "ask for less, or leave it out"
        return Reject(
            where=partial.where, id=partial.crystal.id, reason="cannot be completed", detail=detail, remedy=remedy
        )


def _completed(restorer: Restorer, partials: Sequence[Partial], question: Question) -> list[Answered]:
    if not partials:
        return []
    completions = restorer.complete_all(
        [partial.crystal for partial in partials],
        decode=partials[0].decoded_by(question.decode),
        constraints=partials[0].constrained(question.constraints),
        top_k=question.top_k,
        keep_positions=question.keep_positions,
    )
    return [
        Answered(partial, partial.told_with(completion.first(question.top)))
        for partial, completion in zip(partials, completions, strict=True)
    ]
