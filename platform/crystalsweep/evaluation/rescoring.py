"""Scores of saved crystals under other settings, into columns of their own; nothing is generated or overwritten."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd
from tqdm import tqdm

from crystalsweep.artifacts.atomic import write_whole
from crystalsweep.evaluation.outcome import (
    METRICS_FILE,
    Evaluation,
    Figure,
    Rescored,
    figures,
    has_variant,
    metrics_of,
    read_outcome,
    variant,
)
from crystalsweep.evaluation.report import require_showable
from crystalsweep.evaluation.results import BOTH_READINGS, named_tables, present
from crystalsweep.evaluation.run import read_tables, write_tables
from crystalsweep.evaluation.scoring import ALL_ATOMS, MODEL, novelty
from crystalsweep.evaluation.settings import metrics_lock, versions
from crystalsweep.evaluation.structures import crystals_of
from crystalsweep.evaluation.whole_table import unique_within_conditions
from crystalsweep.metrics.matching import match_columns
from crystalsweep.metrics.scoring import KEYS, score_table
from crystalsweep.metrics.settings import MetricConfig
from crystalsweep.metrics.summary import WITHOUT_EXEMPT
from crystalsweep.structures.crystal import Crystal

PER_PART = 512

VALIDITY = ["structural_validity", "compositional_validity", "novel_vs_input"]
EXEMPT = "exempt_composition"
MATCHING = ["matched", "rmsd", "match_undecided"]

_CRYSTALS = [f"{part}_{state}" for state in ("before", "after") for part in ("species", "lattice", "frac")]
"""Columns of the true and the generated crystals."""


def rescore_folder(folder: Path, name: str, metrics: MetricConfig) -> Evaluation:
    """Add the columns `…@name` to the tables in `folder` and their means to its metrics.json.

    Validity and the paper's novelty always; match rate and RMSD where their tolerances differ, and uniqueness where its
    own do. Novelty against the reference, which is not in the folder, and S.U.N. have no such column.

    Raises:
        ValueError: The folder holds no finished evaluation, the name is none, or it is taken by other settings; or
            `stable_below` is another one, which would need S.U.N. and so the reference again.
    """
    outcome = read_outcome(folder)
    require_showable(outcome, folder / METRICS_FILE)  # before the work
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", name) or name == ALL_ATOMS:
        raise ValueError(f"{name!r} cannot name columns: use letters, digits, '_', '.' and '-', and not {ALL_ATOMS!r}")
    if name in outcome.rescored and outcome.rescored[name].settings != metrics:
        raise ValueError(f"{folder} already has scores called {name!r} under other settings; choose another --name")
    evaluated = outcome.settings.metrics
    if metrics.stable_below != evaluated.stable_below:
        raise ValueError(
            f"rescore cannot compute S.U.N. under another stable_below: the reference is not in {folder}; evaluate "
            f"again with --set metrics.stable_below={metrics.stable_below:g}, or keep --set "
            f"stable_below={evaluated.stable_below:g}"
        )
    asked = _Asked(metrics, metrics.match != evaluated.match, metrics.duplicate != evaluated.duplicate)
    model, references = read_tables(folder)
    if missing := [column for column in _CRYSTALS if column not in model]:
        raise ValueError(f"{folder} holds no crystals to score ({', '.join(missing)} missing); evaluate again")
    model = _with_scores(model, model, "after", name, asked)
    if has_variant(model):
        predicted = _scores(model, crystals_of(model, "predicted"), _Asked(metrics))
        model = model.assign(**{f"{column}@{name}@{ALL_ATOMS}": predicted[column] for column in predicted})
    references = {row: _reference_scores(row, table, model, name, asked) for row, table in references.items()}
    write_tables(folder, model, references)
    rescored = Rescored(
        settings=metrics,
        metrics_lock=metrics_lock(metrics, versions()),
        rows=_rows(outcome, model, references, name, asked),
    )
    outcome = outcome.model_copy(update={"rescored": outcome.rescored | {name: rescored}})
    write_whole(folder / METRICS_FILE, outcome.model_dump_json(indent=1) + "\n")
    present(folder, outcome, named_tables({MODEL: model} | references, outcome.name), parents_of(model))
    return outcome


@dataclass(frozen=True)
class _Asked:
    """What is computed again."""

    metrics: MetricConfig
    matching: bool = False
    uniqueness: bool = False


def parents_of(model: pd.DataFrame) -> list[Crystal]:
    """Return the true crystals of a table, each once; none where generated crystals have no original."""
    known = model[_has_parent(model)]
    return crystals_of(known.drop_duplicates("parent"), "before")


def _has_parent(table: pd.DataFrame) -> pd.Series:
    """Return (n,) False for a crystal from a file without an original."""
    return table["species_before"].map(len) > 0


def _with_scores(
    table: pd.DataFrame, crystals: pd.DataFrame, state: Literal["before", "after"], name: str, asked: _Asked
) -> pd.DataFrame:
    scores = _scores(crystals, crystals_of(crystals, state), asked)
    return table.assign(**{f"{column}@{name}": scores[column].to_numpy() for column in scores})


def _reference_scores(row: str, table: pd.DataFrame, model: pd.DataFrame, name: str, asked: _Asked) -> pd.DataFrame:
    """Return what a reference row restored: it puts its species on the true positions (the ceiling) or on the
    corrupted ones."""
    inputs = model[[*KEYS, "species_before", "lattice_before", "frac_before", *_inputs(model)]]
    asked_of = ("failure", "novel_vs_input", "matched", "match_undecided", "unique", "unique_undecided")
    evaluated = [column for column in asked_of if column in table]
    crystals = table[[*KEYS, *evaluated]].merge(inputs, on=list(KEYS), how="left", validate="one_to_one")
    if row == "ceiling":
        return _with_scores(table, crystals, "before", name, asked)
    crystals = crystals.assign(
        species_after=table["species_after"].to_numpy(),
        lattice_after=crystals["lattice_before"],
        frac_after=crystals["frac_corrupted"],
    )
    return _with_scores(table, crystals, "after", name, asked)


def _inputs(model: pd.DataFrame) -> list[str]:
    return [column for column in ("species_corrupted", "frac_corrupted") if column in model]


def _scores(table: pd.DataFrame, generated: Sequence[Crystal], asked: _Asked) -> pd.DataFrame:
    """Return scores (n rows) of the generated crystals; NaN where the evaluation had nothing to compare with."""
    originals = _originals(table, generated)
    # Validity needs neither input nor original; one that failed does so beside its original, which stands in for both.
    failed = table["failure"].fillna("") != ""
    beside = [o if bad else g for o, g, bad in zip(originals, generated, failed, strict=True)]
    made = []
    for start in tqdm(range(0, len(generated), PER_PART), desc="rescoring", unit="part"):
        part = slice(start, start + PER_PART)
        keys = table[list(KEYS)].iloc[part].reset_index(drop=True)
        scores = score_table(beside[part], beside[part], generated[part], keys, settings=asked.metrics)
        columns = scores[[*VALIDITY[:2], EXEMPT]].assign(
            novel_vs_input=novelty(scores, originals[part], generated[part])
        )
        if asked.matching:
            matched = match_columns(originals[part], generated[part], asked.metrics, None)
            columns = columns.join(matched[MATCHING])
        made.append(columns)
    scores = pd.concat(made, ignore_index=True)
    paired = _decided_or_not(table, "matched", "match_undecided")
    for column, known in (("novel_vs_input", table["novel_vs_input"].notna()), ("matched", paired), ("rmsd", paired)):
        if column in scores:
            scores[column] = scores[column].astype(float).where(known.to_numpy())
    if asked.matching:
        scores["match_undecided"] = scores["match_undecided"].where(paired.to_numpy(), "")
    if (
        asked.uniqueness and _decided_or_not(table, "unique", "unique_undecided").all()
    ):  # as evaluated: not of every row
        species = [crystal.species for crystal in generated]
        unique = unique_within_conditions(
            table, species, lambda rows: [generated[i] for i in rows], asked.metrics.duplicate
        )
        scores = scores.assign(**unique)
    return scores


def _decided_or_not(table: pd.DataFrame, score: str, undecided: str) -> pd.Series:
    """Return (n,) where a score was asked for, whether or not it could be decided."""
    if score not in table:
        return pd.Series(False, table.index)
    asked = table[score].notna()
    return asked | (table[undecided].fillna("") != "") if undecided in table else asked


def _originals(table: pd.DataFrame, generated: Sequence[Crystal]) -> list[Crystal]:
    """Return the parents; where there is none, the crystal itself."""
    known = _has_parent(table)
    parents = iter(crystals_of(table[known], "before"))
    return [next(parents) if has else crystal for crystal, has in zip(generated, known, strict=True)]


def _rows(
    outcome: Evaluation, model: pd.DataFrame, references: dict[str, pd.DataFrame], name: str, asked: _Asked
) -> dict[str, dict[str, Figure]]:
    wanted = {*VALIDITY, WITHOUT_EXEMPT.name}
    wanted |= {"match_rate", "rmsd"} if asked.matching else set()
    wanted |= {"uniqueness"} if asked.uniqueness else set()
    chosen = [metric for metric in metrics_of(asked.metrics) if metric.name in wanted]
    shown = {outcome.name: variant(model, name)}
    if has_variant(model, f"{name}@{ALL_ATOMS}"):
        shown[f"{outcome.name}{BOTH_READINGS}"] = variant(variant(model, ALL_ATOMS), name)
    shown |= {row: variant(table, name) for row, table in references.items()}
    return {row: {k: v for k, v in figures(table, chosen).items() if k in wanted} for row, table in shown.items()}
