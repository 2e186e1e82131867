"""What validation reports of a generator after each epoch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from crystalsweep.data import load_data
from crystalsweep.evaluation.protocol import evaluation_chunks, restore
from crystalsweep.hyperparameters import EvaluationConfig
from crystalsweep.metrics import METRICS, SECONDARY, flat, headline, novel_vs_input, ranking_score, score_table
from crystalsweep.networks.architectures import PaiNNConfig
from crystalsweep.networks.models import Generator
from crystalsweep.training.records import SCORE
from crystalsweep.training.restoration import TABLE, RestorationValidation, novel_composition

CONFIG = EvaluationConfig(sigma_noise=(0.1, 0.6), draws=1, max_crystals=40)


@pytest.fixture(scope="module")
def generator() -> Generator:
    torch.manual_seed(0)
    return Generator(PaiNNConfig(width=16, layers=1, radial_functions=8, cutoff=4.0, max_neighbours=8)).eval()


def test_novelty_from_scores_is_novelty_from_species(generator: Generator) -> None:
    tables, found = [], []
    for chunk in evaluation_chunks(load_data("bundled").val, CONFIG):
        ids = [crystal.id for crystal in chunk.originals]
        made = restore(generator, chunk.corrupted, ids).completed
        made = [true if i % 3 == 0 else new for i, (true, new) in enumerate(zip(chunk.originals, made, strict=True))]
        made[0] = replace(made[0], frac=made[0].frac * np.nan)
        scores = score_table(chunk.originals, chunk.corrupted_crystals(), made, chunk.keys)
        species = {
            "species_before": [crystal.species for crystal in chunk.originals],
            "species_after": [crystal.species for crystal in made],
        }
        tables.append(scores)
        found.append(novel_vs_input(scores.assign(**species)))
    table, expected = pd.concat(tables, ignore_index=True), pd.concat(found, ignore_index=True)
    assert 0 < expected.mean() < 1
    assert (table["failure"] != "").any()
    pd.testing.assert_series_equal(novel_composition(table), expected, check_names=False)


def test_validation_reports_what_sweeps_ask_and_changes_nothing_else(generator: Generator, tmp_path: Path) -> None:
    validation = RestorationValidation(generator, load_data("bundled").val, CONFIG, torch.device("cpu"))
    metrics = validation.run()
    validation.write(tmp_path)
    table = pd.read_parquet(tmp_path / TABLE)
    old = flat(headline(table, metrics=METRICS + SECONDARY)) | {SCORE: ranking_score(table, n_resamples=1).mean}
    np.testing.assert_equal({name: metrics[name] for name in old}, old)
    noisiest = table[table["sigma_noise"] == 0.6]
    high, novel = "val/high_noise/structural_validity", "val/novel_vs_input"
    assert metrics[high] == noisiest["structural_validity"].mean()
    assert metrics[high] < metrics["val/structural_validity"]
    assert metrics[f"{high}/n"] == len(noisiest)
    assert metrics[novel] == novel_composition(table).mean()
    assert metrics[f"{novel}/low"] <= metrics[novel] <= metrics[f"{novel}/high"]
    new = {f"{name}{part}" for name in (high, novel) for part in ("", "/low", "/high", "/n")}
    assert set(metrics) - set(old) == new
