"""What a string names that a generator can be read from: a folder, a file, an MLflow run, a version in the registry.

Downloads are kept under names that say what they hold for good: a version, or a run and when it ended. They appear
there at once and whole.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from crystalsweep.artifacts.addresses import Address, without_password
from crystalsweep.artifacts.archive import plain_files, unpack
from crystalsweep.artifacts.atomic import file_sha256, is_abandoned, partial_name
from crystalsweep.artifacts.places import checkpoint_folder, default_storage, require_writable
from crystalsweep.artifacts.seal import FILES, SEAL, BrokenSealError, require_sealed
from crystalsweep.inference.champion import SHIPPED, shipped_champion
from crystalsweep.tracking.opening import open_tracker
from crystalsweep.tracking.tracker import Tracker

UNDERSTOOD = (
    "a run or checkpoint folder, the checkpoint.json or a .safetensors file in one, a .zip that "
    "`crystalsweep registry export` wrote, an MLflow run id (32 hex digits), models:/name@alias or "
    "models:/name/version, or 'shipped', the champion that comes with the package"
)
"""For error messages and help."""

REGISTERED = "models:/"
"""Begins the name of a version in the registry."""

_RUN = re.compile(r"[0-9a-f]{32}")
_VERSION = re.compile(r"models:/(?P<name>[^/:]+?)(?:@(?P<alias>[\w-]+)|/(?P<version>[0-9]{1,18}))")
_IN_FOLDER_NAMES = re.compile(r"[^A-Za-z0-9_-]+")


class UnknownReferenceError(ValueError):
    """The string names nothing that this version knows of."""


@dataclass(frozen=True, kw_only=True)
class Location:
    """Where what a reference names lies on this machine."""

    folder: Path
    """The checkpoint: holds `checkpoint.json`."""
    root: Path
    """What was named, as a whole: a registered version with its dossier, a run's folder, or the checkpoint itself."""
    run: str | None = None
    """MLflow run it comes from, where known."""
    model: str | None = None
    """Name in the registry."""
    version: str | None = None
    """Number in the registry."""


def is_local(reference: str) -> bool:
    """Return whether a file or folder of that name is there, or it is the shipped champion: then no tracker is
    needed."""
    return reference == SHIPPED or _is_there(reference)


def _is_there(reference: str) -> bool:
    try:
        return Path(reference).exists()
    except (OSError, ValueError):  # a name too long, or with a NUL
        return False


def tracker_for(reference: str, tracking_uri: str | Address | None, storage: Path | None) -> Tracker | None:
    """Return the store to look `reference` up in; None for a file or folder, and where there is no store yet.

    Args:
        reference: As for `locate`.
        tracking_uri: An MLflow server or database.
        storage: The folder of the local store, which is asked where neither that nor MLFLOW_TRACKING_URI is given.
    """
    if is_local(reference):
        return None
    return open_tracker(tracking_uri, storage or default_storage())


def is_understood(reference: str) -> bool:
    """Return whether a file or folder of that name is there, or it is a name that could be looked up."""
    return is_local(reference) or bool(_VERSION.fullmatch(reference) or _RUN.fullmatch(reference))


def require_understood(reference: str) -> None:
    """Raise `UnknownReferenceError` for what is neither there nor a name that could be looked up."""
    if not is_understood(reference):
        raise UnknownReferenceError(f"{reference!r} is not there, nor a name that is understood; give {UNDERSTOOD}")


def locate(reference: str, tracker: Tracker | None, downloads: Path) -> Location:
    """Return the checkpoint that `reference` names, downloaded where it is not on this machine yet.

    Args:
        reference: One of what `UNDERSTOOD` lists. What exists as a file or folder is taken as that.
        tracker: Where run ids and registry names are looked up; it is asked even for what was downloaded before, since
            an alias moves.
        downloads: Folder that keeps what was downloaded or unpacked.

    Raises:
        UnknownReferenceError: It names nothing known, saying what would be understood.
        ValueError: There is no checkpoint where it leads to, or nowhere to look it up.
    """
    if _is_there(reference):
        path = Path(reference)
        root = path if path.is_dir() else _of_file(path, downloads)
        return Location(folder=checkpoint_folder(root), root=root.resolve())
    if reference == SHIPPED:
        root = shipped_champion()
        return Location(folder=checkpoint_folder(root), root=root)
    require_understood(reference)
    named = _VERSION.fullmatch(reference)
    if tracker is None:
        raise ValueError(
            f"{reference}: no MLflow store to look it up in; set MLFLOW_TRACKING_URI, or name the server or the storage"
        )
    from mlflow.exceptions import MlflowException

    try:
        return _of_version(named, tracker, downloads) if named else _of_run(reference, tracker, downloads)
    except (MlflowException, OSError) as error:
        reason = without_password(f"no checkpoint in {tracker.uri} ({error})")
        elsewhere = "--tracking-uri and --storage name another store"
        remedy = f"promote one there first, or look elsewhere: {elsewhere}" if named else elsewhere
        raise ValueError(f"{reference}: {reason}; {remedy}") from error


def _of_file(file: Path, downloads: Path) -> Path:
    if file.suffix.lower() == ".zip":
        name = f"{_folder_name(file.stem)}-{file_sha256(file)[:16]}"
        return _kept(downloads / name, lambda into: _unpack_data(file, into), str(file))
    beside = file.name == "checkpoint.json" or file.suffix == ".safetensors"
    if beside and (file.parent / "checkpoint.json").exists():
        return file.parent
    raise UnknownReferenceError(f"{file} is no file of a checkpoint; give {UNDERSTOOD}")


def _unpack_data(file: Path, into: Path) -> None:
    """Write what a checkpoint is read from, of an archive that anybody may have made: no pages or pictures, which a
    browser would run."""
    unpack(file, into)
    if (into / FILES).exists():
        require_sealed(into)
    for name, path in plain_files(into).items():
        if not name.endswith((".json", ".safetensors")):
            path.unlink()


def _of_version(named: re.Match[str], tracker: Tracker, downloads: Path) -> Location:
    found = tracker.registered(named["name"], alias=named["alias"], version=named["version"])
    identity = (tracker.uri, found.name, found.version, found.creation_timestamp, found.source)
    target = downloads / f"{_folder_name(str(found.name))}-{int(found.version)}-{_digest(identity)}"

    def fetch(into: Path) -> None:
        tracker.download_registered(found, into)
        if sealed or (into / FILES).exists():
            require_sealed(into, sealed)

    sealed = found.tags.get(SEAL)
    before = target.is_dir()
    root = _kept(target, fetch, named[0])
    if before and sealed:
        _require_still(root, sealed)
    run, model, version = str(found.run_id or "") or None, str(found.name), str(found.version)
    return Location(folder=checkpoint_folder(root), root=root.resolve(), run=run, model=model, version=version)


def _require_still(root: Path, sealed: str) -> None:
    """Raise `BrokenSealError` with the remedy where what was downloaded once was changed since."""
    try:
        require_sealed(root, sealed)
    except BrokenSealError as error:
        raise BrokenSealError(f"{error}; delete {root}, then it is downloaded again") from None


def _of_run(run: str, tracker: Tracker, downloads: Path) -> Location:
    ended = tracker.client.get_run(run).info.end_time
    if ended is None:  # what it has now is not what it will have
        shutil.rmtree(downloads / f"{run}-unfinished", ignore_errors=True)
    name = f"{run}-{_digest((tracker.uri, run, ended))}" if ended else f"{run}-unfinished"
    root = _kept(downloads / name, lambda into: tracker.download(run, "checkpoint", into), f"run {run}")
    return Location(folder=checkpoint_folder(root), root=root.resolve(), run=run)


def _kept(target: Path, fetch: Callable[[Path], object], source: str) -> Path:
    """Return `target`, fetched if it is not there yet; it appears only when it holds a whole checkpoint."""
    if target.is_dir():
        return target
    require_writable(target.parent, "give another folder with --storage or CRYSTALSWEEP_STORAGE")
    target.parent.mkdir(parents=True, exist_ok=True)
    for left in target.parent.iterdir():
        if is_abandoned(left):
            shutil.rmtree(left, ignore_errors=True)
    with partial_name(target.name) as name:
        partial = target.with_name(name)
        partial.mkdir()
        try:
            fetch(partial)
            plain_files(partial)
            _require_checkpoint(partial, source)
            _take_name(partial, target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return target


def _require_checkpoint(folder: Path, source: str) -> None:
    try:
        checkpoint_folder(folder)
    except ValueError:
        raise ValueError(f"{source} holds no checkpoint; name a trained model") from None


def _take_name(partial: Path, target: Path) -> None:
    try:
        partial.rename(target)
    except OSError:
        if not target.is_dir():  # another process was not first
            raise


def _digest(identity: tuple[object, ...]) -> str:
    return hashlib.sha256("\n".join(map(str, identity)).encode()).hexdigest()[:16]


def _folder_name(text: str) -> str:
    """Return a folder's name for people to read; what it is told apart by stands behind it."""
    return _IN_FOLDER_NAMES.sub("-", text).strip("-")[:80] or "model"
