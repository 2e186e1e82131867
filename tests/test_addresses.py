"""Addresses lose their secrets before anybody reads them."""

from __future__ import annotations

import copy
import json
import os
import pickle
import re
import socket
import traceback
from dataclasses import asdict, dataclass
from datetime import datetime

import pytest
from ray import cloudpickle

from crystalsweep.artifacts.addresses import (
    LONGEST_SOCKET,
    Address,
    keys_to_environment,
    ray_address,
    without_password,
)

SHOWN = [
    ("/data/a@b?c", "/data/a@b?***"),
    ("s3://bucket/a@b?scheme=http&secret_key=hush", "s3://bucket/a@b?scheme=http&secret_key=***"),
    ("s3://key:hush@bucket/a", "s3://***@bucket/a"),
    ("s3://key:hu/sh+@bucket/a@b", "s3://***@bucket/a@b"),
    ("s3://key:hu@sh@bucket", "s3://***@bucket"),
    ("s3://host:9000/a@b#hush", "s3://host:9000/a@b#***"),
    ("s3://[key:hush@bucket", "s3://***@bucket"),
    ("http://host:5000", "http://host:5000"),
    ("http://me:hush@host:5000", "http://***@host:5000"),
    ("http://hush@host", "http://***@host"),
    ("http://me:hush%2Fhush@host", "http://***@host"),
    ("http://me:hu/sh@host:5000", "http://***@host:5000"),
    ("http://me:hu?sh@host:5000", "http://***@host:5000"),
    ("http://me:hu#sh@host:5000", "http://***@host:5000"),
    ("http://me:p@hu/sh@host:5000", "http://***@host:5000"),
    ("http://me:12/hush@host:5000", "http://***@host:5000"),
    ("http://me:hush@[::1", "http://***@[::1"),
    ("http:me:hush@host", "http:***@host"),
    ("me:hush@host", "***@host"),
    ("postgresql:/me:hush@host/db", "postgresql:/***@host/db"),
    ("postgresql+psycopg2://me:hush@host/db?sslmode=require", "postgresql+psycopg2://***@host/db?sslmode=require"),
    ("postgresql:///db?user=me&password=hush", "postgresql:///db?user=me&password=***"),
    ("mysql://host/db?passwd=hush;x=hush", "mysql://host/db?passwd=***;x=***"),
    ("mysql://host/db?hush", "mysql://host/db?***"),
    ("http://host;token=hush", "http://host;token=***"),
    ("http://host:5000/a;b;session=hush/c?x=hush", "http://host:5000/a;***;session=***?x=***"),
    ("mssql://host;user=me;pwd=hush", "mssql://host;user=me;pwd=***"),
    ("s3://bucket/a;b=c", "s3://bucket/a;b=c"),
    ("/data/a;b=c", "/data/a;b=c"),
    (" http://me:hush@host:5000", " http://***@host:5000"),
    ("\thttp://me:hush@host\n", "\thttp://***@host\n"),
    ("//me:hush@host", "//***@host"),
    ("http//me:hush@host", "http//***@host"),
    ("http:///me:hush@host", "http:///***@host"),
    ("ht tp://me:hu sh@host", "ht tp://***@host"),
    ("http://host/@me:hush@host", "http://host/@***@host"),
    ("http://me:hush\uff20host", "http://***@host"),
    ("postgresql://h/db?host=me:hush@host", "postgresql://h/db?host=***@host"),
    ("models:/crystal-generator@champion", "models:/crystal-generator@champion"),
    ("/data/a:b@c", "/data/a:b@c"),
    ("sqlite:////data/a@b/c#d/mlflow.db", "sqlite:////data/a@b/c#d/mlflow.db"),
    ("sqlite:///a:b@c.db", "sqlite:///a:b@c.db"),
    ("file:///data/a@b/c", "file:///data/a@b/c"),
    ("databricks", "databricks"),
    ("", ""),
]


@pytest.mark.parametrize(("given", "expected"), SHOWN)
def test_an_address_is_shown_without_secrets(given: str, expected: str) -> None:
    assert str(Address(given)) == expected
    assert str(Address(expected)) == expected


@pytest.mark.parametrize("given", [given for given, expected in SHOWN if "***" in expected])
def test_nothing_that_shows_an_address_has_its_secrets(given: str) -> None:
    address = Address(given)
    for form in (str, repr, ascii, "{}".format, "{:>9}".format, "{!r}".format, lambda each: f"%s {each}" % each):
        assert "hu" not in form(address)
    assert "hu" not in repr([address])
    assert not hasattr(address, "__dict__")
    assert b"hu" not in pickle.dumps(address)
    assert b"hu" not in cloudpickle.dumps({"here": (address,)})
    assert "hu" not in str(asdict(_Asked(address)))
    assert "hu" not in json.dumps(asdict(_Asked(address)), default=str)
    assert "hu" not in str(copy.deepcopy(address).__reduce__())
    try:
        raise KeyError(address)
    except KeyError:
        assert "hu" not in traceback.format_exc()


@dataclass(frozen=True)
class _Asked:
    address: Address


@pytest.mark.parametrize("given", [given for given, _ in SHOWN])
def test_the_address_itself_is_given_on_request(given: str) -> None:
    assert Address(given).with_password() == given
    assert Address(Address(given)) == Address(given)


def test_what_was_handed_out_is_known_in_any_text() -> None:
    """As libraries write it, who have parts of the address."""
    Address("http://me:ge%2Fheim1@host").with_password()
    for text in ("password ge/heim1 is wrong", "'ge%2Fheim1'", "Basic bWU6Z2UvaGVpbTE=", "user me:ge/heim1"):
        told = without_password(text)
        assert "heim" not in told, told
        assert "bWU6" not in told
        assert "***" in told


@pytest.mark.parametrize("name", ["MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "AWS_SECRET_ACCESS_KEY"])
def test_a_secret_of_the_environment_is_known_in_any_text(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Libraries take it from there."""
    monkeypatch.setenv(name, "geheim/4")
    assert without_password("('me', 'geheim/4') or Z2VoZWltLzQ= or geheim%2F4") == "('me', '***') or *** or ***"


def test_a_password_that_is_part_of_everything_is_no_secret() -> None:
    Address("postgresql://mlflow:mlflow@host/mlflow").with_password()
    Address("http://a:b@host").with_password()
    assert without_password("a mlflow.db by b") == "a mlflow.db by b"


def test_an_address_that_was_kept_takes_its_password_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = pickle.loads(pickle.dumps(Address("http://me:hush@host:5000")))
    for other in ("", "http://host:5000", "http://me:hush@other:5000", "http://***@host:5000"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", other)
        with pytest.raises(ValueError, match=r"http://\*\*\*@host:5000 lacks its password.* MLFLOW_TRACKING_URI or"):
            kept.with_password()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:geheim2@host:5000")
    assert kept.with_password() == "http://me:geheim2@host:5000"


def test_a_browser_is_given_neither_user_nor_password() -> None:
    assert Address("http://me:hush@host:5000").link == "http://host:5000"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://user:p@ss@host:5000/a", "http://***@host:5000/a"),
        ("http://host:5000", "http://host:5000"),
        ("sqlite:////data/a@b/mlflow.db", "sqlite:////data/a@b/mlflow.db"),
        ("sqlite:///a@b.db", "sqlite:///a@b.db"),
        ("see http://host/#/experiments/1?x=y", "see http://host/#/experiments/1?x=y"),
        ("to models:/crystal-generator@champion", "to models:/crystal-generator@champion"),
        ("no run in http://me:pass@host/x, nor in s3://k:hush@b", "no run in http://***@host/x, nor in s3://***@b"),
        ("dsn host=h password=hush dbname=d", "dsn host=h password=*** dbname=d"),
        ("{'password': 'hush', \"api_key\": \"hush\"}", "{'password': '***', \"api_key\": \"***\"}"),
        ("no token='hush', Authorization: Bearer hush", "no token='***', Authorization: Bearer ***"),
        ("no credentials: give AWS_SECRET_ACCESS_KEY", "no credentials: give AWS_SECRET_ACCESS_KEY"),
        ("GET /a?X-Amz-Signature=hush&n=1 of 'api_key=hush'", "GET /a?X-Amz-Signature=***&n=1 of 'api_key=***'"),
    ],
)
def test_a_text_is_shown_without_passwords(text: str, expected: str) -> None:
    assert without_password(text) == expected


# Keys of object stores


@pytest.fixture
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "RAY_ADDRESS"):
        monkeypatch.setenv(name, "")  # so that it is set back
        monkeypatch.delenv(name)


@pytest.mark.usefixtures("no_keys")
def test_keys_of_an_object_store_go_to_the_environment() -> None:
    assert keys_to_environment("s3://bucket/a@b?region=x") == "s3://bucket/a@b?region=x"
    assert "AWS_ACCESS_KEY_ID" not in os.environ
    for _ in range(2):
        assert keys_to_environment("s3://key:hu/sh%2B12@bucket/a@b?region=x") == "s3://bucket/a@b?region=x"
    assert (os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]) == ("key", "hu/sh+12")
    assert without_password("the secret hu/sh+12 is wrong") == "the secret *** is wrong"
    with pytest.raises(ValueError, match="s3://bucket was given other keys than the environment has: set AWS") as told:
        keys_to_environment("s3://key:geheim3@bucket")
    assert "geheim3" not in str(told.value)


@pytest.mark.usefixtures("no_keys")
@pytest.mark.parametrize("given", ["s3://hush@bucket", "s3://:hush@bucket", "s3://***@bucket"])
def test_half_a_key_is_refused_without_showing_it(given: str) -> None:
    with pytest.raises(ValueError, match=r"^s3://bucket was given something that is no KEY:SECRET") as told:
        keys_to_environment(given)
    assert "hush" not in str(told.value)


@pytest.mark.usefixtures("no_keys")
def test_keys_in_an_address_are_refused_where_rays_logs_would_have_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray writes the environment that it gives to workers into its logs."""
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:6379")
    with pytest.raises(ValueError, match=r"the keys of s3://bucket reach no worker .* set AWS_ACCESS_KEY_ID") as told:
        keys_to_environment("s3://key:hush@bucket")
    assert "hush" not in str(told.value)
    assert "AWS_ACCESS_KEY_ID" not in os.environ


# Clusters


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
