"""A calibration goes with the version that is promoted, and its card tells what the odds are worth."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import mlflow
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file

import crystalsweep
from crystalsweep.artifacts.atomic import file_sha256
from crystalsweep.cli.registry import promote, verify
from crystalsweep.data import load_bundled
from crystalsweep.inference.calibration import Calibration, SetRule, write_calibration
from crystalsweep.inference.familiarity import training_of
from crystalsweep.inference.serving import EXAMPLE
from crystalsweep.networks.checkpoint import load_generator
from crystalsweep.networks.models import Critic
from crystalsweep.tracking.tracker import sqlite_uri
from tests.registry.conftest import MODEL

pytestmark = pytest.mark.server

CHAMPION = f"models:/{MODEL}@champion"


def test_a_card_without_a_calibration_says_so(promoted: Path) -> None:
    model = crystalsweep.load(CHAMPION, tracking_uri=sqlite_uri(promoted), storage=promoted)
    card = (model.folder.parent / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "are not calibrated" in card
    assert "| Site top-3 | 0." in card
    assert "| Calibration error, sites | 0." in card


def test_a_calibrated_generator_is_promoted_with_its_calibration(
    control: Path, suite_file: Path, tmp_path: Path
) -> None:
    calibrated = shutil.copytree(control, tmp_path / "calibrated")
    (weights,) = calibrated.rglob("generator.safetensors")
    made = Calibration(
        weights_sha256=file_sha256(weights),
        site_sharpness=0.8,
        chain_sharpness=0.9,
        site_cases=1234,
        site_sets=(SetRule(coverage=0.9, least=0.05),),
        joint=(),
        parents=321,
        parents_sha256="0" * 64,
        mask_types=("species",),
        sigma_noise=(0.0, 0.1),
        training=training_of(load_bundled("train")[:50]),
    )
    write_calibration(weights.parent, made)
    where = ("--storage", str(tmp_path / "store"), "--tracking-uri", sqlite_uri(tmp_path / "store"))
    asked = ("--suite", str(suite_file), "--metric", "masked_accuracy", "--workers", "1")
    (tmp_path / "store").mkdir()
    ran = CliRunner().invoke(promote, [str(calibrated), *asked, *where])
    assert ran.exit_code == 0, f"{ran.output}\n{ran.exception!r}"
    model = crystalsweep.load(CHAMPION, tracking_uri=sqlite_uri(tmp_path / "store"), storage=tmp_path / "store")
    assert model.calibration == made
    card = (model.folder.parent / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "Calibrated on 1,234 masked sites of 321 crystals kept from training (species, sigma 0.0, 0.1)" in card
    assert "temperature 1.250 for sites" in card
    ran = CliRunner().invoke(verify, [CHAMPION, *where])
    assert ran.exit_code == 0, ran.output


def test_a_critic_goes_with_the_version_and_ranks_its_candidates(
    control: Path, suite_file: Path, tmp_path: Path
) -> None:
    judged, store = shutil.copytree(control, tmp_path / "judged"), tmp_path / "store"
    (weights,) = judged.rglob("generator.safetensors")
    torch.manual_seed(0)
    critic = Critic(load_generator(weights.parent).backbone.config)
    save_file(critic.state_dict(), weights.parent / "critic.safetensors")
    store.mkdir()
    where = ("--storage", str(store), "--tracking-uri", sqlite_uri(store))
    asked = ("--suite", str(suite_file), "--metric", "masked_accuracy", "--workers", "1")
    ran = CliRunner().invoke(promote, [str(judged), *asked, *where])
    assert ran.exit_code == 0, f"{ran.output}\n{ran.exception!r}"
    model = crystalsweep.load(CHAMPION, tracking_uri=sqlite_uri(store), storage=store)
    assert model.critic_weight > 0
    done = crystalsweep.complete(EXAMPLE, model=model)
    assert any(each.verdict for each in done.candidates)
    ranks = [each.log_probability + model.critic_weight * each.verdict for each in done.candidates]
    assert ranks == sorted(ranks, reverse=True)
    served = mlflow.pyfunc.load_model(str(model.folder.parent)).predict(pd.DataFrame({"cif": [EXAMPLE]}))
    first = json.loads(served["candidates"].iloc[0])["candidates"][0]
    assert first["probability"] == pytest.approx(done.candidates[0].probability, rel=1e-4)
