"""`crystalsweep leaderboard`. Heavy libraries load when the command runs."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from click.core import ParameterSource

from crystalsweep.artifacts.places import default_storage
from crystalsweep.cli.echo import echo
from crystalsweep.cli.errors import told_in_a_line
from crystalsweep.cli.store import store_options

EXAMPLES = """\b
Examples:
  crystalsweep leaderboard                                     every run of the local store, by score
  crystalsweep leaderboard gan_noise --metric compositional_validity --out leaderboard.html
  crystalsweep leaderboard --sweep latest --seeds              runs that differ only in their seed are one row
  crystalsweep leaderboard gan_noise joint --filter "params.backbone.name = 'painn'" --top 10
  crystalsweep leaderboard --on evaluation --by crystal_system
  crystalsweep leaderboard --target k_vrh                      property models, beside their baselines
  crystalsweep leaderboard RUN_ID RUN_ID RUN_ID                these alone; a sweep's id stands for its trials
"""


@click.command(epilog=EXAMPLES)
@click.argument("runs", nargs=-1, metavar="[EXPERIMENT|RUN_ID …]")
@click.option("--metric", default="score", show_default=True, help="What to rank by; a wrong name lists all.")
@click.option(
    "--target", metavar="PROPERTY", help="Rank property models by this one, as k_vrh, on what `evaluate` logged."
)
@click.option(
    "--on",
    type=click.Choice(["validation", "evaluation"]),
    default="validation",
    show_default=True,
    help="Validation at the end of training, or what `crystalsweep evaluate` logged.",
)
@click.option("--sweep", metavar="NAME", help="Only trials of this sweep: its name, its run id, or 'latest'.")
@click.option("--filter", "query", default="", metavar="EXPR", help="MLflow search expression.")
@click.option("--like", metavar="RUN_ID", help="Rank what was measured as this run was, not the largest such set.")
@click.option("--seeds", is_flag=True, help="Runs that differ only in their seed are one row.")
@click.option("--top", type=click.IntRange(1, 40), default=20, show_default=True, help="Rows shown and compared.")
@click.option("--by", metavar="STRATUM", help="Also by n_atoms, crystal_system, masked_element or masked_frequency.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Also write this HTML page.")
@click.option("--csv", type=click.Path(path_type=Path, dir_okay=False), help="Also write this CSV file.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of the table.")
@store_options
def leaderboard(
    runs: tuple[str, ...],
    metric: str,
    target: str | None,
    on: str,
    sweep: str | None,
    query: str,
    like: str | None,
    seeds: bool,
    top: int,
    by: str | None,
    out: Path | None,
    csv: Path | None,
    as_json: bool,
    tracking_uri: str | None,
    storage: Path | None,
) -> None:
    """Rank runs by a metric, with 95 % intervals, ceiling and baselines, and ties where no difference is resolved.

    Only runs that were measured alike are ranked together: on the same crystals, corrupted and scored in the same way.
    The largest such set is shown, and what is left out is said. The best --top of them by their logged means are
    compared pair by pair on the same corrupted crystals; p values are corrected for the number of pairs, so that fewer
    rows resolve smaller differences.

    --target ranks property models by the headline figure of that property, paired by crystal, with what the composition
    alone and the nearest structures tell beside them.
    """
    if target is not None:
        _of_property(click.get_current_context(), target)
        return
    with told_in_a_line():
        from crystalsweep.leaderboard.board import build_board
        from crystalsweep.leaderboard.text import board_frame, board_json, board_text
        from crystalsweep.tracking.opening import checked_tracker, existing_store

        where = storage or default_storage()
        uri = existing_store(tracking_uri, where)
        board = build_board(
            checked_tracker(uri),
            runs,
            where / "downloads",
            metric=metric,
            on="evaluation" if on == "evaluation" else "validation",
            sweep=sweep,
            query=query,
            like=like,
            seeds=seeds,
            top=top,
            by=by,
        )
        echo(board_json(board) if as_json else board_text(board))
        if csv:
            board_frame(board).to_csv(csv, index=False)
        if out:
            from crystalsweep.leaderboard.page import write_board_page

            write_board_page(board, out, uri)
    for written in (csv, out):
        if written:
            echo(f"written: {written}", err=as_json)
    sys.stdout.flush()


_OF_GENERATORS = ("metric", "on", "sweep", "seeds", "by")
"""Options that say nothing of property models."""


def _of_property(context: click.Context, target: str) -> None:
    """Rank property models by what they predict."""
    asked = context.params
    with told_in_a_line():
        from crystalsweep.leaderboard.property_board import build_property_board
        from crystalsweep.leaderboard.property_text import (
            property_board_frame,
            property_board_json,
            property_board_text,
            write_property_board_page,
        )
        from crystalsweep.tracking.opening import checked_tracker, existing_store

        given = [name for name in _OF_GENERATORS if context.get_parameter_source(name) is ParameterSource.COMMANDLINE]
        if given:
            raise ValueError(f"--{given[0]} is of generators; leave it out beside --target")
        where = asked["storage"] or default_storage()
        board = build_property_board(
            checked_tracker(existing_store(asked["tracking_uri"], where)),
            asked["runs"],
            where / "downloads",
            target=target,
            query=asked["query"],
            like=asked["like"],
            top=asked["top"],
        )
        echo(property_board_json(board) if asked["as_json"] else property_board_text(board))
        if asked["csv"]:
            property_board_frame(board).to_csv(asked["csv"], index=False)
        if asked["out"]:
            write_property_board_page(board, asked["out"])
    for written in (asked["csv"], asked["out"]):
        if written:
            echo(f"written: {written}", err=asked["as_json"])
    sys.stdout.flush()
