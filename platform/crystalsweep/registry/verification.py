"""Whether a registered version's dossier still holds: the same files, the same figures, the same verdicts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from crystalsweep.artifacts.archive import unpack
from crystalsweep.artifacts.atomic import file_sha256
from crystalsweep.artifacts.places import checkpoint_folder
from crystalsweep.artifacts.seal import FILES, SEAL, BrokenSealError, require_sealed
from crystalsweep.evaluation.driver import evaluate_checkpoint
from crystalsweep.evaluation.freezing import require_same_crystals
from crystalsweep.evaluation.inputs import read_inputs
from crystalsweep.evaluation.outcome import read_outcome
from crystalsweep.evaluation.request import EvaluationRequest, Machine
from crystalsweep.evaluation.suite import require_own_calculator
from crystalsweep.inference.champion import SHIPPED
from crystalsweep.inference.locate import Location, is_local, locate
from crystalsweep.networks.checkpoint import lineage, load_generator, read_info
from crystalsweep.registry.dossier import (
    CANDIDATE,
    DOSSIER_FOLDER,
    EVALUATION,
    Dossier,
    GeneratorDossier,
    PropertyDossier,
    read_dossier,
)
from crystalsweep.registry.gates.gate import Check, Gate
from crystalsweep.registry.gates.leakage import AT_HAND, leakage, trainings_of
from crystalsweep.registry.gates.physics import physics
from crystalsweep.registry.gates.reproducibility import SAME_CODE, reproducibility
from crystalsweep.registry.holding import READABLE, TOLERANCE, as_before, asked, claims, failed, recorded
from crystalsweep.registry.property_verification import property_gates
from crystalsweep.tracking.tracker import Tracker


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What became of a dossier."""

    dossier: Dossier | None
    """None where it cannot be read any more."""
    gates: list[Gate]
    version: str | None

    @property
    def holds(self) -> bool:
        """Whether nothing has changed that matters."""
        return self.dossier is not None and not any(gate.refuses for gate in self.gates)


def verify(
    tracker: Tracker | None,
    reference: str,
    say: Callable[[str], None],
    *,
    trained_on: Sequence[str] = (),
    calculator: str | None = None,
    workers: int | None = None,
) -> Verification:
    """Run a version's gates again. Gains over a champion of then are part of its dossier and are not asked again.

    Whatever is wrong with the version's own files is a gate that fails. Raises `ValueError` where there is no such
    version, it never had a dossier, this machine cannot ask, or the suite's calculator is not the one that was named.

    Args:
        tracker: Where names are looked up; None for a file.
        reference: A registered version, an exported archive, or `shipped`: the one of the package.
        say: Told of each step.
        trained_on: Data sets, beside the bundled one, that the lineage may have been trained on.
        calculator: That of its suite, where it is code: what only a dossier names is not run.
        workers: Processes of the evaluation.
    """
    with TemporaryDirectory() as fresh:  # what the registry has now, not what was downloaded once
        try:
            found = _fetched(tracker, reference, Path(fresh))
        except (BrokenSealError, _DamagedError) as error:
            return Verification(dossier=None, gates=[failed("files", "Files", "unchanged", error)], version=None)
        done = _verified(tracker, found, say, trained_on=trained_on, calculator=calculator, workers=workers)
    return replace(done, gates=[_of_the_package(gate) for gate in done.gates]) if reference == SHIPPED else done


_ELSEWHERE = (AT_HAND, SAME_CODE)
"""Checks of the shipped champion that may fail where it was not made: its training crystals are not there, or other
versions of code and libraries measure, which must give the same figures all the same."""


def _of_the_package(gate: Gate) -> Gate:
    """Return a gate of the shipped champion, told only where nothing but `_ELSEWHERE` fails in it."""
    elsewhere = all(check.passed or check.title in _ELSEWHERE for check in gate.checks)
    return gate.model_copy(update={"required": False}) if elsewhere else gate


class _DamagedError(Exception):
    """An archive that cannot be unpacked."""


def _fetched(tracker: Tracker | None, reference: str, fresh: Path) -> Location:
    """Return where the files are, of an archive all of them: to look at, not to keep."""
    file = Path(reference)
    if not (is_local(reference) and file.is_file() and file.suffix.lower() == ".zip"):
        return locate(reference, tracker, fresh)
    try:
        root = unpack(file, fresh / "archive")
        return Location(folder=checkpoint_folder(root), root=root.resolve())
    except ValueError as error:
        raise _DamagedError(str(error)) from None


def _verified(
    tracker: Tracker | None,
    found: Location,
    say: Callable[[str], None],
    *,
    trained_on: Sequence[str],
    calculator: str | None,
    workers: int | None,
) -> Verification:
    say("files: sha256 of each")
    gates = [_files(tracker, found)]
    try:
        dossier = read_dossier(found.root)
    except (ValueError, OSError) as error:
        if not _was_promoted(found.root):
            raise
        gates.append(failed("claims", "Dossier", "readable", error))
        return Verification(dossier=None, gates=gates, version=found.version)
    if isinstance(dossier, PropertyDossier):
        gates += property_gates(dossier, found, say, trained_on=trained_on)
        return Verification(dossier=dossier, gates=gates, version=found.version)
    require_own_calculator(dossier.suite, calculator)
    gates.append(asked("claims", "Dossier", lambda: _claims(dossier, found)))
    say("physics")
    gates.append(asked("physics", "Physics", lambda: as_before(dossier, physics(load_generator(found.folder)))))
    if gates[-1].checks[0].title != READABLE:
        say("leakage")
        gates.append(_leakage(dossier, found, trained_on))
        say(f"suite {dossier.suite.name}")
        gates.append(asked("figures", "Figures", lambda: _figures(dossier, found, workers)))
    return Verification(dossier=dossier, gates=gates, version=found.version)


def _was_promoted(root: Path) -> bool:
    """Return whether these are a version's files, whatever is left of them."""
    return (root / FILES).exists() or (root / DOSSIER_FOLDER).is_dir()


def _leakage(dossier: GeneratorDossier, found: Location, trained_on: Sequence[str]) -> Gate:
    trainings, unknown = trainings_of(lineage([found.folder]), (*recorded(dossier), *trained_on))
    require_same_crystals(dossier.suite)
    parents = read_inputs(dossier.suite.source, dossier.suite.part, None, dossier.suite.settings).parents
    return as_before(dossier, leakage(trainings, unknown, parents))


def _files(tracker: Tracker | None, found: Location) -> Gate:
    try:
        require_sealed(found.root, _registered_seal(tracker, found))
        passed, says = True, "every file has the sha256 that was registered"
    except ValueError as error:
        passed, says = False, str(error)
    return Gate(name="files", title="Files", checks=[Check(title="unchanged", passed=passed, says=says)])


def _registered_seal(tracker: Tracker | None, found: Location) -> str | None:
    """Return the seal that the registry has; None of files that no registry gave. Raises `BrokenSealError` where the
    registry lost it."""
    if tracker is None or not found.model or not found.version:
        return None
    tags = tracker.registered(found.model, version=found.version).tags
    if SEAL not in tags:
        raise BrokenSealError(f"the registry has no seal of version {found.version}, by which files are known")
    return str(tags[SEAL])


def _claims(dossier: GeneratorDossier, found: Location) -> Gate:
    """Return what the dossier says of weights, suite, lineage and figures, against the files it speaks of."""
    outcome = read_outcome(found.root / DOSSIER_FOLDER / EVALUATION)
    info = read_info(found.folder)
    weights = file_sha256(found.folder / "generator.safetensors")
    told = {name: row for name, row in dossier.rows.items() if not name.startswith("champion,")}
    same = {
        "weights": dossier.candidate.weights_sha256 == outcome.model.get("weights_sha256") == weights,
        "training": (dossier.candidate.stage, dossier.candidate.config) == (info.stage, info.config),
        "lineage": dossier.candidate.lineage == lineage([found.folder]),
        "suite": dossier.suite_sha256 == dossier.suite.sha256() and dossier.suite.settings == outcome.settings,
        "figures": told == {name: outcome.rows.get(name) for name in told} and CANDIDATE in told,
        "metrics_lock": dossier.metrics_lock == outcome.metrics_lock,
    }
    return claims(same)


def _figures(dossier: GeneratorDossier, found: Location, workers: int | None) -> Gate:
    first = read_outcome(found.root / DOSSIER_FOLDER / EVALUATION)
    with TemporaryDirectory() as scratch:
        again, machine = Path(scratch) / "again", Machine(workers=workers, device="cpu")
        request = EvaluationRequest.of_suite(
            dossier.suite, str(found.folder), out=again, name=CANDIDATE, report=False, machine=machine
        )
        _, second, _ = evaluate_checkpoint(request, None, Path(scratch))
    return reproducibility(first, second, dossier.command, tolerance=TOLERANCE)
