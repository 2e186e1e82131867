"""An answer as text for a terminal: a ranked table, and what to know of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from crystalsweep.inference.known import Nearest
from crystalsweep.pages.text import three_digits
from crystalsweep.wording.stranger import in_a_line, tabulated

_HEADS = ("#", "candidate", "on masked sites", "probability", "charges", "shortest Å", "nearest known crystal")
_ENERGY = "energy eV/atom"


def told(answer: Mapping[str, Any]) -> str:
    """Return an answer of `answer_of` as text."""
    lines = [in_a_line(heading(answer))]
    if answer["candidates"]:
        lines += ["", _table(answer), ""]
    return "\n".join([*lines, *(in_a_line(line) for line in remarks(answer))])


def told_briefly(answer: Mapping[str, Any]) -> str:
    """Return an answer as one line: its best three."""
    best = [
        f"{each['formula']} {predicted_of(each) or format(each['probability'], '.3f')}"
        for each in answer["candidates"][:3]
    ]
    return in_a_line(f"{answer['where'] or answer['id']}: {', '.join(best) or 'no candidate'}")


def heading(answer: Mapping[str, Any]) -> str:
    """Return what a crystal is called and what was masked of it."""
    said = not answer["where"] or Path(answer["where"]).stem == answer["id"]
    name = (answer["where"] or answer["id"]) if said else f"{answer['where']} ({answer['id']})"
    masked = len(answer["masked"])
    return f"{name}: {answer['given']}, {masked} of {answer['atoms']} sites masked (X)" if masked else name


def remarks(answer: Mapping[str, Any]) -> Iterator[str]:
    """Yield what to know of an answer, a line each."""
    shown = {each["rank"]: each["formula"] for each in answer["candidates"]}
    for each in answer["sets"]:
        if named := [f"{rank} {shown[rank]}" for rank in each["ranks"]]:
            yield f"in {100 * each['coverage']:.0f} % of such cases the right one is among: {', '.join(named)}"
    if answer["masked"] and answer["candidates"]:
        yield _worth(answer)
    if answer["ranked_by"] and answer["candidates"]:
        yield from _ranked(answer["ranked_by"], len(answer["candidates"]))
    failures = {each["energy_failure"] for each in answer["candidates"]} - {""}
    yield from (f"no energy: {failure}" for failure in sorted(failures))
    yield from (f"note: {note}" for note in answer["notes"])
    yield from (f"warning: {warning}" for warning in answer["warnings"])


def _worth(answer: Mapping[str, Any]) -> str:
    """Return what the probabilities are of, and whether they were held against known crystals."""
    every = "of all choices that these constraints leave" if answer["limited"] else "of all choices there are"
    of = "shares among the candidates found" if answer["renormalised"] else every
    held = "calibrated on crystals kept from training" if answer["held"] else "made of calibrated odds"
    fitted = held if answer["calibrated"] else "the model's own, not calibrated"
    return f"probabilities: {of}, {fitted}"


def _ranked(by: Mapping[str, Any], candidates: int) -> Iterator[str]:
    """Yield what the order is, and what the predictions are worth."""
    first = "highest" if by["order"] == "descending" else "lowest"
    what = f"the {candidates} likeliest candidates, " if candidates > 1 else ""
    yield f"ranked by {by['property']}, {first} first, of {what}each as it stands, without relaxation; by {by['model']}"
    yield by["promise"]


def property_head(answer: Mapping[str, Any]) -> str:
    """Return the head of the column of predictions; empty where candidates are not ranked by any."""
    by = answer["ranked_by"]
    return " ".join([by["property"], by["unit"]]).strip() if by else ""


def predicted_of(candidate: Mapping[str, Any]) -> str:
    """Return what is predicted of a candidate as a cell of a table: `171 [140, 202]`, or `0.83 (yes)`."""
    found = candidate["predicted"]
    if found is None or found["value"] is None:
        return ""
    value = three_digits(found["value"])
    if found["set"]:
        return f"{found['value']:.3f} ({found['set'].replace('|', ' or ')})"
    if found["low"] is None or found["high"] is None:
        return value
    return f"{value} [{three_digits(found['low'])}, {three_digits(found['high'])}]"


def _table(answer: Mapping[str, Any]) -> str:
    energies = any(each["energy_per_atom"] is not None for each in answer["candidates"])
    ranked_by = property_head(answer)
    rows = [
        (
            each["rank"],
            each["formula"],
            each["filled"],
            *((predicted_of(each),) if ranked_by else ()),
            _share(each["probability"]),
            "balanced" if each["charge_balanced"] else "not balanced",
            f"{each['shortest_distance']:.2f}",
            known_of(each),
            *((_number(each["energy_per_atom"]),) if energies else ()),
        )
        for each in answer["candidates"]
    ]
    heads = (*_HEADS[:3], *((ranked_by,) if ranked_by else ()), *_HEADS[3:], *((_ENERGY,) if energies else ()))
    return tabulated(rows, heads, disable_numparse=True)


def _share(probability: float) -> str:
    """Return a probability as a cell; 0.000 is none."""
    return f"{probability:.3f}" if probability >= 0.0005 else "< 0.001"


def known_of(candidate: Mapping[str, Any]) -> str:
    """Return the nearest known crystal of a candidate as a cell of a table."""
    return str(Nearest(**candidate["known"])) if candidate["known"] else ""


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
