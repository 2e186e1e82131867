"""The same candidates ranked by energy above the hull instead of by the model: which finds the truth more often?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crystalsweep.evaluation.calibrating import Cases, Decoded
from crystalsweep.evaluation.energy_rows import Energies
from crystalsweep.inference.completion import place_fillings
from crystalsweep.inference.decoding.network import ask
from crystalsweep.metrics.bootstrap import clustered_mean
from crystalsweep.networks.models import Generator
from crystalsweep.structures.crystal import Crystal

CANDIDATES = 5
"""The first of the model's that get energies."""


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """One case whose candidates were ranked both ways."""

    parent: str
    mask_type: str
    by_model: bool
    """Whether the model's first candidate is the truth."""
    by_energy: bool
    """Whether the one of least energy is; those without an energy come last."""
    found: bool
    """Whether the truth is among those that were ranked."""
    unknown: int
    """Candidates without an energy."""


def rank_by_energy(
    generator: Generator, cases: Cases, decoded: Decoded, energies: Energies, n: int, seed: int
) -> list[Ranked]:
    """Return a seeded sample of cases with both rankings, one of a parent, each with two candidates or more.

    Energies are single points of the crystals as the model places them, above the hull of `energies`, which should not
    hold the parents: a crystal that is there is stable by construction.

    Args:
        generator: In evaluation mode.
        cases: All of them.
        decoded: Candidates of some.
        energies: Calculator and hull.
        n: Cases at most.
        seed: Of the sample.
    """
    chosen = list(_sample(cases, decoded, n, seed))
    partials = [cases.partials[decoded.case[i]] for i in chosen]
    originals = [cases.originals[decoded.case[i]] for i in chosen]
    fillings = [decoded.fillings[i][:CANDIDATES] for i in chosen]
    alone = ask(generator, partials, [partial.species for partial in partials])
    placed = place_fillings(generator, partials, alone, fillings, decoded.decode.position_passes, decoded.decode)
    beside = [original for original, found in zip(originals, fillings, strict=True) for _ in found]
    above = _above_hull(energies, beside, [each.crystal for each in placed])
    parts = np.split(above, np.cumsum([len(found) for found in fillings])[:-1])
    return [_ranked(cases, decoded, i, part) for i, part in zip(chosen, parts, strict=True)]


def _sample(cases: Cases, decoded: Decoded, n: int, seed: int) -> Iterator[int]:
    """Yield indices into what was decoded."""
    seen: set[str] = set()
    for i in np.random.default_rng(seed).permutation(len(decoded.case)).tolist():
        parent = str(cases.table["parent"].iloc[decoded.case[i]])
        if len(seen) < n and parent not in seen and len(decoded.fillings[i]) > 1:
            seen.add(parent)
            yield i


def _above_hull(energies: Energies, originals: Sequence[Crystal], crystals: Sequence[Crystal]) -> NDArray[np.float64]:
    table = energies.columns(originals, crystals, np.ones(len(crystals), dtype=bool))
    return table["e_above_hull"].to_numpy(dtype=np.float64)


def _ranked(cases: Cases, decoded: Decoded, i: int, above: NDArray[np.float64]) -> Ranked:
    row, place = cases.table.iloc[decoded.case[i]], int(decoded.rank[i])
    lowest = int(np.argmin(np.where(np.isnan(above), np.inf, above))) + 1
    return Ranked(
        parent=str(row["parent"]),
        mask_type=str(row["mask_type"]),
        by_model=place == 1,
        by_energy=place == lowest,
        found=0 < place <= len(above),
        unknown=int(np.isnan(above).sum()),
    )


def energy_table(ranked: Sequence[Ranked]) -> pd.DataFrame:
    """Return how often the truth comes first by model and by energy, in all and per mask type, and their difference."""
    if not ranked:
        return pd.DataFrame()
    groups = {"all": list(ranked)}
    for each in ranked:
        groups.setdefault(each.mask_type, []).append(each)
    return pd.DataFrame([_row(name, kept) for name, kept in groups.items()])


def _row(name: str, kept: Sequence[Ranked]) -> dict[str, object]:
    parents = [each.parent for each in kept]
    model, energy = (np.array([getattr(each, by) for each in kept], dtype=float) for by in ("by_model", "by_energy"))
    return {
        "": name,
        "crystals": len(kept),
        f"truth among {CANDIDATES}": clustered_mean([each.found for each in kept], parents),
        "first by model": clustered_mean(model, parents),
        "first by energy": clustered_mean(energy, parents),
        "model − energy": clustered_mean(model - energy, parents),
        "candidates without energy": sum(each.unknown for each in kept),
    }
