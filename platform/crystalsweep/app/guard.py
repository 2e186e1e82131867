"""Who is answered: pages that this server gave, on this machine alone or with the token; and how much they may send.

Against a page of a stranger in the user's browser: a name that a stranger's DNS turned into 127.0.0.1 is refused by
`Host`, a request that another page sends by `Origin`, `Sec-Fetch-Site` and by its type, which browsers do not let
other pages send unasked. Nothing is kept in cookies.
"""

from __future__ import annotations

from collections.abc import Mapping
from hmac import compare_digest
from ipaddress import ip_address
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_UPLOAD = 16 << 20
"""Bytes of a file."""

MAX_BODY = MAX_UPLOAD * 4 // 3 + 4096
"""Bytes of one request: a file in base64 and a little more."""

MIN_TOKEN = 16
"""Characters, so that it cannot be guessed."""

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'",  # which a page cannot say of itself; the rest is in the page
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Of every answer."""


class Refusal(NamedTuple):
    """Why a request is not answered."""

    status: int
    """Of HTTP."""
    says: str


def is_loopback(name: str) -> bool:
    """Return whether a host's name or address is this machine's own, which no other reaches."""
    try:
        return name == "localhost" or ip_address(name).is_loopback
    except ValueError:
        return False


def refusal(method: str, path: str, headers: Mapping[str, str], token: str | None) -> Refusal | None:
    """Return why a request is refused before its body is read.

    Args:
        method: Of HTTP, in capitals.
        path: Without its query.
        headers: Names in any case.
        token: What the API asks for; None where it is for this machine alone.
    """
    host, origin = headers.get("host", ""), headers.get("origin")
    if token is None and not is_loopback(_name(host)):
        return Refusal(403, "open this page as http://127.0.0.1 or http://localhost, or start it with --token")
    if origin is not None and urlsplit(origin).netloc != host:
        return Refusal(403, "this was asked by another page")
    if not path.startswith("/api/"):
        return None
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return Refusal(403, "this was asked by another page")
    if token is not None and not _knows(headers.get("authorization", ""), token):
        return Refusal(401, "give the token that this page was started with")
    return _unreadable(headers) if method == "POST" else None


def _unreadable(headers: Mapping[str, str]) -> Refusal | None:
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        return Refusal(415, "send JSON, as application/json")
    length = headers.get("content-length", "")
    if not length.isascii() or not length.isdigit():
        return Refusal(411, "say how many bytes follow, in Content-Length")
    if int(length) > MAX_BODY:
        return Refusal(413, f"{int(length):,} bytes are too many; a request has at most {MAX_BODY:,}")
    return None


def _name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _knows(authorization: str, token: str) -> bool:
    kind, _, given = authorization.partition(" ")
    return kind.lower() == "bearer" and compare_digest(given.strip().encode(), token.encode())


class Guard:
    """Stands before an application: refuses, and adds `HEADERS` to what is answered."""

    def __init__(self, app: ASGIApp, token: str | None) -> None:
        self._app, self._token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the application, or refuse."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        refused = refusal(scope["method"], scope["path"], Headers(scope=scope), self._token)
        if refused:
            await told(refused.status, [("", refused.says)])(scope, receive, answer)
        else:
            await self._app(scope, receive, answer)


def told(status: int, errors: list[tuple[str, str]]) -> JSONResponse:
    """Return an answer that says what is wrong, each with the field it is about, or none."""
    body: dict[str, Any] = {"errors": [{"field": field, "says": says} for field, says in errors]}
    return JSONResponse(body, status)
