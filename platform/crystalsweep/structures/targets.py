"""What a property model learns: a label of the crystals, as a number, a yes or no, a class, or a spectrum. Imports
without torch.

A target is written as people say it: `k_vrh` (a number), `log10(k_vrh)` (its logarithm), `e_above_hull<=0` (whether it
is so, which is stability), `class(ordering)` (which of two or more classes), `spectrum(phonon_dos)` (numbers on a
grid). Labels are columns of the data.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,2})?"
_QUESTION = re.compile(rf"\s*(?P<label>[^<>=()\s]+)\s*<=\s*(?P<threshold>{_NUMBER})\s*")
_LOGARITHM = re.compile(r"\s*log10\(\s*(?P<label>[^<>=()\s]+)\s*\)\s*")
_CLASS = re.compile(r"\s*class\(\s*(?P<label>[^<>=()\s]+)\s*\)\s*")
_SPECTRUM = re.compile(r"\s*spectrum\(\s*(?P<label>[^<>=(),\s]+)\s*\)\s*")
_PLAIN = re.compile(r"\s*(?P<label>[^<>=()\s]+)\s*")

UNITS = {
    **dict.fromkeys(("e_above_hull", "formation_energy_per_atom", "energy_per_atom"), "eV/atom"),
    **dict.fromkeys(("band_gap", "efermi"), "eV"),
    **dict.fromkeys(("k_vrh", "g_vrh"), "GPa"),
    "density": "g/cm³",
    "volume": "Å³",
}
"""Of labels with the Materials Project's names; of others the unit is not known."""

LOWER_FIRST = ("e_above_hull", "formation_energy_per_atom", "energy_per_atom")
"""Labels of which the lowest is looked for first: energies, which are of what is stable."""

Kind = Literal["regression", "classification", "spectrum"]


@dataclass(frozen=True, kw_only=True)
class Target:
    """One quantity that a property model learns and predicts."""

    label: str
    """Name of the column."""
    threshold: float | None = None
    """In the label's unit: asks whether it is at most this. None asks for the number itself."""
    log10: bool = False
    """Whether the logarithm is learnt; labels are then greater than 0."""
    classed: bool = False
    """Whether the label is a class and no number."""
    spectrum: bool = False
    """Whether the label is a list of numbers on a grid."""

    @property
    def kind(self) -> Kind:
        """Whether a number is predicted, the probability of each answer or class, or a spectrum."""
        if self.spectrum:
            return "spectrum"
        return "classification" if self.classed or self.threshold is not None else "regression"

    @property
    def name(self) -> str:
        """As it is written: `k_vrh`, `log10(k_vrh)`, `e_above_hull<=0`, `class(ordering)`, `spectrum(phonon_dos)`."""
        if self.spectrum:
            return f"spectrum({self.label})"
        if self.classed:
            return f"class({self.label})"
        if self.threshold is not None:
            return f"{self.label}<={self.threshold:g}"
        return f"log10({self.label})" if self.log10 else self.label

    @property
    def unit(self) -> str:
        """Of the label; empty where it has none, or it is not known."""
        return UNITS.get(self.label, "")

    @property
    def lower_first(self) -> bool:
        """Whether the lowest is looked for first; of questions the likeliest yes is."""
        return self.kind == "regression" and self.label in LOWER_FIRST


STABILITY = "e_above_hull<=0"
"""The paper's first property: on the convex hull or not."""


def target_of(text: str) -> Target:
    """Return the target that a text asks for. Raises `ValueError` for anything else, saying what there is."""
    if asked := _QUESTION.fullmatch(text):
        return Target(label=asked["label"], threshold=float(asked["threshold"]))
    if asked := _LOGARITHM.fullmatch(text):
        return Target(label=asked["label"], log10=True)
    if asked := _CLASS.fullmatch(text):
        return Target(label=asked["label"], classed=True)
    if asked := _SPECTRUM.fullmatch(text):
        return Target(label=asked["label"], spectrum=True)
    if asked := _PLAIN.fullmatch(text):
        return Target(label=asked["label"])
    if asked := re.fullmatch(rf"\s*(\w+)\s*>=?\s*({_NUMBER})\s*", text):
        raise ValueError(
            f"target {text!r}: a question asks whether a label is at most a number; write {asked[1]}<={asked[2]}, and "
            "look for the answer no"
        )
    raise ValueError(
        f"target {text!r} is none of: a label's name (k_vrh), its logarithm (log10(k_vrh)), a question "
        "(e_above_hull<=0), a class (class(ordering)), or a spectrum (spectrum(phonon_dos))"
    )


def _written(text: str) -> str:
    return target_of(text).name


TargetName = Annotated[str, AfterValidator(_written)]
"""A target as text, written in the one way there is."""
