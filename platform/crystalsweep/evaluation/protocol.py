"""The evaluation protocol (paper, Fig. 4): each crystal × mask type × sigma, restored and scored against its parent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from crystalsweep.hyperparameters import EvaluationConfig, mask_fraction
from crystalsweep.metrics import Baseline, ground_truth, identity, most_common_species, score_table
from crystalsweep.networks.architectures import BackboneConfig
from crystalsweep.networks.models import Generator, graph_of, one_hot
from crystalsweep.seeding import stream
from crystalsweep.structures.batch import CrystalBatch, collate, uncollate
from crystalsweep.structures.corruption import Corrupted, apply, draw_noise, random_mask
from crystalsweep.structures.crystal import Crystal
from crystalsweep.structures.graph import Graph

CASES_PER_DRAW = 256
"""Cases corrupted together. Part of the protocol: the random draws run over so many."""

CASES_PER_CHUNK = 32
"""Cases restored together, which bounds the memory it takes."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One corrupted input to make."""

    parent: Crystal
    mask_type: str
    sigma_noise: float
    draw: int
    masked_species: int
    """Atomic number hidden by a `species` mask; 0 for random masks."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Chunk:
    """Cases that are corrupted and restored together."""

    originals: list[Crystal]
    corrupted: Corrupted
    keys: pd.DataFrame
    """parent, mask_type, sigma_noise, draw; one row per case."""
    masked_species: list[int]
    """Atomic number that a `species` mask hides; 0 for random masks."""
    graphs: dict[tuple[float, int], Graph] = field(default_factory=dict, repr=False)
    """Of the corrupted inputs, by cutoff and max_neighbours; filled by `graph`."""

    def graph(self, config: BackboneConfig) -> Graph:
        """Return the graph of the corrupted inputs that a backbone of this config reads, on the CPU; built once."""
        key, batch = (config.cutoff, config.max_neighbours), self.corrupted.pristine
        if key not in self.graphs:
            self.graphs[key] = graph_of(self.corrupted.cart, batch.lattice, batch.counts, config)
        return self.graphs[key]

    def corrupted_crystals(self) -> list[Crystal]:
        """Return the corrupted inputs as crystals; masked atoms have species 0."""
        ids = [crystal.id for crystal in self.originals]
        return uncollate(self.corrupted.cart, self.corrupted.species, self.corrupted.pristine, ids)


@dataclass(frozen=True, kw_only=True)
class ChunkBlock:
    """Cases that share their random draws: the unit that can be evaluated on its own, anywhere."""

    start: int
    """Number of its first case; names the stream of its draws."""
    cases: tuple[Case, ...]


def blocks(crystals: Sequence[Crystal], config: EvaluationConfig) -> list[ChunkBlock]:
    """Return the whole protocol, in order."""
    cases = list(_cases(_sample(crystals, config), config))
    starts = range(0, len(cases), CASES_PER_DRAW)
    return [ChunkBlock(start=start, cases=tuple(cases[start : start + CASES_PER_DRAW])) for start in starts]


def chunks(block: ChunkBlock, config: EvaluationConfig) -> Iterator[Chunk]:
    """Yield the corrupted inputs of a block."""
    keys = pd.DataFrame(
        {
            "parent": [case.parent.id for case in block.cases],
            "mask_type": [case.mask_type for case in block.cases],
            "sigma_noise": [case.sigma_noise for case in block.cases],
            "draw": [case.draw for case in block.cases],
        }
    )
    corrupted = _corrupt(block.cases, config, stream(config.seed, "evaluation", block.start))
    for first in range(0, len(block.cases), CASES_PER_CHUNK):
        last = min(first + CASES_PER_CHUNK, len(block.cases))
        yield Chunk(
            originals=[case.parent for case in block.cases[first:last]],
            corrupted=corrupted.part(first, last),
            keys=keys.iloc[first:last].reset_index(drop=True),
            masked_species=[case.masked_species for case in block.cases[first:last]],
        )


def evaluation_chunks(crystals: Sequence[Crystal], config: EvaluationConfig) -> Iterator[Chunk]:
    """Yield the protocol's corrupted inputs; the same for every model, since they depend on crystals and config
    alone."""
    for block in blocks(crystals, config):
        yield from chunks(block, config)


def _sample(crystals: Sequence[Crystal], config: EvaluationConfig) -> list[Crystal]:
    if config.max_crystals is None or config.max_crystals >= len(crystals):
        return list(crystals)
    chosen = np.random.default_rng(config.seed).choice(len(crystals), config.max_crystals, replace=False)
    return [crystals[i] for i in sorted(chosen)]


def _cases(crystals: Sequence[Crystal], config: EvaluationConfig) -> Iterator[Case]:
    for parent in crystals:
        for mask_type in config.mask_types:
            by_species = mask_fraction(mask_type) is None
            hidden = [int(z) for z in np.unique(parent.species)] if by_species else [0] * config.draws
            for sigma_noise in config.sigma_noise:
                for draw, z in enumerate(hidden):
                    yield Case(parent=parent, mask_type=mask_type, sigma_noise=sigma_noise, draw=draw, masked_species=z)


def _corrupt(cases: Sequence[Case], config: EvaluationConfig, generator: torch.Generator) -> Corrupted:
    batch = collate([case.parent for case in cases])
    masked = batch.species == torch.tensor([case.masked_species for case in cases])[batch.crystal]
    for mask_type in config.mask_types:
        fraction = mask_fraction(mask_type)
        if fraction is not None:
            of_type = torch.tensor([case.mask_type == mask_type for case in cases])[batch.crystal]
            masked |= of_type & random_mask(batch, fraction, generator)
    sigma_noise = torch.tensor([case.sigma_noise for case in cases])
    return apply(batch, masked, draw_noise(batch, sigma_noise, config.center_noise, generator))


class Restored(NamedTuple):
    """What a generator makes of corrupted crystals, in both readings of the paper; positions are the same."""

    completed: list[Crystal]
    """Visible species as given, masked ones predicted."""
    predicted: list[Crystal]
    """Every species predicted."""
    logits: torch.Tensor
    """(A, 118) of all their atoms."""

    def reading(self, *, keep_known: bool) -> list[Crystal]:
        """Return one of the two readings."""
        return self.completed if keep_known else self.predicted


@torch.no_grad()
def restore(generator: Generator, corrupted: Corrupted, ids: Sequence[str], graph: Graph | None = None) -> Restored:
    """Return Ĝ's crystals for a corrupted batch, whose graph may be given."""
    batch: CrystalBatch = corrupted.pristine
    graph = graph or graph_of(corrupted.cart, batch.lattice, batch.counts, generator.backbone.config)
    restored = generator(one_hot(corrupted.species), graph)
    cart, predicted = restored.cart(corrupted.cart, batch.lattice, batch.crystal), restored.species()
    completed = torch.where(corrupted.masked, predicted, corrupted.species)
    return Restored(
        uncollate(cart, completed, batch, ids), uncollate(cart, predicted, batch, ids), logits=restored.logits
    )


def restore_chunk(generator: Generator, chunk: Chunk, device: torch.device | str = "cpu") -> Restored:
    """Return Ĝ's crystals for a chunk, whose graph is built once."""
    ids = [crystal.id for crystal in chunk.originals]
    graph = chunk.graph(generator.backbone.config).to(device)
    return restore(generator, chunk.corrupted.to(device), ids, graph)


def evaluate_chunks(
    generator: Generator, chunks: Iterable[Chunk], keep_known: bool, device: torch.device | str = "cpu"
) -> pd.DataFrame:
    """Return a row of metrics per generated crystal (see `metrics.score_table`), in the order of the inputs.

    The inputs may be used again and again: their graphs are built once.
    """
    training = generator.training
    generator.eval()
    tables = []
    for chunk in chunks:
        generated = restore_chunk(generator, chunk, device).reading(keep_known=keep_known)
        tables.append(score_table(chunk.originals, chunk.corrupted_crystals(), generated, chunk.keys))
    generator.train(training)
    return pd.concat(tables, ignore_index=True)


def evaluate_baseline(
    baseline: Baseline, crystals: Sequence[Crystal], config: EvaluationConfig, *, given_composition: bool = False
) -> pd.DataFrame:
    """Return the same rows for a baseline; `given_composition` scores positions as if the composition were restored."""
    tables = []
    for chunk in evaluation_chunks(crystals, config):
        corrupted = chunk.corrupted_crystals()
        generated = [baseline(o, c) for o, c in zip(chunk.originals, corrupted, strict=True)]
        tables.append(
            score_table(chunk.originals, corrupted, generated, chunk.keys, given_composition=given_composition)
        )
    return pd.concat(tables, ignore_index=True)


def evaluate_references(
    crystals: Sequence[Crystal], train: Sequence[Crystal], config: EvaluationConfig
) -> dict[str, pd.DataFrame]:
    """Return the rows every model is held against, on the same corrupted inputs: ceiling, identity, most common
    species."""
    counts = Counter(int(z) for crystal in train for z in crystal.species)
    return {
        "ceiling": evaluate_baseline(ground_truth, crystals, config),
        "identity": evaluate_baseline(identity, crystals, config, given_composition=True),
        "most common": evaluate_baseline(most_common_species(counts), crystals, config),
    }
