"""What `compare` is given: evaluations, or arms of several, one for each training seed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

_RUN = re.compile(r"([0-9a-f]{32})(?:/(.+))?")


_NO_RECIPE = {"seed", "max_minutes", "patience", "ahead", "best_mode"}
"""Settings in which trainings of one recipe may differ."""


class Arm(NamedTuple):
    """One recipe: the evaluations of its trainings, in the order of their seeds."""

    label: str
    evaluations: list[str]
    """Their short names, by which tables and notes call them."""


def run_of(reference: str) -> re.Match[str] | None:
    """Return MLflow's run id and the evaluation's name in a reference that is no folder; None where it is none."""
    return None if Path(reference).exists() else _RUN.fullmatch(reference)


def arms_of(given: Sequence[str]) -> tuple[list[Arm], dict[str, str]]:
    """Return what is compared, and the reference of each evaluation by its short name.

    Args:
        given: An evaluation, or several with commas between them, with `NAME=` before them or not.

    Raises:
        ValueError: One is given twice, or two arms have one name.
    """
    split = [_split(each) for each in given]
    references = [reference for _, arm in split for reference in arm]
    if len(set(references)) < len(references):
        raise ValueError(f"one evaluation is given twice: {' '.join(given)}")
    short = dict(zip(references, _labels(references), strict=True))
    arms = [Arm(name or _shared([short[each] for each in arm]), [short[each] for each in arm]) for name, arm in split]
    labels = [arm.label for arm in arms]
    if len(set(labels)) < len(labels):
        raise ValueError(f"two arms are called {max(labels, key=labels.count)}: name them, as taught=A,B,C")
    return arms, {label: reference for reference, label in short.items()}


def recipe_of(model: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that a model was trained with, but for its seed and for what changes no number."""
    return {key: value for key, value in model.get("config", {}).items() if key not in _NO_RECIPE}


def _split(given: str) -> tuple[str, list[str]]:
    if Path(given).exists():
        return "", [given]
    name, found, rest = given.partition("=")
    if not found or "/" in name or Path(name).exists():
        name, rest = "", given
    return name, [each.strip() for each in rest.split(",") if each.strip()]


def _labels(references: Sequence[str]) -> list[str]:
    """Return short names: of a folder its own, of a run the first eight digits; as typed where two would be the
    same."""
    short = []
    for reference in references:
        run = run_of(reference)
        short.append(run[1][:8] if run else Path(reference).resolve().name)
    return [each if short.count(each) == 1 else typed for each, typed in zip(short, references, strict=True)]


def _shared(labels: Sequence[str]) -> str:
    """Return what the names of an arm begin with, or all of them where that is nothing."""
    if len(labels) == 1:
        return labels[0]
    return re.sub(r"[-_. ]*(s|seed)?$", "", "".join(_common(labels))) or "+".join(labels)


def _common(labels: Sequence[str]) -> Iterator[str]:
    """Yield the letters that all begin with."""
    for letters in zip(*labels, strict=False):
        if len(set(letters)) > 1:
            return
        yield letters[0]
