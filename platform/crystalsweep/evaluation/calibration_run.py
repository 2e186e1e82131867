"""A checkpoint calibrated: from its name and a data set to `calibration.json` beside it, with tables and a diagram."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crystalsweep.artifacts.atomic import file_sha256
from crystalsweep.artifacts.seal import FILES
from crystalsweep.energies.hull import LABEL
from crystalsweep.evaluation.calibrating import TOLD, Fitted, calibrate, cases_of
from crystalsweep.evaluation.calibration_tables import as_numbers, draw, tables_of, told_sites
from crystalsweep.evaluation.energy_ranking import energy_table, rank_by_energy
from crystalsweep.evaluation.energy_rows import Energies
from crystalsweep.evaluation.inputs import Inputs, read_inputs
from crystalsweep.evaluation.seen import learned_from
from crystalsweep.evaluation.settings import EvaluationSettings
from crystalsweep.inference.calibration import CRITIC, WEIGHTS, write_calibration
from crystalsweep.inference.completion import JOINTLY
from crystalsweep.inference.decoding.settings import DecodeConfig
from crystalsweep.inference.familiarity import training_of
from crystalsweep.inference.restorer import Restorer
from crystalsweep.metrics.novelty import Reference
from crystalsweep.metrics.site_baselines import element_frequencies, nearest_visible, neighbour_frequencies
from crystalsweep.networks.checkpoint import trainings
from crystalsweep.structures.crystal import Crystal

NEIGHBOURS_OF = 10_000
"""Training crystals that are masked to learn which element is found beside which."""


@dataclass(frozen=True, kw_only=True)
class CalibrationRequest:
    """What is calibrated, on what."""

    checkpoint: str
    """Folder of a run, or of a checkpoint."""
    source: str
    """TRAIN,VAL, or a data set with these parts."""
    part: str = "val"
    """Whose crystals are masked; not `train`."""
    settings: EvaluationSettings
    """Its protocol and filters choose crystals, masks and noise; the energies are those of the ranking."""
    decoders: tuple[DecodeConfig, ...] = (JOINTLY,)
    """Whose candidates get odds and sets."""
    energies: int = 0
    """Cases whose candidates are also ranked by energy."""
    out: Path | None = None
    """Folder of tables and diagram; by default `calibration` beside the checkpoint."""
    device: str = "cpu"
    """Where the network runs."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CalibrationReport:
    """What was found, and where it lies."""

    file: Path
    """`calibration.json`."""
    folder: Path
    """Tables and diagram."""
    fitted: Fitted
    tables: list[tuple[str, pd.DataFrame]]
    """By title."""
    told: list[str] = field(default_factory=list)
    """What a reader must know."""


def calibrate_checkpoint(asked: CalibrationRequest, restorer: Restorer) -> CalibrationReport:
    """Write a checkpoint's calibration and what it is worth.

    Raises:
        ValueError: The checkpoint belongs to a sealed version, or `part` is what it was trained on, or may be.
        DataError: The data cannot be read, or none of it passes the filters.
    """
    require_open(restorer.folder)
    if asked.part == "train":
        raise ValueError("a calibration needs crystals kept from training; give --part val or test")
    learned = trainings(restorer.info)
    inputs = read_inputs(asked.source, asked.part, asked.source, asked.settings, learned)
    if not inputs.reference_parts.get("train"):
        raise ValueError(f"{asked.source} has no train part; give TRAIN,VAL, the files that the model was trained with")
    if inputs.reference_is_training_set is None:
        raise ValueError(f"{asked.source} is not divided as for the training of {asked.checkpoint}. {inputs.seen[0]}")
    parents, left_out = unknown_to(inputs.parents, inputs.reference_parts["train"], asked.settings)
    train = learned_from(inputs.reference_parts["train"], restorer.info)
    fitted = calibrate(
        restorer.generator,
        parents,
        training_of(train),
        file_sha256(restorer.folder / WEIGHTS),
        protocol=asked.settings.protocol,
        decoders=asked.decoders,
        critic=restorer.critic,
        critic_sha256=file_sha256(restorer.folder / CRITIC) if restorer.critic else "",
    )
    tables = list(tables_of(fitted, baselines_of(fitted, train, asked.settings)))
    if asked.energies:
        tables.append(("candidates by energy above the hull", _by_energy(asked, restorer, fitted, train)))
    folder = asked.out or restorer.folder.parent / "calibration"
    folder.mkdir(parents=True, exist_ok=True)
    for earlier in folder.glob("*.csv") if asked.out is None else ():  # of another calibration
        earlier.unlink()
    for title, table in tables:
        as_numbers(table).to_csv(folder / f"{_file_name(title)}.csv", index=False)
    draw(fitted, folder / "reliability.png")
    file = write_calibration(restorer.folder, fitted.calibration)
    return CalibrationReport(
        file=file, folder=folder, fitted=fitted, tables=tables, told=_told(inputs, left_out, fitted)
    )


def require_open(folder: Path) -> None:
    """Raise `ValueError` where a checkpoint is part of a registered version, whose files are final."""
    if any((each / FILES).exists() for each in (folder, folder.parent)):
        raise ValueError(f"{folder} is part of a registered version, which is sealed; calibrate before promoting")


def unknown_to(
    crystals: Sequence[Crystal], train: Sequence[Crystal], settings: EvaluationSettings
) -> tuple[list[Crystal], list[str]]:
    """Return a seeded sample of the crystals that match no training crystal, by structure and whatever their ids are,
    and a line on those that do.

    Which match, or may, is asked in the order of the sample until it is full.
    """
    wanted, known = settings.protocol.max_crystals or len(crystals), Reference(train)
    kept: list[Crystal] = []
    same: list[Crystal] = []
    for i in np.random.default_rng(settings.protocol.seed).permutation(len(crystals)).tolist():
        novel = known.contains(crystals[i], settings.metrics.duplicate) is False
        (kept if novel else same).append(crystals[i])
        if len(kept) == wanted:
            break
    told = ", ".join(crystal.id for crystal in same[:5])
    return kept, [f"{len(same):,} left out that are, or may be, among the training crystals: {told}"] if same else []


def baselines_of(
    fitted: Fitted, train: Sequence[Crystal], settings: EvaluationSettings
) -> dict[str, NDArray[np.float64]]:
    """Return (M, 118) log-probabilities of the sites that are told, by baseline, learned on the training crystals."""
    told, partials = told_sites(fitted), fitted.cases.partials
    frequencies = element_frequencies(train)
    protocol = settings.protocol.model_copy(update={"max_crystals": NEIGHBOURS_OF, "draws": 1})
    seen = cases_of(train, protocol)
    given = neighbour_frequencies(seen.originals, seen.partials, frequencies)
    beside = np.concatenate([nearest_visible(partials[k]) for k in dict.fromkeys(told.case.tolist())])
    return {
        "element frequency": np.tile(frequencies, (len(told.truth), 1)),
        "given the nearest visible neighbour": given[beside],
    }


def _by_energy(asked: CalibrationRequest, restorer: Restorer, fitted: Fitted, train: Sequence[Crystal]) -> pd.DataFrame:
    decoded = next((each for each in fitted.after if each.decode.fillings > 1), None)
    if decoded is None:
        raise ValueError("--energies ranks the candidates of a decoder that keeps several; give --decoder beam")
    known = [crystal for crystal in train if LABEL in crystal.labels]
    if not known:
        raise ValueError(f"--energies needs {LABEL} of the training crystals, for the hull")
    energies = Energies(asked.settings.energies, known, asked.device)
    seed = asked.settings.protocol.seed
    return energy_table(rank_by_energy(restorer.generator, fitted.cases, decoded, energies, asked.energies, seed))


def _told(inputs: Inputs, left_out: Sequence[str], fitted: Fitted) -> list[str]:
    told = [*inputs.told, *left_out, *inputs.seen]
    table = fitted.cases.table
    for half, what in (("fit", "fitted to"), (TOLD, "told on")):
        rows = table[table["half"] == half]
        told.append(f"{what}: {len(rows):,} masked crystals of {rows['parent'].nunique():,} parents")
    return told


def _file_name(title: str) -> str:
    return "_".join("".join(c if c.isalnum() else " " for c in title).split())[:200]
