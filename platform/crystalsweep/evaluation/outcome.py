"""`metrics.json`: the figures of an evaluation with what they were measured with; refused where it does not fit."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from pydantic import FiniteFloat, NonNegativeInt, model_validator

from crystalsweep.artifacts.validated_json import read_validated
from crystalsweep.config import Config
from crystalsweep.evaluation.scoring import ALL_ATOMS
from crystalsweep.evaluation.settings import EvaluationSettings
from crystalsweep.metrics.bootstrap import Interval
from crystalsweep.metrics.odds import ODDS
from crystalsweep.metrics.pairing import INPUT
from crystalsweep.metrics.scoring import KEYS
from crystalsweep.metrics.settings import MetricConfig
from crystalsweep.metrics.summary import (
    BOND_VALENCE,
    DELTA_DFT,
    MATCHING_METRICS,
    METRICS,
    SECONDARY,
    WITHOUT_EXEMPT,
    Metric,
    available,
    energetic,
    ranking_score,
)

METRICS_FORMAT = 1
METRICS_FILE = "metrics.json"

ABSENT = "give the folder of a finished `crystalsweep evaluate`"
"""What to do where a folder has no such file."""

DFT_SETTINGS = "DFT settings"
"""Key of what energies by density functional theory were computed with, where there are any."""


class Figure(Config):
    """A mean with its 95 % interval; null where it is undefined."""

    mean: FiniteFloat | None
    low: FiniteFloat | None
    high: FiniteFloat | None
    n: NonNegativeInt
    """Rows it rests on."""
    clusters: NonNegativeInt
    """Parent crystals it rests on."""
    undecided: NonNegativeInt = 0
    """Rows that nothing could decide; they are not among n."""

    @model_validator(mode="after")
    def _fits(self) -> Figure:
        if self.clusters > self.n:
            raise ValueError(f"{self.clusters} parents of {self.n} rows")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"an interval from {self.low} to {self.high}")
        return self

    @classmethod
    def of(cls, interval: Interval, undecided: int = 0) -> Figure:
        """Make a figure from an interval."""
        return cls.model_validate(plain(interval) | {"undecided": undecided})


class OddsError(Config):
    """The expected calibration error of what was told with a probability."""

    n: NonNegativeInt
    """Cases."""
    calibration_error: FiniteFloat | None
    """0…1; null of no case."""


class Evaluation(Config):
    """Everything a reader of an evaluation needs beside the tables. No times and no paths of output: the same
    evaluation twice on a CPU gives the same file."""

    format: Literal[1] = 1
    kind: Literal["checkpoint", "structures"]
    name: str
    """Row name of the model."""
    model: dict[str, Any]
    """What was evaluated."""
    data: dict[str, Any]
    """On which crystals, new against which."""
    settings: EvaluationSettings
    versions: dict[str, str]
    metrics_lock: str
    """Sha256 of metric settings and versions; figures under different locks need not agree."""
    rows: dict[str, dict[str, Figure]]
    """Means by row name and metric."""
    conditions: dict[str, dict[str, dict[str, Figure]]] = {}
    """By row name, `mask_type/sigma_noise` and metric."""
    strata: dict[str, list[dict[str, Any]]] = {}
    """The model's headline by stratum."""
    distributions: dict[str, dict[str, Any]] = {}
    """Distances of the generated from the true crystals, by quantity."""
    odds: dict[str, OddsError] = {}
    """Of `sites` and `joint` candidates, how far the model's probabilities are from what comes true."""
    replacement: dict[str, Any] = {}
    """Rank correlations of what replaces what."""
    energies: dict[str, Any] = {}
    """Of calculator and hull."""
    flags: dict[str, list[str]] = {}
    """By row name, what makes its figures hollow."""
    failures: dict[str, dict[str, int]] = {}
    """By column, how often which kind of reason."""
    rescored: dict[str, Rescored] = {}
    """By preset, the figures that other settings give."""

    @model_validator(mode="after")
    def _has_own_rows(self) -> Evaluation:
        for where, rows in (("rows", self.rows), *((f"rescored {k}", each.rows) for k, each in self.rescored.items())):
            if self.name not in rows:
                raise ValueError(f"{where}: no figures of {self.name!r}")
        return self


class Rescored(Config):
    """Figures under other metric settings."""

    settings: MetricConfig
    metrics_lock: str
    rows: dict[str, dict[str, Figure]]


def metrics_of(settings: MetricConfig) -> tuple[Metric, ...]:
    """Return every metric that an evaluation can report, under these settings."""
    more = (*MATCHING_METRICS, *BOND_VALENCE, *ODDS, *energetic(settings.stable_below), DELTA_DFT)
    return (*METRICS, WITHOUT_EXEMPT, *SECONDARY, *more)


def figures(table: pd.DataFrame, metrics: Iterable[Metric], *, seed: int = 0) -> dict[str, Figure]:
    """Score and every metric that the table can tell."""
    known = {
        metric.name: Figure.of(metric.over(table, seed=seed), metric.undecided_in(table))
        for metric in available(metrics, table)
    }
    whole = all(metric.name in known or metric.name == "structural_similarity" for metric in METRICS)
    return ({"score": Figure.of(ranking_score(table))} if whole else {}) | known


def figures_by_condition(table: pd.DataFrame, metrics: Iterable[Metric]) -> dict[str, dict[str, Figure]]:
    """Return the same per mask type and sigma."""
    groups = table.groupby(["mask_type", "sigma_noise"], sort=True)
    chosen = available(metrics, table)
    return {f"{mask}/{sigma:g}": figures(group, chosen) for (mask, sigma), group in groups}


_SHARED = (*KEYS, *INPUT, "n_atoms", "n_masked", "given_composition", "noise", "noise_aligned", "failure")
"""Columns that hold for every variant."""


def variant(table: pd.DataFrame, name: str = ALL_ATOMS) -> pd.DataFrame:
    """Return the scores of the columns `…@name`, under their plain names; what was not scored so is left out."""
    suffix = f"@{name}"
    scored = {column.removesuffix(suffix): table[column] for column in table.columns if column.endswith(suffix)}
    return table[[column for column in _SHARED if column in table]].assign(**scored)


def has_variant(table: pd.DataFrame, name: str = ALL_ATOMS) -> bool:
    """Return whether a table was scored under that variant."""
    return any(column.endswith(f"@{name}") for column in table.columns)


def reasons(table: pd.DataFrame) -> dict[str, dict[str, int]]:
    """Return how often each kind of reason stands in the columns that hold reasons, the most frequent first.

    Reasons that differ in their numbers alone are of one kind, told with the range of each: `220 to 1,200 atoms, more
    than the limit of 200`.
    """
    columns = [name for name in table.columns if name == "failure" or name.endswith(("_failure", "_undecided"))]
    found = {name: _by_kind(table[name].replace("", None).dropna().astype(str)) for name in columns}
    return {name: kinds for name, kinds in found.items() if kinds}


def _by_kind(told: Iterable[str]) -> dict[str, int]:
    kinds: dict[str, Counter[str]] = defaultdict(Counter)
    for reason, n in Counter(told).items():
        kinds[_NUMBER.sub("\0", reason)][reason] = n
    counted = ((_with_ranges(reasons), reasons.total()) for reasons in kinds.values())
    return dict(sorted(counted, key=lambda each: -each[1]))


def _with_ranges(reasons: Iterable[str]) -> str:
    """Return reasons that differ in their numbers alone as one, each number from its least to its greatest."""
    reasons = list(reasons)
    ranges = map(_range, zip(*(_NUMBER.findall(reason) for reason in reasons), strict=True))
    return _NUMBER.sub(lambda _: next(ranges), reasons[0])


def _range(numbers: Sequence[str]) -> str:
    least, greatest = (end(numbers, key=lambda number: float(number.replace(",", ""))) for end in (min, max))
    return least if least == greatest else f"{least} to {greatest}"


_NUMBER = re.compile(r"(?<![A-Za-z\d])(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:e[+-]?\d+)?")
"""A number in a text, as 1,200 or 1e-05; not those of formulas and names, as Fe2O3."""


def plain(value: Any) -> Any:
    """Turn values into JSON's own types; NaN becomes null."""
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, Interval):
        return plain(asdict(value))
    if hasattr(value, "item"):  # numpy scalars
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_outcome(folder: Path) -> Evaluation:
    """Read the outcome of a finished evaluation. Raises `ValueError` where there is none, or it is no such file."""
    return read_validated(
        folder / METRICS_FILE,
        Evaluation,
        absent=ABSENT,
        unfit=f"not of format {METRICS_FORMAT}",
        remedy="evaluate again",
    )
