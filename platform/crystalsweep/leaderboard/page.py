"""`leaderboard.html`: one page that opens offline."""

from __future__ import annotations

import math
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from crystalsweep.artifacts.addresses import Address
from crystalsweep.evaluation.report import SCORE_TEXT
from crystalsweep.leaderboard.board import FEW_PARENTS, Board, BoardRow
from crystalsweep.leaderboard.text import board_headline, reading, seeds, strata_cells, strata_note
from crystalsweep.leaderboard.ties import letter
from crystalsweep.metrics.bootstrap import Interval
from crystalsweep.metrics.summary import EXTENDED, METRICS, ROW_SCORE, SECONDARY
from crystalsweep.pages.content import Picture
from crystalsweep.pages.render import render
from crystalsweep.plots.leaderboard import Drawn, plot_leaderboard

_TITLES = {metric.name: metric.title for metric in (ROW_SCORE, *METRICS, *SECONDARY, *EXTENDED)}
_COLUMNS = 8
"""Parameters shown at most."""
_BINS = 40
"""Bins of a stratum shown at most."""


def write_board_page(board: Board, target: Path, tracking_uri: str) -> Path:
    """Write the page; runs of a server are links to its UI."""
    beside = [name for name in _TITLES if any(name in row.beside for row in board.rows)]
    settings = list(dict.fromkeys(key for row in board.rows for key in row.settings))[:_COLUMNS]
    definition = SCORE_TEXT if board.metric is ROW_SCORE else board.metric.definition
    text = render(
        "leaderboard/leaderboard.html.j2",
        headline=board_headline(board),
        lead=f"{definition[0].upper()}{definition[1:]}.",
        board=board,
        beside=[(name, _TITLES[name]) for name in beside],
        settings=settings,
        rows=[_shown(row, tracking_uri) for row in board.rows],
        references={name: _figure(each) for name, each in board.references.items()},
        reading=reading(board),
        picture=_picture(board),
        letters=[letter(k) for k in range(len(board.groups))],
        strata=_strata(board),
        several=any(len(row.runs) > 1 for row in board.rows),
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")
    return target


def _shown(row: BoardRow, tracking_uri: str) -> dict[str, Any]:
    server = Address(tracking_uri).link.rstrip("/")
    base = f"{server}/#/experiments/{row.experiment}/runs/" if server.startswith("http") else ""
    return {
        "row": row,
        "figure": _figure(row.figure),
        "beside": {name: _figure(each) for name, each in row.beside.items()},
        "seeds": seeds(row),
        "links": [(run, f"{base}{run}" if base else "") for run in row.runs],
    }


def _figure(interval: Interval) -> dict[str, Any] | None:
    """Return an interval for the template: None where undefined, bounds None where there are none."""
    if math.isnan(interval.mean):
        return None
    bounds = {} if math.isnan(interval.low) else {"low": interval.low, "high": interval.high}
    return {"mean": interval.mean, "low": None, "high": None, "n": interval.n, **bounds}


def _picture(board: Board) -> Picture:
    drawn = [
        Drawn(
            name=f"{row.rank}  {row.name}",
            mean=row.figure.mean,
            low=row.figure.low,
            high=row.figure.high,
            control=row.control,
            named=", ".join(alias.rpartition("@")[2] for alias in row.aliases),
        )
        for row in board.rows
    ]
    unit = "eV/atom" if "eV/atom" in board.metric.definition else "dimensionless"
    levels = {name: each.mean for name, each in board.references.items() if not math.isnan(each.mean)}
    with TemporaryDirectory() as scratch:
        path = plot_leaderboard(
            drawn, board.groups, levels, f"{board.metric.title} ({unit})", Path(scratch) / "leaderboard.png"
        )
        return Picture.of(path)


def _strata(board: Board) -> dict[str, Any] | None:
    if not len(board.strata):
        return None
    bins, rows = strata_cells(board, _BINS)
    known = [each.mean for _, figures in rows for each in figures if each is not None and not math.isnan(each.mean)]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    lower_is_better = board.metric.direction == "lower"

    def cell(each: Interval | None) -> dict[str, Any] | None:
        figure = _figure(each) if each is not None else None
        if each is None or figure is None:
            return None
        share = (each.mean - low) / (high - low) if high > low else 0.0
        tint = 1 - share if lower_is_better else share
        return figure | {"few": each.clusters < FEW_PARENTS, "tint": f"{0.45 * tint:.2f}", "clusters": each.clusters}

    return {
        "by": board.by,
        "bins": bins,
        "rows": [(name, [cell(each) for each in figures]) for name, figures in rows],
        "note": strata_note(board, len(bins)),
    }
