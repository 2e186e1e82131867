"""Addresses of servers and stores: of SQLite files, as they may be shown, and whether Ray's cluster answers."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path
from urllib.parse import unquote

from crystalsweep.artifacts.places import require_writable

SOCKET_BYTES = 107
"""Of a socket's name on Linux, at most."""

LONGEST_SOCKET = "dash_TaskEventsHead"
"""Of those that Ray makes in the folder of a session."""

ANSWER_S = 10.0
"""Seconds in which a server that is there accepts a connection."""


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

    Raises `ValueError` where nothing answers there, for Ray itself would go on trying for minutes, and where one cannot
    be started in the folder that RAY_TMPDIR or TMPDIR names.
    """
    address = os.environ.get("RAY_ADDRESS") or "local"
    if address == "local":
        _require_room_for_sockets()
    named = re.fullmatch(r"(?:ray://)?\[?([^\s\]/]+?)\]?:(\d{1,5})", address)
    if named is None:
        return address
    require_listening(
        named[1],
        int(named[2]),
        f"RAY_ADDRESS is {address}, where no Ray cluster answers",
        "start one with `ray start --head`, correct it, or unset it to have one started here",
    )
    return address


def _require_room_for_sockets() -> None:
    """Require that Ray can make its sockets, whose names may have no more bytes than Linux allows."""
    variable = next((name for name in ("RAY_TMPDIR", "TMPDIR") if name in os.environ), None)
    if variable is None:
        return
    folder = os.environ[variable]
    most = SOCKET_BYTES - len(f"/ray/session_2026-01-31_23-59-59_999999_{os.getpid()}/sockets/{LONGEST_SOCKET}")
    remedy = f"set RAY_TMPDIR to a folder that can be written, of at most {most} bytes, such as /tmp"
    if len(os.fsencode(folder)) > most:
        raise ValueError(f"{variable} is {folder}, which makes the names of Ray's sockets too long: {remedy}")
    require_writable(Path(folder), f"it is {variable}, where Ray keeps its files; {remedy}")


def require_listening(host: str, port: int, trouble: str, remedy: str) -> None:
    """Raise `ValueError`, with what that means and the remedy, where nothing accepts connections."""
    try:
        socket.create_connection((host, port), timeout=ANSWER_S).close()
    except (OSError, OverflowError) as error:
        raise ValueError(f"{trouble} ({error}): {remedy}") from error
