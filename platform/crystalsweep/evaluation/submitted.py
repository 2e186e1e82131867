"""Scoring crystals that come as a file, made by any tool: validity, novelty, similarity to originals of the same id.

Validity, density and novelty against the reference are asked of the crystal alone. An original may be in another cell,
with another number of atoms: then composition and StructureMatcher compare the two, and nothing is compared site by
site. A crystal without an original has no such score, and no original in the table.

The input that a crystal was restored from is not in such a file. Its distance to the original is divided by the mean
displacement that noise of `nominal_sigma` makes, so that 1 is the original and 0 is as far off as such noise.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crystalsweep.data import Reject
from crystalsweep.evaluation.energy_rows import Energies
from crystalsweep.evaluation.scoring import MODEL, described, judged_by_bonds, novelty
from crystalsweep.evaluation.settings import EvaluationSettings
from crystalsweep.evaluation.spread import Tables
from crystalsweep.evaluation.structures import structure_columns
from crystalsweep.metrics.distributions import describe_crystals
from crystalsweep.metrics.matching import match_columns
from crystalsweep.metrics.novelty import Reference
from crystalsweep.metrics.scoring import score_table
from crystalsweep.structures.crystal import Crystal

PER_PART = 256

FILE = "file"
"""Mask type of crystals whose input is not known."""

ONE_OF_SEVERAL = "__"
"""What separates an original's id from a counter where a tool made several crystals of it: `mp-149__3`."""

_SITE_BY_SITE = (
    "distance",
    "distance_aligned",
    "noise",
    "noise_aligned",
    "structural_similarity",
    "structural_similarity_unaligned",
    "similarity_undefined",
    "paper_eq5_term",
)
"""Scores against an original with as many atoms."""

_PAIRED = (
    *_SITE_BY_SITE,
    "compositional_similarity",
    "compositional_similarity_permuted",
    "novel_vs_input",
    "matched",
    "rmsd",
)
"""Scores against the original."""

_FAILED = (
    *("compositional_similarity", "compositional_similarity_permuted", "novel_vs_input", "matched"),
    "paper_eq5_term",
)
"""Those that are 0 where an original was to be restored and nothing could be read."""

_OF_ORIGINAL = ("species_before", "lattice_before", "frac_before")

_SAME_REASON = re.compile(r"generated: (.*?); (?:relaxed )?parent: \1(?=; |$)")
"""Of an energy that was asked for twice, of the crystal and of itself in place of its original."""


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
    """Return rows with their originals, found by id: the same, or with `__` and anything behind it."""
    taken: set[tuple[str, int]] = set()

    def one(name: str, crystal: Crystal | None, problem: str) -> Submission:
        original = originals.get(name) or _without_counter(name, originals)
        parent = original.id if original else name
        draw = _draw(name.removeprefix(parent).removeprefix(ONE_OF_SEVERAL))
        while (parent, draw) in taken:
            draw += 1
        taken.add((parent, draw))
        return Submission(id=name, generated=crystal, original=original, problem=problem, draw=draw)

    read = [one(crystal.id, crystal, "") for crystal in generated]
    return read + [one(reject.id, None, f"not readable: {reject.reason}") for reject in rejects]


def _without_counter(name: str, originals: Mapping[str, Crystal]) -> Crystal | None:
    """Return the original of an id with `__` and something behind it: the longest id that there is."""
    parts = name.split(ONE_OF_SEVERAL)
    shorter = (ONE_OF_SEVERAL.join(parts[:n]) for n in range(len(parts) - 1, 0, -1))
    return next((originals[each] for each in shorter if each in originals), None)


def _draw(counter: str) -> int:
    """Return the number of one of several crystals: the same in every file, whatever other rows it has."""
    if re.fullmatch(r"[0-9]{1,9}", counter):
        return int(counter)
    return zlib.crc32(counter.encode()) if counter else 0


def parts_of(submissions: Sequence[Submission]) -> list[tuple[Submission, ...]]:
    """Return pieces that can be scored apart."""
    return [tuple(submissions[i : i + PER_PART]) for i in range(0, len(submissions), PER_PART)]


@dataclass(frozen=True, kw_only=True, eq=False)
class SubmissionTask:
    """What a worker needs to score a piece of a file."""

    settings: EvaluationSettings
    reference: Reference | None = None
    energies: Energies | None = None
    with_energies: frozenset[str] = frozenset()
    """Ids of the crystals that get energies."""
    with_ceiling: bool = False
    """Also score the originals; asked of the whole file, since every part must give the same tables."""

    def score(self, part: Sequence[Submission]) -> Tables:
        """Return rows of a piece; those of its originals as `ceiling`, which may be none."""
        tables = {MODEL: self._rows(part)}
        if self.with_ceiling:
            truth = [replace(each, generated=each.original, problem="") for each in part if each.original]
            rows = self._rows(truth) if truth else tables[MODEL].iloc[:0]
            tables["ceiling"] = rows.filter(regex="^(?!species_|lattice_|frac_)")
        return tables

    def _rows(self, part: Sequence[Submission]) -> pd.DataFrame:
        generated = [each.crystal for each in part]
        originals = [each.original or each.crystal for each in part]
        known = np.array([each.original is not None for each in part])
        table = pd.concat(
            [
                self._scores(part, originals, generated),
                match_columns(originals, generated, self.settings.metrics, self.reference),
                described(generated),
                judged_by_bonds(generated, self.settings),
                describe_crystals(originals)[["crystal_system"]],
                pd.DataFrame({"id": [each.id for each in part]}),
                structure_columns(originals, originals, generated),
                self._energies(part, originals, generated),
            ],
            axis=1,
        )
        read = np.array([each.generated is not None for each in part])
        for name in _PAIRED:
            table[name] = table[name].astype(float).where(known & read)
        table.loc[~read & (known | self.with_ceiling), list(_FAILED)] = 0.0  # of an unreadable row no id may be known
        table[["masked_correct", "visible_correct"]] = np.nan  # what was masked is not known
        problems = np.array([each.problem for each in part], dtype=object)
        table["failure"] = table["failure"].where(problems == "", problems)
        return _without_stand_ins(table.drop(columns=["species_corrupted", "frac_corrupted"]), known)

    def _scores(
        self, part: Sequence[Submission], originals: Sequence[Crystal], generated: Sequence[Crystal]
    ) -> pd.DataFrame:
        """Return scores of `score_table` and `novel_vs_input`; without an original of as many atoms, none site by
        site."""
        pairs = list(zip(originals, generated, strict=True))
        sites = np.array([each.original is not None and len(each.original) == len(each.crystal) for each in part])
        same = np.array([original.reduced_formula == made.reduced_formula for original, made in pairs])
        beside = [original if fits else _any_sites(made) for (original, made), fits in zip(pairs, sites, strict=True)]
        scores = score_table(beside, beside, generated, _keys(part), settings=self.settings.metrics)
        scores = self._similarity(scores, beside, sites)
        for name in _SITE_BY_SITE:
            scores[name] = scores[name].astype(float).where(sites)
        restored, composed = scores["compositional_similarity"], scores["compositional_similarity_permuted"]
        return scores.assign(
            n_atoms=[len(original) for original in originals],
            compositional_similarity=restored.astype(float).where(sites, np.where(same, np.nan, 0.0)),
            compositional_similarity_permuted=composed.where(sites, same),
            novel_vs_input=novelty(scores, originals, generated),
        )

    def _similarity(self, scores: pd.DataFrame, originals: Sequence[Crystal], sites: NDArray[np.bool_]) -> pd.DataFrame:
        """Return distances over the mean displacement of noise of `nominal_sigma`, with and without its mean
        removed."""
        n = scores["n_atoms"].to_numpy(float)
        edges = np.array([each.min_edge if fits else np.nan for each, fits in zip(originals, sites, strict=True)])
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


def _any_sites(crystal: Crystal) -> Crystal:
    """Return a crystal with as many atoms of its species in a cell that every score can be asked of; validity does not
    depend on it."""
    return replace(crystal, lattice=np.eye(3), frac=np.zeros((len(crystal), 3)))


def _without_stand_ins(table: pd.DataFrame, known: NDArray[np.bool_]) -> pd.DataFrame:
    """Return the table without what a crystal that has no original (n,) says of itself in its place."""
    columns: dict[str, Any] = {
        name: pd.Series([row if has else row[:0] for row, has in zip(table[name], known, strict=True)], dtype=object)
        for name in _OF_ORIGINAL
    }
    columns["crystal_system"] = table["crystal_system"].where(known, "unknown")
    columns |= {name: table[name].where(known, "") for name in ("match_failure", "match_undecided")}
    for name in ("energy_before", "delta_energy", "delta_energy_relaxed"):
        if name in table:
            columns[name] = table[name].where(known)
    if "energy_failure" in table:
        own = table["energy_failure"].str.replace(_SAME_REASON, r"generated: \1", regex=True)
        columns["energy_failure"] = table["energy_failure"].where(known, own)
    return table.assign(**columns)


def _keys(part: Sequence[Submission]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "parent": [each.original.id if each.original else each.id for each in part],
            "mask_type": FILE,
            "sigma_noise": 0.0,
            "draw": [each.draw for each in part],
        }
    )
