"""What an evaluation is asked for, and where it runs. Imports without torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from crystalsweep.artifacts.places import require_writable
from crystalsweep.evaluation.settings import EvaluationSettings, changed_settings
from crystalsweep.evaluation.spread import available_workers
from crystalsweep.evaluation.suite import Suite
from crystalsweep.structures.devices import device_named

EVALUATIONS = "evaluations"
"""Folder of results where nobody names one."""

FEW_CRYSTALS = 1000
"""Crystals below which starting Ray takes longer than it saves."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Where an evaluation runs."""

    workers: int | None = None
    """Processes; by default one for few crystals, else one per CPU of the cluster or machine."""
    device: str | None = None
    """Of the networks; the GPU if there is one."""

    def for_crystals(self, n: int) -> int:
        """Return the number of processes for so many crystals."""
        return self.workers or (1 if n < FEW_CRYSTALS else available_workers())

    @property
    def torch_device(self) -> str:
        """The device, as torch names it."""
        return device_named(self.device)


@dataclass(frozen=True, kw_only=True)
class EvaluationRequest:
    """A checkpoint to restore and score corrupted crystals with, or a file of crystals to score as they are."""

    checkpoint: str | None = None
    """Run folder, MLflow run id, `models:/name@alias`, or the name of a reference row."""
    structures: Path | None = None
    """Instead: crystals made by any tool, as a file or folder."""
    source: str | None = None
    """Crystals to corrupt and restore: `bundled`, which is the default, a data set, or TRAIN,VAL."""
    part: str | None = None
    """Part of `source`; by default test, else val, else all."""
    reference: str | None = None
    """Training crystals to be new against; by default the train part of `source`."""
    originals: str | None = None
    """True crystals of the same ids as `structures`; by default those of `reference`."""
    settings: EvaluationSettings = field(default_factory=EvaluationSettings)
    out: Path | None = None
    """Result folder; by default `evaluations/NAME-HASH`."""
    name: str | None = None
    """What tables and plots call it; by default its stage, or the file's name."""
    report: bool = True
    """Whether plots and page are drawn, which change no figure."""
    machine: Machine = Machine()

    @classmethod
    def of_suite(
        cls,
        suite: Suite,
        checkpoint: str,
        *,
        out: Path | None = None,
        name: str | None = None,
        report: bool = True,
        machine: Machine,
    ) -> EvaluationRequest:
        """Ask for a suite's figures of a checkpoint.

        Args:
            suite: Frozen crystals and settings.
            checkpoint: What is to restore them.
            out: Result folder.
            name: What tables and plots call it.
            report: Whether plots and page are drawn.
            machine: Where it runs.
        """
        return cls(
            checkpoint=checkpoint,
            source=suite.source,
            part=suite.part,
            settings=suite.settings,
            out=out,
            name=name,
            report=report,
            machine=machine,
        )

    def require_sound(self) -> None:
        """Raise `ValueError` where options do not go together, or the result folder cannot be written."""
        if (self.checkpoint is None) == (self.structures is None):
            raise ValueError("give either --checkpoint REF or --structures PATH")
        given = {"checkpoint": self.checkpoint, "data": self.source, "name": self.name, "reference": self.reference}
        if empty := [option for option, value in given.items() if value == ""]:
            raise ValueError(f"--{empty[0]} is empty: is a variable of your shell unset?")
        if self.checkpoint is not None and self.originals:
            raise ValueError("--originals goes with --structures")
        require_writable(self.out or Path(EVALUATIONS), "give another folder with --out")
        if self.structures is None:
            return
        if self.reference is None:
            raise ValueError("--structures needs --reference: crystals to be new against (and the originals, by id)")
        unread = [path for path in changed_settings(self.settings) if path.startswith(("protocol.", "decode."))]
        if unread := [path for path in unread if path not in ("protocol.seed", "protocol.max_crystals")]:
            raise ValueError(f"{', '.join(unread)}: of --checkpoint; nothing restores the crystals of --structures")
        filtered = self.settings.max_atoms or self.settings.stable_only or self.settings.protocol.max_crystals
        if self.source or self.part or filtered:
            raise ValueError(
                "--data, --part, --max-crystals, --max-atoms and stable_only go with --checkpoint; --structures are "
                "scored all, against --reference and --originals"
            )
