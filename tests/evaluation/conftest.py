"""A generator trained for a moment on real crystals, and small evaluations of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from crystalsweep.cli.evaluate import evaluate
from crystalsweep.cli.train import train
from crystalsweep.data import load_data, write
from crystalsweep.structures.crystal import Crystal

SMALL = ("--calculator", "none", "--workers", "1", "--device", "cpu")
"""No energies, one process."""

FEW = ("--set", "protocol.sigma_noise=[0.1,0.4]", "--set", "protocol.draws=1")
"""Corruptions."""


NO_SERVER = {"MLFLOW_TRACKING_URI": None}
"""mlflow leaves the address of an earlier test in the environment."""


@pytest.fixture(scope="session")
def crystals() -> dict[str, list[Crystal]]:
    """Small bundled crystals: sixty to train on, twelve to evaluate."""
    bundled = load_data("bundled")
    return {
        "train": [crystal for crystal in bundled.train if len(crystal) <= 6][:60],
        "test": [crystal for crystal in bundled.test if 2 <= len(crystal) <= 6][:12],
    }


@pytest.fixture(scope="session")
def data(crystals: dict[str, list[Crystal]], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same as files."""
    folder = tmp_path_factory.mktemp("data")
    files = {part: folder / f"{part}.parquet" for part in crystals}
    for part, file in files.items():
        write(crystals[part], file)
    return files


@pytest.fixture(scope="session")
def checkpoint(data: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a generator that has seen the training crystals for a few seconds."""
    folder = tmp_path_factory.mktemp("run") / "pretrain"
    options = [
        "--preset",
        "smoke",
        "--data",
        f"{data['train']},{data['test']}",
        "--out",
        str(folder),
        "--device",
        "cpu",
    ]
    ran = CliRunner().invoke(train, ["pretrain", *options, "--set", "epochs=2", "--set", "stable_only=false"])
    assert ran.exit_code == 0, ran.output
    return folder


Evaluate = Callable[..., Result]


@pytest.fixture(scope="session")
def run_evaluate(data: dict[str, Path]) -> Evaluate:
    """`crystalsweep evaluate` on the small crystals."""

    def run(*options: object, source: bool = True) -> Result:
        where = ["--data", str(data["test"]), "--reference", str(data["train"])] if source else []
        few = () if "--structures" in options else FEW
        command = [*where, *few, *SMALL, *map(str, options)]
        return CliRunner().invoke(evaluate, command, catch_exceptions=False, env=NO_SERVER)

    return run


@pytest.fixture(scope="session")
def evaluation(checkpoint: Path, run_evaluate: Evaluate, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished evaluation of the generator."""
    folder = tmp_path_factory.mktemp("evaluations") / "generator"
    ran = run_evaluate("--checkpoint", checkpoint, "--out", folder)
    assert ran.exit_code == 0, ran.output
    return folder
