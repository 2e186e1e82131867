"""The sweep over the critic's lessons: trained in turns on a real cluster, decoded alike, judged by its rule."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from crystalsweep.networks.checkpoint import load_critic, load_generator
from tests.ray.conftest import Starter
from tests.ray.remains import runs

pytestmark = pytest.mark.slow


def test_a_sweep_tells_judge_from_teacher(sweep: Starter, tmp_path: Path) -> None:
    ran = sweep("adversary", tmp_path, "--lessons", "preference", "--seeds", "2", "--set", "critic_warmup=2")
    assert ran.wait() == 0, ran.output
    trainings = runs(ran.folder)
    lessons = {json.loads(run.data.params["lesson"]) for (run,) in trainings.values()}
    assert lessons == {"none", "likeliest", "self_play", "preference"}
    assert len(trainings) == 8
    for key in trainings:
        last = max((ran.folder / "checkpoints" / key).glob("*/checkpoint.json")).parent
        assert load_critic(last) is not None
        load_generator(last)
    for (run,) in trainings.values():
        assert (run.data.metrics["audit/adversarial_norm"] == 0) == (json.loads(run.data.params["lesson"]) == "none")
    said = json.loads((ran.folder / "result.json").read_text())["conclusion"]
    assert said.startswith("As a judge the critic") and "as a teacher it" in said
    verdicts = pd.read_csv(ran.folder / "verdicts.csv")
    asked = verdicts[verdicts["asked"].str.startswith("one pass")]
    assert asked["b"].str.endswith("beam").sum() == 4 * 6  # each arm ranked by its critic, in six metrics
    assert asked["b"].str.endswith("one pass").sum() == 3 * 6  # the taught one against three controls
    assert asked["seeds"].dropna().eq(2).all()
    assert "All arms decoded alike" in (ran.folder / "report.html").read_text()
