"""Addresses of servers and stores: as they may be shown, without passwords; of SQLite files; and whether Ray's cluster
answers."""

from __future__ import annotations

import os
import re
import socket
from base64 import b64encode
from pathlib import Path
from urllib.parse import quote, quote_plus, unquote, unquote_plus

from crystalsweep.artifacts.places import require_writable

SOCKET_BYTES = 107
"""Of a socket's name on Linux, at most."""

LONGEST_SOCKET = "dash_TaskEventsHead"
"""Of those that Ray makes in the folder of a session."""

ANSWER_S = 10.0
"""Seconds in which a server that is there accepts a connection."""


HIDDEN = "***"
"""Stands where an address that is shown has a password."""

_PLAIN_OPTIONS = {
    *("allow_bucket_creation", "allow_delayed_open", "endpoint_override", "region", "scheme"),
    *("charset", "dbname", "driver", "host", "mode", "port", "sslmode", "timeout", "uri", "user"),
}
"""Options of an address that are shown; any other may be a secret."""

_SECRET_NAME = r"[\w.-]*(?:passw|pwd|secret|token|api_?key|signature|credential)[\w.-]*"
_NAMED_SECRET = re.compile(
    rf"""({_SECRET_NAME}=["']?|["']{_SECRET_NAME}["']\s*:\s*["']|\bAuthorization\W+(?:Bearer|Basic)\s+)[^\s&;,'"]+""",
    re.IGNORECASE,
)
_SECRET_VARIABLES = (
    *("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
    *("RAY_AUTH_TOKEN", "DATABRICKS_TOKEN"),
)
"""Of the environment, where libraries look for secrets themselves."""
_IN_A_TEXT = re.compile(r"[A-Za-z][\w+.-]*://\S+")
_LOOKS_LIKE = str.maketrans({"\uff20": "@", "\ufe6b": "@", "\uff1a": ":", "\ufe55": ":", "\uff0f": "/"})
"""What libraries take for an @, : or /, and quote in their refusal."""
_A_SERVER = re.compile(r"\s*(?!sqlite:|file:|s3:)[A-Za-z][\w+.-]*:/")
_A_FILE = re.compile(r"(?:sqlite|file):///|/(?!/)")
_USER_ANYWHERE = re.compile(r"[^\s/@:=?&]+:(?!/|\d+/).*@", re.DOTALL)
_SHOWN = re.compile(rf"(?:[A-Za-z][\w+.-]*:/*)?{re.escape(HIDDEN)}@[^@]*$")
_LEAST_SECRET = 4
"""Letters of a password that is looked for in texts; a shorter one is part of too many words."""

_handed_out: set[str] = set()
"""How the passwords that libraries were given may be written in what they say."""


class Address:
    """An address of a server, a database or a store, which may hold a password.

    Whatever shows it has `***` there: `str`, `repr`, formatting, copies and pickles. The password itself is given out
    by `with_password` alone.
    """

    __slots__ = ("_given", "_shown")

    def __init__(self, given: str | Address) -> None:
        self._given: str = given._given if isinstance(given, Address) else given
        self._shown = _parted(self._given)[0]

    def with_password(self) -> str:
        """Return the address as MLflow and its libraries need it, for nothing that is shown or kept.

        Where this one was read back from a file, MLFLOW_TRACKING_URI has its password. Raises `ValueError` where it
        has not. From then on `without_password` knows the password in any text.
        """
        whole = self._given
        if HIDDEN in whole and self._shown == whole:
            whole = os.environ.get("MLFLOW_TRACKING_URI", "")
            if HIDDEN in whole or _parted(whole)[0] != self._shown:
                raise ValueError(
                    f"{self} lacks its password, which is kept nowhere ({HIDDEN} stands for it): give it again, in "
                    "MLFLOW_TRACKING_URI or --tracking-uri"
                )
        for secret in _parted(whole)[1]:
            _handed_out.update(_spellings(secret) if secret not in self._shown else ())
        return whole

    @property
    def link(self) -> str:
        """The address for a browser, which asks for the password itself."""
        return self._shown.replace(f"{HIDDEN}@", "")

    @property
    def has_password(self) -> bool:
        """Whether something in it is not shown."""
        return HIDDEN in self._shown

    def __str__(self) -> str:
        return self._shown

    def __repr__(self) -> str:
        return f"Address({self._shown!r})"

    def __format__(self, form: str) -> str:
        return format(self._shown, form)

    def __bool__(self) -> bool:
        return bool(self._given)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Address) and self._given == other._given

    def __hash__(self) -> int:
        return hash(self._shown)

    def __reduce__(self) -> tuple[type[Address], tuple[str]]:
        return Address, (self._shown,)


def without_password(text: str) -> str:
    """Return the text without the passwords of addresses in it, and without those that were handed to libraries."""
    text = _IN_A_TEXT.sub(lambda found: _without_user(found[0])[0], text)
    text = _NAMED_SECRET.sub(rf"\1{HIDDEN}", text)
    told = {each for name in _SECRET_VARIABLES for each in _spellings(os.environ.get(name, ""))}
    for secret in sorted(_handed_out | told, key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", HIDDEN, text)
    return text


def _parted(address: str) -> tuple[str, list[str]]:
    """Return an address as it is shown, and the secrets in it."""
    shown, secrets = _without_user(address)
    path, mark, options = shown.partition("?")
    if _A_SERVER.match(address):  # others may have any character in their path
        server, semicolon, named = path.partition(";")
        named, hidden = _options(named)
        path, secrets = server + semicolon + named, [*secrets, *hidden]
    if not address.startswith("sqlite:///"):  # whose path may have any character
        path, hash_, fragment = path.partition("#")
        if fragment:
            return f"{path}{hash_}{HIDDEN}", [*secrets, *([] if fragment == HIDDEN else [fragment, options])]
    told, hidden = _options(options)
    return path + mark + told, [*secrets, *hidden]


def _options(text: str) -> tuple[str, list[str]]:
    """Return options as they are shown, and the secrets among them."""
    told, secrets = [], []
    for part in re.split(r"([&;])", text):
        name, equals, value = part.partition("=")
        if part in ("&", ";", "") or name in _PLAIN_OPTIONS:
            told.append(part)
        else:
            told.append(f"{name}={HIDDEN}" if equals else HIDDEN)
            secrets.append(value or name)
    return "".join(told), secrets


def _without_user(address: str) -> tuple[str, list[str]]:
    """Return an address with `***` for its user and password, and the two as secrets, however badly it is written."""
    if _SHOWN.match(address):
        return address, []
    read = address.translate(_LOOKS_LIKE)
    begin = re.match(r"\s*[A-Za-z][\w+.-]*://", read) or re.match(
        r"\s*(?:[A-Za-z][\w+.-]*:/?)?(?=[^/\s:@]+:(?!/)[^@]*@)", read
    )
    place = begin.end() if begin else 0
    end = _end_of_user(read, place) if begin else None
    if end is None and not _A_FILE.match(read) and (found := _USER_ANYWHERE.search(read)):
        place, end = found.start(), found.end() - 1
    if end is None:
        return address, []
    user = address[place:end]
    secret = user.partition(":")[2] or user
    return f"{address[:place]}{HIDDEN}@{address[end + 1 :]}", [secret, user]


def _end_of_user(address: str, begin: int) -> int | None:
    """Return the place of the @ after user and password, which may hold any character that should be escaped."""
    rest = address[begin:]
    server = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if address.startswith("s3://"):  # a secret key may have a slash, and an object's name an @
        if "@" in server:
            return begin + server.rindex("@")
        return begin + rest.index("@") if re.search(r":.*\D", server) and "@" in rest else None
    if "@" in server or ("@" in rest and ":" in server):
        return begin + rest.rindex("@")
    return None


def _spellings(secret: str) -> set[str]:
    """Return how a secret may be written: as given, without or with escapes, and as HTTP sends it."""
    plain = unquote(secret)
    written = {secret, plain, unquote_plus(secret), quote(plain, safe=""), quote_plus(plain), repr(plain)[1:-1]}
    written.add(b64encode(plain.encode()).decode())
    return {each for each in written if len(each) >= _LEAST_SECRET}


def keys_to_environment(address: str) -> str:
    """Return an object store's address without the keys that it may hold, which go to where AWS's libraries look.

    Workers that this process starts have them from there, and no file or log has them. Raises `ValueError` where
    there are others already, or where workers are started by somebody else.
    """
    end = _end_of_user(address, 5) if address.startswith("s3://") else None
    if end is None:
        return address
    bare = f"s3://{address[end + 1 :]}"
    remedy = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY{} and leave the keys out of the address"
    key, colon, secret = address[5:end].partition(":")
    if not (key and colon and secret) or secret == HIDDEN:
        raise ValueError(f"{bare} was given something that is no KEY:SECRET before its @: {remedy.format('')}")
    if os.environ.get("RAY_ADDRESS", "local") not in ("", "local"):
        why = f"the keys of {bare} reach no worker of the cluster that RAY_ADDRESS names but through its logs"
        raise ValueError(f"{why}: {remedy.format(' where its nodes are started')}")
    keys = {"AWS_ACCESS_KEY_ID": unquote(key), "AWS_SECRET_ACCESS_KEY": unquote(secret)}
    if any(os.environ.get(name, value) != value for name, value in keys.items()):
        raise ValueError(f"{bare} was given other keys than the environment has: {remedy.format('')}")
    os.environ.update(keys)
    _handed_out.update(_spellings(secret))
    return bare


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
