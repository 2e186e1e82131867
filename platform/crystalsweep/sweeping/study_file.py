"""The file of a sweep's ledger: whether it can be used, its copy, and how it comes back.

study.db          the study, SQLite
study.copy.db     what it was when a training ended last
study.db.damaged-20260131-235959    what could not be read, set aside
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from functools import lru_cache
from pathlib import Path

from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import SQLAlchemyError

from crystalsweep.artifacts.atomic import whole_file
from crystalsweep.artifacts.sqlite_files import opened

_log = logging.getLogger(__name__)

STUDY_FILE, COPY_FILE = "study.db", "study.copy.db"

_BESIDE = ("-journal", "-wal", "-shm")
"""What SQLite keeps beside a file; with another file in its place it would be played into that."""

_NO_ROOM = 1 << 20
"""Bytes free below which an error of the disk is one of room."""


class LedgerError(OSError):
    """The ledger cannot be read or written; says what is wrong and what to do."""


def mend_study(folder: Path, *, begun: bool) -> str:
    """Restore the ledger of a sweep before it is resumed; returns a line where something was wrong, else "".

    What is damaged is set aside, and its copy takes its place; where that is gone too, there is no file afterwards, to
    be made anew from what the folder tells of trainings. Raises `LedgerError` where it is sound and cannot be used.

    Args:
        folder: The sweep's.
        begun: Whether trainings were begun, so that there must be a ledger.
    """
    file, copy = folder / STUDY_FILE, folder / COPY_FILE
    if not file.exists() and not begun and not copy.exists():
        return ""
    if not (fault := fault_of(file)):
        return ""
    told = f"the ledger {file} {fault}"
    aside = file.with_name(f"{STUDY_FILE}.damaged-{datetime.now():%Y%m%d-%H%M%S}")
    try:
        if file.exists():
            file.rename(aside)
            told += f", set aside as {aside.name}"
        for beside in _BESIDE:
            if (left := file.with_name(STUDY_FILE + beside)).exists():
                left.rename(aside.with_name(aside.name + beside))
        if lost := fault_of(copy):
            copy.unlink(missing_ok=True)
            return f"{told}; its copy {lost} too: it is made anew from what the sweep's folder tells of trainings"
        with whole_file(file) as partial:
            shutil.copyfile(copy, partial)
    except OSError as error:
        raise LedgerError(f"{told}, and cannot be brought back: {error}") from error
    return f"{told}; it is again what it was when a training ended last ({COPY_FILE})"


def keep_copy(folder: Path) -> None:
    """Replace the copy by the file as it is now, where that is sound and there is room; else the older copy stays,
    which is said once."""
    try:
        with whole_file(folder / COPY_FILE) as partial:
            with closing(opened(folder / STUDY_FILE)) as source, closing(sqlite3.connect(partial)) as target:
                source.backup(target)
            if fault := fault_of(partial):
                raise OSError(fault)
    except (OSError, sqlite3.Error) as error:
        _warn_once(folder, getattr(error, "strerror", None) or str(error))


@lru_cache
def _warn_once(folder: Path, reason: str) -> None:
    _log.warning("%s: no copy of the study is kept (%s); the sweep goes on", folder / COPY_FILE, reason)


def fault_of(file: Path) -> str:
    """Return why a file is no study that can be read, as what is said of it ("is empty"); "" where it is one.

    Raises `LedgerError` where it may be one and cannot be used, with the remedy.
    """
    if not file.exists():
        return "is gone"
    if file.is_dir():
        return "is a folder"
    if not file.stat().st_size:
        return "is empty"
    if not all(os.access(path, os.W_OK) for path in (file, file.parent)):  # SQLite says so with the first write
        raise LedgerError(told(sqlite3.OperationalError("readonly"), file))
    try:
        with closing(opened(file)) as database:
            database.execute("BEGIN IMMEDIATE")  # also plays back what a kill or a full disk left half written
            database.execute("ROLLBACK")
            (found,) = database.execute("PRAGMA integrity_check(1)").fetchone()
            if found != "ok":
                return f"is damaged ({' '.join(found.split())})"
            (studies,) = database.execute("SELECT count(*) FROM studies").fetchone()
            return "" if studies else "holds no study"
    except sqlite3.Error as error:
        if "no such table" in str(error):
            return "holds no study"
        if any(word in str(error) for word in ("malformed", "not a database", "encrypted")):
            return f"is damaged ({error})"
        raise LedgerError(told(error, file)) from error


def told(error: BaseException, file: Path) -> str:
    """Return what an error of the ledger's file means and what to do, in a line."""
    resume = f"--resume {file.parent.name}"
    reason = _reason(error)
    if "disk is full" in reason or ("disk I/O error" in reason and _is_full(file.parent)):
        return f"no space left in {file.parent}; free some and {resume}"
    if "readonly" in reason or "unable to open" in reason:
        return f"the ledger {file} cannot be written ({reason}): make it and its folder writable, then {resume}"
    if "locked" in reason:
        return f"the ledger {file} is held by another program, such as optuna-dashboard: end that, then {resume}"
    if any(word in reason for word in ("malformed", "not a database", "no such table", "encrypted")):
        return f"the ledger {file} is damaged ({reason}): {resume} brings it back"
    return f"the ledger {file} cannot be used ({reason}): mend that, then {resume}"


@contextmanager
def telling(file: Path) -> Iterator[None]:
    """Raise `LedgerError` with what it means in place of what Optuna and SQLAlchemy raise."""
    try:
        yield
    except (StorageInternalError, SQLAlchemyError, sqlite3.Error) as error:
        raise LedgerError(told(error, file)) from error


def _reason(error: BaseException) -> str:
    """Return what SQLite said, whoever wrapped it."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, sqlite3.Error):
            return str(cause)
        cause = cause.__cause__ or cause.__context__
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _is_full(folder: Path) -> bool:
    try:
        return shutil.disk_usage(folder).free < _NO_ROOM or not _takes_bytes(folder)
    except OSError:
        return False


def _takes_bytes(folder: Path) -> bool:
    """Return whether a file can still grow here; a quota says so only then."""
    try:
        with whole_file(folder / "room") as probe:
            probe.write_bytes(bytes(1 << 16))
            raise InterruptedError
    except InterruptedError:
        return True
    except OSError as error:
        return error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
