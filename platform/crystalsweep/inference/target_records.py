"""`targets.json` of a checkpoint: how a property model's outputs become labels again, and how far off they may be."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError, model_validator

from crystalsweep.artifacts.safe_json import read_json
from crystalsweep.artifacts.sums import require_sum
from crystalsweep.config import Config
from crystalsweep.data.classes import LONGEST_CLASS, MOST_CLASSES
from crystalsweep.data.spectra import MOST_POINTS, Column, Finite, Grid
from crystalsweep.inference.familiarity import Training
from crystalsweep.structures.targets import Kind, Target, TargetName, target_of
from crystalsweep.wording.mistakes import mistakes

TARGETS_FILE = "targets.json"

Values = NDArray[np.float64]

Count = Annotated[int, Field(ge=0, le=1 << 53)]
ClassName = Annotated[str, Field(min_length=1, max_length=LONGEST_CLASS)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class SpectrumRecord(Config):
    """Where a target that is a spectrum is given, and what is taken off it."""

    grid: Grid
    mean: Annotated[tuple[Finite, ...], Field(max_length=MOST_POINTS)]
    """(P,) mean spectrum of labelled training crystals; zeros of a sum over atoms."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(self.mean) != self.grid.points:
            raise ValueError(f"a mean spectrum of {len(self.mean)} numbers on a grid of {self.grid.points} points")
        return self


class TargetRecord(Config):
    """One target of a trained property model."""

    name: TargetName
    """As `targets` of the config has it."""
    mean: Finite
    """Taken off what is learnt: its mean over labelled training crystals; 0 of a sum over atoms, of answers and of
    spectra, which have a mean of their own."""
    std: Annotated[float, Field(gt=0, le=1e30, allow_inf_nan=False)]
    """Divides it: its standard deviation over them, of a spectrum over all points too; 1 for answers."""
    trained_on: Count
    """Labelled training crystals."""
    coverage: Annotated[float, Field(gt=0, lt=1)] = 0.9
    """Share of new crystals of the same kind whose label is in the interval, or the set."""
    margin: Finite | None = None
    """Half-width of the interval, or of the band that holds a whole spectrum, in scaled units, or greatest 1 − p of an
    answer in the set; None: too few crystals."""
    calibrated_on: Count = 0
    """Validation crystals that the margin is from."""
    covered: Share | None = None
    """Share of the other validation crystals that it covered; None where there are none."""
    checked_on: Count = 0
    """How many those are."""

    classes: Annotated[tuple[ClassName, ...], Field(max_length=MOST_CLASSES)] = ()
    """Names of the classes, in the order of the network's outputs; none of a number or a question."""
    counts: Annotated[tuple[Count, ...], Field(max_length=MOST_CLASSES)] = ()
    """Labelled training crystals of each."""
    spectrum: SpectrumRecord | None = None
    """Of a target that is a spectrum."""

    @model_validator(mode="after")
    def _has_classes(self) -> Self:
        """Require two classes or more of a target that is a class, and none of another."""
        n = len(set(self.classes))
        if n != len(self.classes) or (n < 2 if self.target.classed else n):
            raise ValueError(f"{self.name} with the classes {', '.join(self.classes) or 'none'}")
        if self.target.spectrum != (self.spectrum is not None):
            raise ValueError(f"{self.name} {'without' if self.target.spectrum else 'with'} a grid")
        return self

    @property
    def target(self) -> Target:
        """What is predicted."""
        return target_of(self.name)

    @property
    def answers(self) -> tuple[str, ...]:
        """What can be answered, in the order of the network's outputs; nothing where a number is predicted."""
        return self.classes or (("no", "yes") if self.target.kind == "classification" else ())

    @property
    def outputs(self) -> int:
        """Outputs of the network: a number, a logit for each answer, or a number for each point of the grid."""
        return self.spectrum.grid.points if self.spectrum else len(self.answers) or 1

    @property
    def columns(self) -> int:
        """How many numbers are learnt of a crystal: one, or one for each point of the grid."""
        return self.spectrum.grid.points if self.spectrum else 1

    @property
    def column(self) -> Column | None:
        """The column of a file that holds such spectra; None of a target that is none."""
        return Column(self.target.label, self.spectrum.grid) if self.spectrum else None

    @property
    def promise(self) -> str:
        """What the interval or the set of answers holds, and how that was checked, in a sentence."""
        what = _PROMISED[self.target.kind]
        if self.margin is None:
            return f"{self.name}: no {what}: {self.calibrated_on} validation crystals are too few for one"
        told = f"{self.name}: the {what} is for {self.coverage:.0%} of cases"
        if self.covered is None:
            return f"{told}; no validation crystal was left to check it on"
        checked = f"{self.checked_on:,} validation crystals that it was not made from"
        return f"{told}; it held {self.covered:.1%} of {checked}"

    def scaled(self, values: Values) -> Values:
        """Return (M,), or (M, P), what is learnt in the units of the network's output."""
        return np.asarray((values - self._middle) / self.std)

    def label(self, output: Values) -> Values:
        """Return (M,), or (M, P), labels, in their own unit, of scaled outputs."""
        learnt = np.asarray(output * self.std + self._middle)
        return np.asarray(10**learnt) if self.target.log10 else learnt

    @property
    def _middle(self) -> Values | float:
        return np.array(self.spectrum.mean) if self.spectrum else self.mean


_PROMISED: dict[Kind, str] = {"regression": "interval", "classification": "set", "spectrum": "band"}
"""What has the stated coverage, by the kind of target."""


class TargetRecords(Config):
    """All targets of a checkpoint, in the order of the network's outputs."""

    targets: tuple[TargetRecord, ...]
    training: Training | None = None
    """What the crystals were like that it learned from; None of older checkpoints."""


def write_targets(folder: Path, records: Sequence[TargetRecord], training: Training | None = None) -> None:
    """Write `targets.json` into a checkpoint's folder; `training` is of the crystals that it learned from, if known."""
    content = TargetRecords(targets=tuple(records), training=training).model_dump(mode="json")
    (folder / TARGETS_FILE).write_text(f"{json.dumps(content, indent=2, sort_keys=True)}\n", encoding="utf-8")


def is_property_model(folder: Path) -> bool:
    """Return whether a checkpoint predicts properties."""
    return (folder / TARGETS_FILE).exists()


def read_targets(folder: Path) -> tuple[TargetRecord, ...]:
    """Return the targets of a checkpoint. Raises `ValueError` where the file is damaged or there is none."""
    return read_property(folder).targets


def read_property(folder: Path) -> TargetRecords:
    """Return all that a checkpoint says of its targets. Raises `ValueError` as `read_targets`."""
    path = folder / TARGETS_FILE
    if not path.exists():
        raise ValueError(
            f"{folder} has no {TARGETS_FILE}: it is no property model, or an older one; `crystalsweep train finetune` "
            "makes one"
        )
    require_sum(folder, path.name)
    content = read_json(path)
    try:
        return TargetRecords.model_validate(content)
    except ValidationError as error:
        raise ValueError(f"{path}: {mistakes(error, TargetRecords, content)}") from None
