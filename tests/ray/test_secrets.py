"""A password in MLFLOW_TRACKING_URI is in no output, file, log, tag or artifact of anything that uses the server."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from urllib.parse import quote

import pytest
from mlflow import MlflowClient

from crystalsweep.config import override
from crystalsweep.evaluation.freezing import freeze
from crystalsweep.evaluation.settings import EvaluationSettings
from tests.ray.conftest import ROOT, Starter, descendants
from tests.ray.servers import mlflow_server

pytestmark = pytest.mark.long

TOKEN = token_hex(8)
"""Made anew: Ray copies the checkout, and so this file, into its session."""
PASSWORD = f"Sesam/öffne {TOKEN}@42"
NEEDLES = {TOKEN, *(b64encode(f"{user}{PASSWORD}".encode()).decode() for user in ("", "alice:"))}


@dataclass
class Used:
    """What used a server with a password: its outputs, and where it left files."""

    folder: Path
    ray: Path
    said: dict[str, str] = field(default_factory=dict)
    arguments: set[str] = field(default_factory=set)
    """Command lines of all processes of the sweep."""


def _suite(folder: Path) -> Path:
    """A few small crystals, each species masked once."""
    settings = override(
        EvaluationSettings(),
        [
            *("max_atoms=4", "energies.calculator=none", "protocol.max_crystals=8"),
            *('protocol.mask_types=["species"]', "protocol.sigma_noise=[0.1]"),
        ],
    )
    file = folder / "few.json"
    file.write_text(freeze("few", "bundled", "test", settings).model_dump_json())
    return file


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Used]:
    folder = tmp_path_factory.mktemp("secrets")
    server, starter = mlflow_server(folder), Starter(folder)
    server.start()
    with tempfile.TemporaryDirectory(prefix="ray-") as ray:
        found = Used(folder, Path(ray))
        uri = server.address.replace("http://", f"http://alice:{quote(PASSWORD, safe='')}@")
        here = {
            "MLFLOW_TRACKING_URI": uri,
            "RAY_TMPDIR": ray,
            "CRYSTALSWEEP_STORAGE": str(folder / "store"),
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'platform'}",
        }

        def run(*arguments: str) -> None:
            ran = subprocess.run(
                [sys.executable, "-m", "crystalsweep", *arguments],
                cwd=folder,
                env={k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"} | here,
                capture_output=True,
                check=False,
                timeout=600,
            )
            found.said[arguments[0]] = (ran.stdout + ran.stderr).decode()
            assert ran.returncode in (0, 3), found.said[arguments[0]]

        try:
            small = ("--set", "epochs=1", "--set", "max_crystals=32")
            sweep = starter("w_pos", folder / "store", "--num-samples", "1", *small, **here)
            while sweep.process.poll() is None:
                found.arguments |= set(descendants(sweep.process.pid).values())
            assert sweep.wait() == 0, sweep.output
            found.said["sweep"] = sweep.output
            again = starter("w_pos", folder / "store", "--resume", "latest", **here)
            assert again.wait() == 0, again.output
            found.said["resumed"] = again.output
            trial = re.findall(r"promote (\w{32})", sweep.output)[0]
            finetune = ("train", "finetune", "--preset", "smoke", "--generator", trial, *small)
            run(*finetune, "--workers", "2", "--out", "trained")
            run("evaluate", "--checkpoint", trial, "--max-crystals", "2", "--calculator", "none", "--workers", "2")
            run("promote", trial, "--suite", str(_suite(folder)), "--workers", "1", "--force", "--reason", "a test")
            run("history")
            run("leaderboard", "--out", "board.html")
            yield found
        finally:
            starter.stop()
            server.kill()


def test_no_output_has_it(used: Used) -> None:
    for what, said in used.said.items():
        assert not [needle for needle in NEEDLES if needle in said], what
    assert "--tracking-uri 'http://***@127.0.0.1:" in used.said["sweep"]
    assert "*** is a password, which is not shown" in used.said["sweep"]


def test_no_file_has_it(used: Used) -> None:
    """Of the storage, of the server's database and artifacts, and of Ray's session."""
    files = [each for top in (used.folder, used.ray) for each in top.rglob("*") if each.is_file()]
    assert len([each for each in files if used.ray in each.parents]) > 20
    assert any(each.name == "server.db" for each in files)
    for file in files:
        content = file.read_bytes()
        assert not [needle for needle in NEEDLES if needle.encode() in content], file


def test_no_run_has_it(used: Used) -> None:
    """As others read them."""
    client = MlflowClient(f"sqlite:///{used.folder / 'server.db'}")
    runs = client.search_runs([each.experiment_id for each in client.search_experiments()])
    assert len(runs) >= 3
    for run in runs:
        assert not [needle for needle in NEEDLES if needle in str(run.to_dictionary())]
    for version in client.search_model_versions():
        assert not [needle for needle in NEEDLES if needle in str(dict(version))]


def test_no_command_line_has_it(used: Used) -> None:
    assert any("raylet" in each for each in used.arguments)
    assert not [each for each in used.arguments if any(needle in each for needle in NEEDLES)]


def test_a_sweeps_file_is_its_owners_alone(used: Used) -> None:
    (file,) = (used.folder / "store").glob("sweeps/*/sweep.json")
    assert file.stat().st_mode & 0o777 == 0o600
    assert '"tracking_uri": "http://***@127.0.0.1:' in file.read_text()
