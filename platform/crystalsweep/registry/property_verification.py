"""Whether the dossier of a property model still holds: its claims, leakage, and every figure again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from crystalsweep.artifacts.atomic import file_sha256
from crystalsweep.data import DataSet
from crystalsweep.evaluation.properties.outcome import read_property_outcome
from crystalsweep.evaluation.properties.run import PropertyRequest, evaluate_property
from crystalsweep.inference.locate import Location
from crystalsweep.inference.predicting import load_predictor
from crystalsweep.networks.checkpoint import lineage, read_info
from crystalsweep.registry.asked import Say
from crystalsweep.registry.dossier import CANDIDATE, DOSSIER_FOLDER, EVALUATION, PropertyDossier
from crystalsweep.registry.gates.gate import Gate
from crystalsweep.registry.gates.reproducibility import reproducibility
from crystalsweep.registry.holding import READABLE, TOLERANCE, as_before, asked, claims, recorded
from crystalsweep.registry.property_judging import data_of, judged_targets, leakage_of
from crystalsweep.registry.versions import weights_of


def property_gates(dossier: PropertyDossier, found: Location, say: Say, *, trained_on: Sequence[str]) -> list[Gate]:
    """Return the gates of a property model, asked again.

    Args:
        dossier: Of then.
        found: The version's files.
        say: Told of each step.
        trained_on: Data sets, beside those of the dossier, that the lineage may have been trained on.

    Raises:
        ValueError: The data that it was trained on is not here, or was not named.
    """
    gates = [asked("claims", "Dossier", lambda: _claims(dossier, found))]
    if gates[0].checks[0].title == READABLE:
        return gates
    sources = (*recorded(dossier), *trained_on)
    source, data = data_of(read_info(found.folder), sources)
    say("leakage")
    gates.append(asked("leakage", "Leakage", lambda: _leakage(dossier, found, sources, data)))
    say(f"evaluation on the held-out part of {source}")
    gates.append(asked("figures", "Figures", lambda: _figures(dossier, found, source)))
    return gates


def _claims(dossier: PropertyDossier, found: Location) -> Gate:
    """Return what the dossier says of weights, lineage and figures, against the files it speaks of."""
    outcome = read_property_outcome(found.root / DOSSIER_FOLDER / EVALUATION)
    info = read_info(found.folder)
    names = [each.name for each in load_predictor(found.folder).records]
    return claims(
        {
            "weights": dossier.candidate.weights_sha256 == file_sha256(weights_of(found.folder)),
            "training": (dossier.candidate.stage, dossier.candidate.config) == (info.stage, info.config),
            "lineage": dossier.candidate.lineage == lineage([found.folder]),
            "properties": list(dossier.targets) == names,
            "figures": outcome.name == CANDIDATE and dossier.targets == judged_targets(outcome),
            "data": dossier.part == outcome.data.get("part"),
            "metrics_lock": dossier.metrics_lock == outcome.metrics_lock,
        }
    )


def _leakage(dossier: PropertyDossier, found: Location, sources: Sequence[str], data: DataSet) -> Gate:
    return as_before(dossier, leakage_of(lineage([found.folder]), sources, data, dossier.part))


def _figures(dossier: PropertyDossier, found: Location, source: str) -> Gate:
    first = read_property_outcome(found.root / DOSSIER_FOLDER / EVALUATION)
    with TemporaryDirectory() as scratch:
        again = PropertyRequest(
            checkpoint=found.folder,
            source=source,
            part=dossier.part,
            name=CANDIDATE,
            out=Path(scratch) / "again",
            report=False,
        )
        _, second = evaluate_property(again)
    return reproducibility(first, second, dossier.command, tolerance=TOLERANCE)
