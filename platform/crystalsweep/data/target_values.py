"""The targets of crystals as numbers, with what is not labelled left open."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from crystalsweep.data.classes import class_values, classes_of
from crystalsweep.data.labels import has_label, told_labels
from crystalsweep.data.packed import ids_of, label_values
from crystalsweep.data.reading import Note
from crystalsweep.data.spectra import FORM, Column, columns_of, has_spectrum, spectrum_values
from crystalsweep.structures.crystal import Crystal
from crystalsweep.structures.targets import Target

_NAMED = 3
"""Crystals that a message names."""


def target_values(
    crystals: Sequence[Crystal], target: Target, classes: Sequence[str] = (), column: Column | None = None
) -> NDArray[np.float64]:
    """Return (M,) what is learnt of each: the label, its log10, 1 for yes and 0 for no, or the index of its class; of a
    spectrum (M, P); NaN where unlabelled.

    Args:
        crystals: M of them.
        target: What is learnt.
        classes: Of a target that is a class.
        column: Of a target that is a spectrum.

    Raises:
        ValueError: A logarithm is asked of a label that is not greater than 0, a crystal is of no class among
            `classes`, or of two, or has its spectrum on another grid; names the crystals.
    """
    if target.spectrum:
        assert column is not None, "a spectrum has a grid"
        return spectrum_values(crystals, column)
    if target.classed:
        return class_values(crystals, target.label, classes)
    values = label_values(crystals, target.label)
    if target.threshold is not None:
        return np.where(np.isnan(values), np.nan, values <= target.threshold)
    if not target.log10:
        return values
    wrong = np.flatnonzero(values <= 0)
    if len(wrong):
        ids = ids_of(crystals)
        named = ", ".join(f"{ids[i]} ({values[i]:g})" for i in wrong[:_NAMED])
        raise ValueError(
            f"{target.name}: {len(wrong):,} of {int((~np.isnan(values)).sum()):,} labels are not greater than 0, as of "
            f"{named}: leave these crystals out, or learn {target.label} itself"
        )
    return np.log10(values)


def require_labels(
    crystals: Sequence[Crystal], targets: Sequence[Target], part: str, notes: Sequence[Note] = ()
) -> None:
    """Require that some crystals have each target's label. Raises `ValueError` naming the labels that there are, and
    why a column is none, where the `notes` on reading say so."""
    for target in targets:
        if _has(crystals, target).any():
            continue
        if columns_of(crystals, target.label) and not target.spectrum:
            raise ValueError(f"{target.label} is a spectrum: ask for spectrum({target.label})")
        if classes := classes_of([crystals], target.label):
            raise ValueError(f"{target.label} is a class ({', '.join(classes)}): ask for class({target.label})")
        column = f" or class {target.label!r}, a column named class({target.label})" if target.classed else ""
        column = f" in a column named {FORM}" if target.spectrum else column
        raise ValueError(
            f"no {part} crystal has a label {target.label!r}{column}; the labels there are: "
            f"{told_labels(crystals, [target.label], notes)}"
        )


def require_answers(crystals: Sequence[Crystal], target: Target, classes: Sequence[str] = ()) -> None:
    """Require of a question or class that training crystals do not all answer alike: whatever is learnt of these is
    right about all of them.

    Args:
        crystals: That are trained on.
        target: What is learnt; of numbers and spectra nothing is required.
        classes: Of a target that is a class.

    Raises:
        ValueError: They do; says how many they are, and what else to ask.
    """
    answers = _answers(crystals, target, classes)
    if len(set(answers)) != 1:
        return
    why = f"{target.name}: all {len(answers):,} labelled training crystals answer {answers[0]}"
    if target.classed:
        raise ValueError(f"{why}: there is nothing to tell apart; give crystals of another class too")
    values = label_values(crystals, target.label)
    least, greatest = np.nanmin(values), np.nanmax(values)
    if least == greatest:
        raise ValueError(f"{why}, for {target.label} is {least:g} in all; look at this column, or train on more")
    raise ValueError(
        f"{why}, for {target.label} is {least:g} to {greatest:g} there; ask with a threshold in this range, or train "
        "on more crystals"
    )


def told_answers(crystals: Sequence[Crystal], target: Target, classes: Sequence[str] = ()) -> str:
    """Return a line where all validation crystals answer a question or class alike; empty where they do not."""
    answers = _answers(crystals, target, classes)
    if len(set(answers)) != 1:
        return ""
    alike = f"all {len(answers):,} labelled validation crystals answer {answers[0]}"
    return f"{target.name}: {alike}; how well a model tells the answers apart is not seen on them"


def _answers(crystals: Sequence[Crystal], target: Target, classes: Sequence[str]) -> list[str]:
    """Return the answers of the labelled crystals to a question or class; none of other targets."""
    if target.kind != "classification":
        return []
    values = target_values(crystals, target, classes)
    names = classes if target.classed else ("no", "yes")
    return [names[int(each)] for each in values[~np.isnan(values)]]


def _has(crystals: Sequence[Crystal], target: Target) -> NDArray[np.bool_]:
    """Return (M,) whether each has the label as the target asks for it."""
    if target.spectrum:
        return has_spectrum(crystals, target.label)
    return has_label(crystals, target.label) if target.classed else ~np.isnan(label_values(crystals, target.label))
