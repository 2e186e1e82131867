"""Addresses lose their secrets before anybody reads them."""

from __future__ import annotations

import os
import re
import socket
from datetime import datetime

import pytest

from crystalsweep.artifacts.addresses import LONGEST_SOCKET, ray_address, shown_address, without_password


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("/data/a@b?c", "/data/a@b?c"),
        ("s3://bucket/a@b?scheme=http&secret_key=hush", "s3://bucket/a@b"),
        ("s3://key:hush@bucket/a", "s3://bucket/a"),
        ("s3://key:hu/sh+@bucket/a@b", "s3://bucket/a@b"),
        ("s3://key:hu@sh@bucket", "s3://bucket"),
        ("s3://host:9000/a@b#hush", "s3://host:9000/a@b"),
        ("s3://[key:hush@bucket", "s3://bucket"),
    ],
)
def test_an_address_is_shown_without_secrets(address: str, expected: str) -> None:
    assert shown_address(address) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://user:p@ss@host:5000/a@b", "http://host:5000/a@b"),
        ("http://host:5000", "http://host:5000"),
        ("sqlite:////data/a@b/mlflow.db", "sqlite:////data/a@b/mlflow.db"),
        ("sqlite:///a@b.db", "sqlite:///a@b.db"),
        ("no run in http://me:p@ss@host/x, nor in s3://key:hush@bucket", "no run in http://host/x, nor in s3://bucket"),
    ],
)
def test_a_text_is_shown_without_passwords(text: str, expected: str) -> None:
    assert without_password(text) == expected


@pytest.mark.parametrize("form", ["127.0.0.1:{}", "localhost:{}", "ray://127.0.0.1:{}"])
def test_a_cluster_that_is_gone_is_told_at_once_with_the_remedy(monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    """Ray itself tries for minutes."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = form.format(server.getsockname()[1])
        monkeypatch.setenv("RAY_ADDRESS", address)
        assert ray_address() == address
    with pytest.raises(ValueError, match=r"no Ray cluster answers .*refused.* unset it"):
        ray_address()


@pytest.mark.parametrize(("given", "expected"), [(None, "local"), ("", "local"), ("auto", "auto"), ("local", "local")])
def test_other_words_for_a_cluster_are_rays(monkeypatch: pytest.MonkeyPatch, given: str | None, expected: str) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if given is not None:
        monkeypatch.setenv("RAY_ADDRESS", given)
    assert ray_address() == expected


@pytest.mark.parametrize("variable", ["RAY_TMPDIR", "TMPDIR"])
def test_a_folder_in_which_rays_sockets_have_too_long_names_is_told(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """Where Ray itself would stop, to a byte."""
    from ray._private.utils import validate_socket_filepath

    for name in ("RAY_ADDRESS", "RAY_TMPDIR", "TMPDIR"):
        monkeypatch.delenv(name, raising=False)
    assert ray_address() == "local"
    monkeypatch.setenv(variable, "/tmp/" + 100 * "a")
    with pytest.raises(
        ValueError, match=rf"{variable} is /tmp/aaa.* too long: set RAY_TMPDIR to .* such as /tmp"
    ) as told:
        ray_address()
    most = int(re.findall(r"at most (\d+) bytes", str(told.value))[0])
    session = f"ray/session_{datetime.now():%Y-%m-%d_%H-%M-%S_%f}_{os.getpid()}/sockets/{LONGEST_SOCKET}"
    validate_socket_filepath(f"{'/' + (most - 1) * 'a'}/{session}")
    with pytest.raises(OSError, match="AF_UNIX"):
        validate_socket_filepath(f"{'/' + most * 'a'}/{session}")


def test_a_folder_that_ray_cannot_write_to_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", "/proc/ray")
    with pytest.raises(ValueError, match=r"/proc/ray cannot be written .*RAY_TMPDIR, where Ray keeps its files; set"):
        ray_address()
