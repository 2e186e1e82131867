"""`report.html`: one page that opens offline and can be read by someone who has only the paper."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from crystalsweep.evaluation.outcome import Evaluation, Figure, metrics_of
from crystalsweep.evaluation.pictures import ODDS_SECTION
from crystalsweep.metrics.calibration import BINS
from crystalsweep.metrics.odds import ODDS
from crystalsweep.metrics.strata import STRATA
from crystalsweep.pages.content import Picture, Section, Table, TableRow
from crystalsweep.pages.render import render

REPORT_FILE = "report.html"

HEADLINE = (
    "score",
    "structural_validity",
    "compositional_validity",
    "compositional_validity_not_exempt",
    "compositional_similarity",
    "structural_similarity",
    "masked_accuracy",
    "match_rate",
)
"""Columns of the first table."""

SCORE_TEXT = (
    "mean of the two validities, of crystals that kept the visible atoms, the compositional similarity, and the "
    "structural similarity over all crystals, unrestored ones counting as 0"
)

NOVELTY = (
    *("uniqueness", "novel_vs_input", "novel_vs_reference", "delta_energy", "delta_energy_relaxed", "delta_energy_dft"),
    *("charges_balance", "bond_instability"),
    *("e_above_hull", "e_above_hull_relaxed", "stable", "stable_relaxed", "sun"),
)
"""Columns of the second table."""


def write_report(
    outcome: Evaluation, verdicts: pd.DataFrame, pictures: Mapping[str, Sequence[Picture]], folder: Path
) -> Path:
    """Write the page.

    Args:
        outcome: All figures.
        verdicts: Of the model against the references, as `metrics.verdicts` gives them; may be empty.
        pictures: By section title, in order.
        folder: Where it goes.
    """
    target = folder / REPORT_FILE
    target.write_text(_page(outcome, verdicts, pictures), encoding="utf-8")
    return target


def require_showable(outcome: Evaluation, file: Path) -> None:
    """Raise `ValueError` where figures that others wrote to `file` lack what a report shows of them, in any way."""
    try:
        _page(outcome, pd.DataFrame(), {})
    except Exception as error:
        why = f"{type(error).__name__}: {str(error)[:200]}"
        raise ValueError(f"{file}: its figures cannot be shown ({why}); evaluate again") from error


def _page(outcome: Evaluation, verdicts: pd.DataFrame, pictures: Mapping[str, Sequence[Picture]]) -> str:
    sections = [_headline(outcome, verdicts)]
    for title, shown in pictures.items():
        sections.append(Section(title=title, tables=_tables(title, outcome), figures=list(shown)))
    missing = [title for title in _TABLES if title not in pictures]
    sections += [Section(title=title, tables=tables) for title in missing if (tables := _tables(title, outcome))]
    if outcome.rescored:
        sections.append(Section(title="Under other settings", tables=[_rescored(outcome)]))
    sections.append(Section(title="All metrics", tables=[_all(outcome), _definitions(outcome)]))
    told = outcome.model_dump(mode="json", include={"model", "data", "settings", "versions", "metrics_lock"})
    return render(
        "evaluation/report.html.j2",
        title=f"Evaluation: {outcome.name}",
        lead=_lead(outcome),
        sections=sections,
        flags={name: sentences for name, sentences in outcome.flags.items() if sentences},
        outcome=outcome,
        settings=json.dumps(told, indent=2),
        footer="Protocol and figures after Liu et al., iScience 27, 110672 (2024), doi:10.1016/j.isci.2024.110672.",
    )


def _lead(outcome: Evaluation) -> str:
    data = outcome.data
    n = outcome.rows[outcome.name].get("structural_validity")
    crystals, parents = (n.n, n.clusters) if n else (0, 0)
    known = _against(data)
    source = data.get("source") or "a source that is not named"
    if outcome.kind == "structures":
        return f"{crystals:,} crystals from {source}; {known}. Brackets are 95 % intervals."
    part = f" ({data['part']})" if data.get("part") else ""
    return (
        f"{crystals:,} restored crystals of {parents:,} parents from {source}{part}; {known}. Brackets are 95 % "
        "intervals from a bootstrap over parents."
    )


def _against(data: Mapping[str, Any]) -> str:
    """Return what novelty is against: how many crystals of what, and how many rows could not be read."""
    if not data.get("reference"):
        return "no reference"
    unread = data.get("reference_rejected_rows", 0)
    lacking = f" ({unread:,} more rows could not be read)" if unread else ""
    return f"new against {data.get('reference_crystals'):,} crystals of {data['reference']}{lacking}"


def metric_titles(outcome: Evaluation) -> dict[str, str]:
    """Return titles by metric name, the score among them."""
    return {metric.name: metric.title for metric in metrics_of(outcome.settings.metrics)} | {"score": "Score"}


def headline_metrics(outcome: Evaluation) -> list[str]:
    """Return those of `HEADLINE` that some row has."""
    return [name for name in HEADLINE if any(name in row for row in outcome.rows.values())]


def _headline(outcome: Evaluation, verdicts: pd.DataFrame) -> Section:
    titles = metric_titles(outcome)
    shown = headline_metrics(outcome)
    rows = [
        TableRow(
            cells=[name, f"{most_rows(found.values()):,}", *(_cell(found.get(metric), found) for metric in shown)],
            highlighted=name == outcome.name,
        )
        for name, found in outcome.rows.items()
    ]
    first = Table(heads=["", "n", *(titles[name] for name in shown)], rows=rows, note=_reading(outcome))
    tables = [first, *_novelty(outcome, titles)]
    if len(verdicts):
        tables.append(_verdicts(verdicts, titles))
    if outcome.kind == "checkpoint":
        tables.insert(1, _rows_explained(outcome))
    return Section(title="Headline", tables=tables)


def _novelty(outcome: Evaluation, titles: Mapping[str, str]) -> list[Table]:
    """Return new crystals and their energies, of the rows that have them."""
    shown = [name for name in NOVELTY if any(name in row for row in outcome.rows.values())]
    if not shown:
        return []
    rows = [
        TableRow(
            cells=[name, *(_cell(found[m]) if m in found else "–" for m in shown)], highlighted=name == outcome.name
        )
        for name, found in outcome.rows.items()
        if any(metric in found for metric in shown)
    ]
    note = (
        "Uniqueness and novelty: StructureMatcher with pymatgen's defaults, unique within one mask type and sigma, "
        f"{_against(outcome.data)}. n: the crystals that a mean rests on; those that no test could tell from another "
        "are undecided, and not among them. Energies (eV/atom): a sample; ΔE where the composition was "
        "restored."
    )
    note = "\n".join([note, *outcome.energies.get("doubts", [])])
    return [
        Table(title="New crystals and energies", heads=["", *(titles[name] for name in shown)], rows=rows, note=note)
    ]


def _reading(outcome: Evaluation) -> str:
    rules = outcome.settings.metrics.composition
    exempt = "alloys and elements valid" if rules.alloys else "alloys not exempt"
    text = f"Score: {SCORE_TEXT}. Compositional validity: SMACT 4, {rules.oxidation_states} oxidation states, {exempt}."
    if outcome.kind == "checkpoint":
        text += f" Decoded by {outcome.settings.decode}{_RULED[outcome.settings.decode.charge]}."
    if outcome.kind == "structures":
        return f"{text} Similarities and match rate: against the original with the same id, where there is one."
    return text


_RULED = {
    "any": "",
    "prefer": ": compositional validity is by the rule that candidates were ranked by",
    "require": ": compositional validity is by the rule that candidates were chosen by",
}
"""What is said of it where decoding used the rule."""

_ROWS = {
    "all atoms": "the same model, with visible species predicted too, which is the paper's reading; above it they are "
    "kept as given. Positions are the same.",
    "ceiling": "the true crystals: the best that any model can score.",
    "identity": "the input as it is, masked atoms masked. Its structural similarity is scored on positions alone and "
    "is 0 by construction.",
    "most common": "every masked atom becomes the commonest element of the training crystals, positions as corrupted.",
    "substitution": "told the true element, it replaces it by the likeliest other one of the same charge, mined from "
    "known crystals (Hautier et al., doi:10.1021/ic102031h): what validity costs without restoring anything.",
}
"""What the rows are, for a reader who has only the paper."""


def _rows_explained(outcome: Evaluation) -> Table:
    rows = [TableRow(cells=[name, text]) for name, text in _ROWS.items() if any(name in row for row in outcome.rows)]
    return Table(heads=["Row", ""], rows=rows, title="What the rows are")


def _verdicts(verdicts: pd.DataFrame, titles: Mapping[str, str]) -> Table:
    rows = [
        TableRow(
            cells=[
                titles.get(row["metric"], row["metric"]),
                f"{row['a']} − {row['b']}",
                {"mean": row["difference"], "low": row["low"], "high": row["high"]},
                f"{row['p_adjusted']:.4f}",
                f"{row['n']:,} / {row['clusters']:,}",
                row["verdict"],
            ]
        )
        for row in verdicts.to_dict("records")
        if row["n"]
    ]
    tested = int(verdicts["p"].notna().sum())
    return Table(
        title="Is the difference real?",
        heads=["Metric", "", "Difference", "corrected p", "rows / parents", "Verdict"],
        rows=rows,
        note=f"Paired by corrupted crystal, bootstrap over parents, p corrected by Holm's method for {tested} "
        "comparisons; intervals are not corrected. One model: spread between training seeds is not in these intervals.",
    )


def _tables(title: str, outcome: Evaluation) -> list[Table]:
    return [table for make in _TABLES.get(title, ()) for table in make(outcome)]


_CALIBRATED = {True: "as the checkpoint's calibration has them", False: "as the network gives them"}


def odds_metrics(outcome: Evaluation) -> list[str]:
    """Return names of the figures of odds that the model's row has."""
    return [metric.name for metric in ODDS if metric.name in outcome.rows[outcome.name]]


def _odds(outcome: Evaluation) -> list[Table]:
    found, titles = outcome.rows[outcome.name], metric_titles(outcome)
    if not (shown := odds_metrics(outcome)):
        return []
    rows = [TableRow(cells=[titles[name], _cell(found[name])]) for name in shown]
    for name, each in outcome.odds.items():
        cell = {"mean": each.calibration_error, "low": None, "high": None, "n": each.n}
        rows.append(TableRow(cells=[f"Expected calibration error, {name}", cell]))
    note = (
        f"Decoded by {outcome.settings.decode}; odds {_CALIBRATED['calibration_sha256' in outcome.model]}. Calibration "
        f"errors: {BINS} bins of equal mass; perfect odds have one above 0 too, the smaller the more cases."
    )
    return [Table(heads=["", outcome.name], rows=rows, note=note)]


def _strata(outcome: Evaluation) -> list[Table]:
    tables = []
    for name, rows in outcome.strata.items():
        metrics = [metric for metric in HEADLINE if any(row["metric"] == metric for row in rows)]
        bins = list(dict.fromkeys(row["stratum"] for row in rows))
        found = {(row["stratum"], row["metric"]): row for row in rows}
        lines = [
            TableRow(cells=[str(each), *(found.get((each, metric), _UNDEFINED) for metric in metrics)]) for each in bins
        ]
        by, titles = STRATA[name].label, metric_titles(outcome)
        heads = [by, *(titles[metric] for metric in metrics)]
        tables.append(Table(folded=f"By {by}: the figures", heads=heads, rows=lines))
    return tables


def _distributions(outcome: Evaluation) -> list[Table]:
    if not outcome.distributions:
        return []
    rows = [
        TableRow(cells=[name, each["measure"], _of(each), f"{each['floor']:.3f}", f"{each['floor_high']:.3f}"])
        for name, each in outcome.distributions.items()
    ]
    note = (
        "Distance of the generated from the true crystals as sets. Two samples of one population are never at zero: "
        "the floor is the mean and the 95 % point of the distance between two resamples of the true crystals."
    )
    return [Table(heads=["Quantity", "measure", "distance", "floor", "95 % of floor"], rows=rows, note=note)]


def _energy(outcome: Evaluation) -> list[Table]:
    if not outcome.energies:
        return []
    rows = [TableRow(cells=[name, str(value)]) for name, value in outcome.energies.items() if name != "doubts"]
    return [Table(heads=["", ""], rows=rows)]


def _failures(outcome: Evaluation) -> list[Table]:
    rows = [
        TableRow(cells=[column, reason, f"{n:,}"])
        for column, found in outcome.failures.items()
        for reason, n in found.items()
    ]
    return [Table(heads=["Score", "Reason", "Crystals"], rows=rows)] if rows else []


def _replacement(outcome: Evaluation) -> list[Table]:
    found = outcome.replacement
    if not found:
        return []
    rows = [TableRow(cells=["novel crystals (valid, another composition)", f"{found['novel_crystals']:,}", "", ""])]
    for by in ("group", "family"):
        if kin := found.get(f"same_{by}"):
            text = f"replacements within one {by} of the periodic table" if by == "group" else "within one family"
            rows.append(TableRow(cells=[text, f"{kin['share']:.3f}", f"{kin['expected']:.3f}", f"{kin['p']:.3f}"]))
    if mined := found.get("mined"):
        rows.append(
            TableRow(
                cells=[
                    f"ρ with mined P(A→B), {mined['cells']:,} pairs",
                    f"{mined['rho']:.3f}",
                    "0",
                    f"{mined['p']:.3f}",
                ]
            )
        )
        specific = [f"{mined['rho_specific']:.3f}", "0", f"{mined['p_specific']:.3f}"]
        rows.append(TableRow(cells=["the same without the popularity of B", *specific]))
    note = found.get("not_computed", "By chance and p: elements relabelled at random, 999 times.")
    return [Table(heads=["", "value", "by chance", "p"], rows=rows, note=note)]


_TABLES = {
    ODDS_SECTION: (_odds,),
    "Energies": (_energy,),
    "Strata": (_strata,),
    "Replacement of species": (_replacement,),
    "Distributions": (_distributions,),
    "What could not be computed": (_failures,),
}


def _rescored(outcome: Evaluation) -> Table:
    metrics = list(dict.fromkeys(m for each in outcome.rescored.values() for row in each.rows.values() for m in row))
    rows = []
    for row, found in outcome.rows.items():
        own = [_cell(found.get(metric)) for metric in metrics]
        rows.append(TableRow(cells=[row, "as evaluated", *own], highlighted=row == outcome.name))
        for name, each in outcome.rescored.items():
            if row in each.rows:
                rows.append(TableRow(cells=["", name, *(_cell(each.rows[row].get(metric)) for metric in metrics)]))
    note = "The same crystals, scored again by `crystalsweep rescore`; the settings are in metrics.json."
    return Table(heads=["", "settings", *metrics], rows=rows, note=note)


def _all(outcome: Evaluation) -> Table:
    names = list(outcome.rows)
    metrics = list(dict.fromkeys(metric for found in outcome.rows.values() for metric in found))
    rows = [TableRow(cells=[metric, *(_cell(outcome.rows[name].get(metric)) for name in names)]) for metric in metrics]
    return Table(heads=["", *names], rows=rows, folded="every metric of every row")


def _definitions(outcome: Evaluation) -> Table:
    metrics = metrics_of(outcome.settings.metrics)
    rows = [TableRow(cells=["score", SCORE_TEXT, "higher"])]
    rows += [TableRow(cells=[metric.name, metric.definition, metric.direction]) for metric in metrics]
    return Table(heads=["Metric", "Definition", "better"], rows=rows, folded="what each metric means")


_UNDEFINED = {"mean": None, "low": None, "high": None}


def most_rows(figures: Iterable[Figure | None]) -> int:
    """Return the n of a row: that of most figures, which some rest on fewer than."""
    return max((figure.n for figure in figures if figure), default=0)


def _cell(figure: Figure | None, row: Mapping[str, Figure] | None = None) -> Any:
    """Return a figure for the page; its n is left out where the row has it already."""
    if figure is None:
        return _UNDEFINED
    repeated = row is not None and figure.n == most_rows(row.values())
    return figure.model_dump() | ({"n": None} if repeated else {})


def _of(distance: Mapping[str, Any]) -> dict[str, Any]:
    return {"mean": distance["distance"], "low": distance["low"], "high": distance["high"]}
