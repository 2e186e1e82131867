"""From corrupted inputs to rows of a table: what a model and the reference rows make of them, with every score."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd
import torch

from crystalsweep.evaluation.decoded import Made, decoded, without_odds
from crystalsweep.evaluation.energy_rows import Energies
from crystalsweep.evaluation.protocol import Chunk, ChunkBlock, chunks
from crystalsweep.evaluation.settings import EvaluationSettings
from crystalsweep.evaluation.spread import Tables
from crystalsweep.evaluation.structures import structure_columns
from crystalsweep.inference.calibration import Calibration
from crystalsweep.metrics.baselines import Baseline
from crystalsweep.metrics.bond_valence import bond_valence_columns
from crystalsweep.metrics.distributions import describe_crystals
from crystalsweep.metrics.matching import match_columns
from crystalsweep.metrics.novelty import Reference, novel_of
from crystalsweep.metrics.scoring import KEYS, score_table
from crystalsweep.networks.models import Critic, Generator
from crystalsweep.structures.crystal import Crystal
from crystalsweep.structures.elements import element_symbol

Key = tuple[str, str, float, int]
"""parent, mask_type, sigma_noise, draw: one row of a table."""

MODEL = "model"
"""Name of the evaluated model's rows until a report gives them its own."""

ALL_ATOMS = "all_atoms"
"""Variant: scores of the same crystals with visible species predicted too, the paper's reading."""

_BOTH_READINGS = (
    "structural_validity",
    "compositional_validity",
    "exempt_composition",
    "compositional_similarity",
    "compositional_similarity_permuted",
    "masked_correct",
    "visible_correct",
    "structural_similarity",
    "structural_similarity_unaligned",
    "similarity_undefined",
    "paper_eq5_term",
    "novel_vs_input",
)


_JUDGED = ("ceiling", "substitution")
"""References whose bond valences are told: what real crystals have, and what a balanced formula alone is worth."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Known:
    """What is scored beside every row: one entry per case of a block."""

    originals: list[Crystal]
    corrupted: list[Crystal]
    keys: pd.DataFrame
    """parent, mask_type, sigma_noise, draw."""
    masked_species: list[int]
    """Atomic number that a `species` mask hides; 0 for random masks."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Protocol:
    """The paper's protocol on one model; what a worker needs for a block of it."""

    restorer: Generator | Baseline
    references: Mapping[str, Baseline]
    settings: EvaluationSettings
    reference: Reference | None = None
    """Training crystals, for novelty."""
    train_counts: Mapping[int, int] = field(default_factory=dict)
    """Their atoms by atomic number."""
    crystal_systems: Mapping[str, str] = field(default_factory=dict)
    """Of the parents, by id."""
    with_energies: frozenset[Key] = frozenset()
    """Rows that get energies."""
    energies: Energies | None = None
    device: str = "cpu"
    calibration: Calibration | None = None
    """Of the model's odds."""
    critic: Critic | None = None
    """Judges the model's candidates, where the decoder gives it weight."""

    def score(self, part: ChunkBlock) -> Tables:
        """Return rows of the model and of every reference, in the protocol's order.

        Crystals are restored chunk by chunk, which bounds the memory it takes, and scored together.
        """
        torch.set_num_threads(1)  # the same bits in any process; the work is in many processes, not in many threads
        inputs = list(chunks(part, self.settings.protocol))
        given = [chunk.corrupted_crystals() for chunk in inputs]
        made = [self._restored(chunk, corrupted) for chunk, corrupted in zip(inputs, given, strict=True)]
        known = _Known(
            originals=[crystal for chunk in inputs for crystal in chunk.originals],
            corrupted=[crystal for corrupted in given for crystal in corrupted],
            keys=pd.concat([chunk.keys for chunk in inputs], ignore_index=True),
            masked_species=[int(z) for chunk in inputs for z in chunk.masked_species],
        )
        generated = [crystal for each in made for crystal in each.generated]
        predicted = [crystal for each in made for crystal in each.predicted]
        odds = pd.concat([each.odds for each in made], ignore_index=True)
        return {MODEL: self._of_model(known, generated, predicted, odds)} | self._of_references(known)

    def _of_model(
        self, known: _Known, generated: list[Crystal], predicted: list[Crystal], odds: pd.DataFrame
    ) -> pd.DataFrame:
        """Return the model's rows; `predicted` is empty where the config's reading is the only one."""
        columns = structure_columns(known.originals, known.corrupted, generated, predicted or None)
        table = [self._rows(known, generated), described(generated), columns]
        if predicted:
            scored = self._scores(known, predicted)
            scored = scored.assign(novel_vs_input=novelty(scored, known.originals, predicted))
            table.append(scored[list(_BOTH_READINGS)].add_suffix(f"@{ALL_ATOMS}"))
        judged = judged_by_bonds(generated, self.settings)
        return pd.concat([*table, odds, judged, self._energies(known, generated)], axis=1)

    def _of_references(self, known: _Known) -> Tables:
        tables = {}
        for name, baseline in self.references.items():
            made = [baseline(o, c) for o, c in zip(known.originals, known.corrupted, strict=True)]
            rows = self._rows(known, made, given_composition=name == "identity")
            rows = rows.assign(species_after=pd.Series([crystal.species for crystal in made], dtype=object))
            extra = [described(made), self._energies(known, made)] if name == "ceiling" else []
            judged = [judged_by_bonds(made, self.settings)] if name in _JUDGED else []
            tables[name] = pd.concat([rows, *judged, *extra], axis=1)
        return tables

    def _restored(self, chunk: Chunk, corrupted: list[Crystal]) -> Made:
        """Return what the model makes of a chunk, decoded as the settings say."""
        if not isinstance(self.restorer, Generator):
            return without_odds([self.restorer(o, c) for o, c in zip(chunk.originals, corrupted, strict=True)])
        made = decoded(self._generator, chunk, corrupted, self.settings, self.device, self.calibration, self._critic)
        chunk.graphs.clear()  # of no use any more, and the largest thing that a chunk holds
        return made if self.settings.protocol.keep_known else Made(made.predicted, [], made.odds)

    @cached_property
    def _generator(self) -> Generator:
        assert isinstance(self.restorer, Generator)
        return self.restorer.to(torch.device(self.device)).eval()

    @cached_property
    def _critic(self) -> Critic | None:
        return self.critic.to(torch.device(self.device)).eval() if self.critic else None

    def _rows(self, known: _Known, generated: Sequence[Crystal], *, given_composition: bool = False) -> pd.DataFrame:
        scores = self._scores(known, generated, given_composition=given_composition)
        matching = match_columns(known.originals, generated, self.settings.metrics, self.reference)
        return pd.concat([scores, novelty(scores, known.originals, generated), matching, self._strata(known)], axis=1)

    def _scores(self, known: _Known, generated: Sequence[Crystal], *, given_composition: bool = False) -> pd.DataFrame:
        return score_table(
            known.originals,
            known.corrupted,
            generated,
            known.keys,
            settings=self.settings.metrics,
            given_composition=given_composition,
        )

    def _strata(self, known: _Known) -> pd.DataFrame:
        total = sum(self.train_counts.values())
        masked = known.masked_species
        shares = [self.train_counts.get(z, 0) / total if z and total else float("nan") for z in masked]
        return pd.DataFrame(
            {
                "crystal_system": [self.crystal_systems.get(crystal.id, "unknown") for crystal in known.originals],
                "masked_element": [element_symbol(z) if z else "" for z in masked],
                "masked_frequency": shares,
            }
        )

    def _energies(self, known: _Known, generated: Sequence[Crystal]) -> pd.DataFrame:
        """Return energy columns: of the sample with the hull, of restored crystals of its parents without."""
        if self.energies is None:
            return pd.DataFrame(index=range(len(generated)))
        keys = list(known.keys[list(KEYS)].itertuples(index=False, name=None))
        sampled = np.array([key in self.with_energies for key in keys])
        parents = {key[0] for key in self.with_energies}
        same = [
            np.array_equal(np.sort(a.species), np.sort(b.species))
            for a, b in zip(known.originals, generated, strict=True)
        ]
        restored = np.array([key[0] in parents for key in keys]) & np.array(same)
        return self.energies.columns(known.originals, generated, sampled, restored & ~sampled)


def novelty(scores: pd.DataFrame, originals: Sequence[Crystal], generated: Sequence[Crystal]) -> pd.Series:
    """Return `novel_vs_input`, the paper's novelty: valid both ways and another reduced composition than the
    parent's."""
    other = [a.reduced_formula != b.reduced_formula for a, b in zip(originals, generated, strict=True)]
    return novel_of(scores, np.array(other, dtype=bool))


def judged_by_bonds(crystals: Sequence[Crystal], settings: EvaluationSettings) -> pd.DataFrame:
    """Return the columns of bond valences where they are asked for; else none."""
    return bond_valence_columns(crystals) if settings.bond_valence else pd.DataFrame(index=range(len(crystals)))


def described(crystals: Sequence[Crystal]) -> pd.DataFrame:
    """Return density, n_elements and space_group of generated crystals."""
    return describe_crystals(crystals).drop(columns="crystal_system")  # a table's crystal_system is the parent's


def energy_sample(parts: Sequence[ChunkBlock], max_parents: int, seed: int) -> frozenset[Key]:
    """Return rows that get energies: of a seeded sample of parents, one draw of each mask type and sigma."""
    cases = [case for part in parts for case in part.cases]
    parents = list(dict.fromkeys(case.parent.id for case in cases))
    generator = np.random.default_rng(seed)
    chosen = {parents[i] for i in generator.permutation(len(parents))[:max_parents]}
    draws: dict[tuple[str, str, float], list[int]] = defaultdict(list)
    for case in cases:
        if case.parent.id in chosen:
            draws[case.parent.id, case.mask_type, case.sigma_noise].append(case.draw)
    return frozenset((*condition, int(generator.choice(found))) for condition, found in sorted(draws.items()))


def crystal_systems(crystals: Sequence[Crystal]) -> dict[str, str]:
    """Return crystal systems by id, as spglib finds them."""
    return dict(zip([c.id for c in crystals], describe_crystals(crystals)["crystal_system"], strict=True))
