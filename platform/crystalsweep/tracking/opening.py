"""MLflow stores by their address, asked once before work begins: MLflow itself repeats what fails for minutes."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from crystalsweep.artifacts.addresses import Address, require_listening, sqlite_file, without_password
from crystalsweep.artifacts.places import require_writable
from crystalsweep.artifacts.sqlite_files import opened
from crystalsweep.tracking.tracker import Tracker, default_tracking_uri, is_refused, root_reason

REMEDY = (
    "start it, or correct --tracking-uri or MLFLOW_TRACKING_URI; without either, runs are kept in a SQLite file of the "
    "storage"
)

_ACCOUNT = (
    "it wants an account: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, to "
    "those that it knows"
)

_PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306, "mssql": 1433}
"""Where an address names none."""


def open_tracker(tracking_uri: str | Address | None, storage: Path) -> Tracker | None:
    """Return the store at an address, else the default one; None where it is a local one that is not there yet.

    Raises `ValueError` with the remedy where it does not answer.
    """
    uri = Address(tracking_uri or default_tracking_uri(storage))
    file = sqlite_file(str(uri))
    return checked_tracker(uri) if file is None or file.exists() else None


def existing_store(tracking_uri: str | None, storage: Path) -> str:
    """Return the address of the store to read. Raises `ValueError` where it is a local file that is not there: MLflow
    would make one."""
    uri = tracking_uri or default_tracking_uri(storage)
    file = sqlite_file(uri)
    if file is not None and not file.exists():
        raise ValueError(
            f"there is no MLflow store {file} yet: train with `python sweeps/gan_noise.py --preset demo`, or give "
            "--tracking-uri or --storage"
        )
    return uri


def checked_tracker(uri: str | Address) -> Tracker:
    """Return the store at an address, which has just answered. Raises `ValueError` with the remedy where it does
    not."""
    address = Address(uri)
    require_reachable(address)
    try:
        tracker = Tracker(address)
        tracker.require_usable()
    except Exception as error:  # of MLflow, of SQLAlchemy, or of a driver that is missing
        reason = without_password(root_reason(error))
        why = f"{address} cannot be used as an MLflow tracking server ({reason})"
        raise ValueError(f"{why}: {_ACCOUNT if is_refused(error) else REMEDY}") from error
    return tracker


def require_reachable(uri: str | Address) -> None:
    """Raise `ValueError` with the remedy where nothing listens at the address of a server or database, or a SQLite
    file is none or cannot be made. Imports no MLflow, and makes nothing."""
    address = Address(uri)
    if file := sqlite_file(str(address)):
        _require_sqlite(file, str(address))
        return
    whole = address.with_password()
    try:
        server = urlsplit(whole)
        scheme, host, port = server.scheme.partition("+")[0], server.hostname, server.port
    except ValueError as error:
        if not address.has_password:
            raise ValueError(f"{address} is no address ({error}): {REMEDY}") from error
        escaped = "write a password with escapes, as %2F for / and %40 for @"  # the reason may have a part of it
        raise ValueError(f"{address} is no address: {escaped}; {REMEDY}") from None
    if scheme not in _PORTS or not host:
        return
    if scheme in getproxies() and not proxy_bypass(host):  # which reaches what this machine may not
        return
    require_listening(host, port or _PORTS[scheme], f"no MLflow server answers at {address}", REMEDY)


def _require_sqlite(file: Path, uri: str) -> None:
    if not file.exists():
        remedy = "correct --tracking-uri, --storage or MLFLOW_TRACKING_URI"
        require_writable(file.parent, f"it is to hold the MLflow store {uri}; {remedy}")
        return
    try:
        with closing(opened(file)) as database:
            database.execute("SELECT name FROM sqlite_master LIMIT 1")
    except sqlite3.Error as error:
        if "locked" not in str(error):  # by a sweep that writes to it
            why = f"{file} cannot be read as an MLflow store ({error})"
            raise ValueError(f"{why}: move it away, or give another --storage or --tracking-uri") from error
