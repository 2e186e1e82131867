"""Judges that no training and no decoder has seen, asked of restored crystals: energies and bond valences."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from crystalsweep.evaluation.energy_rows import Energies
from crystalsweep.evaluation.protocol import Chunk
from crystalsweep.metrics.bond_valence import bond_valence_columns
from crystalsweep.structures.crystal import Crystal


class IndependentJudges:
    """Bond valences of all crystals; of a sample's parents, energies of those that have the parent's composition."""

    def __init__(self, energies: Energies, parents: frozenset[str]) -> None:
        self.energies, self.parents = energies, parents

    def columns(self, chunk: Chunk, generated: Sequence[Crystal]) -> pd.DataFrame:
        """Return `BOND_VALENCE_COLUMNS` and `ENERGY_COLUMNS` of what was made of a chunk, a row each.

        Where the composition is another, ΔE is undefined and no energy is computed.
        """
        sampled = np.array([crystal.id in self.parents for crystal in chunk.originals], dtype=bool)
        same = [
            len(a) == len(b) and np.array_equal(np.sort(a.species), np.sort(b.species))
            for a, b in zip(chunk.originals, generated, strict=True)
        ]
        energies = self.energies.columns(chunk.originals, generated, sampled & np.array(same, dtype=bool))
        return bond_valence_columns(generated).join(energies.assign(energy_sampled=sampled))


def sampled_parents(chunks: Sequence[Chunk], most: int, seed: int) -> frozenset[str]:
    """Return ids of at most so many parents of the chunks, drawn with a seed."""
    parents = list(dict.fromkeys(crystal.id for chunk in chunks for crystal in chunk.originals))
    return frozenset(parents[i] for i in np.random.default_rng(seed).permutation(len(parents))[:most])
