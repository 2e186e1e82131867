"""What is asked of any promotion, and what both kinds of judging take from a checkpoint."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from crystalsweep.artifacts.atomic import file_sha256
from crystalsweep.inference.locate import Location
from crystalsweep.networks.checkpoint import read_info
from crystalsweep.registry.dossier import Candidate
from crystalsweep.registry.versions import weights_of

Say = Callable[[str], object]
"""Told of each step."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is asked of the promotion of a property model, and the first part of that of a generator."""

    reference: str
    """The checkpoint, as `locate` understands it."""
    model: str
    """Name in the registry."""
    alias: str
    trained_on: Sequence[str] = ()
    """Data sets, beside the bundled one, that the lineage may have been trained on."""
    forced: str = ""
    """Reason to promote against the gates; empty does not."""
    storage: Path = field(default_factory=Path)
    """Local folder of downloads and of promotions' files."""


@dataclass(frozen=True)
class Champion:
    """Whom a candidate is held against."""

    found: Location
    imported: bool
    """Whether it came in an archive: its dossier says what its author wrote, and decides no promotion here."""


def new_folder(asked: Asked) -> Path:
    """Return a new one for the version's files."""
    now = datetime.now().strftime("%Y%m%d-%H%M%S-%f")
    folder = asked.storage / "promotions" / f"{asked.model}-{now}"
    folder.mkdir(parents=True)
    return folder


def candidate_of(
    asked: Asked, found: Location, checkpoint: Path, parameters: int, ancestry: list[dict[str, str]]
) -> Candidate:
    """Return what a dossier says of the checkpoint that it judges.

    Args:
        asked: How it was named.
        found: Where it came from.
        checkpoint: Its copy among the version's files.
        parameters: Of its network.
        ancestry: Trainings that led to it.
    """
    info = read_info(checkpoint)
    return Candidate(
        reference=asked.reference,
        run=found.run,
        stage=info.stage,
        epoch=info.kept_epoch,
        step=info.kept_step,
        backbone=str(info.config["backbone"]["name"]),
        parameters=parameters,
        weights_sha256=file_sha256(weights_of(checkpoint)),
        data_sha256=info.data_sha256,
        split_sha256=info.split_sha256,
        lineage=ancestry,
        config=info.config,
    )


def run_command(command: str, folder: Path, out: Path, more: Sequence[str] = ()) -> None:
    """Run a dossier's command in a version's folder, in a process of its own, into `out`.

    Args:
        command: `crystalsweep …`, as the dossier has it.
        folder: The version's files.
        out: Folder that the command makes; not there yet.
        more: Further options, which change no figure.

    Raises:
        ValueError: It failed, or left no figures.
    """
    environ = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    ours = ["--out", str(out), "--no-report", *more]
    asked = [sys.executable, "-m", "crystalsweep", *shlex.split(command)[1:], *ours]
    ran = subprocess.run(asked, cwd=folder, env=environ, capture_output=True, text=True)
    if ran.returncode or not (out / "metrics.json").exists():
        raise ValueError(f"{command} failed in {folder}: {' '.join(ran.stderr.split())[-500:]}")
