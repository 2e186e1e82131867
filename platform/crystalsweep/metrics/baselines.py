"""What any model is held against: the truth, the input itself, and the commonest element.

Each takes (original, corrupted) as a model's answer would be scored, and returns a `Crystal` for `scoring.score`.
They frame Fig. 4 of Liu et al., iScience 27, 110672 (2024), which shows none. doi:10.1016/j.isci.2024.110672
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from crystalsweep.structures.crystal import MASK, N_ELEMENTS, Crystal

Baseline = Callable[[Crystal, Crystal], Crystal]
"""(original, corrupted) -> the generated crystal."""

REFERENCES = ("ceiling", "identity", "most common", "substitution")
"""The reference rows beside every model, in the order of every table."""


def ground_truth(original: Crystal, corrupted: Crystal) -> Crystal:  # noqa: ARG001 - the signature of a `Baseline`
    """Return the original: the ceiling. SMACT rejects 8–27 % of real stable crystals, so its validity is not 1."""
    return original


def identity(original: Crystal, corrupted: Crystal) -> Crystal:  # noqa: ARG001 - the signature of a `Baseline`
    """Return the input, masked atoms still masked: the floor.

    It restores no composition, so its structural similarity would be undefined. Score it with
    `given_composition=True`: on positions alone, where it is 0 by construction; the table keeps the flag.
    """
    return corrupted


def most_common_species(train_counts: Mapping[int, int]) -> Baseline:
    """Return a baseline that fills masked atoms with the commonest element of the training set, positions as corrupted.

    Args:
        train_counts: Atoms (or crystals) of the training set by atomic number; ties go to the lighter element.

    Raises:
        ValueError: No element in 1…118 is counted.
    """
    elements = [z for z, count in train_counts.items() if count > 0 and MASK < z <= N_ELEMENTS]
    if not elements:
        raise ValueError("train_counts holds no element (1…118): pass counts of atoms by atomic number.")
    commonest = min(elements, key=lambda z: (-train_counts[z], z))

    def fill(original: Crystal, corrupted: Crystal) -> Crystal:  # noqa: ARG001 - the signature of a `Baseline`
        return replace(corrupted, species=np.where(corrupted.species == MASK, commonest, corrupted.species))

    return fill
