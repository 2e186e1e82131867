"""The part of a report that all sweeps share: figures, sentences, the page, and the text for the terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from textwrap import fill
from typing import Any

import pandas as pd

from crystalsweep.metrics import SHOWN, by_condition, flat, headline, ranking_score, summarise
from crystalsweep.pages.content import Table
from crystalsweep.sweeping.report.beside import Beside, against_others, differences
from crystalsweep.sweeping.report.conclusion import best_conclusion
from crystalsweep.sweeping.report.figures import Gallery, draw_sweep
from crystalsweep.sweeping.report.frames import (
    best_of,
    training_frame,
    training_names,
    trial_frame,
)
from crystalsweep.sweeping.report.limits import limits_sentences
from crystalsweep.sweeping.report.overview import overview
from crystalsweep.sweeping.report.page import REPORT_FILE, sweep_page
from crystalsweep.sweeping.report.report import draw_trial, tidy
from crystalsweep.sweeping.report.results import TABLE_WIDTH, as_sentences, as_text, ordered
from crystalsweep.sweeping.report.words import (
    best_sentence,
    costs_sentence,
    ends_sentence,
    front_sentence,
    importance_sentence,
    seeds_sentence,
)
from crystalsweep.sweeping.space.finished import FinishedSweep, Report, ReportedTraining


def reported_trainings(finished: FinishedSweep) -> list[ReportedTraining]:
    """Complete trainings in the order of a report, by their settings and, with several seeds, seed."""
    called = training_names(finished)
    return [ReportedTraining(outcome=outcome, name=called[outcome.key]) for outcome in ordered(finished)]


def tell(
    finished: FinishedSweep,
    trials: Sequence[ReportedTraining],
    *,
    tables: Sequence[Table],
    history: Sequence[str],
    conclusion: str = "",
    words: Sequence[str] = (),
    beside: Beside | None = None,
    draw: Callable[[Gallery], None] | None = None,
    colours: Mapping[str, Any] | None = None,
    against_best: bool = True,
) -> Report:
    """Return the report of a finished sweep; writes its plots and its page into `finished.folder`.

    Args:
        finished: The sweep.
        trials: Complete trainings in the report's order.
        tables: For page and terminal, the results first.
        history: Metrics that are drawn over each training's epochs.
        conclusion: The sweep's answer in a sentence; that on the best trial where none is given.
        words: The sweep's own sentences, which come after the best trial.
        beside: What trials were held against; the best one where none is given.
        draw: Adds the sweep's own figures, which come first.
        colours: Of trainings in figures, by name.
        against_best: Whether to compare the best trial with every other.
    """
    trainings = training_frame(finished)
    frame = trial_frame(finished, trainings)
    best = best_of(finished, trainings)
    gallery = Gallery(finished.folder)
    if draw:
        draw(gallery)
    draw_sweep(gallery, finished, trainings, frame, colours)
    rivals = against_others(finished, best) if against_best and best else None
    if best is None:
        conclusion = ""
    elif rivals and not conclusion:
        conclusion = best_conclusion(rivals.best, finished.objectives[0], rivals.comparison, rivals.pairs)
    means = [
        *([conclusion] if conclusion else []),
        best_sentence(best, finished, trainings),
        *limits_sentences(finished, frame),
        *words,
        front_sentence(finished, frame),
        seeds_sentence(finished, trainings),
    ]
    ends = ends_sentence(finished)
    complete = int((frame["state"] == "complete").sum())
    rest = [
        importance_sentence(finished, complete),
        *(rivals.words if rivals else []),
        ends,
        costs_sentence(finished.costs, whole=finished.whole),
    ]
    means, rest = ([each for each in said if each] for said in (means, rest))
    held = [*([beside] if beside else []), *([rivals.beside] if rivals else [])]
    first = overview(finished, best, held[0] if held else None)
    details = [*tables, *([rivals.table] if rivals and rivals.table else [])]
    page = finished.folder / REPORT_FILE
    html = sweep_page(finished, best, [*means, *rest], first, details, gallery.pictures, trainings)
    page.write_text(html, encoding="utf-8")
    summaries = {name: summarise(table) for name, table in finished.references.items()}
    opening = [fill(means[0], TABLE_WIDTH), as_text(first)]
    return Report(
        trials=trials,
        best=best,
        words=[*means, *rest],
        text="\n\n".join([*opening, *map(as_text, details), as_sentences("In words", [*means, *rest])]),
        story="\n\n".join([*opening, as_sentences("What it means", [*means[1:], ends])]),
        differences=differences(held),
        plots=gallery.plots,
        page=page,
        numbers=tidy(trials, summaries),
        history=history,
        draw=partial(draw_trial, columns=history, references=finished.references),
        conditions=lambda outcome: by_condition(outcome.summary),
        references={name: _reference(name, table) for name, table in finished.references.items()},
    )


def _reference(name: str, table: pd.DataFrame) -> dict[str, float]:
    figures = headline(table, metrics=SHOWN) | {"score": ranking_score(table)}
    return flat(figures, prefix=name.replace(" ", "_"))
