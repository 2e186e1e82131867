"""The generator asked about many fillings of crystals at once, in portions that fit the memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from crystalsweep.networks.architectures import BackboneConfig
from crystalsweep.networks.models import Generator, one_hot, pristine_graph_of
from crystalsweep.structures.batch import CrystalBatch, collate
from crystalsweep.structures.crystal import Crystal
from crystalsweep.structures.graph import Graph

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
    for _, batch, graph in batches(crystals, species, generator.backbone.config):
        answers += _asked(generator, batch, graph, sharpness)
    return answers


def batches(
    crystals: Sequence[Crystal], species: Sequence[NDArray[np.int64]], config: BackboneConfig
) -> Iterator[tuple[slice, CrystalBatch, Graph]]:
    """Yield which crystals pass the network together, them with these species in place of their own, and their graph.

    Args:
        crystals: Cells and positions.
        species: (N,) of each.
        config: Of the backbone that is to read them.
    """
    for part in _portions([len(crystal) for crystal in crystals]):
        batch = replace(collate(crystals[part]), species=torch.from_numpy(np.concatenate(species[part])))
        yield part, batch, pristine_graph_of(batch, config)


def _portions(sizes: Sequence[int]) -> Iterator[slice]:
    """Yield runs of crystals whose atoms pass the network together."""
    first = atoms = 0
    for index, size in enumerate(sizes):
        if index > first and atoms + size > ATOMS_TOGETHER:
            yield slice(first, index)
            first, atoms = index, 0
        atoms += size
    if first < len(sizes):
        yield slice(first, len(sizes))


@torch.no_grad()
def _asked(generator: Generator, batch: CrystalBatch, graph: Graph, sharpness: float) -> Iterator[Answer]:
    device = next(generator.parameters()).device
    restored = generator(one_hot(batch.species).to(device), graph.to(device))
    logs = (restored.logits.double() * sharpness).log_softmax(dim=-1).cpu().numpy()
    perturbation = restored.perturbation.double().cpu().numpy()
    if not (np.isfinite(logs).all() and np.isfinite(perturbation).all()):
        raise ValueError("the generator gives no finite answer: its weights are damaged; use another checkpoint")
    bounds = np.cumsum(batch.counts.numpy())[:-1]
    parts = zip(np.split(logs, bounds), np.split(perturbation, bounds), strict=True)
    yield from (Answer(*part) for part in parts)
