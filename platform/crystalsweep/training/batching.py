"""Which crystals are in which step, and whose worker's: pure functions of sizes, seed and epoch.

torch-geometric's `DynamicBatchSampler` also fills batches up to a number of atoms, but it shuffles by torch's global
state, loads every crystal to count its atoms, has no notion of workers, and says how many steps there are only where
later crystals are then left out. So the few lines that fill a batch are here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from crystalsweep.seeding import stream


def shuffled(count: int, seed: int, epoch: int) -> list[int]:
    """Return 0…count − 1 in the order of an epoch."""
    order: list[int] = torch.randperm(count, generator=stream(seed, "order", epoch)).tolist()
    return order


def by_crystals(order: Sequence[int], size: int) -> list[list[int]]:
    """Return batches of `size` in this order; the last has what is left."""
    return [list(order[i : i + size]) for i in range(0, len(order), size)]


def by_atoms(order: Iterable[int], atoms: Sequence[int], budget: int, least: int = 1) -> list[list[int]]:
    """Return batches in this order, each filled until the next crystal would take it over the budget.

    A crystal larger than the budget makes a batch of its own. Crystals per batch differ, so that in a mean over
    crystals those of a batch of few weigh more in its step than those of many; in a mean over atoms all weigh alike.

    Args:
        order: Indices of crystals.
        atoms: Of each crystal, by index.
        budget: Greatest number of atoms of a batch.
        least: Crystals that a batch must have even where that exceeds the budget, one for each worker.
    """
    batches: list[list[int]] = []
    filled = budget
    for index in order:
        if not batches or (filled + atoms[index] > budget and len(batches[-1]) >= least):
            batches.append([])
            filled = 0
        batches[-1].append(index)
        filled += atoms[index]
    return batches


def share_of(batch: Sequence[int], atoms: Sequence[int], rank: int, workers: int) -> list[int]:
    """Return one worker's part of a batch, in the batch's order: as many crystals as others have, or one less or more,
    and about as many atoms.

    Crystals are dealt by size, there and back again. Gradients are averaged over workers, each of whose losses is a
    mean over its own crystals or atoms: with the same number of both that is the mean over the batch.
    """
    largest_first = sorted(range(len(batch)), key=lambda place: (-atoms[batch[place]], place))
    turns = (*range(workers), *reversed(range(workers)))
    dealt = [place for turn, place in enumerate(largest_first) if turns[turn % len(turns)] == rank]
    return [batch[place] for place in sorted(dealt)]
