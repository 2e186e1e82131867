"""A checkpoint judged: gates, figures on the suite, and the dossier that says so."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from crystalsweep.artifacts.atomic import file_sha256
from crystalsweep.artifacts.seal import require_sealed, seal
from crystalsweep.evaluation.driver import evaluate_checkpoint
from crystalsweep.evaluation.inputs import read_inputs
from crystalsweep.evaluation.outcome import Evaluation, Figure, read_outcome
from crystalsweep.evaluation.request import EvaluationRequest, Machine
from crystalsweep.evaluation.run import read_tables
from crystalsweep.evaluation.settings import metrics_lock, versions
from crystalsweep.evaluation.suite import Suite
from crystalsweep.inference.locate import Location
from crystalsweep.networks.checkpoint import lineage, load_generator
from crystalsweep.provenance import environment, user
from crystalsweep.registry.asked import Asked, Champion, Say, candidate_of, new_folder, run_command
from crystalsweep.registry.dossier import (
    CANDIDATE,
    DOSSIER_FILE,
    DOSSIER_FOLDER,
    EVALUATION,
    PAGE,
    GeneratorDossier,
    Holder,
    read_dossier,
)
from crystalsweep.registry.gates.gain import gain, gain_over_baselines, judged
from crystalsweep.registry.gates.gate import Gate
from crystalsweep.registry.gates.leakage import leakage, trainings_of
from crystalsweep.registry.gates.physics import physics
from crystalsweep.registry.gates.reproducibility import reproducibility
from crystalsweep.registry.page import write_card, write_dossier_page
from crystalsweep.registry.versions import stage, weights_of

SUITE_FILE = "suite.json"

COMMAND = (
    "crystalsweep evaluate --checkpoint checkpoint --suite dossier/suite.json --name candidate --device cpu --out again"
)
"""Run in a version's folder, gives the dossier's figures again."""


def command_of(suite: Suite) -> str:
    """Return `COMMAND` for a suite, with its calculator where that is code, which must be named."""
    energies = suite.settings.energies
    return f"{COMMAND} --calculator {shlex.quote(energies.calculator)}" if energies.runs_code else COMMAND


@dataclass(frozen=True, kw_only=True)
class PromotionRequest(Asked):
    """What is asked of the promotion of a generator."""

    suite: Suite
    metric: str
    guarded: Sequence[str]
    workers: int | None = None


def judge(
    request: PromotionRequest, found: Location, champion: Champion | None, earlier: int, say: Say
) -> tuple[GeneratorDossier, Path]:
    """Return the dossier, and the folder with it and all other files of the version to be.

    Args:
        request: What is to be promoted, and how it is judged.
        found: Where the checkpoint lies.
        champion: Who has the alias; None where nobody has.
        earlier: Attempts that were made on this suite and metric.
        say: Told of each step.
    """
    folder = new_folder(request)
    checkpoint = stage(found.folder, folder)
    generator, ancestry = load_generator(checkpoint), lineage([checkpoint])
    say("physics: equivariance, one-atom cells, rock salt")
    gates = [physics(generator), _leakage(request, ancestry, say)]
    outcome = _evaluate_candidate(request, checkpoint, folder)
    gained = _gain(request, champion, folder, earlier, say)
    gates.append(gained.gate)
    if any(each.refuses for each in gates) and not request.forced:
        say("reproducibility: not asked, since it is refused already")
    else:
        say("reproducibility: the dossier's command, in a process of its own")
        gates.append(_again(folder, outcome, request))
    parameters = sum(p.numel() for p in generator.parameters())
    dossier = GeneratorDossier(
        model=request.model,
        alias=request.alias,
        candidate=candidate_of(request, found, checkpoint, parameters, ancestry),
        champion=gained.holder,
        suite=request.suite,
        suite_sha256=request.suite.sha256(),
        metrics_lock=outcome.metrics_lock,
        metric=request.metric,
        guarded=list(request.guarded),
        gates=gates,
        rows=_own_rows(outcome) | gained.rows,
        command=command_of(request.suite),
        trained_on=list(request.trained_on),
        environment=environment(),
        decided_at=datetime.now(UTC).isoformat(timespec="seconds"),
        decided_by=user(),
        forced=request.forced if any(each.refuses for each in gates) else "",
    )
    (folder / DOSSIER_FOLDER / DOSSIER_FILE).write_text(dossier.model_dump_json(indent=2) + "\n", encoding="utf-8")
    write_dossier_page(dossier, gained.verdicts, folder / DOSSIER_FOLDER / PAGE)
    write_card(dossier, folder)
    seal(folder)
    return dossier, folder


def _leakage(request: PromotionRequest, ancestry: list[dict[str, str]], say: Say) -> Gate:
    """Ask whether crystals of the suite are among those of any training that led to the checkpoint."""
    say("leakage: held-out crystals among the training crystals, by id, structure and supercell")
    trainings, unknown = trainings_of(ancestry, request.trained_on)
    inputs = read_inputs(request.suite.source, request.suite.part, None, request.suite.settings)
    for line in dict.fromkeys((*(line for training in trainings for line in training.read), *inputs.told)):
        say(line)
    parents = inputs.parents
    gate = leakage(trainings, unknown, parents)
    say(f"suite {request.suite.name}: {len(parents):,} crystals at most, restored and scored")
    return gate


def _evaluate_candidate(request: PromotionRequest, checkpoint: Path, folder: Path) -> Evaluation:
    """Evaluate the checkpoint on the suite, which goes into the dossier with its figures."""
    (folder / DOSSIER_FOLDER).mkdir()
    (folder / DOSSIER_FOLDER / SUITE_FILE).write_text(request.suite.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return evaluate_on(request.suite, checkpoint, folder / DOSSIER_FOLDER / EVALUATION, request)


def _own_rows(outcome: Evaluation) -> dict[str, dict[str, Figure]]:
    return {name: figures for name, figures in outcome.rows.items() if not name.endswith(", all atoms")}


@dataclass(frozen=True)
class _Gain:
    """What the candidate gains over the champion, or over what learned nothing."""

    gate: Gate
    verdicts: pd.DataFrame
    holder: Holder | None
    """The champion; None where there is none."""
    rows: dict[str, dict[str, Figure]]
    """Its figures, by its name."""


def _gain(request: PromotionRequest, champion: Champion | None, folder: Path, earlier: int, say: Say) -> _Gain:
    """Hold the candidate's tables against the champion's, or where there is none against the baselines."""
    table, references = read_tables(folder / DOSSIER_FOLDER / EVALUATION)
    holder, rows = None, {}
    if champion is None:
        gate, frame = gain_over_baselines(table, references, judged(request.metric), request.guarded)
    else:
        name = f"champion, version {champion.found.version}"
        theirs, again = _evaluation_of(champion, request, say)
        rows = {name: _row_of(theirs)}
        metrics = [judged(each) for each in request.guarded]
        gate, frame = gain(table, read_tables(theirs)[0], judged(request.metric), metrics, holder=name)
        holder = Holder(
            version=str(champion.found.version),
            run=champion.found.run,
            weights_sha256=file_sha256(weights_of(champion.found.folder)),
            evaluated="again" if again else "by its own dossier",
        )
    tried = (
        f"{earlier} earlier attempts on this suite and metric are on record: who tries often is better once by chance."
    )
    gate = gate.model_copy(update={"required": request.alias == "champion", "notes": [*gate.notes, tried]})
    return _Gain(gate=gate, verdicts=frame, holder=holder, rows=rows)


def evaluate_on(suite: Suite, checkpoint: Path, out: Path, request: PromotionRequest) -> Evaluation:
    """Return the suite's figures of a checkpoint, on the CPU."""
    machine = Machine(workers=request.workers, device="cpu")
    asked = EvaluationRequest.of_suite(suite, str(checkpoint), out=out, name=CANDIDATE, machine=machine)
    _, outcome, _ = evaluate_checkpoint(asked, None, request.storage)
    return outcome


def _evaluation_of(champion: Champion, request: PromotionRequest, say: Say) -> tuple[Path, bool]:
    """Return the champion's evaluation on the suite, and whether it had to be made now."""
    found = champion.found
    try:
        require_sealed(found.root)
        dossier = read_dossier(found.root)
    except ValueError:
        dossier = None
    lock = metrics_lock(request.suite.settings, versions())
    comparable = (
        isinstance(dossier, GeneratorDossier)
        and dossier.suite_sha256 == request.suite.sha256()
        and dossier.metrics_lock == lock
    )
    if comparable and not champion.imported:
        return found.root / DOSSIER_FOLDER / EVALUATION, False
    why = "was measured elsewhere" if champion.imported else "was measured otherwise"
    say(f"the champion, version {found.version}, {why}: it is evaluated again")
    out = new_folder(request) / "champion"
    evaluate_on(request.suite, found.folder, out, request)
    return out, True


def _row_of(evaluated: Path) -> dict[str, Figure]:
    outcome = read_outcome(evaluated)
    return outcome.rows[outcome.name]


def _again(folder: Path, first: Evaluation, request: PromotionRequest) -> Gate:
    """Run the dossier's command."""
    told, workers = command_of(request.suite), request.workers
    with TemporaryDirectory() as scratch:
        out = Path(scratch) / "again"
        run_command(told, folder, out, ["--workers", str(workers)] if workers else [])
        return reproducibility(first, read_outcome(out), told)
