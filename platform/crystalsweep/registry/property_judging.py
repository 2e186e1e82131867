"""A property model judged: leakage against every ancestor, gain over the best baseline, reproducibility."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from crystalsweep.artifacts.atomic import file_sha256
from crystalsweep.artifacts.seal import seal
from crystalsweep.data import DataSet, load_data
from crystalsweep.evaluation.properties.inputs import is_data_of
from crystalsweep.evaluation.properties.outcome import PropertyEvaluation, read_property_outcome
from crystalsweep.evaluation.properties.report import headline_of
from crystalsweep.evaluation.properties.rival import HeldAgainst, held_against
from crystalsweep.evaluation.properties.run import PropertyRequest, evaluate_property
from crystalsweep.inference.locate import Location
from crystalsweep.inference.predicting import load_predictor
from crystalsweep.inference.target_records import read_targets
from crystalsweep.networks.checkpoint import CheckpointInfo, lineage, load_property_model, read_info
from crystalsweep.provenance import environment, user
from crystalsweep.registry.asked import Asked, Champion, Say, candidate_of, new_folder, run_command
from crystalsweep.registry.dossier import (
    CANDIDATE,
    DOSSIER_FILE,
    DOSSIER_FOLDER,
    EVALUATION,
    PAGE,
    Holder,
    JudgedTarget,
    PropertyDossier,
)
from crystalsweep.registry.gates.gate import Gate
from crystalsweep.registry.gates.leakage import leakage, trainings_of
from crystalsweep.registry.gates.property_gain import property_gain
from crystalsweep.registry.gates.reproducibility import reproducibility
from crystalsweep.registry.property_page import write_property_card, write_property_dossier_page
from crystalsweep.registry.versions import stage, weights_of
from crystalsweep.structures.crystal import Crystal

ON_VALIDATION = (
    "Its data has no test part, so that it is judged on the validation crystals, by which its epoch may have been "
    "chosen and its intervals were made."
)


def judge_property(
    asked: Asked, found: Location, champion: Champion | None, earlier: int, say: Say
) -> tuple[PropertyDossier, Path]:
    """Return the dossier of a property model, and the folder with it and all other files of the version to be.

    Args:
        asked: What is to be promoted.
        found: Where the checkpoint lies.
        champion: Who has the alias; None where nobody has.
        earlier: Attempts that were made on this data.
        say: Told of each step.

    Raises:
        ValueError: None of the data sets is what it was trained on.
    """
    source, data = data_of(read_info(found.folder), asked.trained_on)
    folder = new_folder(asked)
    checkpoint = stage(found.folder, folder)
    say(f"evaluation on the held-out part of {source}, beside baselines")
    command = command_of(source)
    evaluated = folder / DOSSIER_FOLDER / EVALUATION
    _, outcome = evaluate_property(PropertyRequest(checkpoint=checkpoint, source=source, name=CANDIDATE, out=evaluated))
    say("leakage: held-out crystals among the training crystals of every ancestor, by id, structure and supercell")
    ancestry = lineage([checkpoint])
    gates = [
        leakage_of(ancestry, asked.trained_on, data, outcome.data["part"]),
        _gain(asked, champion, data, outcome, evaluated, earlier),
    ]
    if any(each.refuses for each in gates) and not asked.forced:
        say("reproducibility: not asked, since it is refused already")
    else:
        say("reproducibility: the dossier's command, in a process of its own")
        gates.append(_again(folder, outcome, command))
    network = load_property_model(checkpoint, sum(each.outputs for each in read_targets(checkpoint)))
    parameters = sum(each.numel() for each in network.parameters())
    dossier = PropertyDossier(
        model=asked.model,
        alias=asked.alias,
        candidate=candidate_of(asked, found, checkpoint, parameters, ancestry),
        champion=_holder(champion),
        metrics_lock=outcome.metrics_lock,
        gates=gates,
        command=command,
        trained_on=list(asked.trained_on),
        environment=environment(),
        decided_at=datetime.now(UTC).isoformat(timespec="seconds"),
        decided_by=user(),
        forced=asked.forced if any(each.refuses for each in gates) else "",
        source=source,
        part=outcome.data["part"],
        targets=judged_targets(outcome),
    )
    (folder / DOSSIER_FOLDER / DOSSIER_FILE).write_text(dossier.model_dump_json(indent=2) + "\n", encoding="utf-8")
    write_property_dossier_page(dossier, folder / DOSSIER_FOLDER / PAGE)
    write_property_card(dossier, folder)
    seal(folder)
    return dossier, folder


def command_of(source: str) -> str:
    """Return what gives the figures again, in a version's folder."""
    return f"crystalsweep evaluate --checkpoint checkpoint --data {shlex.quote(source)} --name {CANDIDATE} --out again"


def data_of(info: CheckpointInfo, sources: Sequence[str]) -> tuple[str, DataSet]:
    """Return the data set that a run was trained on, and what it is called, of these and the bundled one.

    Raises `ValueError` where it is none of them.
    """
    for source in dict.fromkeys((*sources, "bundled")):
        data = load_data(source)
        if is_data_of(data, info):
            return source, data
    raise ValueError(
        f"the model was trained on data {info.data_sha256[:12]}, which is none of "
        f"{', '.join(dict.fromkeys((*sources, 'bundled')))}; name it with --trained-on"
    )


def leakage_of(ancestry: list[dict[str, str]], trained_on: Sequence[str], data: DataSet, part: str) -> Gate:
    """Ask whether crystals that a property model is judged by are among those of any training that led to it."""
    trainings, unknown = trainings_of(ancestry, trained_on)
    return leakage(trainings, unknown, _crystals(data, part))


def _crystals(data: DataSet, part: str) -> list[Crystal]:
    return list(data.test if part == "test" else data.val)


def judged_targets(outcome: PropertyEvaluation) -> dict[str, JudgedTarget]:
    """Return what a dossier has of an evaluation's figures."""
    return {
        name: JudgedTarget(target=each.target, headline=headline_of(each), n=each.n, rows=each.rows)
        for name, each in outcome.targets.items()
    }


def _gain(
    asked: Asked,
    champion: Champion | None,
    data: DataSet,
    outcome: PropertyEvaluation,
    evaluated: Path,
    earlier: int,
) -> Gate:
    """Hold the candidate against the baselines, and against the champion where there is one."""
    against: dict[str, HeldAgainst] | None = None
    holder = ""
    if champion is not None:
        crystals, seed = _crystals(data, outcome.data["part"]), int(outcome.settings["seed"])
        against = held_against(evaluated, outcome, crystals, load_predictor(champion.found.folder), seed)
        holder = f"champion, version {champion.found.version}"
    gate = property_gain(outcome, against, holder)
    notes = [*gate.notes, *_told(outcome, earlier)]
    return gate.model_copy(update={"required": asked.alias == "champion", "notes": notes})


def _told(outcome: PropertyEvaluation, earlier: int) -> list[str]:
    tried = f"{earlier} earlier attempts on this data are on record: who tries often is better once by chance."
    return [*([ON_VALIDATION] if outcome.data["part"] == "val" else []), tried]


def _holder(champion: Champion | None) -> Holder | None:
    if champion is None:
        return None
    found = champion.found
    weights = file_sha256(weights_of(found.folder))
    return Holder(version=str(found.version), run=found.run, weights_sha256=weights, evaluated="again")


def _again(folder: Path, first: PropertyEvaluation, command: str) -> Gate:
    """Run the dossier's command."""
    with TemporaryDirectory() as scratch:
        out = Path(scratch) / "again"
        run_command(command, folder, out)
        return reproducibility(first, read_property_outcome(out), command)
