"""The generator asked about many fillings of crystals at once, in portions that fit the memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from crystalsweep.networks.models import Generator, one_hot, pristine_graph_of
from crystalsweep.structures.batch import collate
from crystalsweep.structures.crystal import Crystal

ATOMS_TOGETHER = 2000
"""Of the crystals that pass the network at once."""


class Answer(NamedTuple):
    """What the generator says of one crystal."""

    log_probabilities: NDArray[np.float64]
    """(N, 118) of every element on every atom; index = Z − 1."""
    perturbation: NDArray[np.float64]
    """(N, 3) predicted P̃, Å."""


def ask(
    generator: Generator, crystals: Sequence[Crystal], species: Sequence[NDArray[np.int64]], sharpness: float = 1.0
) -> list[Answer]:
    """Return what the generator says of each crystal with these species in place of its own, in order.

    The same crystal may be given many times: its neighbours are searched for once.

    Args:
        generator: On any device; in evaluation mode.
        crystals: Cells and positions.
        species: (N,) of each, `MASK` where unknown.
        sharpness: By which logits are multiplied, 1 / temperature of a calibration.

    Raises:
        ValueError: The weights give no finite answer.
    """
    answers: list[Answer] = []
    for first, last in _portions([len(crystal) for crystal in crystals]):
        answers += _asked(generator, crystals[first:last], species[first:last], sharpness)
    return answers


def _portions(sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield first and last of runs of crystals whose atoms pass the network together."""
    first = atoms = 0
    for index, size in enumerate(sizes):
        if index > first and atoms + size > ATOMS_TOGETHER:
            yield first, index
            first, atoms = index, 0
        atoms += size
    if first < len(sizes):
        yield first, len(sizes)


@torch.no_grad()
def _asked(
    generator: Generator, crystals: Sequence[Crystal], species: Sequence[NDArray[np.int64]], sharpness: float
) -> Iterator[Answer]:
    batch = replace(collate(crystals), species=torch.from_numpy(np.concatenate(species)))
    device = next(generator.parameters()).device
    graph = pristine_graph_of(batch, generator.backbone.config).to(device)
    restored = generator(one_hot(batch.species).to(device), graph)
    logs = (restored.logits.double() * sharpness).log_softmax(dim=-1).cpu().numpy()
    perturbation = restored.perturbation.double().cpu().numpy()
    if not (np.isfinite(logs).all() and np.isfinite(perturbation).all()):
        raise ValueError("the generator gives no finite answer: its weights are damaged; use another checkpoint")
    bounds = np.cumsum(batch.counts.numpy())[:-1]
    parts = zip(np.split(logs, bounds), np.split(perturbation, bounds), strict=True)
    yield from (Answer(*part) for part in parts)
