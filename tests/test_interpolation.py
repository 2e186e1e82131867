"""Generators between two: weights on a line, the curve over α, and how far one may go."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner

from crystalsweep.cli.interpolate import alphas_of
from crystalsweep.cli.main import main
from crystalsweep.config import override
from crystalsweep.data import DataSet, load_data
from crystalsweep.evaluation.interpolation import curve_of, evaluate_between, harmless_alpha
from crystalsweep.evaluation.protocol import evaluate_chunks, evaluation_chunks
from crystalsweep.hyperparameters import EvaluationConfig
from crystalsweep.networks.architectures import PaiNNConfig
from crystalsweep.networks.checkpoint import load_generator, read_info
from crystalsweep.networks.interpolation import generators_between, interpolated
from crystalsweep.structures.batch import is_stable
from crystalsweep.training.local import LocalSession, train_here
from trainables.pretrain.config import PretrainConfig

CONFIG = PretrainConfig(
    backbone=PaiNNConfig(width=16, layers=1, radial_functions=8, max_neighbours=8), epochs=1, learning_rate=3e-3
)


@pytest.fixture(scope="module")
def data() -> DataSet:
    bundled = load_data("bundled")
    small = [crystal for crystal in bundled.train if is_stable(crystal) and 2 <= len(crystal) <= 6]
    return replace(bundled, train=small[:48], val=small[48:60])


@pytest.fixture(scope="module")
def ends(data: DataSet, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folders = []
    for name, epochs in (("control", 1), ("further", 3)):
        session = LocalSession(tmp_path_factory.mktemp(name), device="cpu", progress=False)
        folders.append(train_here("pretrain", override(CONFIG, [f"epochs={epochs}"]), data, {}, session))
    return folders[0], folders[1]


def test_weights_lie_on_the_line_and_are_exact_at_its_ends() -> None:
    first, second = {"a": torch.randn(3, 2)}, {"a": torch.randn(3, 2)}
    assert torch.equal(interpolated(first, second, 0.0)["a"], first["a"])
    assert torch.equal(interpolated(first, second, 1.0)["a"], second["a"])
    assert torch.allclose(interpolated(first, second, 0.25)["a"], 0.75 * first["a"] + 0.25 * second["a"])


@pytest.mark.parametrize("other", [{"a": torch.zeros(2)}, {"b": torch.zeros(3)}, {}])
def test_networks_of_another_shape_are_refused(other: dict[str, torch.Tensor]) -> None:
    with pytest.raises(ValueError, match="two different networks: a is not alike"):
        interpolated({"a": torch.zeros(3)}, other, 0.5)


def test_the_ends_of_the_curve_are_the_two_checkpoints(data: DataSet, ends: tuple[Path, Path]) -> None:
    protocol = EvaluationConfig(sigma_noise=(0.1,), draws=1)
    tables = evaluate_between(generators_between(*ends, [0.0, 0.5, 1.0]), data.val, protocol)
    for alpha, folder in ((0.0, ends[0]), (1.0, ends[1])):
        alone = evaluate_chunks(load_generator(folder), evaluation_chunks(data.val, protocol), keep_known=True)
        pd.testing.assert_frame_equal(tables[alpha], alone)
    curve = curve_of(tables)
    assert set(curve["alpha"]) == {0.0, 0.5, 1.0}
    control = curve[curve["alpha"] == 0.0]
    assert (control["difference"].dropna() == 0).all()
    similarity = curve[curve["metric"] == "compositional_similarity"].set_index("alpha")
    assert similarity.loc[0.5, "mean"] == tables[0.5]["compositional_similarity"].mean()
    gained = similarity.loc[1.0, "mean"] - similarity.loc[0.0, "mean"]
    assert similarity.loc[1.0, "difference"] == pytest.approx(gained)


@pytest.mark.parametrize(
    ("highs", "expected"),
    [([0, 0.1, 0.1, 0.1], 0.9), ([0, 0.1, -0.1, 0.1], 0.3), ([0, -0.1, -0.1, -0.1], 0.0), ([0, 0.1, 0.0, -0.1], 0.6)],
)
def test_the_greatest_harmless_alpha_ends_where_something_is_lost(highs: list[float], expected: float) -> None:
    curve = pd.DataFrame({"alpha": [0, 0.3, 0.6, 0.9], "metric": "compositional_similarity", "difference_high": highs})
    assert harmless_alpha(curve) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0:1:0.25", [0, 0.25, 0.5, 0.75, 1]),
        ("0.5", [0, 0.5]),
        ("1,0.2", [0, 0.2, 1]),
        ("0:1:0.1", [*np.arange(0, 1.01, 0.1).round(6)]),
    ],
)
def test_alphas_are_a_range_or_a_list(text: str, expected: list[float]) -> None:
    assert alphas_of(text) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["", "x", "0:1", "0:1:0", "0:2:0.5", "-0.1", "nan", "0:1:-1", "0:1:1e-9", "1e999"])
def test_other_alphas_are_refused_in_a_line(text: str) -> None:
    with pytest.raises(ValueError, match="give FIRST:LAST:STEP"):
        alphas_of(text)


def test_the_command_leaves_checkpoints_and_a_curve(ends: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "between"
    arguments = [
        "model",
        "interpolate",
        *map(str, ends),
        "--alpha",
        "0,0.3,1",
        "--max-crystals",
        "6",
        "--out",
        str(out),
    ]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in out.iterdir()) == [
        *("alpha-0.00", "alpha-0.30", "alpha-1.00", "curve.csv", "curve.png"),
    ]
    expected = interpolated(*(load_generator(end).state_dict() for end in ends), alpha=0.3)  # type: ignore[misc]
    found = load_generator(out / "alpha-0.30").state_dict()
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    assert len(read_info(out / "alpha-0.30").ancestry or []) == 1  # both have the same data
    assert "not resolved worse than the control's (6 parents)" in result.output
    again = CliRunner().invoke(main, arguments)
    assert again.exit_code == 1
    assert "is not empty; choose another --out" in again.output
