"""A completion as plain data: what the command writes as JSON and CSV, the page shows and the server answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from crystalsweep.data.writing import cif_text, cif_with_masks, right_handed
from crystalsweep.inference.completion import Candidate, Completion
from crystalsweep.inference.inputs import Partial
from crystalsweep.inference.known import Known
from crystalsweep.inference.predicting import PropertyValue
from crystalsweep.inference.ranking import Ranking
from crystalsweep.structures.crystal import MASK
from crystalsweep.structures.elements import element_symbol, formula_of

DIGITS = 6
"""Of probabilities and coordinates."""


class Measured(NamedTuple):
    """An energy of a candidate."""

    per_atom: float
    """eV/atom; NaN where there is none. Compare those of one composition only."""
    failure: str = ""


def answer_of(
    completion: Completion,
    *,
    partial: Partial | None = None,
    known: Known | None = None,
    energies: Sequence[Measured] | None = None,
    ranking: Ranking | None = None,
) -> dict[str, Any]:
    """Return a completion as data that JSON holds; atoms count from 1, as the rows of the CIFs.

    Args:
        completion: Of one crystal.
        partial: What it was read from.
        known: Crystals to name the nearest of.
        energies: One for each candidate.
        ranking: That its candidates are in the order of.
    """
    measured: Sequence[Measured | None] = energies or [None] * len(completion.candidates)
    return {
        "id": completion.partial.id,
        "where": partial.where if partial else "",
        "given": formula_of(completion.partial.species),
        "given_cif": cif_with_masks(completion.partial),
        "atoms": len(completion.partial),
        "masked": _sites(completion),
        "calibrated": completion.calibrated,
        "held": completion.held,
        "renormalised": completion.renormalised,
        "limited": completion.limited,
        "ranked_by": None if ranking is None else _ranked_by(ranking),
        "sets": [
            {"coverage": each.coverage, "ranks": [index + 1 for index in each.candidates]}
            for each in completion.joint_sets
        ],
        "candidates": [
            _candidate(completion, candidate, rank, known, energy)
            for rank, (candidate, energy) in enumerate(zip(completion.candidates, measured, strict=True), start=1)
        ],
        "warnings": list(completion.warnings),
        "notes": list(completion.notes),
    }


def _sites(completion: Completion) -> list[dict[str, Any]]:
    """Return what is said of each masked site; where it is, in the cell of `given_cif`."""
    _, frac = right_handed(completion.partial)
    sets = completion.site_sets or ((),) * len(completion.masked)
    return [
        {
            "atom": int(atom) + 1,
            "frac": [round(float(x), DIGITS) for x in frac[atom]],
            "odds": {each.element: round(each.probability, DIGITS) for each in odds},
            "sets": [{"coverage": each.coverage, "elements": list(each.elements)} for each in told],
        }
        for atom, odds, told in zip(completion.masked, completion.odds, sets, strict=True)
    ]


def _candidate(
    completion: Completion, candidate: Candidate, rank: int, known: Known | None, energy: Measured | None
) -> dict[str, Any]:
    crystal = candidate.crystal
    nearest = known.nearest(crystal) if known else None
    return {
        "rank": rank,
        "formula": formula_of(crystal.species),
        "filled": filled(completion, candidate),
        "elements": {str(int(atom) + 1): element_symbol(int(crystal.species[atom])) for atom in completion.masked},
        "probability": round(candidate.probability, DIGITS),
        "log_probability": round(candidate.log_probability, DIGITS),
        "predicted": None if candidate.predicted is None else _predicted(candidate.predicted),
        "charge_balanced": candidate.neutral,
        "shortest_distance": round(crystal.min_edge, 4),
        "largest_move": round(float(candidate.moved.max(initial=0.0)), 4),
        "last_step": round(candidate.last_step, 4),
        "known": nearest._asdict() if nearest else None,
        "energy_per_atom": None if energy is None or np.isnan(energy.per_atom) else round(energy.per_atom, 5),
        "energy_failure": energy.failure if energy else "",
        "cif": cif_text(crystal),
    }


def _ranked_by(ranking: Ranking) -> dict[str, Any]:
    record = ranking.record
    return {
        "model": ranking.model,
        "property": record.name,
        "unit": "" if record.target.kind == "classification" else record.target.unit,
        "order": ranking.order,
        "promise": record.promise,
    }


def _predicted(value: PropertyValue) -> dict[str, Any]:
    """Return a prediction, numbers to six digits and None where there is none."""
    numbers = {name: getattr(value, name) for name in ("value", "low", "high")}
    told = {name: float(f"{each:.{DIGITS}g}") if np.isfinite(each) else None for name, each in numbers.items()}
    return {**told, "set": "|".join(value.answers)}


def filled(completion: Completion, candidate: Candidate) -> str:
    """Return what stands on the masked sites, as `Ti`, or `3 Ba, 1 Sr`."""
    chosen = candidate.crystal.species[completion.masked]
    numbers, counts = np.unique(chosen[chosen != MASK], return_counts=True)
    if len(numbers) == 1:
        return element_symbol(int(numbers[0]))
    order = np.argsort(-counts, kind="stable")
    return ", ".join(f"{counts[i]} {element_symbol(int(numbers[i]))}" for i in order)
