"""`crystalsweep model calibrate`: fitted on one half of the crystals, told on the other, used ever after."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from crystalsweep.cli.model import model
from crystalsweep.evaluation.calibrating import FIT, TOLD, cases_of
from crystalsweep.evaluation.outcome import read_outcome
from crystalsweep.hyperparameters import EvaluationConfig
from crystalsweep.inference.calibration import read_calibration
from crystalsweep.inference.decoding.filling import conditionals
from crystalsweep.inference.decoding.network import ask
from crystalsweep.inference.decoding.settings import DecodeConfig
from crystalsweep.inference.restorer import load
from crystalsweep.metrics.site_baselines import element_frequencies, nearest_visible, neighbour_frequencies
from crystalsweep.structures.crystal import MASK, Crystal

Evaluate = Callable[..., Result]


@pytest.fixture(scope="module")
def run(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the trained run, to be calibrated."""
    return shutil.copytree(checkpoint, tmp_path_factory.mktemp("calibrated") / "run")


@pytest.fixture(scope="module")
def printed(run: Path, data: dict[str, Path]) -> str:
    options = ["--data", f"{data['train']},{data['test']}", "--sigma-noise", "0.0,0.1", "--energies", "2"]
    ran = CliRunner().invoke(model, ["calibrate", str(run), *options, "--decoder", "beam", "--decoder", "sampled"])
    assert ran.exit_code == 0, ran.output
    return ran.output


@pytest.mark.usefixtures("printed")
def test_a_calibration_lies_beside_the_weights(run: Path) -> None:
    found = read_calibration(run / "checkpoint")
    assert found is not None
    assert found.parents == 6
    assert found.sigma_noise == (0.0, 0.1)
    assert [each.decode.method for each in found.joint] == ["beam", "sampled"]
    assert found.training.crystals == 60
    assert load(run).calibration == found
    assert load(run).complete(masked(data_crystal())).calibrated


def data_crystal() -> Crystal:
    return Crystal.of("NaCl", [11, 17], np.eye(3) * 3.5, [[0, 0, 0], [0.5, 0.5, 0.5]])


def masked(crystal: Crystal) -> Crystal:
    return Crystal.of(crystal.id, [crystal.species[0], MASK], crystal.lattice, crystal.frac)


def test_everything_is_told(run: Path, printed: str) -> None:
    for words in ("fitted to:", "told on:", "log-loss", "element frequency", "nearest visible neighbour", "energy"):
        assert words in printed
    assert (run / "calibration" / "reliability.png").stat().st_size > 10_000
    odds = pd.read_csv(run / "calibration" / "sites_by_themselves_odds.csv")
    assert odds["stratum"].tolist()[:2] == ["all", "species"]
    assert odds.loc[0, "top-1 low"] <= odds.loc[0, "top-1"] <= odds.loc[0, "top-5"]
    kinds = sorted(file.stem.rpartition("_")[2] for file in (run / "calibration").glob("candidates_beam*.csv"))
    assert kinds == ["odds", "sets"]


@pytest.mark.usefixtures("printed")
def test_an_evaluation_uses_it_and_says_so(run: Path, checkpoint: Path, run_evaluate: Evaluate, tmp_path: Path) -> None:
    for name, folder in (("before", checkpoint), ("after", run)):
        ran = run_evaluate("--checkpoint", folder, "--out", tmp_path / name, "--name", "x", "--max-crystals", 6)
        assert ran.exit_code == 0, ran.output
    before, after = (read_outcome(tmp_path / name) for name in ("before", "after"))
    assert "calibration_sha256" in after.model
    assert "calibration_sha256" not in before.model
    assert before.rows["x"]["site_top3"] == after.rows["x"]["site_top3"]
    assert before.rows["x"]["site_log_loss"] != after.rows["x"]["site_log_loss"]
    assert before.rows["x"]["compositional_similarity"] == after.rows["x"]["compositional_similarity"]


@pytest.mark.usefixtures("printed")
def test_it_can_be_calibrated_again_whatever_lies_there(run: Path, data: dict[str, Path]) -> None:
    (run / "checkpoint" / "calibration.json").write_text("damaged")
    options = ["--data", f"{data['train']},{data['test']}", "--sigma-noise", "0.0", "--max-crystals", "4"]
    ran = CliRunner().invoke(model, ["calibrate", str(run), *options])
    assert ran.exit_code == 0, ran.output
    assert read_calibration(run / "checkpoint") is not None


def test_sealed_versions_and_data_without_training_crystals_are_refused(
    checkpoint: Path, data: dict[str, Path], tmp_path: Path
) -> None:
    sealed = shutil.copytree(checkpoint / "checkpoint", tmp_path / "version" / "checkpoint")
    (tmp_path / "version" / "FILES.json").write_text("{}")
    for folder, source, why in (
        (sealed, f"{data['train']},{data['test']}", "sealed; calibrate before promoting"),
        (checkpoint, str(tmp_path / "missing.parquet"), "missing.parquet"),
    ):
        ran = CliRunner().invoke(model, ["calibrate", str(folder), "--data", source])
        assert ran.exit_code == 1
        assert why in ran.output


# The halves, the chain, the baselines


def test_no_parent_is_in_both_halves(crystals: dict[str, list[Crystal]]) -> None:
    cases = cases_of(crystals["test"], EvaluationConfig(sigma_noise=(0.0, 0.1), draws=2))
    halves = [set(cases.table.loc[cases.of(half), "parent"]) for half in (FIT, TOLD)]
    assert not halves[0] & halves[1]
    assert abs(len(halves[0]) - len(halves[1])) <= 1
    with pytest.raises(ValueError, match="too few for two halves"):
        cases_of(crystals["test"][:1], EvaluationConfig())


def test_the_chain_along_the_truth_begins_with_what_a_site_says_by_itself(
    checkpoint: Path, crystals: dict[str, list[Crystal]]
) -> None:
    generator = load(checkpoint).generator
    cases = cases_of(crystals["test"], EvaluationConfig(sigma_noise=(0.1,), mask_types=("random30",), draws=1))
    truths = [original.species for original in cases.originals]
    chain = conditionals(generator, cases.partials, truths, DecodeConfig(passes=64))
    assert len(chain.truth) == cases.table["n_masked"].sum()
    alone = ask(generator, cases.partials, [partial.species for partial in cases.partials])
    for k, (partial, answer) in enumerate(zip(cases.partials, alone, strict=True)):
        own = answer.log_probabilities[partial.species == MASK]
        first = chain.log_probabilities[chain.crystal == k][0]
        assert own[own.max(axis=1).argmax()] == pytest.approx(first, abs=1e-4)
        assert sorted(chain.truth[chain.crystal == k] + 1) == sorted(truths[k][partial.species == MASK])


def test_a_neighbour_is_the_nearest_visible_one_of_any_image() -> None:
    crystal = Crystal.of("x", [MASK, 8, 22], np.diag([10.0, 4.0, 4.0]), [[0.05, 0, 0], [0.95, 0, 0], [0.3, 0, 0]])
    assert nearest_visible(crystal).tolist() == [8]
    assert nearest_visible(Crystal.of("y", [MASK, MASK], np.eye(3) * 4, [[0, 0, 0], [0.5] * 3])).tolist() == [0, 0]


def test_baselines_learn_what_they_are_shown() -> None:
    originals = [data_crystal()] * 400
    frequencies = element_frequencies(originals)
    assert np.exp(frequencies).sum() == pytest.approx(1)
    given = neighbour_frequencies(originals, [masked(crystal) for crystal in originals], frequencies)
    assert np.exp(given).sum(axis=1) == pytest.approx(np.ones(119))
    assert given[11].argmax() == 17 - 1, "beside Na stands Cl"
    assert given[26] == pytest.approx(frequencies), "of Fe nothing was seen"


def test_help_teaches() -> None:
    shown = CliRunner().invoke(model, ["calibrate", "--help"]).output
    for words in ("seven times in ten", "one half", "a registered version is sealed", "Examples:"):
        assert words in " ".join(shown.split())
