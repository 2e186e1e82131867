"""`report.html` of a sweep: one page that opens offline."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from crystalsweep.gallery.writing import GALLERY_PAGE, GALLERY_PICTURE
from crystalsweep.pages.content import Picture, Section, Table, TableRow
from crystalsweep.pages.render import render
from crystalsweep.pages.text import with_interval
from crystalsweep.sweeping.report.frames import training_names
from crystalsweep.sweeping.report.words import COSTS, amount, within_two
from crystalsweep.sweeping.space.finished import FinishedSweep
from crystalsweep.sweeping.space.outcome import TrainingOutcome

REPORT_FILE = "report.html"


def sweep_page(
    finished: FinishedSweep,
    best: TrainingOutcome | None,
    words: Sequence[str],
    first: Table,
    tables: Sequence[Table],
    pictures: Sequence[Picture],
    trainings: pd.DataFrame,
) -> str:
    """Return the page's HTML: sentences, tables, figures, costs, and every training however it ended.

    Args:
        finished: The sweep.
        best: Its best training.
        words: Its sentences, the conclusion first.
        first: A row per trial.
        tables: What it rests on, the results first.
        pictures: Figures in order.
        trainings: A row per training (`frames.training_frame`).
    """
    sections = [
        Section(title="Trials", tables=[first]),
        *_crystals_of(finished, best),
        Section(title="Results", tables=list(tables)),
        Section(title="Figures", figures=list(pictures)),
        Section(title="Cost", tables=[_costs(finished)]),
        Section(title="All trainings", tables=[_trainings(finished, trainings)]),
    ]
    return render(
        "sweeping/report/report.html.j2",
        title=f"Sweep: {finished.name}",
        lead=finished.question.strip().partition("\n")[0],
        question=finished.question.strip(),
        conclusion=words[0],
        words=words[1:],
        sections=sections,
        galleries=_galleries(finished),
        footer="Figures after Liu et al., iScience 27, 110672 (2024), doi:10.1016/j.isci.2024.110672, "
        "whose settings are marked as the paper's.",
    )


def _crystals_of(finished: FinishedSweep, best: TrainingOutcome | None) -> list[Section]:
    """Return the best training's crystals, where they were drawn."""
    if best is None or best.key not in finished.crystals:
        return []
    picture = Picture.of(
        finished.crystals[best.key] / GALLERY_PICTURE,
        "Crystals before, corrupted and after.",
        f"Validation crystals, restored by the best training, {best.key}.",
    )
    return [Section(title="Crystals", figures=[picture])]


def _galleries(finished: FinishedSweep) -> dict[str, str]:
    """Return links to the trainings' crystals in 3D, by name, from the page's own folder."""
    called = training_names(finished)
    return {
        called[key]: (folder / GALLERY_PAGE).relative_to(finished.folder).as_posix()
        for key, folder in finished.crystals.items()
    }


def _costs(finished: FinishedSweep) -> Table:
    rows = [
        TableRow(
            cells=[
                COSTS.get(name, name),
                amount(name, forecast),
                amount(name, actual),
                f"{actual / forecast:.2f}×" if forecast else "–",
                "–" if not (forecast and finished.whole) else "yes" if within_two(forecast, actual) else "no",
            ]
        )
        for name, (forecast, actual) in finished.costs.items()
    ]
    note = "The forecast is from steps timed before anything started; a cached stage takes no time."
    if not finished.whole:
        note += " It is of the whole sweep, of which a part has been run."
    return Table(heads=["", "forecast", "actual", "ratio", "within 2×"], rows=rows, note=note)


def _trainings(finished: FinishedSweep, trainings: pd.DataFrame) -> Table:
    first = finished.objectives[0]
    rows = [
        TableRow(
            cells=[
                row["key"],
                row["trial"],
                f"{row['state']}{', control' if row['control'] else ''}",
                f"{row['epochs']:.0f}",
                with_interval(
                    *(row[f"{first.name}{part}"] for part in ("", "/low", "/high")), undefined="without a value"
                ),
                f"{row['minutes']:.1f}",
                row["reason"],
                row["run"],
            ]
        )
        for row in trainings.to_dict("records")
    ]
    heads = ["training", "settings", "ended", "epochs", first.title, "minutes", "reason", "MLflow run"]
    return Table(heads=heads, rows=rows, folded=f"{len(rows)} trainings")
