"""Columns of an evaluation's tables that depend on other rows too: which crystals are copies, and S.U.N.

Only crystals of one condition and one reduced composition are compared, so that the work comes in parts that know
nothing of each other. Crystals live as long as they are compared, and parts go to the workers there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from crystalsweep.energies import sun
from crystalsweep.evaluation.scoring import MODEL
from crystalsweep.evaluation.spread import Tables, Workers
from crystalsweep.evaluation.structures import crystals_of
from crystalsweep.metrics.novelty import reduced_composition
from crystalsweep.metrics.settings import MatcherTolerances, MetricConfig
from crystalsweep.metrics.summary import impossible
from crystalsweep.metrics.uniqueness import kinds
from crystalsweep.structures.crystal import Crystal

_ADDED = ("unique", "unique_undecided", "sun", "sun_undecided")
"""What may be added to a table."""

CRYSTALS_PER_PART = 256
"""Crystals compared in one go, or as many as there are of one condition and composition where these are more."""

_PATIENCE_S = 2.0
"""Seconds after which a bar is shown."""

Indices = NDArray[np.int64]

CrystalsOf = Callable[[Indices], Sequence[Crystal]]
"""Makes the crystals of some rows."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
    """Groups of crystals, each of one condition and one composition, in the order of their rows."""

    rows: list[Indices]
    """Of each group."""
    crystals: list[Sequence[Crystal]]


@dataclass(frozen=True, kw_only=True)
class Uniqueness:
    """The task: which crystals of a group are copies of earlier ones."""

    tolerances: MatcherTolerances

    def score(self, part: Comparison) -> Tables:
        """Return the columns row, unique and unique_undecided."""
        made = []
        for rows, crystals in zip(part.rows, part.crystals, strict=True):
            found = kinds(crystals, self.tolerances)
            made.append(pd.DataFrame({"row": rows, "unique": found.unique, "unique_undecided": found.undecided}))
        return {"unique": pd.concat(made, ignore_index=True)}


def whole_table_columns(
    tables: Tables,
    settings: MetricConfig,
    parents: Sequence[Crystal],
    *,
    with_sun: bool = True,
    workers: Workers | None = None,
) -> Tables:
    """Return the tables with `unique` and `sun`; references only where it means something.

    Args:
        tables: Rows by name, the model's as `MODEL`, with its generated crystals.
        settings: Of the metrics.
        parents: The true crystals, which the ceiling holds.
        with_sun: Whether energies are to be trusted.
        workers: Where crystals are compared; by default in this process.
    """
    model = tables[MODEL]
    by_id = {crystal.id: crystal for crystal in parents}
    asked: dict[str, tuple[Iterable[Any], CrystalsOf]] = {
        MODEL: (model["species_after"], lambda rows: crystals_of(model.iloc[rows], "after"))
    }
    if "ceiling" in tables:
        names = tables["ceiling"]["parent"].to_numpy(object)
        asked["ceiling"] = [by_id[name].species for name in names], lambda rows: [by_id[name] for name in names[rows]]
    made = {}
    for name, (species, crystals) in asked.items():
        table = tables[name].assign(
            **unique_within_conditions(tables[name], species, crystals, settings.duplicate, workers)
        )
        asked_for = with_sun and "e_above_hull" in table
        made[name] = table.assign(**_sun(table, list(species), crystals, settings)) if asked_for else table
    return tables | made


def added_columns(table: pd.DataFrame) -> pd.DataFrame:
    """Return those columns of a table that `whole_table_columns` added."""
    return table[[column for column in _ADDED if column in table]]


def unique_within_conditions(
    table: pd.DataFrame,
    species: Iterable[Any],
    crystals: CrystalsOf,
    tolerances: MatcherTolerances,
    workers: Workers | None = None,
) -> dict[str, NDArray[Any]]:
    """Return `unique` (n,), 1.0 where no earlier row of the same mask type and sigma holds the same crystal, NaN where
    nothing could tell, and `unique_undecided`, which says why.

    Args:
        table: n rows.
        species: Atomic numbers of each row's crystal.
        crystals: Makes the crystals of rows.
        tolerances: Of the matcher.
        workers: Where they are compared; by default in this process.
    """
    unique, undecided = np.zeros(len(table)), np.full(len(table), "", dtype=object)
    parts = list(_packed(_groups(table, species)))
    asked = (
        (i, Comparison(rows=groups, crystals=[crystals(rows) for rows in groups])) for i, groups in enumerate(parts)
    )
    with tqdm(total=len(table), desc="uniqueness", unit="crystal", delay=_PATIENCE_S) as bar:
        for _, found in (workers or Workers()).over(Uniqueness(tolerances=tolerances), asked, len(parts)):
            told = found["unique"]
            rows = told["row"].to_numpy()
            unique[rows], undecided[rows] = told["unique"], told["unique_undecided"].to_numpy(object)
            bar.update(len(rows))
    return {"unique": unique, "unique_undecided": undecided}


def _groups(table: pd.DataFrame, species: Iterable[Any]) -> list[Indices]:
    """Return the rows of each condition and reduced composition, the largest groups first, for they take longest."""
    compositions = pd.Series([reduced_composition(each) for each in species], dtype=object)
    codes = pd.factorize(compositions)[0]
    conditions = table[["mask_type", "sigma_noise"]].reset_index(drop=True).assign(composition=codes)
    found = conditions.groupby(["mask_type", "sigma_noise", "composition"], sort=True).indices
    return sorted((np.asarray(rows) for rows in found.values()), key=len, reverse=True)


def _packed(groups: Iterable[Indices]) -> Iterator[list[Indices]]:
    """Yield groups in parts of about `CRYSTALS_PER_PART` crystals."""
    part: list[Indices] = []
    for rows in groups:
        part.append(rows)
        if sum(map(len, part)) >= CRYSTALS_PER_PART:
            yield part
            part = []
    if part:
        yield part


def _sun(
    table: pd.DataFrame, species: Sequence[Any], crystals: CrystalsOf, settings: MetricConfig
) -> dict[str, NDArray[Any]]:
    """Return the columns `sun` of the energy sample, unique within it, and `sun_undecided`, which says why not.

    0 for an impossible crystal, NaN where hull or reference lack and where nothing could tell the crystal from another.
    """
    found, undecided = np.full(len(table), np.nan), np.full(len(table), "", dtype=object)
    sampled = np.flatnonzero(table["energy_sampled"].to_numpy(bool))
    rows = table.iloc[sampled]
    novel, why_not_novel = rows["novel_vs_reference"], rows["novel_undecided"].to_numpy(object)
    if rows["e_above_hull"].notna().any() and (novel.notna() | (why_not_novel != "")).any():
        unique = unique_within_conditions(
            rows, [species[int(i)] for i in sampled], lambda within: crystals(sampled[within]), settings.duplicate
        )
        values = np.where(
            impossible(rows), 0.0, sun(rows["e_above_hull"], unique["unique"], novel, settings.stable_below)
        )
        why = np.where(why_not_novel != "", why_not_novel, unique["unique_undecided"])
        found[sampled] = values
        undecided[sampled] = np.where(np.isnan(values) & rows["e_above_hull"].notna(), why, "")
    return {"sun": found, "sun_undecided": undecided}
