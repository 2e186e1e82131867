"""Figures of the reports, each from tidy frames or tables of scores to one file."""

from crystalsweep.plots.budget import plot_budget
from crystalsweep.plots.distributions import plot_distributions
from crystalsweep.plots.energies import plot_energies
from crystalsweep.plots.extrapolation import plot_extrapolation
from crystalsweep.plots.grids import plot_similarity, plot_validity
from crystalsweep.plots.periodic import plot_replacement_table
from crystalsweep.plots.replacement import plot_mined_correlation, plot_replacement_matrix
from crystalsweep.plots.replacement_rates import plot_replacement_rates
from crystalsweep.plots.strata import plot_strata
from crystalsweep.plots.training import plot_training
from crystalsweep.plots.trials import plot_trials

__all__ = [
    "plot_budget",
    "plot_distributions",
    "plot_energies",
    "plot_extrapolation",
    "plot_mined_correlation",
    "plot_replacement_matrix",
    "plot_replacement_rates",
    "plot_replacement_table",
    "plot_similarity",
    "plot_strata",
    "plot_training",
    "plot_trials",
    "plot_validity",
]
