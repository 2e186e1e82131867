"""The figures are written, complete, and touch no global state."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib._pylab_helpers import Gcf
from matplotlib.image import imread

from crystalsweep.metrics import METRICS
from crystalsweep.plots import plot_budget, plot_training, plot_trials

NAMES = [metric.name for metric in METRICS]


def trials() -> pd.DataFrame:
    rows = [
        {"trial": f"{sigma}-{w}", "sigma_noise": sigma, "w_wasserstein": w, "metric": name, "mean": 0.5 + w / 100}
        for name in NAMES
        for sigma in (0.1, 0.4)
        for w in (0.0, 0.1, 1.0)
    ]
    lines = [
        {"trial": t, "metric": name, "mean": m} for name in NAMES for t, m in (("ceiling", 1.0), ("identity", 0.0))
    ]
    frame = pd.DataFrame(rows + lines)
    return frame.assign(low=frame["mean"] - 0.02, high=frame["mean"] + 0.02)


def shows_something(path: Path) -> bool:
    image = imread(path)
    return min(image.shape[:2]) > 300 and image[..., :3].std() > 0.01


def test_trials(tmp_path: Path) -> None:
    assert shows_something(plot_trials(trials(), tmp_path / "made" / "trials.png"))


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_trials_of_one_weight(tmp_path: Path, weight: float) -> None:
    frame = trials()
    chosen = frame[(frame["w_wasserstein"] == weight) | frame["w_wasserstein"].isna()]
    assert shows_something(plot_trials(chosen, tmp_path / "trials.png"))


def test_trials_needs_a_trial(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one trial"):
        plot_trials(trials().query("trial == 'ceiling'"), tmp_path / "x.png")


def test_training(tmp_path: Path) -> None:
    history = pd.DataFrame(
        [
            {
                "trial": trial,
                "epoch": epoch,
                "loss": np.exp(-epoch),
                "accuracy": epoch / 9 if epoch % 3 == 0 else np.nan,
            }
            for trial in ("a", "b")
            for epoch in range(10)
        ]
    )
    assert shows_something(plot_training(history, tmp_path / "training.png"))
    assert shows_something(plot_training(history.drop(columns="trial"), tmp_path / "one.png"))
    with pytest.raises(ValueError, match="no numeric column"):
        plot_training(history[["trial", "epoch"]], tmp_path / "none.png")


def budget() -> pd.DataFrame:
    rows = [
        {"model": model, "seed": seed, "minutes": minute, "loss": 5 / minute, "score": 0.1 * minute}
        for model in ("painn", "escn_md")
        for seed in (0, 1)
        for minute in (1, 2, 3)
    ]
    return pd.DataFrame(rows)


def test_budget(tmp_path: Path) -> None:
    assert shows_something(plot_budget(budget(), tmp_path / "budget.png", references={"ceiling": 1.0}))


def test_budget_needs_an_epoch(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="train at least one"):
        plot_budget(budget().iloc[:0], tmp_path / "budget.png")


def test_no_pyplot_state_is_made(tmp_path: Path) -> None:
    plot_trials(trials(), tmp_path / "trials.png")
    assert not Gcf.figs
