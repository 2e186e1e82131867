"""The leaderboard on a terminal, as CSV and as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Sequence
from textwrap import fill
from typing import Any

import pandas as pd
from tabulate import SEPARATING_LINE

from crystalsweep.leaderboard.board import FEW_PARENTS, Board, BoardRow
from crystalsweep.leaderboard.ties import letter
from crystalsweep.metrics.bootstrap import Interval
from crystalsweep.pages.text import with_interval
from crystalsweep.wording.stranger import in_a_line, tabulated

WIDTH = 120
"""Of sentences on a terminal."""

WIDEST = 10
"""Bins of a stratum that a terminal has room for; those with most crystals."""


def board_text(board: Board) -> str:
    """Return the table, what it rests on, and what was left out."""
    lines = [in_a_line(board_headline(board)), "", _table(board), *map(wrapped, reading(board))]
    if len(board.strata):
        lines += ["", _strata(board), ""]
    lines += [wrapped(f"Left out: {line}") for line in board.left_out]
    return "\n".join([*lines, *map(wrapped, board.notes)])


def wrapped(line: str) -> str:
    """Return a sentence for a terminal, further lines of it indented."""
    return fill(line, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def board_headline(board: Board) -> str:
    """Return what is ranked by what."""
    of = "" if board.candidates == len(board.rows) else f" of {board.candidates}"
    runs = "run" if len(board.rows) == board.candidates == 1 else "runs"
    if any(len(row.runs) > 1 for row in board.rows):
        runs = "settings"
    better = "" if board.metric.direction == "higher" else ", lower is better"
    return f"{board.metric.title} on {board.on} crystals{better}: {len(board.rows)}{of} {runs} of {board.where}"


def cell(interval: Interval) -> str:
    """Return a mean with its interval and n, as far as there are any."""
    n = interval.n or None  # 0 of a baseline whose mean alone was logged
    return with_interval(interval.mean, interval.low, interval.high, n=n, undefined="undefined")


def row_name(row: BoardRow) -> str:
    """Return a row's name with what marks it."""
    marks = [*(["control"] if row.control else []), *(f"★ {alias}" for alias in row.aliases)]
    return f"{row.name} ({', '.join(marks)})" if marks else row.name


def seeds(row: BoardRow) -> str:
    """Return `3 seeds ± 0.004`; empty for one run."""
    return f"{len(row.runs)} seeds ± {row.between_seeds:.3f}" if len(row.runs) > 1 else ""


def _table(board: Board) -> str:
    several = any(len(row.runs) > 1 for row in board.rows)
    rows: list[Any] = [
        [
            str(row.rank),
            row.rank.range,
            ties(board.groups, i),
            row_name(row),
            cell(row.figure),
            *([seeds(row)] if several else []),
            row.runs[0],
        ]
        for i, row in enumerate(board.rows)
    ]
    blank = [""] if several else []
    below = [["", "", "", name, cell(each), *blank, ""] for name, each in board.references.items()]
    heads = ["rank", "95 %", "ties", "run", board.metric.title.lower(), *(["seeds"] if several else []), "MLflow run"]
    shown = [*rows, SEPARATING_LINE, *below] if below else rows
    return tabulated(shown, headers=heads, disable_numparse=True, preserve_whitespace=True)


def ties(groups: Sequence[Collection[int]], i: int) -> str:
    """Return letters of row i, each in its own column."""
    return "".join(letter(k) if i in group else " " * len(letter(k)) for k, group in enumerate(groups))


def reading(board: Board) -> list[str]:
    """Return what figures, ranks and ties rest on."""
    n = board.rows[0].figure.n
    lines = [
        f"Brackets: 95 % intervals from a bootstrap over {board.parents:,} parent crystals, {n:,} restored crystals."
    ]
    if board.comparisons:
        many = "" if board.comparisons == 1 else "s"
        lines.append(
            "Rows that share a letter are not resolved from each other: paired by corrupted crystal, p at least 0.05 "
            f"after Holm's correction for {board.comparisons:,} comparison{many}."
        )
        lines.append(
            "Rank: one more than the rows resolved to be better. 95 %: the ranks that the verdicts leave open, of all "
            "shown rows at once."
        )
    if board.references:
        bare = any(math.isnan(each.low) for each in board.references.values())
        why = "; without an interval where only their means were logged" if bare else ""
        lines.append(f"Below the line, not ranked: the true crystals (ceiling) and baselines on the same ones{why}.")
    return lines


def strata_cells(board: Board, widest: int) -> tuple[list[str], list[tuple[str, list[Interval | None]]]]:
    """Return bins in their order, at most `widest` of those with most crystals, and the rows' figures in them."""
    frame = board.strata
    sizes = frame.groupby("bin", sort=False)["n"].max()
    order = list(dict.fromkeys(frame["bin"]))
    kept = set(sizes.sort_values(ascending=False, kind="stable").index[:widest])
    bins = [each for each in order if each in kept]
    found = {
        (row["name"], row["bin"]): Interval(row["mean"], row["low"], row["high"], row["n"], row["clusters"])
        for row in frame.to_dict("records")
    }
    return bins, [(name, [found.get((name, each)) for each in bins]) for name in dict.fromkeys(frame["name"])]


def strata_note(board: Board, shown: int) -> str:
    """Return how the strata are to be read."""
    more = board.strata["bin"].nunique() - shown
    rest = f" {more} more with fewer crystals are in --csv." if more > 0 else ""
    few = f"* fewer than {FEW_PARENTS} parent crystals. " if (board.strata["clusters"] < FEW_PARENTS).any() else ""
    return f"{few}Differences within a stratum are not tested.{rest}"


def _strata(board: Board) -> str:
    bins, rows = strata_cells(board, WIDEST)
    cells = [[name, *(_in_stratum(each) for each in figures)] for name, figures in rows]
    parents = ["parent crystals", *(f"{_parents(board, each):,}" for each in bins)]
    table = tabulated([*cells, parents], headers=[f"by {board.by}", *bins], disable_numparse=True)
    return f"{table}\n{strata_note(board, len(bins))}"


def _in_stratum(figure: Interval | None) -> str:
    if figure is None or math.isnan(figure.mean):
        return ""
    return f"{figure.mean:.3f}" + ("*" if figure.clusters < FEW_PARENTS else "")


def _parents(board: Board, each: str) -> int:
    return int(board.strata.loc[board.strata["bin"] == each, "clusters"].max())


def board_frame(board: Board) -> pd.DataFrame:
    """Return a row per run, then the references; with strata, a row per run and bin follows each."""
    rows = [
        {
            "rank": row.rank.best,
            "rank_worst": row.rank.worst,
            "ties": row.letters,
            "name": row.name,
            "stratum": "",
            "metric": board.metric.name,
            **vars(row.figure),
            "seeds": len(row.runs),
            "between_seeds": row.between_seeds,
            "control": row.control,
            "aliases": " ".join(row.aliases),
            "sweep": row.sweep,
            "runs": " ".join(row.runs),
            **{f"{name}": each.mean for name, each in row.beside.items()},
            **{f"param.{key}": value for key, value in row.settings.items()},
        }
        for row in board.rows
    ]
    below = [{"name": name, "stratum": "", "metric": board.metric.name, **vars(each)} for name, each in _below(board)]
    strata = [
        {"metric": board.metric.name, "stratum": f"{board.by} {row.pop('bin')}", **row}
        for row in board.strata.to_dict("records")
    ]
    return pd.DataFrame([*rows, *below, *strata]).astype({"rank": "Int64", "rank_worst": "Int64", "seeds": "Int64"})


def _below(board: Board) -> list[tuple[str, Interval]]:
    return list(board.references.items())


def board_json(board: Board) -> str:
    """Return everything, for machines; undefined numbers are null."""
    content = {
        "metric": board.metric.name,
        "better": board.metric.direction,
        "on": board.on,
        "of": board.where,
        "candidates": board.candidates,
        "comparisons": board.comparisons,
        "rows": [
            {
                "rank": row.rank.best,
                "rank_worst": row.rank.worst,
                "ties": [letter(k) for k, group in enumerate(board.groups) if i in group],
                "name": row.name,
                "runs": list(row.runs),
                **_plain(vars(row.figure)),
                "between_seeds": _number(row.between_seeds),
                "control": row.control,
                "aliases": list(row.aliases),
                "sweep": row.sweep,
                "settings": dict(row.settings),
                "beside": {name: _plain(vars(each)) for name, each in row.beside.items()},
            }
            for i, row in enumerate(board.rows)
        ],
        "references": {name: _plain(vars(each)) for name, each in board.references.items()},
        "verdicts": [_plain(row) for row in board.verdicts.to_dict("records")],
        "strata": [_plain(row) for row in board.strata.to_dict("records")],
        "left_out": list(board.left_out),
        "notes": list(board.notes),
    }
    return json.dumps(content, indent=1, ensure_ascii=False)


def _plain(row: dict[Any, Any]) -> dict[str, Any]:
    return {str(key): _number(value) for key, value in row.items()}


def _number(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value
