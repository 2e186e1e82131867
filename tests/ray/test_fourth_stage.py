"""A fourth stage, in a package of its own: it trains alone and is swept, and no file of the product knows of it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from crystalsweep.networks.checkpoint import read_info
from tests.ray.conftest import PATIENCE, ROOT
from tests.ray.remains import histories

pytestmark = pytest.mark.slow

CONFIG = '''
"""A stage that restores positions with a loss of its own."""

from crystalsweep.hyperparameters import EvaluationConfig
from crystalsweep.training.catalogue import StageSpec, declare
from crystalsweep.training.config import RestorationConfig


class DenoiseConfig(RestorationConfig):
    """Squared error of the displacement, to some power."""

    power: float = 1.0
    """Of the error."""


SMALL = EvaluationConfig(sigma_noise=(0.1,), draws=1, max_crystals=8)
PRESETS = {"smoke": DenoiseConfig(epochs=2, max_atoms=12, max_crystals=32, evaluation=SMALL)}

STAGE = declare(
    StageSpec(
        name="denoise",
        package="mylab.denoise",
        summary="Learn to move atoms back.",
        presets=PRESETS,
        leaves="generator",
        named={"power": "power {}"},
    )
)
'''

TRAIN = '''
"""The stage."""

import torch

from crystalsweep.networks.models import Generator, one_hot
from crystalsweep.training.restoration import RestorationStage, RestorationValidation
from crystalsweep.training.stage import average_degree, select


class Denoise(RestorationStage):
    name = "denoise"

    def __init__(self, config, data, session):
        super().__init__(config, data, session)
        self.train = select(data.train, config, stable_only=config.stable_only, split="train")
        self.val = select(data.val, config, stable_only=config.stable_only, split="val")
        torch.manual_seed(config.seed)
        generator = Generator(config.backbone)
        generator.backbone.average_degree.fill_(average_degree(self.train, config))
        self.generator = self.learn("generator", generator, config.learning_rate)
        evaluated = self.evaluated("generator")
        self.validation = RestorationValidation(evaluated, self.val, config.evaluation, session.device)

    def step(self, batch, epoch, step):
        task = batch.to(self.session.device)
        restored = self.generator(one_hot(task.corrupted.species), task.graph)
        error = (restored.perturbation - task.corrupted.noise).square().sum(dim=-1)
        loss = (error + 1e-6).pow(self.config.power).mean()
        return {"loss": loss.detach()} | self.update("generator", loss)


def build(config, data, session, inputs):
    return Denoise(config, data, session)
'''

PAGE = '''
"""Which power of the error teaches most?"""

import sweeps  # brings the library that lies beside it
from crystalsweep.config import override
from crystalsweep.sweeping.command import sweep_command
from crystalsweep.sweeping.report.results import results_table
from crystalsweep.sweeping.report.sweep import reported_trainings, tell
from crystalsweep.sweeping.space.parameters import Parameter
from crystalsweep.sweeping.space.spec import SearchSpace, SweepSpec
from crystalsweep.training.catalogue import preset
from mylab.denoise.config import STAGE


def search_space(name, settings):
    config = override(preset(STAGE.name, name), settings)
    power = Parameter(key="power", title="power", values=(0.5, 1.0), brief="power {}")
    return SearchSpace(stages={STAGE.name: config}, parameters=(power,))


def report(finished):
    trials = reported_trainings(finished)
    return tell(finished, trials, tables=[results_table(finished, trials, {})], history=("epoch", "loss"))


main = sweep_command(SweepSpec(name="power", question=__doc__, search_space=search_space, report=report))

if __name__ == "__main__":
    main()
'''


@pytest.fixture
def environment(tmp_path: Path) -> Mapping[str, str]:
    """A process that finds `mylab` beside the product."""
    package = tmp_path / "lab" / "mylab" / "denoise"
    package.mkdir(parents=True)
    for file, text in (("config.py", CONFIG), ("train.py", TRAIN), ("__init__.py", ""), ("../__init__.py", "")):
        (package / file).write_text(text)
    (tmp_path / "lab" / "power.py").write_text(PAGE)
    path = os.pathsep.join(map(str, (ROOT, ROOT / "platform", tmp_path / "lab")))
    return {**os.environ, "PYTHONPATH": path, "CRYSTALSWEEP_STORAGE": str(tmp_path / "storage")}


def run(environment: Mapping[str, str], *command: str, cwd: Path) -> str:
    ran = subprocess.run(
        [sys.executable, *command],
        env=environment,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def test_a_stage_of_ones_own_trains_alone_and_is_swept(environment: Mapping[str, str], tmp_path: Path) -> None:
    said = run(
        environment,
        *("-m", "crystalsweep", "train", "mylab.denoise", "--preset", "smoke", "--out", str(tmp_path / "alone")),
        cwd=tmp_path,
    )
    assert "checkpoint: " in said
    assert read_info(tmp_path / "alone" / "checkpoint").stage == "denoise"
    told = run(environment, str(tmp_path / "lab" / "power.py"), "--preset", "smoke", cwd=tmp_path)
    assert "2 of 2 trainings completed" in told
    assert re_named(told) == {"power 0.5", "power 1"}
    (folder,) = (tmp_path / "storage" / "sweeps").iterdir()
    assert [len(rows) for rows in histories(folder).values()] == [2, 2]


def re_named(told: str) -> set[str]:
    """Names of the trainings, as each epoch's line has them."""
    return {
        f"power {line.split('power ')[1].split()[0]}"
        for line in told.splitlines()
        if "power " in line and "epoch" in line
    }
