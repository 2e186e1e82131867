"""Completing partial crystals: elements for masked sites and restored positions, as the generator Ĝ gives them.

The paper's task (Fig. 1B) on a crystal whose truth nobody knows. Several candidates are given, the likeliest first; see
`decoding` for how they are found. On a CPU the same input gives the same output.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from crystalsweep.data.checks import Problem
from crystalsweep.data.writing import cif_text
from crystalsweep.inference.calibration import (
    Calibration,
    CandidateSet,
    ElementSet,
    JointGroup,
    candidate_sets,
    element_sets,
)
from crystalsweep.inference.decoding.choosing import choose
from crystalsweep.inference.decoding.constraints import Constraints
from crystalsweep.inference.decoding.filling import Filling
from crystalsweep.inference.decoding.network import Answer, ask
from crystalsweep.inference.decoding.positions import Placed, place
from crystalsweep.inference.decoding.settings import DecodeConfig
from crystalsweep.inference.familiarity import unfamiliar
from crystalsweep.inference.predicting import PropertyValue
from crystalsweep.metrics.calibration import divided, shares
from crystalsweep.metrics.settings import StructureRules
from crystalsweep.networks.models import Critic, Generator
from crystalsweep.structures.crystal import MASK, N_ELEMENTS, Crystal
from crystalsweep.structures.elements import element_symbol

if TYPE_CHECKING:
    from pymatgen.core import Structure

MAX_ATOMS = 1000
"""Of one crystal, its symmetry copies included."""

JOINTLY = DecodeConfig(tie="symmetry", views=2, position_passes=4, position_tolerance=0.05)
"""How crystals are completed unless told otherwise: the likeliest joint choices, symmetry-equal sites alike, and
positions in up to four passes."""

CRITIC_WEIGHT = 2.0
"""λ of log p + λ · critic, unless told otherwise. At 1 the sum is what an optimal critic makes of the true odds; those
that were trained restored most validation crystals at 2 to 3 (docs/shipped.md)."""

ALL_MASKED = "every site is masked: only the cell and the positions tell what it is made of"
NO_CANDIDATE = "no candidate was found"
SHARED_KEEP = "sites that several elements share keep these: what is allowed or excluded is asked of other masked sites"
NOTHING_TO_BALANCE = "no site is masked: charge neutrality was not asked of anything"
NONE_MASKED = "no site is masked: elements are as given, and positions restored"


class Odds(NamedTuple):
    """What the network says of one element on one site."""

    element: str
    """Its symbol."""
    probability: float
    """Of that site by itself, seeing the visible ones only."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Candidate:
    """One way to complete a crystal."""

    crystal: Crystal
    """Visible elements as given, chosen ones on masked sites; the cell as given, positions restored."""
    probability: float
    """Of this choice of elements for all masked sites together; see `Completion.renormalised`."""
    log_probability: float
    """Natural logarithm of the product of the generator's probabilities, by which candidates are ranked, unless a
    critic is asked too."""
    verdict: float
    """The critic's logit that these are the true species; 0 where none was asked."""
    neutral: bool
    """Whether its composition can be charge-neutral, by SMACT's rule; alloys count as such."""
    moved: NDArray[np.float64]
    """(N,) how far each atom was moved, Å."""
    last_step: float
    """Root mean square length of the last restoring step, Å; 0 where positions were kept."""
    predicted: PropertyValue | None = None
    """Of the property that candidates are ranked by, of this one as it stands; None where none was asked for."""

    @property
    def cif(self) -> str:
        """In P1, atoms in the order of `crystal`."""
        return cif_text(self.crystal)

    @property
    def structure(self) -> Structure:
        """As pymatgen's, atoms in the order of `crystal`."""
        from pymatgen.core import Structure

        return Structure(self.crystal.lattice, self.crystal.species.tolist(), self.crystal.frac)


@dataclass(frozen=True, kw_only=True, eq=False)
class Completion:
    """A crystal whose masked sites are filled, in one way or several, and how that came about."""

    partial: Crystal
    """As given: masked sites have species `MASK`."""
    candidates: tuple[Candidate, ...]
    """The likeliest first, or as `inference.ranking` orders them; empty where no choice of elements was found that
    fulfils the constraints."""
    masked: NDArray[np.int64]
    """(M,) which atoms were masked, ascending."""
    odds: tuple[tuple[Odds, ...], ...]
    """M times the most likely elements of a site by itself, the likeliest first."""
    renormalised: bool = False
    """Whether the candidates' probabilities are shares of what was found: so under a formula, required elements or
    required charge neutrality, where the network's own are of choices that these leave out too."""
    limited: bool = False
    """Whether elements were allowed or excluded: probabilities are then of the choices that these leave."""
    tied: bool = False
    """Whether sites that symmetry makes equal, or all, get one element together."""
    calibrated: bool = False
    """Whether the probabilities were fitted to come true as often as they say, on crystals kept from training."""
    held: bool = False
    """Whether those of candidates, found in this way, were held against such crystals too."""
    site_sets: tuple[tuple[ElementSet, ...], ...] = ()
    """M times, by coverage, the elements of which one is right in that share of cases; empty without a calibration."""
    joint_sets: tuple[CandidateSet, ...] = ()
    """By coverage, the candidates of which one is right in that share of cases; none without a calibration of the same
    decoder, and none under constraints."""
    warnings: tuple[str, ...] = ()
    """Why to be careful with it."""
    notes: tuple[str, ...] = ()
    """On how the crystal was read."""

    @property
    def best(self) -> Candidate:
        """The first candidate. Raises `ValueError` where there is none."""
        if not self.candidates:
            raise ValueError(f"{self.partial.id}: {'; '.join(self.warnings)}")
        return self.candidates[0]

    @property
    def crystal(self) -> Crystal:
        """Of the first candidate. Raises `ValueError` where there is none."""
        return self.best.crystal

    def first(self, n: int) -> Completion:
        """Return the completion with its first n candidates, of which alone sets are told."""
        sets = tuple(each for each in self.joint_sets if all(index < n for index in each.candidates))
        return replace(self, candidates=self.candidates[:n], joint_sets=sets)

    @property
    def cif(self) -> str:
        """Of the first candidate. Raises `ValueError` where there is none."""
        return self.best.cif


def refusal(partial: Crystal, *, keep_positions: bool = False, max_atoms: int = MAX_ATOMS) -> Problem | None:
    """Return why this crystal cannot be completed."""
    if len(partial) > max_atoms:
        detail = f"{len(partial):,} atoms, symmetry copies included"
        return Problem("too many atoms", detail, f"give a primitive cell, or at most {max_atoms:,}")
    if keep_positions and not (partial.species == MASK).any():
        return Problem("nothing to do", "no site is masked, and positions are kept", "set a site's symbol to X or ?")
    return None


def complete(
    generator: Generator,
    partials: Sequence[Crystal],
    *,
    decode: DecodeConfig = JOINTLY,
    constraints: Constraints | None = None,
    top_k: int = 5,
    keep_positions: bool = False,
    max_atoms: int = MAX_ATOMS,
    critic: Critic | None = None,
    calibration: Calibration | None = None,
) -> list[Completion]:
    """Return every crystal with its masked sites (species `MASK`) filled and its positions restored, in order.

    Args:
        generator: On any device; in evaluation mode.
        partials: Crystals; without a masked site only positions are restored.
        decode: How candidates are found, and how many.
        constraints: What they must fulfil.
        top_k: Elements whose odds are given for each masked site, 1…118.
        keep_positions: Leave every atom where it is.
        max_atoms: Of one crystal.
        critic: Of the generator; asked where `decode.critic_weight` is above 0.
        calibration: Of the generator; without one, odds are as the network gives them.

    Raises:
        ValueError: `top_k` is out of range, a crystal has too many atoms or leaves nothing to do, the constraints
            contradict a crystal, or the weights give no finite answer.
    """
    if not 1 <= top_k <= N_ELEMENTS:
        raise ValueError(f"top_k is {top_k}; give 1 to {N_ELEMENTS}")
    for partial in partials:
        if problem := refusal(partial, keep_positions=keep_positions, max_atoms=max_atoms):
            raise ValueError(f"{partial.id}: {problem.reason} ({problem.detail}); {problem.remedy}")
    constraints = constraints or Constraints()
    sharpness, chained = (calibration.site_sharpness, calibration.sharpness(decode)) if calibration else (1.0, 1.0)
    alone = ask(generator, partials, [partial.species for partial in partials], sharpness)
    filled = choose(generator, partials, decode, constraints, sharpness=chained, critic=critic)
    passes = 0 if keep_positions else decode.position_passes
    placed = iter(place_fillings(generator, partials, alone, filled, passes, decode))
    renormalised = constraints.joint or decode.charge == "require"
    sites = calibration.site_sets if calibration else ()
    unbound = calibration if not constraints.told() else None
    groups = [unbound.group(decode, int((p.species == MASK).sum())) if unbound else None for p in partials]
    return [
        Completion(
            partial=partial,
            candidates=(
                candidates := _candidates(
                    fillings,
                    [next(placed) for _ in fillings],
                    probabilities(fillings, renormalised, decode.critic_weight, group),
                )
            ),
            masked=(masked := np.flatnonzero(partial.species == MASK)),
            odds=_odds(answer, masked, top_k),
            renormalised=renormalised,
            limited=constraints.allowed is not None or bool(constraints.excluded),
            tied=decode.tie != "none",
            calibrated=calibration is not None,
            held=group is not None,
            site_sets=tuple(element_sets(answer.log_probabilities[atom], sites) for atom in masked),
            joint_sets=candidate_sets([candidate.probability for candidate in candidates], group.sets if group else ()),
            warnings=(
                *_warnings(partial, masked, candidates, constraints, decode),
                *(unfamiliar(partial, calibration.training) if calibration else ()),
            ),
        )
        for partial, answer, fillings, group in zip(partials, alone, filled, groups, strict=True)
    ]


def place_fillings(
    generator: Generator,
    partials: Sequence[Crystal],
    alone: Sequence[Answer],
    filled: Sequence[Sequence[Filling]],
    passes: int,
    decode: DecodeConfig,
) -> list[Placed]:
    """Return every candidate of every crystal with its positions, to the decoder's tolerance.

    The first pass of `argmax` is the one in which it named species.

    Args:
        generator: In evaluation mode.
        partials: Crystals, masked sites with species `MASK`.
        alone: What the generator says of each by itself.
        filled: Candidates of each.
        passes: In which positions are restored, at most; 0 leaves them.
        decode: How the candidates were found.
    """
    crystals = [
        Crystal.of(partial.id, filling.species, partial.lattice, partial.frac)
        for partial, fillings in zip(partials, filled, strict=True)
        for filling in fillings
    ]
    named = [answer for answer, fillings in zip(alone, filled, strict=True) for _ in fillings]
    first = named if decode.method == "argmax" else None
    return place(generator, crystals, passes, tolerance=decode.position_tolerance, first=first)


def _candidates(fillings: Sequence[Filling], placed: Sequence[Placed], told: Sequence[float]) -> tuple[Candidate, ...]:
    return tuple(
        Candidate(
            crystal=at.crystal,
            probability=probability,
            log_probability=filling.log_probability,
            verdict=filling.verdict,
            neutral=filling.neutral,
            moved=at.moved,
            last_step=at.last_step,
        )
        for filling, at, probability in zip(fillings, placed, told, strict=True)
    )


def mass_of(fillings: Sequence[Filling]) -> float:
    """Return the probability that the generator gives to all of a crystal's candidates together."""
    logs = np.array([filling.log_probability for filling in fillings])
    return float(np.exp(min(np.logaddexp.reduce(logs), 0.0))) if len(logs) else 0.0


def probabilities(
    fillings: Sequence[Filling], renormalised: bool, critic_weight: float, group: JointGroup | None = None
) -> list[float]:
    """Return the probability of each candidate: the generator's, shared out anew among them as the critic says.

    With a calibration it is what came true as often among crystals with about as many masked sites.
    """
    if not fillings:
        return []
    logs = np.array([filling.log_probability for filling in fillings])
    tilted = np.array([filling.score(critic_weight) for filling in fillings])
    if group is not None and group.beyond is not None:
        rest = -np.inf if renormalised else group.beyond
        own: list[float] = divided(tilted[None], np.array([mass_of(fillings)]), group.sharpness, rest)[0].tolist()
        return own
    if group is not None and group.elsewhere is not None:
        fitted: list[float] = shares(tilted, group.sharpness, -np.inf if renormalised else group.elsewhere).tolist()
        return fitted
    found = 0.0 if renormalised else min(float(np.logaddexp.reduce(logs)), 0.0)
    told: list[float] = np.exp(tilted - np.logaddexp.reduce(tilted) + found).tolist()
    return told


def _odds(answer: Answer, masked: NDArray[np.int64], top_k: int) -> tuple[tuple[Odds, ...], ...]:
    logs = answer.log_probabilities[masked]
    ranked = np.argsort(-logs, axis=1, kind="stable")[:, :top_k]  # of equals the lighter element
    return tuple(
        tuple(Odds(element_symbol(int(z) + 1), float(np.exp(site[z]))) for z in elements)
        for site, elements in zip(logs, ranked, strict=True)
    )


def _warnings(
    partial: Crystal,
    masked: NDArray[np.int64],
    candidates: Sequence[Candidate],
    constraints: Constraints,
    decode: DecodeConfig,
) -> Iterator[str]:
    if len(masked) == len(partial) and not constraints.sublattices:
        yield ALL_MASKED
    if not len(masked):
        yield NONE_MASKED
    if constraints.sublattices and (constraints.allowed is not None or constraints.excluded):
        yield SHARED_KEEP
    if not len(masked) and decode.charge != "any":
        yield NOTHING_TO_BALANCE
    given, least = partial.min_edge, StructureRules().min_distance
    if given <= least:
        yield f"two atoms of the input lie {given:.2f} Å apart; are its cell, and the origin of its space group, right?"
    if not candidates:
        neutral = ["charge-neutral"] if decode.charge == "require" else []
        asked = "; ".join(constraints.told() + neutral)
        tied = ", or tie no sites (--tie none)" if decode.tie != "none" else ""
        yield f"{NO_CANDIDATE} that fulfils what was asked ({asked}); ask for less{tied}"
        return
    if candidates[0].crystal.min_edge <= least < given:
        shortest = candidates[0].crystal.min_edge
        yield f"two atoms lie {shortest:.2f} Å apart; keep_positions leaves them where they were"
    several = decode.position_passes > 1 and decode.position_tolerance > 0
    if several and (step := candidates[0].last_step) >= decode.position_tolerance:
        after = f"in the last of {decode.position_passes} passes"
        yield f"atoms of the first candidate still moved by {step:.2f} Å {after}: its positions are not settled"
