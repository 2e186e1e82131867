"""Which crystals a gallery shows, and what a generator makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from crystalsweep.evaluation.protocol import Chunk, restore
from crystalsweep.metrics import KEYS
from crystalsweep.metrics.scoring import NO_NOISE
from crystalsweep.networks.models import Generator
from crystalsweep.structures.crystal import Crystal

SAME, BEST, MEDIAN, WORST = "same input in every trial", "best", "median", "worst"


@dataclass(frozen=True, kw_only=True)
class Specimen:
    """One crystal of a gallery. All three have the same sites in the same order, N atoms."""

    role: str
    """Why it was chosen, as `median`."""
    mask_type: str
    sigma_noise: float
    """In units of min_edge."""
    before: Crystal
    corrupted: Crystal
    """Masked atoms have species `MASK`."""
    after: Crystal
    restored: bool
    """Whether every site has the species it had before."""
    noise: float
    """Mean displacement put in, aligned, Å."""
    left: float
    """Mean distance left, aligned, Å; NaN where the generated crystal could not be compared."""


def choose(table: pd.DataFrame) -> dict[str, int]:
    """Return rows of a table of scores to show, by role; the same table gives the same rows.

    The first depends on the inputs alone, so that every generator with the same evaluation shows it: the crystal with
    the median noise. The others are the best, the median and the worst of this generator: restored compositions come
    first, and among them and among the others, the least distance left over noise put in. Crystals whose noise is
    rounding are left out, as are failed ones but for the first. A row that has two roles is given once.
    """
    noisy = table["noise_aligned"].to_numpy(float) > NO_NOISE
    rows = np.flatnonzero(noisy)
    if not len(rows):
        return {}
    by_noise = rows[np.argsort(table["noise_aligned"].to_numpy(float)[rows], kind="stable")]
    found = {int(by_noise[len(by_noise) // 2]): [SAME]}
    ratio = table["distance_aligned"].to_numpy(float) / np.where(noisy, table["noise_aligned"], 1.0)
    scored = np.flatnonzero(noisy & np.isfinite(ratio))
    if len(scored):
        restored = table["compositional_similarity"].to_numpy(bool)[scored]
        ranked = scored[np.lexsort((scored, ratio[scored], ~restored))]
        for role, place in ((BEST, 0), (MEDIAN, len(ranked) // 2), (WORST, len(ranked) - 1)):
            found.setdefault(int(ranked[place]), []).append(role)
    return {", ".join(roles): row for row, roles in found.items()}


def restore_chosen(
    generator: Generator, chunks: Sequence[Chunk], table: pd.DataFrame, rows: Mapping[str, int], *, keep_known: bool
) -> list[Specimen]:
    """Return the chosen rows of a generator's table of scores, restored again on the CPU.

    Args:
        generator: The one that the table is of, in evaluation mode.
        chunks: The protocol's corrupted inputs, in the order of the table.
        table: A row of scores per input.
        rows: As `choose` gives them.
        keep_known: Whether visible species stay as given.

    Raises:
        ValueError: The inputs are not those of the table.
    """
    starts = np.cumsum([0, *(len(chunk.originals) for chunk in chunks)])
    if starts[-1] != len(table):
        raise ValueError(
            f"the table has {len(table)} rows, the evaluation {starts[-1]} inputs: they are not of one run"
        )
    specimens = []
    for role, row in rows.items():
        place = int(np.searchsorted(starts, row, side="right")) - 1
        chunk, at = chunks[place], row - int(starts[place])
        scores = table.iloc[row]
        if any(chunk.keys.iloc[at][key] != scores[key] for key in KEYS):
            raise ValueError(f"row {row} of the table is not input {row} of the evaluation: they are not of one run")
        corrupted, parent = chunk.corrupted.part(at, at + 1), chunk.originals[at]
        (after,) = restore(generator, corrupted, [parent.id]).reading(keep_known=keep_known)
        specimens.append(
            Specimen(
                role=role,
                mask_type=str(scores["mask_type"]),
                sigma_noise=float(scores["sigma_noise"]),
                before=parent,
                corrupted=chunk.corrupted_crystals()[at],
                after=after,
                restored=bool(scores["compositional_similarity"]),
                noise=float(scores["noise_aligned"]),
                left=float(scores["distance_aligned"]),
            )
        )
    return specimens
