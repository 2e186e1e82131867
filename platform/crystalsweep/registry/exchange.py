"""A version with its dossier as one file, and back into another server, by hash."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import ValidationError

from crystalsweep.artifacts.archive import pack, unpack
from crystalsweep.artifacts.seal import RECORD, SEAL, require_sealed, seal_of
from crystalsweep.config import Config
from crystalsweep.inference.locate import locate
from crystalsweep.networks.checkpoint import load_generator
from crystalsweep.registry import attempts
from crystalsweep.registry.aliases import ConflictError, ensure_registered, holder_of, move
from crystalsweep.registry.dossier import read_dossier
from crystalsweep.registry.foreign import require_harmless
from crystalsweep.registry.versions import CHECKPOINT, is_known, register
from crystalsweep.tracking.tracker import Tracker
from crystalsweep.wording.mistakes import mistakes


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

    The dossier comes along as it is; `verify` says whether it holds here. Files that the server has are not sent again.

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
        folder = unpack(file, Path(scratch) / "import")
        record = _record(folder, file)
        require_sealed(folder, record.tags.get(SEAL))
        require_harmless(folder)
        dossier = read_dossier(folder)
        load_generator(folder / CHECKPOINT)  # what cannot be loaded is not registered
        name = model or record.model
        ensure_registered(tracker, name)
        held = holder_of(tracker, name, alias) if alias else None
        version = _already_there(tracker, name, seal_of(folder))
        if alias and held is not None and str(held.version) != version and not replace:
            raise ConflictError(f"{name}@{alias} is version {held.version} here; --replace puts the imported one there")
        new = version is None
        run = attempts.begin(tracker, name, alias or "", f"{file.name}", storage / "mlflow-artifacts")
        try:
            experiment = tracker.client.get_run(run).info.experiment_id
            version = version or register(
                tracker,
                name,
                folder,
                experiment=experiment,
                source_run=run,
                run=record.run if is_known(tracker, record.run) else None,
                tags={key: value for key, value in record.tags.items() if not key.startswith("crystalsweep.replaced")},
            )
            if new:
                tracker.client.update_model_version(name, version, description=record.description)
            if alias:
                move(tracker, name, alias, version, expected=None if held is None else str(held.version))
            note = f"Imported from {file.name}: {record.model}, version {record.version}, {dossier.verdict} there"
            attempts.conclude(tracker, run, "imported", version=version, note=note)
        except BaseException as error:
            attempts.try_to_fail(tracker, run, error)
            raise
    return Import(record=record, model=name, version=version, new=new)


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


def _already_there(tracker: Tracker, model: str, seal: str) -> str | None:
    """Return the version with these files."""
    found = tracker.client.search_model_versions(f"name = '{model}'")
    return next((str(each.version) for each in found if each.tags.get(SEAL) == seal), None)
