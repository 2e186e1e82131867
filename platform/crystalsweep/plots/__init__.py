"""Figures of the reports, each from a tidy frame to one file."""

from crystalsweep.plots.budget import plot_budget
from crystalsweep.plots.conditions import plot_conditions
from crystalsweep.plots.training import plot_training
from crystalsweep.plots.trials import plot_trials

__all__ = ["plot_budget", "plot_conditions", "plot_training", "plot_trials"]
