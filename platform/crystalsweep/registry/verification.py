"""Whether a registered version's dossier still holds: the same files, the same figures, the same verdicts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from crystalsweep.checkpoint import lineage, load_generator
from crystalsweep.evaluation.driver import Machine, evaluate_checkpoint
from crystalsweep.evaluation.inputs import read_inputs
from crystalsweep.evaluation.outcome import read_outcome
from crystalsweep.references import Resolved, resolve
from crystalsweep.registry.dossier import EVALUATION, FOLDER, Dossier, read_dossier
from crystalsweep.registry.gates.gate import Check, Gate
from crystalsweep.registry.gates.leakage import leakage, trainings_of
from crystalsweep.registry.gates.physics import physics
from crystalsweep.registry.gates.reproducibility import reproducibility
from crystalsweep.registry.promotion import CANDIDATE
from crystalsweep.registry.versions import SEAL, require_sealed
from crystalsweep.tracking import Tracker

TOLERANCE = 1e-3
"""Greatest difference of a figure that another machine's arithmetic may make."""


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What became of a dossier."""

    dossier: Dossier
    gates: list[Gate]
    version: str | None

    @property
    def holds(self) -> bool:
        """Whether nothing has changed that matters."""
        return all(gate.passed for gate in self.gates)


def verify(
    tracker: Tracker | None,
    reference: str,
    storage: Path,
    say: Callable[[str], None],
    *,
    trained_on: Sequence[str] = (),
    workers: int | None = None,
) -> Verification:
    """Run a version's gates again. Gains over a champion of then are part of its dossier and are not asked again.

    Raises `ValueError` where there is no such version, or it has no dossier.
    """
    found = resolve(reference, tracker, storage / "downloads")
    dossier = read_dossier(found.root)
    say("files: sha256 of each")
    gates = [_files(tracker, found)]
    say("physics")
    gates.append(_as_before(dossier, physics(load_generator(found.folder))))
    say("leakage")
    trainings, unknown = trainings_of(lineage([found.folder]), (*dossier.trained_on, *trained_on))
    dossier.suite.require_same_crystals()
    parents = read_inputs(dossier.suite.source, dossier.suite.part, None, dossier.suite.settings).parents
    gates.append(_as_before(dossier, leakage(trainings, unknown, parents)))
    say(f"suite {dossier.suite.name}")
    gates.append(_figures(dossier, found, workers))
    return Verification(dossier=dossier, gates=gates, version=found.version)


def _files(tracker: Tracker | None, found: Resolved) -> Gate:
    expected = None
    if tracker is not None and found.model and found.version:
        expected = tracker.registered(found.model, version=found.version).tags.get(SEAL)
    try:
        require_sealed(found.root, expected)
        passed, says = True, "every file has the sha256 that was registered"
    except ValueError as error:
        passed, says = False, str(error)
    return Gate(name="files", title="Files", checks=[Check(title="unchanged", passed=passed, says=says)])


def _as_before(dossier: Dossier, now: Gate) -> Gate:
    """What passed then must pass now; what was forced may fail again."""
    then = next((gate for gate in dossier.gates if gate.name == now.name), None)
    failed_before = {check.title for check in then.checks if not check.passed} if then else set()
    checks = [
        check.model_copy(update={"passed": True, "says": f"fails as it did then: {check.says}"})
        if not check.passed and check.title in failed_before
        else check
        for check in now.checks
    ]
    return now.model_copy(update={"checks": checks})


def _figures(dossier: Dossier, found: Resolved, workers: int | None) -> Gate:
    first = read_outcome(found.root / FOLDER / EVALUATION)
    with TemporaryDirectory() as scratch:
        _, second, _ = evaluate_checkpoint(
            str(found.folder),
            dossier.suite.source,
            dossier.suite.part,
            None,
            dossier.suite.settings,
            Path(scratch) / "again",
            machine=Machine(workers=workers, device="cpu"),
            tracker=None,
            storage=Path(scratch),
            name=CANDIDATE,
        )
    return reproducibility(first, second, dossier.command, tolerance=TOLERANCE)
