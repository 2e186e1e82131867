"""From a table of scores to means with intervals (Liu et al., iScience 27, 110672 (2024), Fig. 4, Eqs. 4 and 5).

The four headline metrics are `METRICS`, what explains them is `SECONDARY`; both are in every table. `EXTENDED` needs
the columns that an evaluation adds: matching, novelty, energies. doi:10.1016/j.isci.2024.110672
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
import pandas as pd

from crystalsweep.metrics.bootstrap import (
    Interval,
    clustered_area,
    clustered_mean,
    clustered_ratio,
    paired_difference,
)
from crystalsweep.metrics.scoring import KEYS, NO_NOISE
from crystalsweep.metrics.settings import MetricConfig

ScoreTables = Mapping[str, pd.DataFrame]
"""Tables of scores, by the name of the model or reference row whose crystals they score."""

_Values = Callable[[pd.DataFrame], pd.Series]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One figure of merit: what is averaged and what it means."""

    name: str
    title: str
    definition: str
    """With its unit."""
    values: _Values
    """(n,) from a table of scores; NaN rows do not count."""
    weights: _Values | None = None
    """(n,) denominators; the metric is then Σ values / Σ weights."""
    direction: Literal["higher", "lower"] = "higher"
    """Which way is better."""
    undecided: str = ""
    """Column that says why nothing could decide a row's value, which is then NaN; empty where it is decided."""

    def undecided_rows(self, table: pd.DataFrame) -> np.ndarray:
        """Return (n,) True where nothing could decide a row's value."""
        if self.undecided not in table:
            return np.zeros(len(table), dtype=bool)
        return np.asarray(table[self.undecided].fillna("") != "", dtype=bool)

    def undecided_in(self, table: pd.DataFrame) -> int:
        """Count the rows of a table that nothing could decide; they are in neither the mean nor its n."""
        return int(self.undecided_rows(table).sum())

    def over(self, table: pd.DataFrame, *, n_resamples: int = 1000, seed: int = 0) -> Interval:
        """Return the metric's mean over a table, with an interval over the column `parent`."""
        values, parents = self.values(table), table["parent"]
        if self.weights is None:
            return clustered_mean(values, parents, n_resamples=n_resamples, seed=seed)
        return clustered_ratio(values, self.weights(table), parents, n_resamples=n_resamples, seed=seed)

    def area_over_sigma(self, table: pd.DataFrame, *, n_resamples: int = 1000, seed: int = 0) -> Interval:
        """Return the mean height of the metric's curve over sigma_noise; NaN with a gap or fewer than two levels."""
        values = self.values(table)
        weights = np.ones(len(table)) if self.weights is None else self.weights(table)
        at, parents = table["sigma_noise"], table["parent"]
        return clustered_area(values, weights, at, parents, n_resamples=n_resamples, seed=seed)


def _column(name: str) -> _Values:
    return lambda table: table[name].astype(float)


def _per_restored(name: str) -> _Values:
    return lambda table: table[name].astype(float).where(_counted(table))


def _counted(table: pd.DataFrame) -> pd.Series:
    """Return rows whose positions are compared: restored, or taken as if; NaN where there is no original."""
    return (table["compositional_similarity"].astype(float) == 1) | table["given_composition"].astype(bool)


METRICS = (
    Metric(
        name="structural_validity",
        title="Structural validity",
        definition="share of crystals with every periodic distance > 0.5 Å",
        values=_column("structural_validity"),
    ),
    Metric(
        name="compositional_validity",
        title="Compositional validity",
        definition="share of crystals that SMACT accepts",
        values=_column("compositional_validity"),
    ),
    Metric(
        name="compositional_similarity",
        title="Compositional similarity",
        definition="share of crystals with every atom's species restored",
        values=_column("compositional_similarity"),
    ),
    Metric(
        name="structural_similarity",
        title="Structural similarity",
        definition="1 − distance left / noise put in, aligned; crystals with restored species only",
        values=_column("structural_similarity"),
    ),
)
"""The headline, in the order of every report."""

SECONDARY = (
    Metric(
        name="masked_accuracy",
        title="Masked accuracy",
        definition="share of masked atoms with the right species",
        values=_column("masked_correct"),
        weights=_column("n_masked"),
    ),
    Metric(
        name="visible_accuracy",
        title="Visible accuracy",
        definition="share of visible atoms whose species was kept",
        values=_column("visible_correct"),
        weights=lambda table: (table["n_atoms"] - table["n_masked"]).astype(float),
    ),
    Metric(
        name="compositional_similarity_permuted",
        title="Same composition",
        definition="share of crystals with the same composition, sites exchanged or not",
        values=_column("compositional_similarity_permuted"),
    ),
    Metric(
        name="structural_similarity_unaligned",
        title="Structural similarity, unaligned",
        definition="1 − distance left / noise put in, rigid translation included; restored species only",
        values=_column("structural_similarity_unaligned"),
    ),
    Metric(
        name="paper_eq5",
        title="Structural similarity, Eq. 5",
        definition="1 − mean(δ d / S) over all crystals: 1 for a model that never restores a composition",
        values=lambda table: 1 - table["paper_eq5_term"].astype(float),
    ),
    Metric(
        name="similarity_undefined",
        title="Similarity undefined",
        definition="share of crystals with restored species that nothing displaced (one-atom cells)",
        values=_per_restored("similarity_undefined"),
        direction="lower",
    ),
    Metric(
        name="failed",
        title="Failed",
        definition="share of crystals that could not be scored: NaN coordinates, wrong number of atoms",
        values=lambda table: (table["failure"].fillna("") != "").astype(float),
        direction="lower",
    ),
)
"""What explains the headline."""

WITHOUT_EXEMPT = Metric(
    name="compositional_validity_not_exempt",
    title="Compositional validity, without elements and alloys",
    definition="share of crystals that SMACT accepts, of those that are neither one element nor metals alone: these "
    "it accepts whatever their composition",
    values=lambda table: _column("compositional_validity")(table).mask(table["exempt_composition"].astype(float) == 1),
)
"""The subset on which compositional validity is earned, of the size that its n says. Earlier tables lack it."""

BOND_VALENCE = (
    Metric(
        name="charges_balance",
        title="Charges balance by bond valences",
        definition="share of crystals whose bond lengths allow oxidation states that add up to zero; elements, metals "
        "alone and elements without parameters are not asked",
        values=_column("charges_balance"),
        undecided="bond_valence_failure",
    ),
    Metric(
        name="bond_instability",
        title="Global instability index",
        definition="root mean square of an atom's bond-valence sum less that of such ions in the ICSD, valence units; "
        "crystals whose charges balance",
        values=_column("bond_instability"),
        direction="lower",
        undecided="bond_valence_failure",
    ),
)
"""Judges that take bond lengths and nothing of a training."""

MATCHING_METRICS = (
    Metric(
        name="match_rate",
        title="Match rate",
        definition="share of crystals that StructureMatcher matches to their parent; unreadable ones do not match",
        values=_column("matched"),
        undecided="match_undecided",
    ),
    Metric(
        name="rmsd",
        title="RMSD",
        definition="root mean square distance to the parent in units of (V/N)^(1/3); matched crystals only",
        values=_column("rmsd"),
        direction="lower",
    ),
    Metric(
        name="uniqueness",
        title="Uniqueness",
        definition="share of crystals that no earlier one of the same mask type and sigma matches",
        values=_column("unique"),
        undecided="unique_undecided",
    ),
    Metric(
        name="novel_vs_input",
        title="Novel against input",
        definition="share of crystals that are valid both ways and of another composition than their parent",
        values=_column("novel_vs_input"),
    ),
    Metric(
        name="novel_vs_reference",
        title="Novel against reference",
        definition="share of crystals that match none of the training set",
        values=_column("novel_vs_reference"),
        undecided="novel_undecided",
    ),
)
"""Generated crystals against their parents, each other and the training set."""


def energetic(stable_below: float = MetricConfig().stable_below) -> tuple[Metric, ...]:
    """Return metrics of energy, before and after relaxation; `stable_below` in eV/atom above the hull."""
    metrics = []
    for column, title in (("", ""), ("_relaxed", ", relaxed")):
        metrics += [
            Metric(
                name=f"delta_energy{column}",
                title=f"ΔE{title}",
                definition="energy minus that of the parent, eV/atom; crystals of the parent's composition only",
                values=_column(f"delta_energy{column}"),
                direction="lower",
            ),
            Metric(
                name=f"e_above_hull{column}",
                title=f"Energy above hull{title}",
                definition="eV/atom",
                values=_column(f"e_above_hull{column}"),
                direction="lower",
            ),
            Metric(
                name=f"stable{column}",
                title=f"Stable{title}",
                definition=f"share of crystals at most {stable_below:g} eV/atom above the hull; impossible ones count",
                values=_at_most(f"e_above_hull{column}", stable_below),
            ),
        ]
    sun = Metric(
        name="sun",
        title="S.U.N.",
        definition="share of the energy sample that is stable, unique among its mask type and sigma, and novel",
        values=_column("sun"),
        undecided="sun_undecided",
    )
    return (*metrics, sun)


def _at_most(name: str, threshold: float) -> _Values:
    def values(table: pd.DataFrame) -> pd.Series:
        stable = (table[name] <= threshold).astype(float).where(table[name].notna())
        return stable.mask(impossible(table), 0.0) if stable.notna().any() else stable

    return values


def impossible(table: pd.DataFrame) -> pd.Series:
    """Return rows of the energy sample whose generated crystal is none: atoms on each other, no volume, NaN.

    They are neither stable nor S.U.N. What is only beyond the calculator's limits is not among them.
    """
    if "energy_failure" not in table or "energy_sampled" not in table:
        return pd.Series(False, table.index)
    reasons = table["energy_failure"].fillna("")
    refused = reasons.str.startswith("generated: ") & ~reasons.str.contains("more than the limit|beyond the calculator")
    return refused & table["energy_sampled"].astype(bool)


DELTA_DFT = Metric(
    name="delta_energy_dft",
    title="ΔE, DFT",
    definition="energy by density functional theory minus that of the parent, eV/atom; a sample of crystals of the "
    "parent's composition",
    values=_column("delta_energy_dft"),
    direction="lower",
)
"""Where someone has computed it: `crystalsweep dft`."""

EXTENDED = (*MATCHING_METRICS, *BOND_VALENCE, *energetic(), DELTA_DFT)
"""What an evaluation adds; take what a table has with `available`."""


def computable(metric: Metric, table: pd.DataFrame) -> bool:
    """Return whether the table has the metric's columns."""
    try:
        metric.values(table)
    except KeyError:
        return False
    return True


def available(metrics: Iterable[Metric], table: pd.DataFrame) -> tuple[Metric, ...]:
    """Return those of `metrics` whose columns the table has and that are defined, or undecided, in at least one row."""
    known = (metric for metric in metrics if computable(metric, table))
    return tuple(metric for metric in known if metric.values(table).notna().any() or metric.undecided_in(table))


def score_terms(table: pd.DataFrame) -> pd.DataFrame:
    """Return (n, 4) the four shares of a row that the ranking score is the mean of, by the headline's names; NaN where
    its input leaves one undefined.

    The two validities, of crystals that kept their visible atoms (what dropped them is no completion of its input), the
    compositional similarity, and the structural similarity over all crystals, where one that was not restored counts as
    0 and so does one farther off than its input. A row whose input nothing displaced (a one-atom cell) has no share of
    positions, restored or not.
    """
    values = pd.DataFrame({metric.name: metric.values(table) for metric in METRICS})
    changed = table["visible_correct"].astype(float) < table["n_atoms"] - table["n_masked"]  # False where unknown
    values[["structural_validity", "compositional_validity"]] *= (~changed).astype(float).to_numpy()[:, None]
    restored = values["compositional_similarity"] == 1
    positions = values["structural_similarity"].clip(lower=0).where(restored, 0.0)
    asked = values["compositional_similarity"].notna()  # has an original
    if "noise_aligned" in table:
        asked &= table["noise_aligned"].astype(float) > NO_NOISE
    values["structural_similarity"] = positions.where(asked)
    return values


ROW_SCORE = Metric(
    name="score",
    title="Score",
    definition="mean of four shares (see `score_terms`), row by row; none without an original",
    values=lambda table: _row_scores(score_terms(table)),
)
"""The ranking score, as a metric: the mean over rows of the mean of each row's shares."""


def _row_scores(terms: pd.DataFrame) -> pd.Series:
    return terms.mean(axis=1).where(terms["compositional_similarity"].notna())


def ranking_score(table: pd.DataFrame, *, n_resamples: int = 1000, seed: int = 0) -> Interval:
    """Return one number to rank generators by, 0…1: the mean of `ROW_SCORE`. An empty table gives NaN, one parent NaN
    bounds."""
    return ROW_SCORE.over(table, n_resamples=n_resamples, seed=seed)


def summarise(
    table: pd.DataFrame,
    by: Sequence[str] = ("mask_type", "sigma_noise"),
    *,
    metrics: Iterable[Metric] = METRICS + SECONDARY,
    n_resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Summarise a table in long form: one row per metric and group, with the columns metric, *by, mean, low, high, n,
    clusters.

    Args:
        table: A scored table.
        by: Columns to group by.
        metrics: To summarise.
        n_resamples: Draws of the parents.
        seed: Of the draws.
    """
    groups = table.groupby(list(by), sort=True, observed=True) if by else [((), table)]
    conditions = [(dict(zip(by, key, strict=True)), group) for key, group in groups]
    rows = [
        {"metric": metric.name, **condition, **asdict(metric.over(group, n_resamples=n_resamples, seed=seed))}
        for metric in metrics
        for condition, group in conditions
    ]
    return pd.DataFrame(rows, columns=["metric", *by, "mean", "low", "high", "n", "clusters"])


def headline(
    table: pd.DataFrame, *, metrics: Iterable[Metric] = METRICS, n_resamples: int = 1000, seed: int = 0
) -> dict[str, Interval]:
    """Return each metric over all conditions of a table, by name."""
    return {metric.name: metric.over(table, n_resamples=n_resamples, seed=seed) for metric in metrics}


def metric_difference(
    table: pd.DataFrame, baseline: pd.DataFrame, metric: Metric, *, keys: Sequence[str] = KEYS, seed: int = 0
) -> Interval:
    """Return metric of `table` minus that of `baseline` over the rows whose `keys` both hold, paired.

    Args:
        table: A scored table.
        baseline: Another, of the same corrupted crystals.
        metric: To compare by.
        keys: Columns that tell rows apart.
        seed: Of the draws.

    Raises:
        ValueError: The keys repeat within a table (pandas' `MergeError`, a ValueError).
    """
    sides = [_valued(rows, metric, keys) for rows in (table, baseline)]
    pairs = sides[0].merge(sides[1], on=list(keys), suffixes=("", "_baseline"), validate="one_to_one")
    weights = pairs["weight"] if metric.weights else None
    return paired_difference(pairs["value"], pairs["value_baseline"], pairs["parent"], weights=weights, seed=seed)


def _valued(table: pd.DataFrame, metric: Metric, keys: Sequence[str]) -> pd.DataFrame:
    weight = metric.weights(table) if metric.weights else 1.0
    return table[list(keys)].assign(value=metric.values(table), weight=weight)


def flat(intervals: Mapping[str, Interval], prefix: str = "val") -> dict[str, float]:
    """Return one number per name, for a tracker: `val/structural_validity` and below it `/low`, `/high`, `/n`."""
    named: dict[str, float] = {}
    for name, interval in intervals.items():
        key = f"{prefix}/{name}" if prefix else name
        named |= {
            key: interval.mean,
            f"{key}/low": interval.low,
            f"{key}/high": interval.high,
            f"{key}/n": float(interval.n),
        }
    return named


def by_condition(summary: pd.DataFrame, prefix: str = "val") -> dict[str, float]:
    """Return means of a `summarise`, for a tracker: `val/species/0.1/structural_validity`; undefined ones left out."""
    rows = summary.dropna(subset=["mean"])
    return {
        f"{prefix}/{mask_type}/{sigma_noise:g}/{metric}": float(mean)
        for mask_type, sigma_noise, metric, mean in zip(
            rows["mask_type"], rows["sigma_noise"], rows["metric"], rows["mean"], strict=True
        )
    }
