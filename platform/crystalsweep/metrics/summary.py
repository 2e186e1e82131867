"""From a table of scores to means with intervals (Liu et al., iScience 27, 110672 (2024), Fig. 4, Eqs. 4 and 5).

The four headline metrics are `METRICS`, what explains them is `SECONDARY`. doi:10.1016/j.isci.2024.110672
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import pandas as pd

from crystalsweep.metrics.bootstrap import Interval, clustered_mean, clustered_ratio, paired_difference
from crystalsweep.metrics.scoring import KEYS

Column = Callable[[pd.DataFrame], pd.Series]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One figure of merit: what is averaged and what it means."""

    name: str
    title: str
    definition: str
    """With its unit."""
    values: Column
    """(n,) from a table of scores; NaN rows do not count."""
    weights: Column | None = None
    """(n,) denominators; the metric is then Σ values / Σ weights."""
    direction: Literal["higher", "lower"] = "higher"
    """Which way is better."""

    def over(self, table: pd.DataFrame, *, n_resamples: int = 1000, seed: int = 0) -> Interval:
        """Its mean over a table, with an interval over the column `parent`."""
        values, parents = self.values(table), table["parent"]
        if self.weights is None:
            return clustered_mean(values, parents, n_resamples=n_resamples, seed=seed)
        return clustered_ratio(values, self.weights(table), parents, n_resamples=n_resamples, seed=seed)


def _column(name: str) -> Column:
    return lambda table: table[name].astype(float)


def _per_restored(name: str) -> Column:
    return lambda table: table[name].astype(float).where(table["compositional_similarity"] | table["given_composition"])


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


def summarise(
    table: pd.DataFrame,
    by: Sequence[str] = ("mask_type", "sigma_noise"),
    *,
    metrics: Iterable[Metric] = METRICS + SECONDARY,
    n_resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Long form: one row per metric and group, with the columns metric, *by, mean, low, high, n, clusters."""
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
    """Each metric over all conditions of a table, by name."""
    return {metric.name: metric.over(table, n_resamples=n_resamples, seed=seed) for metric in metrics}


def compare(
    table: pd.DataFrame, baseline: pd.DataFrame, metric: Metric, *, keys: Sequence[str] = KEYS, seed: int = 0
) -> Interval:
    """Metric of `table` minus that of `baseline` over the rows whose `keys` both hold, paired.

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
    """One number per name, for a tracker: `val/structural_validity` and below it `/low`, `/high`, `/n`."""
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
    """Means of a `summarise`, for a tracker: `val/species/0.1/structural_validity`; undefined ones left out."""
    rows = summary.dropna(subset=["mean"])
    return {
        f"{prefix}/{mask_type}/{sigma_noise:g}/{metric}": float(mean)
        for mask_type, sigma_noise, metric, mean in zip(
            rows["mask_type"], rows["sigma_noise"], rows["metric"], rows["mean"], strict=True
        )
    }
