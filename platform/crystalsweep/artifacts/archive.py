"""A folder as one zip file with the sha256 of every file in it, and the folder back from a zip that a stranger made.

An archive is a zip of regular files beside a `MANIFEST.json`, which names each of them with its size and sha256. The
same files give the same archive, byte for byte. Reading one writes nothing outside the folder that is asked for, and
nothing at all where any entry is refused.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import IO, Any, TypedDict

from crystalsweep.artifacts import private
from crystalsweep.artifacts.atomic import file_sha256, partial_name

MANIFEST = "MANIFEST.json"
"""Names every other file of an archive; not among the files of the folder."""

MAX_BYTES = 8 << 30
"""Of all files of an archive together, as they lie on the disk."""

MAX_FILES = 10_000
"""Of one archive."""

MAX_NAME = 1024
"""Bytes of a file's path in an archive."""

MAX_MANIFEST = 16 << 20
"""Bytes of a MANIFEST.json: ten thousand of the longest names fit."""

_CHUNK = 1 << 20
_EPOCH = (1980, 1, 1, 0, 0, 0)
_MODE = (stat.S_IFREG | 0o644) << 16
_INDEX_ENTRY = 2048
"""Bytes of the zip's own index for each file: a name of `MAX_NAME` and its fields."""
_ENCRYPTED = 0x1 | 0x40 | 0x2000
_FOLDER = 0x10
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_DRIVE = re.compile(r"[A-Za-z]:")
_BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    OverflowError,
    RecursionError,
    RuntimeError,
    ValueError,
    struct.error,
)
"""What zipfile raises over a damaged or hostile file."""


class FileRecord(TypedDict):
    """What a manifest says of one file."""

    sha256: str
    """64 hex digits."""
    bytes: int
    """Its size."""


Manifest = dict[str, FileRecord]
"""By the path in the folder, with `/` between its parts."""


def plain_files(folder: Path) -> dict[str, Path]:
    """Return every file below `folder` by its path there, sorted.

    Raises `ValueError` naming the first that is a link, a device, a pipe or a socket, or whose name cannot go into an
    archive: what came from elsewhere must not lead to files of this machine.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder")
    found: dict[str, Path] = {}
    for parent, folders, files in os.walk(folder, onerror=_raise, followlinks=False):
        for name in (*folders, *files):
            path = Path(parent, name)
            mode = path.lstat().st_mode
            relative = path.relative_to(folder).as_posix()
            if stat.S_ISREG(mode):
                found[relative] = path
            elif not stat.S_ISDIR(mode):
                raise ValueError(f"{folder}: {relative!r} is {_kind(mode)}; only regular files are read")
    if reason := _refusal(found):
        raise ValueError(f"{folder}: {reason}")
    return dict(sorted(found.items()))


def manifest(folder: Path) -> Manifest:
    """Return the size and sha256 of every file below `folder`, sorted by path. Raises `ValueError` as `plain_files`
    does."""
    return {name: _record(path) for name, path in plain_files(folder).items()}


def check(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Check that `folder` holds the files of `manifest`, unchanged, and no others.

    Raises `ValueError` naming what differs, also where `manifest` is none.
    """
    expected = _as_manifest(manifest, str(folder))
    there = plain_files(folder)
    differing = [f"{name!r} is missing" for name in expected if name not in there]
    differing += [f"{name!r} is not in the manifest" for name in there if name not in expected]
    for name, path in there.items():
        if name in expected and (found := _record(path)) != expected[name]:
            differing.append(f"{name!r} was changed: {_difference(found, expected[name])}")
    if differing:
        more = f", and {len(differing) - 5} more" if len(differing) > 5 else ""
        raise ValueError(f"{folder} is not what its manifest says: {'; '.join(differing[:5])}{more}")


def pack(folder: Path, file: Path) -> str:
    """Write all files below `folder` as the archive `file`, which appears at once; returns its sha256.

    Raises `ValueError` for a folder that `unpack` would refuse, naming the file.
    """
    if file.absolute().is_relative_to(folder.absolute()):
        raise ValueError(f"{file} lies in {folder}, which it is to hold; name a place outside")
    records = manifest(folder)
    if MANIFEST in records:
        raise ValueError(f"{folder}: {MANIFEST} is a name that archives use themselves; rename that file")
    if len(records) > MAX_FILES or _total(records) > MAX_BYTES:
        found = f"{len(records):,} files of {_total(records):,} bytes"
        raise ValueError(f"{folder} holds {found}; archives hold at most {MAX_FILES:,} of {MAX_BYTES:,}")
    file.parent.mkdir(parents=True, exist_ok=True)
    with partial_name(file.name) as name:
        partial = file.with_name(name)
        try:
            with partial.open("xb") as stream:
                with zipfile.ZipFile(stream, "w") as archive:
                    _write(archive, MANIFEST, json.dumps(records, indent=1, ensure_ascii=False).encode())
                    for path, record in records.items():
                        if _copy_in(archive, folder / path, path, record["bytes"]) != record["sha256"]:
                            raise ValueError(f"{folder / path} changed while it was packed; pack again")
                stream.flush()
                os.fsync(stream.fileno())
            digest = file_sha256(partial)
            partial.replace(file)
        finally:
            partial.unlink(missing_ok=True)
    return digest


def unpack(file: Path, into: Path, *, max_bytes: int = MAX_BYTES, max_files: int = MAX_FILES) -> Path:
    """Return the files of the archive `file` as the folder `into`, which appears at once; returns `into`.

    `MANIFEST.json` is checked and not written. Entries are stored or deflated regular files.

    Args:
        file: An archive from anywhere.
        into: A folder that is not there yet, or is empty.
        max_bytes: Of all its files together; no more are written.
        max_files: In it.

    Raises:
        ValueError: What is refused and why, by archive and entry; then nothing is left behind.
    """
    if into.is_symlink() or (into.exists() and not (into.is_dir() and not any(into.iterdir()))):
        raise ValueError(f"{into} exists already; name a folder that does not")
    _require_small(file, max_files)
    into.parent.mkdir(parents=True, exist_ok=True)
    with partial_name(into.name) as name:
        partial = into.with_name(name)
        try:
            partial.mkdir()
            try:
                with zipfile.ZipFile(file) as archive:
                    _extract(archive, file, partial, max_bytes, max_files)
            except _RefusedError as refused:
                raise ValueError(str(refused)) from None
            except (*_BROKEN, OSError) as error:
                if isinstance(error, OSError) and error.errno != errno.EINVAL:  # of a place before the file's start
                    raise
                raise ValueError(f"{file} is a damaged archive: {error}; copy or export it again") from error
            partial.rename(into)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return into


class _RefusedError(Exception):
    """Archive, entry and reason; told apart from what zipfile itself raises."""


def _require_small(file: Path, max_files: int) -> None:
    """Refuse too large an index: zipfile reads the whole of it into memory, so its size is seen to first."""
    try:
        mode = file.stat().st_mode
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror}") from None
    if not stat.S_ISREG(mode):
        raise ValueError(f"{file} is {_kind(mode)}, not an archive")
    with file.open("rb") as stream:
        try:
            size = private.index_bytes(stream)
        except _BROKEN:
            size = None
    if size is None:
        raise ValueError(f"{file} is no zip archive; give a file that `crystalsweep registry export` wrote")
    if size > _INDEX_ENTRY * (max_files + 1):
        raise ValueError(f"{file} has an index of {size:,} bytes, too long for {max_files:,} files")


def _extract(archive: zipfile.ZipFile, file: Path, folder: Path, max_bytes: int, max_files: int) -> None:
    def refuse(name: str, reason: str) -> None:
        raise _RefusedError(f"{file}: {name!r} {reason}; the archive is refused")

    entries = archive.infolist()
    if len(entries) > max_files + 1:
        raise _RefusedError(f"{file} holds {len(entries):,} entries, more than the {max_files:,} allowed")
    for entry in entries:
        if reason := _entry_refusal(entry):
            refuse(entry.orig_filename, reason)
    names = {entry.orig_filename for entry in entries}
    if reason := _refusal(entry.orig_filename for entry in entries):
        raise _RefusedError(f"{file}: {reason}; the archive is refused")
    if MANIFEST not in names:
        raise _RefusedError(f"{file} has no {MANIFEST}; give a file that `crystalsweep registry export` wrote")
    expected = _read_manifest(archive, file)
    if (total := _total(expected)) > max_bytes:
        raise _RefusedError(f"{file} holds {total:,} bytes, more than the {max_bytes:,} allowed")
    for name in expected:
        if name not in names or name == MANIFEST:
            refuse(name, "is in its manifest and not in the archive")
    for entry in entries:
        if entry.orig_filename == MANIFEST:
            continue
        name = entry.orig_filename
        if name not in expected:
            refuse(name, "is not in its manifest")
        if entry.file_size != expected[name]["bytes"]:
            refuse(name, f"has {entry.file_size:,} bytes, and {expected[name]['bytes']:,} in the manifest")
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(entry) as source, target.open("xb") as out:
            found = _copied(source, out.write, expected[name]["bytes"])
        if found != expected[name]:
            refuse(name, f"is not what the manifest says: {_difference(found, expected[name])}")


def _entry_refusal(entry: zipfile.ZipInfo) -> str | None:
    mode = entry.external_attr >> 16
    if entry.flag_bits & _ENCRYPTED:
        return "is encrypted"
    if entry.orig_filename.endswith("/") or entry.external_attr & _FOLDER:
        return "is a folder; archives hold files only"
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        return f"is {_kind(mode)}; only regular files are read"
    if entry.compress_type not in _METHODS:
        return f"is compressed by method {entry.compress_type}; stored and deflated files are read"
    if entry.orig_filename == MANIFEST and entry.file_size > MAX_MANIFEST:
        return f"has {entry.file_size:,} bytes, more than the {MAX_MANIFEST:,} allowed"
    return None


def _refusal(names: Iterable[str]) -> str | None:
    """Return what is wrong with these paths as the files of one folder, on this and on other file systems."""
    files: dict[str, str] = {}
    for name in names:
        if reason := _name_refusal(name):
            return f"{name!r} {reason}"
        if other := files.get(_folded(name)):
            return f"{name!r} and {other!r} are one file" if name != other else f"{name!r} is there twice"
        files[_folded(name)] = name
    for name in files.values():
        parts = name.split("/")
        for end in range(1, len(parts)):
            if other := files.get(_folded("/".join(parts[:end]))):
                return f"{other!r} is both a file and the folder of {name!r}"
    return None


def _name_refusal(name: str) -> str | None:
    parts = name.split("/")
    try:
        encoded = name.encode()
    except UnicodeEncodeError:
        return "is no valid Unicode"
    if not name.isprintable():
        return "has unprintable characters in its name"
    if name.startswith("/") or _DRIVE.match(name):
        return "is an absolute path"
    if "\\" in name:
        return "has a backslash in its name"
    if ".." in parts:
        return "leads out of its folder"
    if not name or "" in parts or "." in parts:
        return "is no path of a file"
    if len(encoded) > MAX_NAME or any(len(part.encode()) > 255 for part in parts):
        return f"is longer than {MAX_NAME} bytes, or 255 in one part"
    return None


def _folded(name: str) -> str:
    """Return the same for names that file systems without case, or with normalised Unicode, take for one."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _read_manifest(archive: zipfile.ZipFile, file: Path) -> Manifest:
    try:
        with archive.open(MANIFEST) as stream:
            content = json.loads(stream.read(MAX_MANIFEST))
    except (ValueError, RecursionError) as error:
        raise _RefusedError(f"{file}: {MANIFEST} is no JSON ({error})") from None
    try:
        return _as_manifest(content, str(file))
    except ValueError as error:
        raise _RefusedError(str(error)) from None


def _as_manifest(content: object, where: str) -> Manifest:
    """Return a manifest as such. Raises `ValueError` for what is none."""
    if not isinstance(content, Mapping):
        raise ValueError(f"{where}: the manifest is no JSON object")
    for name, record in content.items():
        fits = isinstance(record, Mapping) and record.keys() == {"sha256", "bytes"}
        if not fits or not isinstance(record["sha256"], str) or not _SHA256.fullmatch(record["sha256"]):
            raise ValueError(f"{where}: the manifest says of {name!r} no sha256 and bytes")
        if type(record["bytes"]) is not int or record["bytes"] < 0:
            raise ValueError(f"{where}: the manifest gives {name!r} {str(record['bytes'])[:40]} bytes")
    if reason := _refusal(content):
        raise ValueError(f"{where}: the manifest cannot be met: {reason}")
    return {name: {"sha256": record["sha256"], "bytes": record["bytes"]} for name, record in content.items()}


def _total(records: Manifest) -> int:
    return sum(record["bytes"] for record in records.values())


def _raise(error: OSError) -> None:
    raise error


def _copy_in(archive: zipfile.ZipFile, path: Path, name: str, size: int) -> str:
    with path.open("rb") as source, archive.open(_info(name, size), "w") as out:
        return _copied(source, out.write, size)["sha256"]


def _write(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    with archive.open(_info(name, len(content)), "w") as out:
        out.write(content)


def _info(name: str, size: int) -> zipfile.ZipInfo:
    """Return an entry that is stored: what zlib makes of a file differs between its versions, and weights hardly
    compress."""
    info = zipfile.ZipInfo(name, date_time=_EPOCH)
    info.compress_type, info.create_system, info.external_attr, info.file_size = zipfile.ZIP_STORED, 3, _MODE, size
    return info


def _record(path: Path) -> FileRecord:
    with path.open("rb") as stream:
        return _copied(stream, lambda _: 0, None)


def _copied(source: IO[bytes], write: Callable[[bytes], int], limit: int | None) -> FileRecord:
    """Pass on what `source` gives, and one chunk beyond `limit` at most."""
    digest, size = hashlib.sha256(), 0
    while chunk := source.read(_CHUNK):
        size += len(chunk)
        digest.update(chunk)
        if limit is not None and size > limit:
            break
        write(chunk)
    return {"sha256": digest.hexdigest(), "bytes": size}


def _difference(found: FileRecord, expected: FileRecord) -> str:
    if found["bytes"] != expected["bytes"]:
        return f"{found['bytes']:,} bytes instead of {expected['bytes']:,}"
    return f"sha256 {found['sha256'][:12]}… instead of {expected['sha256'][:12]}…"


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFLNK: "a link",
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
        stat.S_IFREG: "a file",
    }
    return kinds.get(stat.S_IFMT(mode), "no regular file")
