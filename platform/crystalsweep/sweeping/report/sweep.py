"""The part of a report that all sweeps share: figures, sentences, the page, and the text for the terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from crystalsweep.metrics import summarise
from crystalsweep.pages.content import Table
from crystalsweep.sweeping.report.comparison import Comparison, Pair, compare_trials
from crystalsweep.sweeping.report.figures import Gallery, draw_sweep
from crystalsweep.sweeping.report.frames import (
    best_of,
    pooled,
    short_names,
    training_frame,
    training_names,
    trial_frame,
)
from crystalsweep.sweeping.report.page import REPORT_FILE, sweep_page
from crystalsweep.sweeping.report.report import tidy
from crystalsweep.sweeping.report.results import as_sentences, as_text, ordered, setting_columns
from crystalsweep.sweeping.report.words import (
    best_against_others,
    best_sentence,
    costs_sentence,
    ends_sentence,
    front_sentence,
    importance_sentence,
    seeds_sentence,
)
from crystalsweep.sweeping.space.finished import FinishedSweep, Report, ReportedTraining
from crystalsweep.sweeping.space.outcome import TrainingOutcome


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
    words: Sequence[str] = (),
    draw: Callable[[Gallery], None] | None = None,
    against_best: bool = True,
) -> Report:
    """Return the report of a finished sweep; writes its plots and its page into `finished.folder`.

    Args:
        finished: The sweep.
        trials: Complete trainings in the report's order.
        tables: For page and terminal, the results first.
        history: Metrics that are drawn over each training's epochs.
        words: The sweep's own sentences, which come after the best trial.
        draw: Adds the sweep's own figures, which come first.
        against_best: Whether to compare the best trial with every other.
    """
    trainings = training_frame(finished)
    frame = trial_frame(finished, trainings)
    best = best_of(finished, trainings)
    gallery = Gallery(finished.folder)
    if draw:
        draw(gallery)
    draw_sweep(gallery, finished, trainings, frame)
    own, resolved = _against_best(finished, best) if against_best and best else ([], [])
    complete = int((frame["state"] == "complete").sum())
    said = [
        best_sentence(best, finished, trainings),
        *words,
        importance_sentence(finished, complete),
        *resolved,
        front_sentence(finished, frame),
        seeds_sentence(finished, trainings),
        ends_sentence(finished),
        costs_sentence(finished.costs, whole=finished.whole),
    ]
    sentences = [each for each in said if each]
    page = finished.folder / REPORT_FILE
    page.write_text(sweep_page(finished, sentences, [*tables, *own], gallery.pictures, trainings), encoding="utf-8")
    summaries = {name: summarise(table) for name, table in finished.references.items()}
    return Report(
        trials=trials,
        best=best,
        words=sentences,
        text="\n\n".join([*(as_text(table, whole=table is tables[0]) for table in tables), as_sentences(sentences)]),
        plots=gallery.plots,
        page=page,
        numbers=tidy(trials, summaries),
        history=history,
    )


def _against_best(finished: FinishedSweep, best: TrainingOutcome) -> tuple[list[Table], list[str]]:
    """Return the best trial minus every other complete one, pooled over seeds."""
    tables = {str(number): table for number, table in pooled(finished.done).items()}
    chosen = str(best.number)
    pairs: list[Pair] = [(chosen, other) for other in tables if other != chosen]
    if not pairs:
        return [], ["Nothing is resolved: one trial is complete."]
    comparison = compare_trials(tables, pairs)
    called = short_names(finished)
    columns = setting_columns(finished)
    first = {str(outcome.number): outcome for outcome in reversed(finished.done)}
    cells = {pair: [cell(first[pair[1]]) for cell in columns.values()] for pair in pairs}
    table = _folded(comparison, called[chosen], cells, [*columns, "metric", "best minus it"])
    return [table], best_against_others(comparison, chosen, pairs, called, len(finished.seeds))


def _folded(comparison: Comparison, best: str, cells: dict[Pair, list[str]], heads: Sequence[str]) -> Table:
    shown = comparison.table("", cells, heads, "The best trial was chosen on these same crystals, which flatters it.")
    return Table(
        heads=shown.heads, rows=shown.rows, note=shown.note, folded=f"The best trial ({best}) minus each other"
    )
