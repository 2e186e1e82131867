"""Scores of generated crystals and what they are held against (Liu et al., iScience 27, 110672 (2024), Fig. 4).

`score_table` gives one row per crystal, `summarise` the means with intervals, `compare` the difference of two tables.
doi:10.1016/j.isci.2024.110672
"""

from crystalsweep.metrics.baselines import Baseline, ground_truth, identity, most_common_species
from crystalsweep.metrics.bootstrap import Interval, clustered_mean, clustered_ratio, paired_difference
from crystalsweep.metrics.scoring import COLUMNS, KEYS, Row, score, score_table
from crystalsweep.metrics.settings import CompositionRules
from crystalsweep.metrics.similarity import aligned, displacements, mean_distance, minimum_image
from crystalsweep.metrics.summary import METRICS, SECONDARY, Metric, by_condition, compare, flat, headline, summarise
from crystalsweep.metrics.table import HEADERS, SHOWN, cells, footnote, rows_table
from crystalsweep.metrics.validity import compositionally_valid, structurally_valid

__all__ = [
    "COLUMNS",
    "HEADERS",
    "KEYS",
    "METRICS",
    "SECONDARY",
    "SHOWN",
    "Baseline",
    "CompositionRules",
    "Interval",
    "Metric",
    "Row",
    "aligned",
    "by_condition",
    "cells",
    "clustered_mean",
    "clustered_ratio",
    "compare",
    "compositionally_valid",
    "displacements",
    "flat",
    "footnote",
    "ground_truth",
    "headline",
    "identity",
    "mean_distance",
    "minimum_image",
    "most_common_species",
    "paired_difference",
    "rows_table",
    "score",
    "score_table",
    "structurally_valid",
    "summarise",
]
