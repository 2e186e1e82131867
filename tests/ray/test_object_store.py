"""A sweep whose checkpoints are in an S3-compatible store, killed and resumed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from tests.ray.conftest import Starter, Sweep, end_of, until
from tests.ray.remains import require_whole
from tests.ray.servers import BIN, Server, free_port

pytestmark = pytest.mark.long

EPOCHS = 30
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Address of an empty bucket."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    port = free_port()
    server = Server([str(BIN / "moto_server"), "--port", str(port)], port, tmp_path / "s3.log")
    server.start()
    try:
        with urlopen(Request(f"{server.address}/crystals", method="PUT")):
            pass
        yield f"s3://crystals/runs?endpoint_override=127.0.0.1:{port}&scheme=http"
    finally:
        server.kill()


def test_a_killed_sweep_goes_on_from_an_object_store(bucket: str, sweep: Starter, tmp_path: Path) -> None:
    local = tmp_path / "local"
    local.mkdir()

    def start(*options: str) -> Sweep:
        tracking = () if "--resume" in options else ("--tracking-uri", f"sqlite:///{local / 'mlflow.db'}")
        started = sweep("w_pos", bucket, *options, *tracking, CRYSTALSWEEP_STORAGE=str(local), **CREDENTIALS)
        started.storage = local
        return started

    first = start("--num-samples", "2", "--set", f"epochs={EPOCHS}", "--set", "max_crystals=32")
    until(lambda: first.reached("0000-s0", 8) and first.reached("0001-s0", 8), "some epochs")
    below = first.below("")
    first.process.kill()
    first.wait()
    end_of(below)
    second = start("--resume", "latest")
    assert second.wait() == 0, second.output
    assert " epoch 1/" not in second.output
    require_whole(second.folder, {"0000-s0", "0001-s0"}, EPOCHS)
    assert not (local / "sweeps" / second.folder.name / "checkpoints").exists()
