"""One flat row of scores per generated crystal (Liu et al., iScience 27, 110672 (2024), Fig. 4, Eqs. 4 and 5).

Nothing is averaged here: `summary` takes the means. doi:10.1016/j.isci.2024.110672
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crystalsweep.metrics.settings import CompositionRules, MetricConfig
from crystalsweep.metrics.similarity import all_aligned, all_displacements, all_mean_distances, check_sites
from crystalsweep.metrics.validity import all_structurally_valid, compositionally_valid, exempt_composition
from crystalsweep.structures.crystal import MASK, Crystal

ScoreRow = dict[str, float | int | bool | str]

_Column = NDArray[Any]
"""(C,) one value per crystal."""

KEYS = ("parent", "mask_type", "sigma_noise", "draw")
"""What identifies a row of a table: the parent crystal and how it was corrupted."""

NO_NOISE = 1e-4
"""Å; noise below this is rounding (float32 coordinates reach 1e-5 Å) and a ratio to it means nothing."""

_FAILED: ScoreRow = {
    "structural_validity": False,
    "compositional_validity": False,
    "exempt_composition": False,
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

SCORE_COLUMNS = ("n_atoms", "n_masked", *_FAILED, "noise", "noise_aligned", "given_composition", "failure")
"""Columns of a row, in the order of a table."""

_DEFAULT = MetricConfig()

_ROWS = 4096
"""Rows scored at once, which bounds the memory it takes."""


def score(
    original: Crystal,
    corrupted: Crystal,
    generated: Crystal,
    *,
    settings: MetricConfig = _DEFAULT,
    given_composition: bool = False,
) -> ScoreRow:
    """Return scores of one generated crystal.

    A generated crystal with non-finite coordinates or another number of atoms gives a row whose `failure` says so:
    invalid, nothing restored, distances NaN. `failure` is empty otherwise. The structural similarities are NaN where
    the composition was not restored and where the ratio is undefined (`similarity_undefined`: nothing was displaced,
    as in every aligned one-atom cell).

    Args:
        original: The pristine crystal, N atoms.
        corrupted: The same sites, some masked, all displaced.
        generated: What a model made of `corrupted`.
        settings: Those of the two validities are used.
        given_composition: Take the composition as restored in the structural similarities (the identity baseline,
            which restores none); the row keeps the flag. Every other entry ignores it.

    Raises:
        ValueError: `corrupted` does not hold the sites of `original`; there is nothing to compare site by site.
    """
    columns = _columns([original], [corrupted], [generated], settings, given_composition)
    return {name: values.tolist()[0] for name, values in columns.items()}


def score_table(
    originals: Iterable[Crystal],
    corrupteds: Iterable[Crystal],
    generateds: Iterable[Crystal],
    keys: pd.DataFrame,
    *,
    settings: MetricConfig = _DEFAULT,
    given_composition: bool = False,
) -> pd.DataFrame:
    """Return the rows of `keys` (`KEYS` columns, one row per generated crystal) with their scores beside them.

    Args:
        originals: The true crystals.
        corrupteds: What was made of them.
        generateds: What was restored.
        keys: `KEYS` columns, a row per generated crystal.
        settings: Thresholds and switches of the scores.
        given_composition: Compositional validity of known compositions, which is not computed again.

    Raises:
        ValueError: The four differ in length, or a corrupted crystal lacks sites of its original.
    """
    rows = list(zip(originals, corrupteds, generateds, strict=True))
    if len(rows) != len(keys):
        raise ValueError(f"{len(keys)} rows of keys for {len(rows)} crystals: pass one row per generated crystal.")
    parts = []
    for first in range(0, max(len(rows), 1), _ROWS):
        part = rows[first : first + _ROWS]
        true, given, made = ([row[k] for row in part] for k in range(3))
        parts.append(pd.DataFrame(_columns(true, given, made, settings, given_composition)))
    return pd.concat([keys.reset_index(drop=True), pd.concat(parts, ignore_index=True)], axis=1)


def _columns(
    originals: Sequence[Crystal],
    corrupteds: Sequence[Crystal],
    generateds: Sequence[Crystal],
    settings: MetricConfig,
    given_composition: bool,
) -> dict[str, _Column]:
    """Return every column of `SCORE_COLUMNS`, in that order."""
    for original, corrupted in zip(originals, corrupteds, strict=True):
        check_sites(original, corrupted)
    size, counts = len(originals), _counts(originals)
    failure = [_failure(*pair) for pair in zip(originals, generateds, strict=True)]
    kept = np.array([k for k, reason in enumerate(failure) if not reason], dtype=np.int64)
    columns = {name: np.full(size, value) for name, value in _FAILED.items()}
    columns["noise"], columns["noise_aligned"] = _distances(originals, corrupteds)
    columns["n_atoms"] = counts
    columns["n_masked"] = _sums(_species(corrupteds) == MASK, counts)
    columns["given_composition"] = np.full(size, given_composition)
    columns["failure"] = np.array(failure, dtype=object)
    true, given, made = ([crystals[k] for k in kept] for crystals in (originals, corrupteds, generateds))
    scores = _compositions(true, given, made, settings.composition)
    scores["structural_validity"] = all_structurally_valid(made, settings.structure)
    scores["distance"], scores["distance_aligned"] = _distances(true, made)
    noise = columns["noise"][kept], columns["noise_aligned"][kept]
    scores |= _similarities(scores, *noise, given_composition)
    for name, values in scores.items():
        columns[name][kept] = values
    return {name: columns[name] for name in SCORE_COLUMNS}


def _failure(original: Crystal, generated: Crystal) -> str:
    """Return why the generated crystal cannot be scored; empty if it can."""
    if len(generated.species) != len(original) or generated.frac.shape != original.frac.shape:
        return f"{len(generated)} atoms instead of {len(original)}"
    if not np.isfinite(generated.frac).all():
        return "non-finite coordinates"
    if not np.isfinite(generated.lattice).all():
        return "non-finite lattice"
    return ""


def _distances(originals: Sequence[Crystal], others: Sequence[Crystal]) -> tuple[_Column, _Column]:
    """Return mean distances, Å, as they are and aligned."""
    lattices = np.array([crystal.lattice for crystal in originals], dtype=np.float64)
    deltas = [other.frac - original.frac for original, other in zip(originals, others, strict=True)]
    delta = np.concatenate([np.zeros((0, 3)), *deltas])
    plain, rigid = _measured(delta.tobytes(), lattices.tobytes(), _counts(originals).tobytes())
    return plain.copy(), rigid.copy()


@lru_cache(maxsize=8)
def _measured(delta: bytes, lattices: bytes, counts: bytes) -> tuple[_Column, _Column]:
    """Return both distances of fractional differences (M, 3) in lattices (C, 3, 3) of counts (C,) atoms each.

    Kept, since most references leave the positions as they are corrupted, which is also what the noise is measured by.
    """
    number = np.frombuffer(counts, dtype=np.int64)
    cells = np.frombuffer(lattices).reshape(-1, 3, 3)
    moved = all_displacements(np.frombuffer(delta).reshape(-1, 3), cells, number)
    return all_mean_distances(moved, number), all_mean_distances(all_aligned(moved, cells, number), number)


def _compositions(
    originals: Sequence[Crystal],
    corrupteds: Sequence[Crystal],
    generateds: Sequence[Crystal],
    rules: CompositionRules,
) -> dict[str, _Column]:
    """Compute Eq. 4 and its parts: atoms restored where masked and kept where visible; the validity."""
    counts, masked = _counts(originals), _species(corrupteds) == MASK
    true, made = _species(originals), _species(generateds)
    crystal = np.repeat(np.arange(len(counts)), counts)
    ordered = made[np.lexsort((made, crystal))]
    permuted = ordered == true[np.lexsort((true, crystal))]
    return {
        "compositional_validity": _per_composition(
            ordered, counts, lambda species: compositionally_valid(species, rules)
        ),
        "exempt_composition": _per_composition(ordered, counts, exempt_composition),
        "compositional_similarity": _sums(true == made, counts) == counts,
        "compositional_similarity_permuted": _sums(permuted, counts) == counts,
        "masked_correct": _sums((true == made) & masked, counts),
        "visible_correct": _sums((true == made) & ~masked, counts),
    }


def _per_composition(
    ordered: NDArray[np.int64], counts: NDArray[np.int64], verdict: Callable[[NDArray[np.int64]], bool]
) -> _Column:
    """Return a verdict on each composition from species (M,) that ascend within each crystal; equal crystals are asked
    once."""
    verdicts: dict[bytes, bool] = {}
    found = []
    for last, count in zip(np.cumsum(counts).tolist(), counts.tolist(), strict=True):
        species = ordered[last - count : last]
        key = species.tobytes()
        if key not in verdicts:
            verdicts[key] = verdict(species)
        found.append(verdicts[key])
    return np.array(found, dtype=bool)


def _similarities(
    scores: dict[str, _Column], noise: _Column, noise_aligned: _Column, given_composition: bool
) -> dict[str, _Column]:
    """Compute Eq. 5 per crystal, as the paper sums it (δ d / S) and as 1 − d / S where the composition was restored."""
    restored = scores["compositional_similarity"]
    counted = restored | given_composition
    plain = _ratio(scores["distance"], noise)
    rigid = _ratio(scores["distance_aligned"], noise_aligned)
    return {
        "structural_similarity": np.where(counted, 1 - rigid, np.nan),
        "structural_similarity_unaligned": np.where(counted, 1 - plain, np.nan),
        "similarity_undefined": counted & np.isnan(rigid),
        "paper_eq5_term": np.where(restored, plain, 0.0),
    }


def _ratio(distance: _Column, noise: _Column) -> _Column:
    defined = noise > NO_NOISE
    return np.where(defined, distance / np.where(defined, noise, 1), np.nan)


def _counts(crystals: Sequence[Crystal]) -> NDArray[np.int64]:
    return np.array([len(crystal) for crystal in crystals], dtype=np.int64)


def _species(crystals: Sequence[Crystal]) -> NDArray[np.int64]:
    return np.concatenate([np.zeros(0, dtype=np.int64), *(crystal.species for crystal in crystals)])


def _sums(flags: NDArray[np.bool_], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return (C,) number of true flags (M,) in each crystal."""
    crystal = np.repeat(np.arange(len(counts)), counts)
    return np.bincount(crystal[flags], minlength=len(counts)).astype(np.int64)
