"""The leaderboard of property models on a terminal, as CSV, as JSON and as a page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
from tabulate import SEPARATING_LINE

from crystalsweep.evaluation.properties.report import unit_of
from crystalsweep.evaluation.text import shown_figure
from crystalsweep.leaderboard.property_board import PropertyBoard, PropertyRow
from crystalsweep.leaderboard.text import ties, wrapped
from crystalsweep.pages.content import Table, TableRow
from crystalsweep.pages.render import render
from crystalsweep.wording.stranger import in_a_line, tabulated


def property_board_text(board: PropertyBoard) -> str:
    """Return the table, what it rests on, and what was left out."""
    rows: list[Any] = [_cells(board, row, ties(board.groups, i)) for i, row in enumerate(board.rows)]
    below = _below(board)
    shown = [*rows, SEPARATING_LINE, *below] if below else rows
    table = tabulated(shown, headers=_heads(board), disable_numparse=True, preserve_whitespace=True)
    told = [*reading(board), *(f"Left out: {line}" for line in board.left_out), *board.notes]
    return "\n".join([in_a_line(headline(board)), "", table, *(wrapped(in_a_line(line)) for line in told)])


def headline(board: PropertyBoard) -> str:
    """Return what is ranked by what."""
    of = "" if board.candidates == len(board.rows) else f" of {board.candidates}"
    many = "model" if board.candidates == 1 else "models"
    better = "" if board.statistic.direction == "higher" else ", lower is better"
    return (
        f"{board.target.name}: {board.statistic.title} on {board.n:,} labelled crystals of {board.source}{better}: "
        f"{len(board.rows)}{of} {many} of {board.where}"
    )


def reading(board: PropertyBoard) -> list[str]:
    """Return what figures, ranks and ties rest on."""
    lines = ["Brackets: 95 % intervals from a bootstrap over crystals."]
    if board.comparisons:
        lines.append(
            "Rows that share a letter are not resolved from each other: paired by crystal, p at least 0.05 after "
            f"Holm's correction for {board.comparisons:,} comparison{'' if board.comparisons == 1 else 's'}."
        )
    if board.baselines:
        lines.append("Below the line, not ranked: what learned no structure, on the same crystals.")
    return lines


def property_board_frame(board: PropertyBoard) -> pd.DataFrame:
    """Return a row per model, then the baselines."""
    rows = [
        {
            "rank": row.rank.best,
            "rank_worst": row.rank.worst,
            "ties": row.letters,
            "name": row.entry.name,
            "property": board.target.name,
            "metric": board.statistic.name,
            **_numbers(row.entry.figure),
            "best_baseline": row.best_baseline,
            "against_best_baseline": row.verdict,
            "aliases": " ".join(row.aliases),
            "run": row.entry.run,
        }
        for row in board.rows
    ]
    same = {"property": board.target.name, "metric": board.statistic.name}
    below = [{"name": name, **same, **_numbers(each)} for name, each in board.baselines.items()]
    return pd.DataFrame([*rows, *below]).astype({"rank": "Int64", "rank_worst": "Int64"})


def property_board_json(board: PropertyBoard) -> str:
    """Return everything, for machines; undefined numbers are null."""
    frame = property_board_frame(board).astype(object)
    rows = [
        {key: value for key, value in row.items() if not pd.isna(value)} | _numbers_of(row)
        for row in frame.to_dict("records")
    ]
    content = {
        "property": board.target.name,
        "metric": board.statistic.name,
        "better": board.statistic.direction,
        "unit": board.target.unit,
        "of": board.where,
        "crystals": board.n,
        "source": board.source,
        "candidates": board.candidates,
        "comparisons": board.comparisons,
        "rows": rows[: len(board.rows)],
        "baselines": rows[len(board.rows) :],
        "left_out": list(board.left_out),
        "notes": list(board.notes),
    }
    return json.dumps(content, indent=1, ensure_ascii=False)


def write_property_board_page(board: PropertyBoard, target: Path) -> Path:
    """Write the page, which opens offline."""
    cells = [*(_cells(board, row, row.letters) for row in board.rows), *_below(board)]
    rows = [TableRow(cells=each) for each in cells]
    text = render(
        "leaderboard/property_board.html.j2",
        title=f"Leaderboard: {board.target.name}",
        headline=headline(board),
        definition=board.statistic.definition,
        table=Table(heads=_heads(board), rows=rows, note="\n".join(reading(board))),
        left_out=board.left_out,
        notes=board.notes,
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")
    return target


def _cells(board: PropertyBoard, row: PropertyRow, marks_of_ties: str) -> list[str]:
    """Return what a table says of a model, under `_heads`."""
    marks = ", ".join(f"★ {alias}" for alias in row.aliases)
    name = f"{row.entry.name} ({marks})" if marks else row.entry.name
    against = f"{row.verdict}: {row.best_baseline}" if row.verdict else ""
    figure = shown_figure(row.entry.figure, row_n=board.n)
    return [str(row.rank), row.rank.range, marks_of_ties, name, figure, against, row.entry.run]


def _below(board: PropertyBoard) -> list[list[str]]:
    """Return what it says of each baseline."""
    return [["", "", "", name, shown_figure(each, row_n=board.n), "", ""] for name, each in board.baselines.items()]


def _heads(board: PropertyBoard) -> list[str]:
    unit = unit_of(board.statistic, board.target)
    figure = f"{board.statistic.title} ({unit})" if unit else board.statistic.title
    return ["rank", "95 %", "ties", "run", figure, "against the best baseline", "MLflow run"]


def _numbers(figure: Any) -> dict[str, Any]:
    return {name: getattr(figure, name) for name in ("mean", "low", "high", "n")}


def _numbers_of(row: dict[Any, Any]) -> dict[str, Any]:
    return {name: None if pd.isna(row[name]) else row[name] for name in ("mean", "low", "high", "n")}
