"""Folders of files at an address, each whole or absent: a local or network folder, or an object store (`s3://…`).

One file of a folder is its mark, and a folder without it is incomplete. The mark arrives last, at once, and goes first,
so that a process may be killed at any moment: what it leaves is a whole folder or an incomplete one, never a wrong one.

A local folder is written under a partial name and renamed once all is there, and renamed back before it is freed. So of
two processes, one that writes and one that frees, one has the folder and the other finds it gone.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

import pyarrow
import pyarrow.fs

from crystalsweep.artifacts.addresses import Address
from crystalsweep.artifacts.atomic import PARTIAL, is_abandoned, partial_name, target_of, to_disk

_REMEDIES = (
    (("NO_SUCH_BUCKET",), "create the bucket, or name another"),
    (
        ("ACCESS_DENIED", "INVALID_ACCESS_KEY", "SIGNATURE_DOES_NOT_MATCH", "UNRECOGNIZED_CLIENT", "status 403", "401"),
        "give credentials that may write there, as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    ),
    (("NETWORK_CONNECTION", "SLOW_DOWN", "SERVICE_UNAVAILABLE", "status 5"), "see that the server is up"),
)
_LOCAL_REMEDIES = {
    errno.ENOSPC: "free some space there",
    errno.EDQUOT: "free some of your quota there",
    errno.EFBIG: "raise the limit on the size of a file (`ulimit -f`)",
    errno.EROFS: "make it writable, or name another place",
    errno.EACCES: "permit this user to read and write it, or name another place",
    errno.EPERM: "permit this user to read and write it, or name another place",
    errno.ENOTDIR: "name a folder",
}
_FULL = {errno.ENOSPC, errno.EDQUOT}
_GONE = {errno.ENOENT, errno.ESTALE}
_IN_THE_WAY = {errno.ENOTEMPTY, errno.EEXIST}
_ATTEMPTS = 20
"""To free a folder that another process writes or frees too."""


DAMAGED = "damaged-"
"""Begins the name of a folder that was set aside: nothing reads or frees it but its owner."""


class StorageError(OSError):
    """Storage that cannot be written or read: where, why, and what to do. What is whole there stays."""


def child(address: str | Path, name: str) -> str:
    """Return the address of `name` below `address`; an object store's query string stays at the end."""
    text = str(address)
    if "://" not in text:
        return str(Path(text) / name)
    parts = urlsplit(text)
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{quote(name)}"))


class FolderStore:
    """Folders directly below `address`; raises `StorageError` where it cannot be read or written.

    `address` is a path, or a URI as `pyarrow.fs.FileSystem.from_uri` takes it, such as
    `s3://bucket/prefix?endpoint_override=host:9000&scheme=http`. Raises `ValueError` for one that it does not know.
    """

    def __init__(self, address: str | Path, mark: str) -> None:
        text = str(address)
        self.address = text if "://" in text else str(Path(text).absolute())
        self._mark = mark
        with self._explained():
            given, shown = self.address, str(Address(self.address))
            try:
                given = _in_one_request(self.address)
                self._filesystem, self._root = pyarrow.fs.FileSystem.from_uri(given)
            except (ValueError, pyarrow.ArrowNotImplementedError) as error:  # ArrowInvalid is a ValueError
                reason = str(error).replace(given, shown).replace(self.address, shown)
                raise ValueError(f"{shown} is no storage address: {reason}") from None
        self.local = Path(self._root) if isinstance(self._filesystem, pyarrow.fs.LocalFileSystem) else None
        """The folder of a local address."""

    def files(self) -> dict[str, dict[str, int]]:
        """Return the bytes of the files in each folder, by the folder's name, whole or not."""
        with self._explained():
            found: dict[str, dict[str, int]] = {}
            for name, size in self._local_files() if self.local else self._objects():
                folder, _, file = name.partition("/")
                if file:
                    found.setdefault(folder, {})[file] = size
            return found

    def whole(self) -> list[str]:
        """Return names of the folders that have their mark, sorted."""
        return sorted(folder for folder, files in self.files().items() if self._is_whole(folder, files))

    def send(self, source: Path, name: str) -> None:
        """Copy the local folder `source` here as `name`, in place of one of this name."""
        with self._explained():
            if self.local:
                self._place(source, self.local / name)
                return
            self.remove(name)
            try:
                for file in self._mark_last(source):
                    if file == self._mark:
                        self._require_whole(source, name)
                    self._upload(source / file, f"{self._root}/{name}/{file}")
                self._require_whole(source, name)  # another process may free what lies there
            except _IncompleteError:
                self.remove(name)
                raise

    def read(self, name: str, file: str) -> bytes:
        """Return one file. Raises `FileNotFoundError` where there is none."""
        with self._explained(absence_is_an_error=False):
            content: bytes
            with self._filesystem.open_input_stream(f"{self._root}/{name}/{file}") as stream:
                content = stream.read()
            return content

    def fetch(self, name: str, file: str, target: Path) -> None:
        """Copy one file into the local file `target`, which appears at once.

        Raises `FileNotFoundError` where there is none.
        """
        with self._explained(absence_is_an_error=False):
            partial = target.with_name(f"{PARTIAL}{target.name}")
            with self._filesystem.open_input_stream(f"{self._root}/{name}/{file}") as stream, partial.open("wb") as out:
                shutil.copyfileobj(stream, out, 1 << 22)
            partial.replace(target)

    def remove(self, name: str) -> None:
        """Free a folder, if it is there; other processes may write or free it at the same time."""
        with self._explained():
            if self.local:
                with self._set_aside(name) as aside:
                    if aside:
                        _free(aside)
                return
            self._remove_mark(name)
            with suppress(FileNotFoundError):
                self._filesystem.delete_dir(f"{self._root}/{name}")
            self._remove_mark(name)  # which its writer may have sent meanwhile

    def set_aside(self, name: str) -> str:
        """Give a folder a name that says that it is damaged, and return that name; an object store, which cannot
        rename, copies its files first."""
        with self._explained():
            taken = self.files()
            aside = next(new for n in count(1) if (new := f"{DAMAGED}{name}{f'-{n}' if n > 1 else ''}") not in taken)
            if self.local:
                (self.local / name).rename(self.local / aside)
                return aside
            for file in taken[name]:
                self._filesystem.copy_file(f"{self._root}/{name}/{file}", f"{self._root}/{aside}/{file}")
            self.remove(name)
            return aside

    def free_partial(self, *, live: bool = False) -> None:
        """Free what writers left who are no more; with `live` also what is being written, which then fails."""
        if not self.local:
            return  # an object store has no partial names: its folders lack their mark
        with self._explained():
            for name in _names_in(self.local):
                if target_of(name) and (live or is_abandoned(self.local / name)):
                    self.remove(name)

    def require_writable(self) -> None:
        """Write something small and remove it."""
        with self._explained(), partial_name("probe") as probe:
            if self.local:
                _make(self.local)
                with suppress(FileNotFoundError):  # freed meanwhile by another process, which can write
                    (self.local / probe).mkdir()
                    (self.local / probe / "file").write_bytes(b"1" * 8192)
            else:
                with self._filesystem.open_output_stream(f"{self._root}/{probe}/file") as out:
                    out.write(b"1")
            self.remove(probe)

    def _is_whole(self, folder: str, files: dict[str, int]) -> bool:
        return self._mark in files and not folder.startswith(PARTIAL)

    def _mark_last(self, source: Path) -> list[str]:
        files = (str(path.relative_to(source)) for path in source.rglob("*") if path.is_file())
        return sorted(files, key=lambda file: (file == self._mark, file))

    def _place(self, source: Path, target: Path) -> None:
        _make(target.parent)
        with partial_name(target.name) as name:
            partial = target.with_name(name)
            try:
                copy_folder(source, partial)
                for file in _sizes(partial):
                    to_disk(partial / file)
                if _sizes(partial) != _sizes(source):
                    raise FileNotFoundError(errno.ENOENT, "files are missing")
                self._rename(partial, target)
            except OSError as error:
                with suppress(OSError):
                    _free(partial)  # a full disk needs the space
                if is_missing(error) and source.is_dir():
                    raise StorageError(
                        f"cannot use the storage {Address(self.address)}: another process freed {target.name} "
                        "while it was written; see that only one writes there, then resume: what is complete there "
                        "is kept"
                    ) from error
                raise

    def _rename(self, partial: Path, target: Path) -> None:
        for attempt in range(_ATTEMPTS):
            with self._set_aside(target.name) as aside:
                try:
                    partial.rename(target)
                except OSError as error:  # another process made one just now
                    if error.errno not in _IN_THE_WAY or attempt == _ATTEMPTS - 1:
                        raise
                    continue
                finally:
                    if aside:
                        _free(aside)
            return

    @contextmanager
    def _set_aside(self, name: str) -> Iterator[Path | None]:
        """Take a local folder out of all readers' and writers' sight, to be freed; None where there is none."""
        assert self.local
        with partial_name(target_of(name) or name) as other:
            aside: Path | None = self.local / other
            try:
                (self.local / name).rename(self.local / other)
            except OSError as error:
                if is_missing(error):
                    aside = None
                elif error.errno in _FULL:  # no room for another name
                    aside = None
                    (self.local / name / self._mark).unlink(missing_ok=True)
                    _free(self.local / name)
                else:
                    raise
            yield aside

    def _remove_mark(self, name: str) -> None:
        with suppress(FileNotFoundError):
            self._filesystem.delete_file(f"{self._root}/{name}/{self._mark}")

    def _upload(self, source: Path, key: str) -> None:
        with source.open("rb") as content, self._filesystem.open_output_stream(key) as out:
            shutil.copyfileobj(content, out, 1 << 22)

    def _require_whole(self, source: Path, name: str) -> None:
        """Refuse what is not whole: some servers that speak S3 keep the frames of an upload as if they were content."""
        arrived = {file: size for file, size in self.files().get(name, {}).items() if file != self._mark}
        sent = {file: size for file, size in _sizes(source).items() if file != self._mark}
        if arrived != sent:
            raise _IncompleteError(
                f"of {sent} bytes sent to {name}, {arrived} are there; see that no other process frees them, and give "
                "the server what it may need: the environment variable AWS_REQUEST_CHECKSUM_CALCULATION=when_required"
            )

    def _local_files(self) -> Iterator[tuple[str, int]]:
        assert self.local
        for folder, _, files in os.walk(self.local, onerror=_unless_gone):
            for file in files:
                path = Path(folder) / file
                size = _size(path)
                if size is not None:
                    yield path.relative_to(self.local).as_posix(), size

    def _objects(self) -> Iterator[tuple[str, int]]:
        selector = pyarrow.fs.FileSelector(self._root, allow_not_found=True, recursive=True)
        for info in self._filesystem.get_file_info(selector):
            if info.type == pyarrow.fs.FileType.File:
                yield info.path.removeprefix(self._root).lstrip("/"), info.size

    @contextmanager
    def _explained(self, *, absence_is_an_error: bool = True) -> Iterator[None]:
        try:
            yield
        except StorageError:
            raise
        except OSError as error:
            if is_missing(error) and not absence_is_an_error:
                raise FileNotFoundError(errno.ENOENT, str(error)) from error
            raise StorageError(_explanation(self.address, error)) from error


class _IncompleteError(OSError):
    """Files that were sent and are not there."""


def copy_folder(source: Path, target: Path) -> None:
    """Copy a local folder into the new folder `target`; fails where one of the two is removed meanwhile."""
    target.mkdir()
    for path in sorted(source.rglob("*")):
        there = target / path.relative_to(source)
        if path.is_dir():
            there.mkdir()
        else:
            shutil.copyfile(path, there)


def is_missing(error: OSError) -> bool:
    """Return whether a local or remote file is not there, or no more."""
    return isinstance(error, FileNotFoundError) or error.errno in _GONE


def _sizes(folder: Path) -> dict[str, int]:
    """Return the bytes of the files in a local folder."""
    found = {path.relative_to(folder).as_posix(): _size(path) for path in folder.rglob("*") if path.is_file()}
    return {file: size for file, size in found.items() if size is not None}


def _size(file: Path) -> int | None:
    """Return bytes; None where the file was freed meanwhile."""
    try:
        return file.stat().st_size
    except OSError as error:
        if not is_missing(error):
            raise
        return None


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from error


def _names_in(folder: Path) -> list[str]:
    try:
        return [path.name for path in folder.iterdir()]
    except FileNotFoundError:
        return []


def _free(folder: Path) -> None:
    """Remove a local folder. What others keep writing into it stays, as partial as it is."""
    for _ in range(_ATTEMPTS):
        try:
            shutil.rmtree(folder)
        except OSError as error:
            if not is_missing(error) and error.errno not in _IN_THE_WAY | {errno.EBUSY}:
                raise
        if not folder.exists():
            return


def _explanation(address: str, error: OSError) -> str:
    reason = os.strerror(error.errno) if error.errno and "://" not in address else str(error)
    remedy = _LOCAL_REMEDIES.get(error.errno or 0) or next(
        (remedy for signs, remedy in _REMEDIES if any(sign in str(error) for sign in signs)), "see that it is reachable"
    )
    return f"cannot use the storage {Address(address)}: {reason}; {remedy}, then resume: what is complete there is kept"


def _in_one_request(address: str) -> str:
    """Return how to send an object: small ones go in one request rather than three."""
    if not address.startswith("s3://"):
        return address
    parts = urlsplit(address)
    if "allow_delayed_open" in parts.query:
        return address
    return urlunsplit(parts._replace(query="&".join(filter(None, [parts.query, "allow_delayed_open=true"]))))


def _unless_gone(error: OSError) -> None:
    if not is_missing(error):
        raise error
