"""Scores of saved crystals under other settings, into columns of their own; nothing is generated or overwritten."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from crystalsweep.crystal import Crystal
from crystalsweep.evaluation.outcome import (
    FILE,
    Figure,
    Outcome,
    Rescored,
    figures,
    has_variant,
    metrics_of,
    read_outcome,
    variant,
)
from crystalsweep.evaluation.results import BOTH_READINGS, named, present
from crystalsweep.evaluation.run import read_tables, write_tables, write_text
from crystalsweep.evaluation.scoring import ALL_ATOMS, MODEL, novelty
from crystalsweep.evaluation.settings import metrics_lock, versions
from crystalsweep.evaluation.structures import crystals_of
from crystalsweep.metric_settings import MetricConfig
from crystalsweep.metrics.matching import match_columns
from crystalsweep.metrics.scoring import KEYS, score_table

PER_PART = 512

VALIDITY = ["structural_validity", "compositional_validity", "novel_vs_input"]
MATCHING = ["matched", "rmsd"]


def rescore_folder(folder: Path, name: str, metrics: MetricConfig) -> Outcome:
    """Add the columns `…@name` to the tables in `folder` and their means to its metrics.json.

    Validity and the paper's novelty always; match rate and RMSD where their tolerances differ. Novelty against the
    reference and uniqueness stay as they were evaluated: the reference is not in the folder.

    Raises:
        ValueError: The folder holds no finished evaluation, the name is none, or it is taken by other settings.
    """
    outcome = read_outcome(folder)
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", name) or name == ALL_ATOMS:
        raise ValueError(f"{name!r} cannot name columns: use letters, digits, '_', '.' and '-', and not {ALL_ATOMS!r}")
    if name in outcome.rescored and outcome.rescored[name].settings != metrics:
        raise ValueError(f"{folder} already has scores called {name!r} under other settings; choose another --name")
    matching = metrics.match != outcome.settings.metrics.match
    model, references = read_tables(folder)
    model = _with_scores(model, model, "after", name, metrics, matching)
    if has_variant(model):
        predicted = _scores(model, crystals_of(model, "predicted"), metrics, matching=False)
        model = model.assign(**{f"{column}@{name}@{ALL_ATOMS}": predicted[column] for column in predicted})
    references = {
        row: _reference_scores(row, table, model, name, metrics, matching) for row, table in references.items()
    }
    write_tables(folder, model, references)
    rescored = Rescored(
        settings=metrics,
        metrics_lock=metrics_lock(metrics, versions()),
        rows=_rows(outcome, model, references, name, metrics, matching),
    )
    outcome = outcome.model_copy(update={"rescored": outcome.rescored | {name: rescored}})
    write_text(folder / FILE, outcome.model_dump_json(indent=1) + "\n")
    present(folder, outcome, named({MODEL: model} | references, outcome.name), _parents(model))
    return outcome


def _parents(model: pd.DataFrame) -> list[Crystal]:
    return crystals_of(model.drop_duplicates("parent"), "before")


def _with_scores(
    table: pd.DataFrame, crystals: pd.DataFrame, state: str, name: str, metrics: MetricConfig, matching: bool
) -> pd.DataFrame:
    scores = _scores(crystals, crystals_of(crystals, state), metrics, matching=matching)  # type: ignore[arg-type]
    return table.assign(**{f"{column}@{name}": scores[column].to_numpy() for column in scores})


def _reference_scores(
    row: str, table: pd.DataFrame, model: pd.DataFrame, name: str, metrics: MetricConfig, matching: bool
) -> pd.DataFrame:
    """A reference row puts its species on the true positions (the ceiling) or on the corrupted ones."""
    inputs = model[[*KEYS, "species_before", "lattice_before", "frac_before", *_inputs(model)]]
    crystals = table[[*KEYS]].merge(inputs, on=list(KEYS), how="left", validate="one_to_one")
    if row == "ceiling":
        return _with_scores(table, crystals, "before", name, metrics, matching)
    crystals = crystals.assign(
        species_after=table["species_after"].to_numpy(),
        lattice_after=crystals["lattice_before"],
        frac_after=crystals["frac_corrupted"],
    )
    return _with_scores(table, crystals, "after", name, metrics, matching)


def _inputs(model: pd.DataFrame) -> list[str]:
    return [column for column in ("species_corrupted", "frac_corrupted") if column in model]


def _scores(
    table: pd.DataFrame, generated: Sequence[Crystal], metrics: MetricConfig, *, matching: bool
) -> pd.DataFrame:
    originals = crystals_of(table, "before")
    made = []
    for start in tqdm(range(0, len(generated), PER_PART), desc="rescoring", unit="part"):
        part = slice(start, start + PER_PART)
        keys = table[list(KEYS)].iloc[part].reset_index(drop=True)
        # Validity needs no input: the original stands in for it.
        scores = score_table(originals[part], originals[part], generated[part], keys, settings=metrics)
        columns = scores[VALIDITY[:2]].assign(novel_vs_input=novelty(scores, originals[part], generated[part]))
        if matching:
            matched = match_columns(originals[part], generated[part], metrics, None)
            columns = columns.join(matched[MATCHING])
        made.append(columns)
    return pd.concat(made, ignore_index=True)


def _rows(
    outcome: Outcome,
    model: pd.DataFrame,
    references: dict[str, pd.DataFrame],
    name: str,
    metrics: MetricConfig,
    matching: bool,
) -> dict[str, dict[str, Figure]]:
    wanted = {*VALIDITY, *(("match_rate", "rmsd") if matching else ())}
    chosen = [metric for metric in metrics_of(metrics) if metric.name in wanted]
    shown = {outcome.name: variant(model, name)}
    if has_variant(model, f"{name}@{ALL_ATOMS}"):
        shown[f"{outcome.name}{BOTH_READINGS}"] = variant(variant(model, ALL_ATOMS), name)
    shown |= {row: variant(table, name) for row, table in references.items()}
    return {row: {k: v for k, v in figures(table, chosen).items() if k in wanted} for row, table in shown.items()}
