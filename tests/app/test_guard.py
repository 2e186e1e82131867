"""Who is answered by the page's server: pages that it gave itself, on this machine or with the token."""

from __future__ import annotations

import pytest

from crystalsweep.app.guard import MAX_BODY, is_loopback, refusal
from crystalsweep.app.server import listen, require_guarded

OWN = {"host": "127.0.0.1:8765", "origin": "http://127.0.0.1:8765", "sec-fetch-site": "same-origin"}
JSON = {"content-type": "application/json", "content-length": "2"}
TOKEN = "a-token-of-enough-length"


def status(headers: dict[str, str], path: str = "/api/complete", token: str | None = None, method: str = "POST") -> int:
    refused = refusal(method, path, headers, token)
    return refused.status if refused else 200


@pytest.mark.parametrize("host", ["127.0.0.1:8765", "localhost:9000", "[::1]:8765", "127.0.0.1"])
def test_the_own_page_is_answered_under_any_port(host: str) -> None:
    assert status(OWN | JSON | {"host": host, "origin": f"http://{host}"}) == 200


@pytest.mark.parametrize(
    "host", ["evil.example:8765", "127.0.0.1.evil.example", "", "localhost.evil.example:8765", "[", "0.0.0.0:8765"]
)
@pytest.mark.parametrize("path", ["/", "/api/complete"])
def test_another_name_for_this_machine_is_refused(host: str, path: str) -> None:
    """As DNS of a stranger's name that leads to 127.0.0.1 makes a browser send it."""
    assert status(OWN | JSON | {"host": host, "origin": f"http://{host}"}, path) == 403


@pytest.mark.parametrize(
    "sent",
    [
        {"origin": "http://evil.example"},
        {"origin": "http://127.0.0.1:9999"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
@pytest.mark.parametrize("token", [None, TOKEN])
def test_what_another_page_asks_is_refused(sent: dict[str, str], token: str | None) -> None:
    known = {"authorization": f"Bearer {TOKEN}"}
    assert status(OWN | JSON | known, token=token) == 200
    assert status(OWN | JSON | known | sent, token=token) == 403


def test_a_form_of_another_page_is_no_json() -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""):
        assert status(OWN | JSON | {"content-type": kind}) == 415
    assert status(OWN | JSON | {"content-type": "application/json; charset=utf-8"}) == 200


def test_what_is_too_large_is_refused_before_it_is_read() -> None:
    assert status(OWN | JSON | {"content-length": str(MAX_BODY)}) == 200
    assert status(OWN | JSON | {"content-length": str(MAX_BODY + 1)}) == 413
    for length in ("", "-1", "1e3", "²"):
        assert status(OWN | JSON | {"content-length": length}) == 411


@pytest.mark.parametrize("given", ["", "Bearer", f"Bearer {TOKEN}x", f"Basic {TOKEN}", "Bearer \u00e9"])
def test_without_the_token_only_the_empty_page_is_shown(given: str) -> None:
    headers = {"host": "crystals.example", "authorization": given}
    assert status(headers, "/", TOKEN, "GET") == 200
    assert status(headers, "/api/model", TOKEN, "GET") == 401
    assert status(headers | JSON, token=TOKEN) == 401


def test_with_the_token_any_name_is_answered() -> None:
    headers = {"host": "crystals.example", "authorization": f"Bearer {TOKEN}"}
    assert status(headers | JSON, token=TOKEN) == 200


def test_others_are_let_in_with_a_token_only() -> None:
    require_guarded("127.0.0.1", None)
    require_guarded("::1", None)
    require_guarded("0.0.0.0", TOKEN)
    for host in ("0.0.0.0", "::", "192.168.1.5", "crystals.example", ""):
        with pytest.raises(ValueError, match="give --token too, or leave --host out"):
            require_guarded(host, None)
    with pytest.raises(ValueError, match="has 5 characters; give at least 16"):
        require_guarded("127.0.0.1", "short")


def test_loopback() -> None:
    assert [is_loopback(name) for name in ("127.0.0.1", "127.8.8.8", "::1", "localhost")] == [True] * 4
    assert [is_loopback(name) for name in ("0.0.0.0", "10.0.0.1", "localhost.example", "")] == [False] * 4


def test_it_listens_where_it_says_and_nowhere_else() -> None:
    with listen("127.0.0.1", 0) as at:
        host, port = at.getsockname()
        assert host == "127.0.0.1"
        with pytest.raises(ValueError, match=f"127.0.0.1 port {port} cannot be served on .*; give another --port"):
            listen("127.0.0.1", port)
    with pytest.raises(ValueError, match="cannot be served on"):
        listen("no.such.host.invalid", 0)
