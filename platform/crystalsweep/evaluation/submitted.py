"""Scoring crystals that come as a file, made by any tool: validity, novelty, similarity to originals of the same id.

The input that a crystal was restored from is not in such a file. Its distance to the original is divided by the mean
displacement that noise of `nominal_sigma` makes, so that 1 is the original and 0 is as far off as such noise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from crystalsweep.crystal import Crystal
from crystalsweep.data import Reject
from crystalsweep.evaluation.energy_rows import Energies
from crystalsweep.evaluation.scoring import MODEL, described, novelty
from crystalsweep.evaluation.settings import EvaluationSettings
from crystalsweep.evaluation.spread import Tables
from crystalsweep.evaluation.structures import structure_columns
from crystalsweep.metrics.distributions import describe_crystals
from crystalsweep.metrics.matching import match_columns
from crystalsweep.metrics.novelty import Reference
from crystalsweep.metrics.scoring import score_table

PER_PART = 256

FILE = "file"
"""Mask type of crystals whose input is not known."""

ONE_OF_SEVERAL = "__"
"""What separates an original's id from a counter where a tool made several crystals of it: `mp-149__3`."""

_PAIRED = (
    "compositional_similarity",
    "compositional_similarity_permuted",
    "distance",
    "distance_aligned",
    "structural_similarity",
    "structural_similarity_unaligned",
    "similarity_undefined",
    "paper_eq5_term",
    "novel_vs_input",
    "matched",
    "rmsd",
)
"""Scores against the original."""


@dataclass(frozen=True, kw_only=True)
class Submission:
    """One row of a file."""

    id: str
    generated: Crystal | None
    """None where the row could not be read."""
    original: Crystal | None
    """The true crystal of the same id, where there is one."""
    problem: str = ""
    """Why it could not be read."""
    draw: int = 0
    """Which of several crystals of the same original."""

    @property
    def crystal(self) -> Crystal:
        """What is scored; without atoms where nothing could be read."""
        return self.generated or Crystal.of(self.id, [], np.eye(3), [])


def pair(generated: Sequence[Crystal], rejects: Sequence[Reject], originals: Mapping[str, Crystal]) -> list[Submission]:
    """Rows with their originals, found by id: the same, or with `__` and anything behind it."""
    seen: Counter[str] = Counter()

    def one(name: str, crystal: Crystal | None, problem: str) -> Submission:
        original = originals.get(name) or originals.get(name.rpartition(ONE_OF_SEVERAL)[0])
        parent = original.id if original else name
        seen[parent] += 1
        return Submission(id=name, generated=crystal, original=original, problem=problem, draw=seen[parent] - 1)

    read = [one(crystal.id, crystal, "") for crystal in generated]
    return read + [one(reject.id, None, f"not readable: {reject.reason}") for reject in rejects]


def parts_of(submissions: Sequence[Submission]) -> list[tuple[Submission, ...]]:
    """Pieces that can be scored apart."""
    return [tuple(submissions[i : i + PER_PART]) for i in range(0, len(submissions), PER_PART)]


@dataclass(frozen=True, kw_only=True, eq=False)
class Submitted:
    """What a worker needs to score a piece of a file."""

    settings: EvaluationSettings
    reference: Reference | None = None
    energies: Energies | None = None
    with_energies: frozenset[str] = frozenset()
    """Ids of the crystals that get energies."""

    def score(self, part: Sequence[Submission]) -> Tables:
        """Rows of a piece; those of the originals as `ceiling`, where every row has one."""
        tables = {MODEL: self._rows(part)}
        if all(each.original for each in part):
            truth = [Submission(id=s.id, generated=s.original, original=s.original, draw=s.draw) for s in part]
            tables["ceiling"] = self._rows(truth).filter(regex="^(?!species_|lattice_|frac_)")
        return tables

    def _rows(self, part: Sequence[Submission]) -> pd.DataFrame:
        generated = [each.crystal for each in part]
        originals = [each.original or each.crystal for each in part]
        paired = np.array([each.original is not None and each.generated is not None for each in part])
        scores = score_table(originals, originals, generated, _keys(part), settings=self.settings.metrics)
        scores = self._similarity(scores, originals)
        table = pd.concat(
            [
                scores,
                novelty(scores, originals, generated),
                match_columns(originals, generated, self.settings.metrics, self.reference),
                described(generated),
                describe_crystals(originals)[["crystal_system"]],
                pd.DataFrame({"id": [each.id for each in part]}),
                structure_columns(originals, originals, generated),
                self._energies(part, originals, generated),
            ],
            axis=1,
        )
        for name in _PAIRED:
            table[name] = table[name].astype(float).where(paired)
        table[["masked_correct", "visible_correct"]] = np.nan  # what was masked is not known
        problems = np.array([each.problem for each in part], dtype=object)
        table["failure"] = table["failure"].where(problems == "", problems)
        return table.drop(columns=["species_corrupted", "frac_corrupted"])

    def _similarity(self, scores: pd.DataFrame, originals: Sequence[Crystal]) -> pd.DataFrame:
        """Distances over the mean displacement of noise of `nominal_sigma`, with and without its mean removed."""
        n = scores["n_atoms"].to_numpy(float)
        edges = np.array([crystal.min_edge if len(crystal) else np.nan for crystal in originals])
        noise = self.settings.nominal_sigma * edges * np.sqrt(8 / np.pi)  # mean length of a 3D normal vector
        rigid = noise * np.sqrt(np.where(n > 1, 1 - 1 / np.maximum(n, 1), np.nan))
        restored = scores["compositional_similarity"].astype(bool)
        plain, aligned = scores["distance"] / noise, scores["distance_aligned"] / rigid
        return scores.assign(
            noise=noise,
            noise_aligned=rigid,
            structural_similarity=(1 - aligned).where(restored),
            structural_similarity_unaligned=(1 - plain).where(restored),
            similarity_undefined=restored & np.isnan(rigid),
            paper_eq5_term=plain.where(restored, 0.0),
        )

    def _energies(
        self, part: Sequence[Submission], originals: Sequence[Crystal], generated: Sequence[Crystal]
    ) -> pd.DataFrame:
        if self.energies is None:
            return pd.DataFrame(index=range(len(part)))
        chosen = np.array([each.id in self.with_energies for each in part])
        return self.energies.columns(originals, generated, chosen)


def _keys(part: Sequence[Submission]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "parent": [each.original.id if each.original else each.id for each in part],
            "mask_type": FILE,
            "sigma_noise": 0.0,
            "draw": [each.draw for each in part],
        }
    )
