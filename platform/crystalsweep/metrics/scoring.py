"""One flat row of scores per generated crystal (Liu et al., iScience 27, 110672 (2024), Fig. 4, Eqs. 4 and 5).

Nothing is averaged here: `summary` takes the means. doi:10.1016/j.isci.2024.110672
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from crystalsweep.crystal import MASK, Crystal
from crystalsweep.metrics.settings import DEFAULT_RULES, CompositionRules
from crystalsweep.metrics.similarity import aligned, displacements, mean_distance
from crystalsweep.metrics.validity import compositionally_valid, structurally_valid

Row = dict[str, float | int | bool | str]

KEYS = ("parent", "mask_type", "sigma_noise", "draw")
"""What identifies a row of a table: the parent crystal and how it was corrupted."""

NO_NOISE = 1e-4
"""Å; noise below this is rounding (float32 coordinates reach 1e-5 Å) and a ratio to it means nothing."""


def score(
    original: Crystal,
    corrupted: Crystal,
    generated: Crystal,
    *,
    rules: CompositionRules = DEFAULT_RULES,
    threshold: float = 0.5,
    given_composition: bool = False,
) -> Row:
    """Scores of one generated crystal.

    A generated crystal with non-finite coordinates or another number of atoms gives a row whose `failure` says so:
    invalid, nothing restored, distances NaN. `failure` is empty otherwise. The structural similarities are NaN where
    the composition was not restored and where the ratio is undefined (`similarity_undefined`: nothing was displaced,
    as in every aligned one-atom cell).

    Args:
        original: The pristine crystal, N atoms.
        corrupted: The same sites, some masked, all displaced.
        generated: What a model made of `corrupted`.
        rules: Settings of the compositional validity.
        threshold: Shortest distance of a valid structure, Å.
        given_composition: Take the composition as restored in the structural similarities (the identity baseline,
            which restores none); the row keeps the flag. Every other entry ignores it.

    Raises:
        ValueError: `corrupted` does not hold the sites of `original`; there is nothing to compare site by site.
    """
    noise = displacements(original, corrupted)
    masked = corrupted.species == MASK
    row: Row = {
        "n_atoms": len(original),
        "n_masked": int(masked.sum()),
        "noise": mean_distance(noise),
        "noise_aligned": mean_distance(aligned(noise, original.lattice)),
        "given_composition": given_composition,
        "failure": _failure(original, generated),
    }
    if row["failure"]:
        return row | _FAILED
    row |= {
        "structural_validity": structurally_valid(generated, threshold),
        "compositional_validity": compositionally_valid(generated.species, rules),
    }
    row |= _composition(original, generated, masked)
    displacement = displacements(original, generated)
    row["distance"] = mean_distance(displacement)
    row["distance_aligned"] = mean_distance(aligned(displacement, original.lattice))
    return row | _similarity(row)


def score_table(
    originals: Iterable[Crystal],
    corrupteds: Iterable[Crystal],
    generateds: Iterable[Crystal],
    keys: pd.DataFrame,
    *,
    rules: CompositionRules = DEFAULT_RULES,
    threshold: float = 0.5,
    given_composition: bool = False,
) -> pd.DataFrame:
    """The rows of `keys` (`KEYS` columns, one row per generated crystal) with their scores beside them.

    Raises:
        ValueError: The four differ in length, or a corrupted crystal lacks sites of its original.
    """
    rows = [
        score(*crystals, rules=rules, threshold=threshold, given_composition=given_composition)
        for crystals in zip(originals, corrupteds, generateds, strict=True)
    ]
    if len(rows) != len(keys):
        raise ValueError(f"{len(keys)} rows of keys for {len(rows)} crystals: pass one row per generated crystal.")
    return pd.concat([keys.reset_index(drop=True), pd.DataFrame(rows, columns=list(COLUMNS))], axis=1)


_FAILED: Row = {
    "structural_validity": False,
    "compositional_validity": False,
    "compositional_similarity": False,
    "compositional_similarity_permuted": False,
    "masked_correct": 0,
    "visible_correct": 0,
    "distance": np.nan,
    "distance_aligned": np.nan,
    "structural_similarity": np.nan,
    "structural_similarity_unaligned": np.nan,
    "similarity_undefined": False,
    "paper_eq5_term": 0.0,
}

COLUMNS = ("n_atoms", "n_masked", *_FAILED, "noise", "noise_aligned", "given_composition", "failure")
"""Columns of a row, in the order of a table."""


def _failure(original: Crystal, generated: Crystal) -> str:
    """Why the generated crystal cannot be scored; empty if it can."""
    if len(generated.species) != len(original) or generated.frac.shape != original.frac.shape:
        return f"{len(generated)} atoms instead of {len(original)}"
    if not np.isfinite(generated.frac).all():
        return "non-finite coordinates"
    if not np.isfinite(generated.lattice).all():
        return "non-finite lattice"
    return ""


def _composition(original: Crystal, generated: Crystal, masked: np.ndarray) -> Row:
    """Eq. 4 and its parts: atoms restored where masked and kept where visible."""
    correct = original.species == generated.species
    permuted = np.array_equal(np.sort(original.species), np.sort(generated.species))
    return {
        "compositional_similarity": bool(correct.all()),
        "compositional_similarity_permuted": permuted,
        "masked_correct": int(correct[masked].sum()),
        "visible_correct": int(correct[~masked].sum()),
    }


def _similarity(row: Row) -> Row:
    """Eq. 5 of one crystal, as the paper sums it (δ d / S) and as 1 − d / S where the composition was restored."""
    restored = bool(row["compositional_similarity"])
    counted = restored or bool(row["given_composition"])
    plain = _ratio(float(row["distance"]), float(row["noise"]))
    rigid = _ratio(float(row["distance_aligned"]), float(row["noise_aligned"]))
    return {
        "structural_similarity": 1 - rigid if counted else np.nan,
        "structural_similarity_unaligned": 1 - plain if counted else np.nan,
        "similarity_undefined": counted and bool(np.isnan(rigid)),
        "paper_eq5_term": plain if restored else 0.0,
    }


def _ratio(distance: float, noise: float) -> float:
    return distance / noise if noise > NO_NOISE else np.nan
