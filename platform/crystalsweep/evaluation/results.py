"""From the rows of an evaluation to its results: what needs all rows at once, `metrics.json`, plots, the report."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from crystalsweep.artifacts.atomic import write_whole
from crystalsweep.config import value_at
from crystalsweep.evaluation.outcome import (
    METRICS_FILE,
    Evaluation,
    OddsError,
    figures,
    figures_by_condition,
    has_variant,
    metrics_of,
    plain,
    reasons,
    variant,
)
from crystalsweep.evaluation.pictures import draw_pictures
from crystalsweep.evaluation.report import write_report
from crystalsweep.evaluation.run import write_results
from crystalsweep.evaluation.scoring import MODEL
from crystalsweep.evaluation.settings import EvaluationSettings, metrics_lock, versions
from crystalsweep.evaluation.spread import Tables
from crystalsweep.evaluation.whole_table import added_columns
from crystalsweep.metrics.calibration import calibration_error
from crystalsweep.metrics.distributions import distances, generated_frame, reference_frame
from crystalsweep.metrics.flags import flags
from crystalsweep.metrics.kinship import kin_share, mined_correlation
from crystalsweep.metrics.odds import odds_cases
from crystalsweep.metrics.replacement import novel_rows, replacement_matrix
from crystalsweep.metrics.strata import STRATA, strata_table
from crystalsweep.metrics.summary import METRICS, available
from crystalsweep.metrics.verdicts import verdicts
from crystalsweep.structures.crystal import Crystal

PLOTS = "plots"

_FEW = 20
"""Crystals below which a bootstrap over them is told to be too narrow."""

_MOST_NOISE = 1000.0
"""Å; a record of more than that is none of a training."""

BOTH_READINGS = ", all atoms"
"""What is added to a model's name for its crystals with visible species predicted too; tables show it, plots do not."""


def finish_evaluation(
    folder: Path,
    tables: Tables,
    *,
    name: str,
    kind: Literal["checkpoint", "structures"],
    model: Mapping[str, Any],
    data: Mapping[str, Any],
    settings: EvaluationSettings,
    true_crystals: Sequence[Crystal],
    energies: Mapping[str, Any],
    report: bool,
) -> Evaluation:
    """Write everything that an evaluation leaves in its folder, and return the figures.

    Args:
        folder: Where it goes; the finished parts are in it.
        tables: Rows by name, the model's as `MODEL`, with `whole_table_columns`.
        name: Row name of the model.
        kind: `checkpoint` or `structures`.
        model: What was evaluated, for the record.
        data: On what, for the record.
        settings: All settings.
        true_crystals: What the generated ones are compared with as a set.
        energies: Of calculator and hull, for the record.
        report: Whether plots and page are drawn.
    """
    write_results(folder, MODEL, {row: added_columns(table) for row, table in tables.items()})
    measured_with, metrics = versions(), metrics_of(settings.metrics)
    shown = named_tables(tables, name)
    own = shown[name]
    outcome = Evaluation(
        kind=kind,
        name=name,
        model=plain(model),
        data=plain(data),
        settings=settings,
        versions=measured_with,
        metrics_lock=metrics_lock(settings, measured_with),
        rows={row: figures(table, metrics) for row, table in shown.items()},
        conditions={row: figures_by_condition(table, metrics) for row, table in shown.items()},
        strata={by: _stratum(own, by) for by in STRATA if _has_stratum(own, by)},
        distributions=_distributions(own, true_crystals),
        odds=_odds(own),
        replacement=_replacement(own),
        energies=plain(energies),
        flags=_flags(data, tables, kind, energies.get("doubts", [])) | _decoded(settings, kind) | _found(flags(shown)),
        failures=reasons(own),
    )
    write_whole(folder / METRICS_FILE, outcome.model_dump_json(indent=1) + "\n")
    shutil.rmtree(folder / PLOTS, ignore_errors=True)  # of an earlier start
    if report:
        present(folder, outcome, shown, true_crystals)
    return outcome


def present(folder: Path, outcome: Evaluation, tables: Tables, true_crystals: Sequence[Crystal]) -> None:
    """Write plots and report of an evaluation, from its figures and its tables by the names that readers see."""
    own = {row: table for row, table in tables.items() if not row.endswith(BOTH_READINGS)}
    trained_at = value_at(outcome.model, "config.corruption.sigma_noise")
    known = float(trained_at) if isinstance(trained_at, int | float) and 0 <= trained_at <= _MOST_NOISE else None
    pictures = draw_pictures(own, outcome.name, folder / PLOTS, true_crystals, outcome.distributions, known)
    write_report(outcome, _verdicts(tables, outcome.name), pictures, folder)


def _flags(data: Mapping[str, Any], tables: Tables, kind: str, doubts: list[str]) -> dict[str, list[str]]:
    return _found({"data": _about(data, tables, kind), "energies": doubts})


def _decoded(settings: EvaluationSettings, kind: str) -> dict[str, list[str]]:
    """Return that a rule which decoding used is no evidence for itself."""
    if kind != "checkpoint" or settings.decode.charge == "any":
        return {}
    how = "ranked first" if settings.decode.charge == "prefer" else "alone kept"
    told = (
        f"Charge-neutral candidates were {how} in decoding (decode.charge={settings.decode.charge}): compositional "
        "validity, which is the same rule, says nothing about this model."
    )
    return {"compositional validity": [told]}


def _odds(table: pd.DataFrame) -> dict[str, OddsError]:
    """Return how far the model's probabilities are from what comes true; nothing of tables without odds."""
    return {
        name: OddsError(n=len(cases), calibration_error=plain(calibration_error(cases["confidence"], cases["hit"])))
        for name, cases in odds_cases(table).items()
    }


def _found(flags_of: Mapping[str, list[str]]) -> dict[str, list[str]]:
    return {name: sentences for name, sentences in flags_of.items() if sentences}


def _about(data: Mapping[str, Any], tables: Tables, kind: str) -> list[str]:
    """Return what a reader must know of the crystals: whether the training set is known, and holds what is
    evaluated."""
    told = [*data.get("seen", []), *data.get("told", [])]
    seen = any("train part" in line for line in data.get("seen", []))
    if data.get("counts_from") == "evaluated crystals" and not seen:
        told.append(
            "No training crystals are known (--reference): nothing is said about novelty, and the most common element "
            "and the frequencies are those of the evaluated crystals."
        )
    if data.get("reference_rejected_rows"):
        told.append(
            f"Novelty is against the {data['reference_crystals']:,} reference crystals that could be read; "
            f"{data['reference_rejected_rows']:,} more rows could not."
        )
    if data.get("reference_is_training_set") is False:
        told.append(
            "The reference is not the data set that the model was trained on: novelty is against the reference."
        )
    judged = tables[MODEL]["parent"].nunique() if "parent" in tables[MODEL] else 0
    if 1 < judged < _FEW:
        told.append(
            f"Only {judged} crystals are evaluated: over fewer than {_FEW}, 95 % intervals are narrower than they "
            "should be, and one of no width says that all crystals agree, no more."
        )
    if kind == "checkpoint" and "ceiling" in tables:
        parents = tables["ceiling"].drop_duplicates("parent")
        known = parents[parents["reference_match"] != ""]
        these = f"the {'training' if data.get('reference_is_training_set') else 'reference'} crystals"
        if len(known):
            pairs = ", ".join(f"{a} is {b}" for a, b in known[["parent", "reference_match"]].head(5).to_numpy())
            told.append(f"{len(known):,} of {len(parents):,} evaluated crystals are among {these}: {pairs}.")
        if undecided := int((parents["novel_undecided"] != "").sum()):
            told.append(
                f"For {undecided:,} of {len(parents):,} evaluated crystals nothing could tell whether they are among "
                f"{these}."
            )
    return told


def named_tables(tables: Tables, name: str) -> Tables:
    """Return tables by the names that readers see: the model, the model in the paper's reading, the references."""
    model = tables[MODEL]
    both = {f"{name}{BOTH_READINGS}": variant(model)} if has_variant(model) else {}
    return {name: model} | both | {row: table for row, table in tables.items() if row != MODEL}


def _verdicts(tables: Tables, name: str) -> pd.DataFrame:
    """Return the model against every reference that does not know the truth."""
    against = [row for row in ("most common", "substitution") if row in tables]
    if not against or tables[name]["parent"].nunique() < 2:
        return pd.DataFrame()
    return verdicts(tables, available(METRICS, tables[name]), pairs=[(name, row) for row in against])


def _has_stratum(table: pd.DataFrame, by: str) -> bool:
    columns = list(STRATA[by].columns)
    if not set(columns) <= set(table):
        return False
    return bool(table[columns].replace("", np.nan).notna().to_numpy().any())


def _stratum(table: pd.DataFrame, by: str) -> list[dict[str, Any]]:
    rows = strata_table(table, by).rename(columns={"bin": "label"}).to_dict("records")
    return [
        {"stratum": str(row["label"]), "metric": row["metric"]}
        | plain({key: row[key] for key in ("mean", "low", "high", "n", "clusters")})
        for row in rows
    ]


def _distributions(table: pd.DataFrame, true_crystals: Sequence[Crystal]) -> dict[str, dict[str, Any]]:
    found = distances(generated_frame(table), reference_frame(true_crystals))
    return {row.pop("quantity"): plain(row) for row in found.to_dict("records")}


def _replacement(table: pd.DataFrame) -> dict[str, Any]:
    if "species_corrupted" not in table:
        return {}
    found: dict[str, Any] = {"novel_crystals": len(novel_rows(table))}
    try:
        replacement = replacement_matrix(table)
        for by in ("group", "family"):
            kin = kin_share(replacement, by=by)
            found[f"same_{by}"] = {"share": kin.share, "expected": kin.expected, "p": kin.p, "n": kin.n}
        mined = mined_correlation(replacement)
        found["mined"] = {
            "rho": mined.rho,
            "p": mined.p,
            "rho_specific": mined.rho_specific,
            "p_specific": mined.p_specific,
        }
        found["mined"]["cells"] = len(mined.cells)
    except ValueError as error:
        found["not_computed"] = str(error)
    return found
