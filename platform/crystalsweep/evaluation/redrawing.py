"""Plots and report of a result folder drawn again from its figures and tables, as of an evaluation made elsewhere."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd

from crystalsweep.evaluation.outcome import Evaluation, read_outcome
from crystalsweep.evaluation.report import REPORT_FILE, write_report
from crystalsweep.evaluation.rescoring import parents_of
from crystalsweep.evaluation.results import PLOTS, named_tables, present
from crystalsweep.evaluation.run import STRUCTURES, read_tables
from crystalsweep.evaluation.scoring import MODEL


def redraw(folder: Path) -> str:
    """Write plots and report of a finished evaluation; returns what they lack and why, empty where they are whole.

    Figures come from `metrics.json`, plots from the tables. Where there are no tables, or nothing can be drawn of
    them, the report has figures only; where it cannot be written at all, there is none.

    Raises `ValueError` where there is no `metrics.json`, or it is none.
    """
    outcome = read_outcome(folder)
    shutil.rmtree(folder / PLOTS, ignore_errors=True)
    (folder / REPORT_FILE).unlink(missing_ok=True)
    if not (folder / STRUCTURES).exists():
        return _without_plots(outcome, folder, f"no {STRUCTURES}")
    try:
        model, references = read_tables(folder)
        tables = named_tables({MODEL: model} | references, outcome.name)
        present(folder, outcome, tables, parents_of(model))
    except Exception as error:  # tables that others made may hold anything
        return _without_plots(outcome, folder, f"its tables cannot be drawn ({type(error).__name__})")
    return ""


def _without_plots(outcome: Evaluation, folder: Path, why: str) -> str:
    shutil.rmtree(folder / PLOTS, ignore_errors=True)
    try:
        write_report(outcome, pd.DataFrame(), {}, folder)
    except Exception as error:  # and so may figures
        return f"no report: {why}, and its figures cannot be shown ({type(error).__name__})"
    return f"a report without plots: {why}"
