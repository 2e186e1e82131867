"""Print the tables of docs/shipped.md and of the champion's sheet from its evaluations, as Markdown.

    python infra/champion_tables.py masks EVALUATION         figures by mask type, ceiling and most common
    python infra/champion_tables.py decoders EVALUATION…     a row per evaluation, in the order given
    python infra/champion_tables.py kinds EVALUATION         share of masked sites named right, by kind of element
    python infra/champion_tables.py epochs RUN…              the learning curve of runs that follow one another

Intervals are 95 % over parent crystals, as everywhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import numpy as np
import pandas as pd

from crystalsweep.evaluation.outcome import Evaluation, Figure, read_outcome
from crystalsweep.evaluation.run import read_tables
from crystalsweep.metrics.bootstrap import clustered_mean, clustered_ratio
from crystalsweep.metrics.families import FAMILIES, family
from crystalsweep.pages.text import with_interval
from crystalsweep.structures.crystal import MASK

COLUMNS = {
    "masked accuracy": "masked_accuracy",
    "top-3": "site_top3",
    "top-5": "site_top5",
    "compositional similarity": "compositional_similarity",
    "structural similarity (n restored)": "structural_similarity",
    "SMACT-valid": "compositional_validity",
}
OXYGEN = 8
SMALL = 4
"""Atoms; cells of at most so many are told apart."""


@click.group()
def main() -> None:
    """Print tables of the shipped champion as Markdown."""


@main.command()
@click.argument("evaluation", type=click.Path(path_type=Path, exists=True))
def masks(evaluation: Path) -> None:
    """Print figures by mask type, at all noise levels together, and of the rows beside the model."""
    outcome = read_outcome(evaluation)
    click.echo(_heads("masks", "n", *COLUMNS))
    for condition, found in outcome.conditions[outcome.name].items():
        click.echo(_line(condition.partition("/")[0], found))
    for name, row in (("all", outcome.name), ("ceiling", "ceiling"), ("most common element", "most common")):
        click.echo(_line(name, outcome.rows[row]))


@main.command()
@click.argument("evaluations", type=click.Path(path_type=Path, exists=True), nargs=-1, required=True)
def decoders(evaluations: Sequence[Path]) -> None:
    """Print a row for each evaluation."""
    click.echo(_heads("decoder", "n", *COLUMNS, "of random15"))
    for folder in evaluations:
        outcome = read_outcome(folder)
        click.echo(f"{_line(folder.name, outcome.rows[outcome.name])} {_of_random15(outcome)} |")


@main.command()
@click.argument("evaluation", type=click.Path(path_type=Path, exists=True))
def kinds(evaluation: Path) -> None:
    """Print the share of masked sites that are named right, by kind of element, size of cell and number masked."""
    table = read_tables(evaluation)[0]
    sites = pd.concat(_sites(table), ignore_index=True)
    click.echo(_heads("", "right", "sites"))
    kind_of = sites["true"].map(family)
    for kind in ("oxygen", *FAMILIES):
        chosen = sites[sites["true"] == OXYGEN if kind == "oxygen" else kind_of == kind]
        if len(chosen):
            click.echo(f"| {kind} | {clustered_mean(chosen['right'], chosen['parent'])} | {len(chosen):,} |")
    for what, rows in (
        (f"cells of at most {SMALL} atoms", table[table["n_atoms"] <= SMALL]),
        (f"cells of more than {SMALL} atoms", table[table["n_atoms"] > SMALL]),
        ("a single masked site", table[table["n_masked"] == 1]),
    ):
        share = clustered_ratio(rows["masked_correct"], rows["n_masked"], rows["parent"])
        click.echo(f"| {what} ({rows['parent'].nunique():,} parents) | {share} | {int(rows['n_masked'].sum()):,} |")


@main.command()
@click.argument("runs", type=click.Path(path_type=Path, exists=True), nargs=-1, required=True)
def epochs(runs: Sequence[Path]) -> None:
    """Print what each epoch scored on the validation crystals, and after how many minutes."""
    minutes = 0.0
    click.echo(_heads("run", "epoch", "minutes", "masked accuracy", "compositional similarity", "displacement left"))
    for run in runs:
        spent = [json.loads(line)["time/epoch_s"] for line in (run / "timing.jsonl").read_text().splitlines()]
        for line, seconds in zip((run / "metrics.jsonl").read_text().splitlines(), spent, strict=True):
            minutes += seconds / 60
            found = json.loads(line)
            cells = [_figure(found, name) for name in ("masked_accuracy", "compositional_similarity")]
            left = 1 - found["val/structural_similarity"]
            click.echo(f"| {run.name} | {found['epoch']} | {minutes:.0f} | {cells[0]} | {cells[1]} | {left:.3f} |")


def _sites(table: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Yield the masked sites of each row: parent, true atomic number, and whether it was named right."""
    for row in table[["parent", "species_before", "species_corrupted", "species_after"]].itertuples(index=False):
        masked = np.asarray(row.species_corrupted) == MASK
        true = np.asarray(row.species_before)[masked]
        yield pd.DataFrame({"parent": row.parent, "true": true, "right": np.asarray(row.species_after)[masked] == true})


def _of_random15(outcome: Evaluation) -> str:
    found = {name: each for name, each in outcome.conditions[outcome.name].items() if name.startswith("random15")}
    return "; ".join(_shown(each["compositional_similarity"]) for each in found.values())


def _line(name: str, found: dict[str, Figure]) -> str:
    cells = [_shown(found.get(key)) for key in COLUMNS.values()]
    restored = found.get("structural_similarity")
    if restored is not None and restored.mean is not None:
        cells[4] += f" ({restored.n:,})"
    return f"| {name} | {found['masked_accuracy'].n:,} | {' | '.join(cells)} |"


def _shown(figure: Figure | None) -> str:
    if figure is None or figure.mean is None:
        return ""
    low, high = (None, None) if figure.low == figure.high else (figure.low, figure.high)
    return with_interval(figure.mean, low, high)


def _figure(found: dict[str, float], name: str) -> str:
    return with_interval(found[f"val/{name}"], found[f"val/{name}/low"], found[f"val/{name}/high"])


def _heads(*names: str) -> str:
    return f"| {' | '.join(names)} |\n|{'---|' * len(names)}"


if __name__ == "__main__":
    main()
