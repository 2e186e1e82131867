"""Which figures a kind of property has, and on which of them verdicts are given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from crystalsweep.metrics.geometry import Array
from crystalsweep.metrics.properties.classification import CLASSIFICATION, COMPARED_CLASSIFICATION
from crystalsweep.metrics.properties.regression import COMPARED_REGRESSION, REGRESSION
from crystalsweep.metrics.properties.spectra import COMPARED_SPECTRUM, SPECTRUM
from crystalsweep.metrics.properties.statistic import Answers, Kind, Statistic

LOG = "@log10"
"""Ends the name of a figure of log10 of the labels."""

_OF_LOG = ("mae", "rmse", "r2")
"""Figures that a logarithm changes; it leaves ranks as they are."""


def statistics_of(kind: Kind, *, logged: bool = False) -> tuple[Statistic, ...]:
    """Return the figures of a kind of property; of one that a model learned as log10, those of its log10 first."""
    if kind == "classification":
        return CLASSIFICATION
    if kind == "spectrum":
        return SPECTRUM
    return (*(_of_log(each) for each in REGRESSION if each.name in _OF_LOG and logged), *REGRESSION)


def compared_of(kind: Kind, *, logged: bool = False) -> tuple[str, ...]:
    """Return names of the figures that verdicts are given on; the first is the headline."""
    if kind == "classification":
        return COMPARED_CLASSIFICATION
    if kind == "spectrum":
        return COMPARED_SPECTRUM
    return tuple(f"{name}{LOG}" if logged and name in _OF_LOG else name for name in COMPARED_REGRESSION)


def _of_log(each: Statistic) -> Statistic:
    return replace(
        each,
        name=f"{each.name}{LOG}",
        title=f"{each.title} of log10",
        definition=f"{each.definition}, of log10 of label and prediction",
        over=_logged(each.over),
        unit="log10 label" if each.unit else "",
    )


def _logged(over: Callable[[Answers, Array], Array]) -> Callable[[Answers, Array], Array]:
    """Return a statistic of log10 of both; a prediction that is not above 0 counts as the least that is a number."""
    least = np.finfo(np.float64).tiny
    return lambda answers, times: over(
        Answers(truth=np.log10(answers.truth), predicted=np.log10(np.maximum(answers.predicted, least))), times
    )
