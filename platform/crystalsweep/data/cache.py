"""Data sets that were read before, packed, in a folder of the user's: read once on a machine, then mapped.

An entry is one file, `<key>-<sha256 of the file>`. The key is a hash of the source's content and name and of the code
that reads and checks, so that a changed source or another version is another entry. A file appears whole or not at
all, and is used only if it has the hash that its name says; one that has not is removed, and the source read anew. The
folder must be the user's alone, for nobody checks the crystals in it again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import stat
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

from pydantic import ByteSize, TypeAdapter, ValidationError

from crystalsweep.artifacts.atomic import PARTIAL, file_sha256, is_abandoned, partial_name
from crystalsweep.data.errors import DataError
from crystalsweep.provenance import sources_sha256

FOLDER, SIZE = "CRYSTALSWEEP_CACHE", "CRYSTALSWEEP_CACHE_SIZE"
"""Environment variables: where entries lie, or `off`, and how many bytes they may have, as `20GB`."""

DEFAULT_SIZE = "10GB"

_LIBRARIES = ("numpy", "pyarrow", "pymatgen", "gemmi")
"""What decides how files are read, beside our own code."""

_ENTRY = re.compile(r"[0-9a-f]{64}-[0-9a-f]{64}")

_log = logging.getLogger(__name__)


def cache_folder() -> Path | None:
    """Return where entries lie: $CRYSTALSWEEP_CACHE, else `crystalsweep` in $XDG_CACHE_HOME or `~/.cache`.

    None where it is `off`, cannot be written, or is not the user's alone, which is said in the log.
    """
    asked = os.environ.get(FOLDER, "")
    if asked.lower() == "off":
        return None
    try:
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        folder = Path(asked) if asked else Path(home) / "crystalsweep"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        found = folder.stat()
    except (OSError, RuntimeError):
        return None
    if os.name == "posix" and (found.st_uid != os.getuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)):
        _log.warning("%s is not used as a cache: others may write there; `chmod go-w` it, or set %s", folder, FOLDER)
        return None
    return folder


def key_of(*parts: str) -> str:
    """Return the key of what parts such as a content's hash become by this version's readers and checks."""
    return hashlib.sha256(json.dumps([_code(), *parts]).encode("utf-8", "surrogatepass")).hexdigest()


@lru_cache
def _code() -> str:
    package = Path(__file__).resolve().parents[1]
    sources = sources_sha256([package / "data", package / "structures"])
    return " ".join([sources, *(version(library) for library in _LIBRARIES)])


def find(key: str) -> Path | None:
    """Return the whole file of an entry, which counts as used now; None where there is none."""
    folder = cache_folder()
    for path in sorted(folder.glob(f"{key}-*")) if folder else ():
        try:
            if path.is_symlink() or file_sha256(path) != path.name.partition("-")[2]:
                _log.warning("%s is damaged and removed; its source is read anew", path)
                path.unlink()
                continue
            os.utime(path)
        except OSError:
            continue  # removed meanwhile, or not ours to touch
        return path
    return None


def keep(key: str, write: Callable[[Path], object]) -> None:
    """Make an entry of what `write` writes to a path, and remove those not used for longest where they are too many.

    Where there is no room, there is no entry.
    """
    folder = cache_folder()
    if folder is None:
        return
    most = allowed_bytes()
    with suppress(OSError), partial_name(key) as name:
        partial = folder / name
        try:
            write(partial)
            partial.chmod(0o600)
            if partial.stat().st_size <= most:
                partial.replace(folder / f"{key}-{file_sha256(partial)}")
        finally:
            partial.unlink(missing_ok=True)
        _remove_oldest(folder, most)


def _remove_oldest(folder: Path, most: int) -> None:
    """Remove what was left unfinished, and entries until the others fit. Processes that map a removed one keep it."""
    entries = []
    for path in folder.iterdir():
        with suppress(OSError):
            if path.name.startswith(PARTIAL):
                if is_abandoned(path):
                    path.unlink()
            elif _ENTRY.fullmatch(path.name):
                found = path.stat()
                entries.append((found.st_mtime_ns, found.st_size, path))
    held = 0
    for _, size, path in sorted(entries, reverse=True):
        held += size
        if held > most:
            with suppress(OSError):
                path.unlink()


def allowed_bytes() -> int:
    """Return how many bytes all entries may have. Raises `DataError` where the variable is no size."""
    asked = os.environ.get(SIZE, DEFAULT_SIZE)
    try:
        return int(TypeAdapter(ByteSize).validate_python(asked))
    except ValidationError as error:
        raise DataError(f"{SIZE}={asked} is no size; give one such as {DEFAULT_SIZE}") from error
