"""Addresses of servers and stores as they may be shown: without the names and passwords that they may hold."""

from __future__ import annotations

import re


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
