"""Scores of generated crystals and what they are held against (Liu et al., iScience 27, 110672 (2024), Fig. 4).

`score_table` gives one row per crystal, `match_columns` what takes longer, `summarise` the means with intervals. The
modules `verdicts`, `flags`, `strata`, `distributions`, `replacement` and
`kinship` work on whole tables and are imported by name.
doi:10.1016/j.isci.2024.110672
"""

from crystalsweep.metrics.baselines import Baseline, ground_truth, identity, most_common_species
from crystalsweep.metrics.bootstrap import Interval, clustered_mean, clustered_ratio, paired_difference
from crystalsweep.metrics.matching import Match, match, match_columns
from crystalsweep.metrics.novelty import Reference, novel_vs_input
from crystalsweep.metrics.scoring import KEYS, SCORE_COLUMNS, ScoreRow, score, score_table
from crystalsweep.metrics.settings import CompositionRules
from crystalsweep.metrics.similarity import aligned, displacements, mean_distance, minimum_image
from crystalsweep.metrics.substitution import substitution
from crystalsweep.metrics.summary import (
    EXTENDED,
    METRICS,
    SECONDARY,
    Metric,
    available,
    by_condition,
    flat,
    headline,
    ranking_score,
    summarise,
)
from crystalsweep.metrics.table import HEADERS, SHOWN, cells, footnote, rows_table
from crystalsweep.metrics.uniqueness import kinds
from crystalsweep.metrics.validity import compositionally_valid, structurally_valid

__all__ = [
    "EXTENDED",
    "HEADERS",
    "KEYS",
    "METRICS",
    "SCORE_COLUMNS",
    "SECONDARY",
    "SHOWN",
    "Baseline",
    "CompositionRules",
    "Interval",
    "Match",
    "Metric",
    "Reference",
    "ScoreRow",
    "aligned",
    "available",
    "by_condition",
    "cells",
    "clustered_mean",
    "clustered_ratio",
    "compositionally_valid",
    "displacements",
    "flat",
    "footnote",
    "ground_truth",
    "headline",
    "identity",
    "kinds",
    "match",
    "match_columns",
    "mean_distance",
    "minimum_image",
    "most_common_species",
    "novel_vs_input",
    "paired_difference",
    "ranking_score",
    "rows_table",
    "score",
    "score_table",
    "structurally_valid",
    "substitution",
    "summarise",
]
