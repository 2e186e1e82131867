"""Addresses of servers and stores: of SQLite files, as they may be shown, and whether Ray's cluster answers."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path
from urllib.parse import unquote

ANSWER_S = 10.0
"""Seconds in which a cluster that is there accepts a connection."""


def without_password(text: str) -> str:
    """Return the text without the names and passwords that addresses in it may hold."""
    return re.sub(r"(?<=://)[^/\s]*@", "", text)


def shown_address(address: str) -> str:
    """Return the address as it may be logged: without credentials, which an object store's may hold, and without
    options."""
    scheme, separator, rest = address.partition("://")
    if not separator:
        return address
    rest = re.split(r"[?#]", rest, maxsplit=1)[0]
    server, _, path = rest.partition("/")
    if "@" in server:
        rest = rest[server.rindex("@") + 1 :]
    elif re.search(r":.*\D", server) and "@" in path:  # a secret that has a slash
        rest = rest.partition("@")[2]
    return f"{scheme}://{rest}"


def sqlite_address(file: Path) -> str:
    """Return the address of a SQLite file, whatever characters its absolute path holds.

    Only what SQLAlchemy would read as something else is escaped: MLflow makes the folder of the address as it is
    written, an empty one beside it where anything is escaped.
    """
    return "sqlite:///" + str(file).replace("%", "%25").replace("?", "%3F")


def sqlite_file(address: str) -> Path | None:
    """Return the file that an address of SQLite names; None for any other address."""
    path = address.partition("?")[0].removeprefix("sqlite:///")
    return Path(unquote(path)) if address.startswith("sqlite:///") else None


def ray_address() -> str:
    """Return the cluster that RAY_ADDRESS names, else `local`, which starts one.

    Raises `ValueError` where nothing answers there: Ray itself would go on trying for minutes.
    """
    address = os.environ.get("RAY_ADDRESS") or "local"
    named = re.fullmatch(r"(?:ray://)?\[?([^\s\]/]+?)\]?:(\d{1,5})", address)
    if named is None:
        return address
    try:
        with socket.create_connection((named[1], int(named[2])), timeout=ANSWER_S):
            return address
    except (OSError, OverflowError) as error:
        raise ValueError(
            f"RAY_ADDRESS is {address}, where no Ray cluster answers ({error}): start one with `ray start --head`, "
            "correct it, or unset it to have one started here"
        ) from error
