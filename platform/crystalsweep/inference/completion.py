"""Completing partial crystals: elements for masked sites and restored positions, as the generator Ĝ gives them.

The paper's task (Fig. 1B) on a crystal whose truth nobody knows. Probabilities are the softmax of the network's
logits: they rank elements, and are not calibrated. On a CPU the same input gives the same output.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from crystalsweep.data.checks import Problem
from crystalsweep.data.writing import cif_text
from crystalsweep.metrics.settings import StructureRules
from crystalsweep.networks.models import Generator, one_hot, pristine_graph_of
from crystalsweep.structures.batch import collate
from crystalsweep.structures.crystal import MASK, N_ELEMENTS, Crystal
from crystalsweep.structures.elements import element_symbol

MAX_ATOMS = 1000
"""Of one crystal, its symmetry copies included."""

ATOMS_TOGETHER = 2000
"""Of the crystals that pass the network at once."""

ALL_MASKED = "every site is masked: only the cell and the positions tell what it is made of"
NONE_MASKED = "no site is masked: elements are as given, and positions restored"


class Odds(NamedTuple):
    """What the network says of one element on one site."""

    element: str
    """Its symbol."""
    probability: float
    """Softmax of the logits, uncalibrated."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Completion:
    """A crystal without masked sites, and how it came about."""

    crystal: Crystal
    """Visible elements as given, the most likely ones on masked sites; the cell as given."""
    masked: NDArray[np.int64]
    """(M,) which atoms were masked, ascending."""
    odds: tuple[tuple[Odds, ...], ...]
    """M times the most likely elements, the likeliest first."""
    perturbation: NDArray[np.float64]
    """(N,) length of the predicted P̃ of every atom, Å; by so much it was moved, unless positions were kept."""
    warnings: tuple[str, ...] = ()
    """Why to be careful with it."""

    @property
    def cif(self) -> str:
        """In P1, atoms in the order of `crystal`."""
        return cif_text(self.crystal)


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
    top_k: int = 5,
    keep_positions: bool = False,
    max_atoms: int = MAX_ATOMS,
) -> list[Completion]:
    """Return every crystal with its masked sites (species `MASK`) filled and its positions restored, in order.

    Args:
        generator: On any device; in evaluation mode.
        partials: Crystals; without a masked site only positions are restored.
        top_k: Elements whose odds are given for each masked site, 1…118.
        keep_positions: Leave every atom where it is.
        max_atoms: Of one crystal.

    Raises:
        ValueError: `top_k` is out of range, a crystal has too many atoms or leaves nothing to do, or the weights give
            no finite answer.
    """
    if not 1 <= top_k <= N_ELEMENTS:
        raise ValueError(f"top_k is {top_k}; give 1 to {N_ELEMENTS}")
    for partial in partials:
        if problem := refusal(partial, keep_positions=keep_positions, max_atoms=max_atoms):
            raise ValueError(f"{partial.id}: {problem.reason} ({problem.detail}); {problem.remedy}")
    return [
        _completed(partial, probabilities, perturbation, top_k, keep_positions)
        for together in _portions(partials)
        for partial, probabilities, perturbation in _answers(generator, together)
    ]


def _portions(partials: Sequence[Crystal]) -> Iterator[list[Crystal]]:
    portion: list[Crystal] = []
    atoms = 0
    for partial in partials:
        if portion and atoms + len(partial) > ATOMS_TOGETHER:
            yield portion
            portion, atoms = [], 0
        portion.append(partial)
        atoms += len(partial)
    if portion:
        yield portion


Answer = tuple[Crystal, NDArray[np.float64], NDArray[np.float64]]
"""A crystal, (N, 118) probabilities and (N, 3) P̃, Å."""


@torch.no_grad()
def _answers(generator: Generator, partials: Sequence[Crystal]) -> Iterator[Answer]:
    batch = collate(partials)
    device = next(generator.parameters()).device
    graph = pristine_graph_of(batch, generator.backbone.config).to(device)
    answer = generator(one_hot(batch.species).to(device), graph)
    probabilities = answer.logits.double().softmax(dim=-1).cpu().numpy()
    perturbation = answer.perturbation.double().cpu().numpy()
    if not (np.isfinite(probabilities).all() and np.isfinite(perturbation).all()):
        raise ValueError("the generator gives no finite answer: its weights are damaged; use another checkpoint")
    bounds = np.cumsum(batch.counts.numpy())[:-1]
    yield from zip(partials, np.split(probabilities, bounds), np.split(perturbation, bounds), strict=True)


def _completed(
    partial: Crystal,
    probabilities: NDArray[np.float64],
    perturbation: NDArray[np.float64],
    top_k: int,
    keep_positions: bool,
) -> Completion:
    masked = np.flatnonzero(partial.species == MASK)
    ranked = np.argsort(-probabilities[masked], axis=1, kind="stable")[:, :top_k]  # of equals the lighter element
    species = partial.species.copy()
    species[masked] = ranked[:, 0] + 1
    shift = 0.0 if keep_positions else perturbation @ np.linalg.inv(partial.lattice)
    crystal = Crystal.of(partial.id, species, partial.lattice, partial.frac - shift)
    odds = tuple(
        tuple(Odds(element_symbol(int(z) + 1), float(probabilities[atom, z])) for z in elements)
        for atom, elements in zip(masked, ranked, strict=True)
    )
    return Completion(
        crystal=crystal,
        masked=masked,
        odds=odds,
        perturbation=np.linalg.norm(perturbation, axis=1),
        warnings=tuple(_warnings(crystal, masked)),
    )


def _warnings(crystal: Crystal, masked: NDArray[np.int64]) -> Iterator[str]:
    if len(masked) == len(crystal):
        yield ALL_MASKED
    if not len(masked):
        yield NONE_MASKED
    if crystal.min_edge <= StructureRules().min_distance:
        yield f"two atoms lie {crystal.min_edge:.2f} Å apart; keep_positions leaves them where they were"
