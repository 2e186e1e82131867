"""Addresses lose their secrets before anybody reads them."""

from __future__ import annotations

import pytest

from crystalsweep.artifacts.addresses import shown_address, without_password


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
