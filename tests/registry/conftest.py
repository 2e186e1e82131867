"""Trained generators, and a suite small enough for tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from crystalsweep.cli.registry import promote
from crystalsweep.config import override
from crystalsweep.evaluation.driver import evaluate_checkpoint
from crystalsweep.evaluation.freezing import freeze
from crystalsweep.evaluation.outcome import Evaluation
from crystalsweep.evaluation.request import EvaluationRequest, Machine
from crystalsweep.evaluation.settings import EvaluationSettings
from crystalsweep.evaluation.suite import Suite
from crystalsweep.tracking.tracker import sqlite_uri

GENERATORS = Path(__file__).parents[1] / "fixtures" / "generators"

MODEL = "crystal-generator"


@pytest.fixture
def control() -> Path:
    """A generator that passes the gates."""
    return GENERATORS / "control"


@pytest.fixture
def adversarial() -> Path:
    """One that restores less."""
    return GENERATORS / "adversarial"


@pytest.fixture(scope="session")
def suite() -> Suite:
    """Forty small crystals, each species masked once."""
    settings = override(
        EvaluationSettings(),
        [
            *("max_atoms=6", "energies.calculator=none", "protocol.max_crystals=40"),
            *('protocol.mask_types=["species"]', "protocol.sigma_noise=[0.1]"),
        ],
    )
    return freeze("small", "bundled", "test", settings)


@pytest.fixture(scope="session")
def suite_file(suite: Suite, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("suite") / "small.json"
    file.write_text(suite.model_dump_json())
    return file


@pytest.fixture(scope="session")
def outcome(suite: Suite, tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    """The good generator's evaluation on the suite."""
    folder = tmp_path_factory.mktemp("evaluation")
    machine = Machine(workers=1, device="cpu")
    asked = EvaluationRequest.of_suite(suite, str(GENERATORS / "control"), out=folder / "out", machine=machine)
    _, found, _ = evaluate_checkpoint(asked, None, folder)
    return found


@pytest.fixture(scope="session")
def promoted(suite_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a champion, to read."""
    store = tmp_path_factory.mktemp("promoted")
    asked = ("--suite", str(suite_file), "--metric", "masked_accuracy", "--workers", "1")
    where = ("--storage", str(store), "--tracking-uri", sqlite_uri(store))
    ran = CliRunner().invoke(promote, [str(GENERATORS / "control"), *asked, *where])
    assert ran.exit_code == 0, f"{ran.output}\n{ran.exception!r}"
    return store
