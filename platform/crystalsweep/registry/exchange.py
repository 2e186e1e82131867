"""A version with its dossier as one file, and back into another server, by hash."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from mlflow.entities.model_registry import ModelVersion
from pydantic import ValidationError

from crystalsweep.artifacts.archive import pack, unpack
from crystalsweep.artifacts.seal import RECORD, SEAL, require_sealed, seal_of
from crystalsweep.config import Config
from crystalsweep.inference.locate import locate
from crystalsweep.pages.text import plain_markdown
from crystalsweep.registry import attempts
from crystalsweep.registry.aliases import ConflictError, ensure_registered, move
from crystalsweep.registry.dossier import Dossier, read_dossier
from crystalsweep.registry.foreign import content_sha256, require_harmless
from crystalsweep.registry.remaking import remake, require_about, require_name, require_plain
from crystalsweep.registry.tags import CONTENT, IMPORTED, tags_of
from crystalsweep.registry.versions import is_known, register
from crystalsweep.tracking.holders import holder_of
from crystalsweep.tracking.tracker import Tracker
from crystalsweep.wording.mistakes import mistakes

_LONGEST = 4000
"""Characters of a version's description."""


class VersionRecord(Config):
    """What the registry said of an exported version."""

    model: str
    version: str
    run: str | None
    description: str
    tags: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Import:
    """What an import made."""

    record: VersionRecord
    model: str
    version: str
    """Number on this server."""
    new: bool
    """Whether the server did not have these files yet."""
    told: Sequence[str] = ()
    """What became of its pages, in sentences."""


def export(tracker: Tracker, reference: str, file: Path) -> str:
    """Write the version `models:/NAME@ALIAS` with its dossier to the archive `file`; returns the file's sha256.

    Raises `ValueError` where it has no dossier, or its files are not those that were registered.
    """
    with TemporaryDirectory() as scratch:
        found = locate(reference, tracker, Path(scratch) / "downloads")
        if not found.model or not found.version:
            raise ValueError(f"{reference} is no registered version; give models:/NAME@ALIAS or models:/NAME/VERSION")
        version = tracker.registered(found.model, version=found.version)
        require_sealed(found.root, version.tags.get(SEAL))
        read_dossier(found.root)
        record = VersionRecord(
            model=found.model,
            version=found.version,
            run=found.run,
            description=version.description or "",
            tags=dict(version.tags),
        )
        folder = Path(scratch) / "export"
        shutil.copytree(found.root, folder, ignore=shutil.ignore_patterns("registered_model_meta"))
        (folder / RECORD).write_text(record.model_dump_json(indent=2) + "\n", encoding="utf-8")
        return pack(folder, file)


def import_(
    tracker: Tracker, file: Path, *, model: str | None, alias: str | None, replace: bool, storage: Path
) -> Import:
    """Register what `export` wrote, under its own name or `model`, and give it the alias where one is asked for.

    Weights, dossier and tables come along as they are; `verify` says whether the dossier holds here. Pages, model card
    and what MLflow reads are written anew, and what the registry there said of the version is not believed. Data that
    the server has is not sent again.

    Args:
        tracker: The server.
        file: The archive.
        model: Another name in the registry; empty keeps its own.
        alias: To give it; empty gives none.
        replace: Whether to take the alias from a version that has it.
        storage: Folder of the local store.

    Raises:
        ValueError: The archive is damaged or was changed, or holds no version.
        ConflictError: Another version has the alias, and `replace` is not asked for.
    """
    with TemporaryDirectory() as scratch:
        case = _opened(tracker, file, model, Path(scratch))
        held = holder_of(tracker, case.model, alias) if alias else None
        before = None if held is None else str(held.version)
        if alias and before not in (None, case.known) and not replace:
            raise ConflictError(f"{case.model}@{alias} is version {before} here; --replace puts the imported one there")
        told = [] if case.known else remake(case.folder, case.dossier, Path(scratch) / "anew")
        ensure_registered(tracker, case.model)
        run = attempts.begin(tracker, case.model, alias or "", f"{file.name}", storage / "mlflow-artifacts")
        try:
            version = case.known or _register(tracker, case, Path(scratch) / "anew", run)
            if alias:
                move(tracker, case.model, alias, version, expected=before)
            there = f"{case.record.model}, version {case.record.version}, {case.dossier.verdict} there"
            note = plain_markdown(f"Imported from {file.name}: {there}")
            attempts.conclude(tracker, run, "imported", version=version, note=note)
        except BaseException as error:
            attempts.try_to_fail(tracker, run, error)
            raise
    return Import(record=case.record, model=case.model, version=version, new=case.known is None, told=told)


@dataclass(frozen=True, kw_only=True)
class _Case:
    """An archive that may be registered."""

    folder: Path
    """Its files."""
    record: VersionRecord
    dossier: Dossier
    model: str
    """Name here."""
    content: str
    """Sha256 of its data."""
    known: str | None
    """Version that has the same data here."""


def _opened(tracker: Tracker, file: Path, model: str | None, scratch: Path) -> _Case:
    """Return what an archive holds, once all of it was looked at. Raises `ValueError` for what cannot be registered."""
    folder = unpack(file, scratch / "import")
    record = _record(folder, file)
    require_name(record.model, f"{RECORD} names a model")
    require_sealed(folder, record.tags.get(SEAL))
    require_harmless(folder)
    dossier = read_dossier(folder)
    require_plain(dossier)
    require_about(dossier, folder)
    name, content = model or record.model, content_sha256(folder)
    return _Case(
        folder=folder,
        record=record,
        dossier=dossier,
        model=name,
        content=content,
        known=_already_there(tracker, name, seal_of(folder), content),
    )


def _register(tracker: Tracker, case: _Case, folder: Path, run: str) -> str:
    """Return the number of a new version. Its tags and its description come from the dossier, and the run that trained
    it from a version of the same data here."""
    trained_in = next((each.run_id for each in _of_content(tracker, case.content) if each.run_id), None)
    version = register(
        tracker,
        case.model,
        folder,
        experiment=tracker.client.get_run(run).info.experiment_id,
        source_run=run,
        run=trained_in if is_known(tracker, trained_in) else None,
        tags={**tags_of(case.dossier, run), CONTENT: case.content, IMPORTED: "yes"},
    )
    description = f"Imported. {attempts.summary(case.dossier)}"[:_LONGEST]
    tracker.client.update_model_version(case.model, version, description=description)
    return version


def _record(folder: Path, file: Path) -> VersionRecord:
    path = folder / RECORD
    if not path.exists():
        raise ValueError(f"{file} holds no {RECORD}: it was not written by `crystalsweep registry export`")
    content = path.read_bytes()
    try:
        record = VersionRecord.model_validate_json(content)
    except ValidationError as error:
        raise ValueError(f"{file}: {RECORD}: {mistakes(error, VersionRecord, content)}") from None
    path.unlink()
    return record


def _already_there(tracker: Tracker, model: str, seal: str, content: str) -> str | None:
    """Return the version of a model with these files, or with this data."""
    found = tracker.client.search_model_versions(f"name = '{model}'")
    same = (each for each in found if each.tags.get(SEAL) == seal or each.tags.get(CONTENT) == content)
    return next((str(each.version) for each in same), None)


def _of_content(tracker: Tracker, content: str) -> list[ModelVersion]:
    """Return the versions of any model with this data."""
    return list(tracker.client.search_model_versions(f"tags.`{CONTENT}` = '{content}'"))
