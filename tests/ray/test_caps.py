"""Caps, schedulers and seeds: what stops a training before its end, and what is left of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from crystalsweep.networks.checkpoint import read_info
from sweeps.axes import D_RATE, G_STEPS, SIGMA, W_POS, W
from tests.ray.conftest import ROOT, Starter
from tests.ray.remains import histories, kept, known, record, require_whole, runs, trials

SMALL = ("--set", "max_crystals=32")


@pytest.mark.slow
def test_a_cap_stops_a_sweep_which_a_higher_one_lets_go_on(sweep: Starter, tmp_path: Path) -> None:
    """First CPU-hours, then bytes; with two seeds, whose mean the study is told."""
    epochs = 20
    seconds = 3  # all four take longer, also where 10 sufficed for them
    asked = ("--num-samples", "2", "--seeds", "2", "--set", f"epochs={epochs}", *SMALL)
    capped = sweep("w_pos", tmp_path, *asked, "--max-cpu-hours", str(seconds / 3600))
    assert capped.wait() == 0, capped.output
    assert "is used up" in capped.output
    assert f"go on with --resume {capped.folder.name} and a higher cap" in capped.output
    folder = capped.folder
    before, stopping, _ = capped.output.partition("stopping: --max-cpu-hours ")
    used = re.match(r"\S+ is used up \(([^)]+)\)", capped.output.removeprefix(before + stopping))
    assert used, capped.output
    assert seconds - 0.1 <= float(used[1]) * 3600 <= seconds + 2 * 5  # of two trainings, each looked at by the second
    keys = {f"{number:04d}-s{seed}" for number in (0, 1) for seed in (0, 1)}
    begun = {key for key in keys if "seconds" in known(folder, key)}
    assert len(begun) == 2  # nothing new is begun
    assert sum(known(folder, key)["seconds"] for key in begun) >= seconds
    for key in begun:  # one epoch may be under way when Tune, which the sweep asks to stop, lets go of a training
        assert len(kept(folder, key).history()) <= len(histories(folder)[key]) + 1 < epochs
    assert record(folder)["status"] == "stopped"

    crowded = sweep("w_pos", tmp_path, "--resume", "latest", "--max-cpu-hours", "9", "--max-bytes", "300kB")
    assert crowded.wait() == 0, crowded.output
    assert "--max-bytes is 300 kB" in crowded.output

    free = sweep("w_pos", tmp_path, "--resume", "latest", "--max-bytes", "1GB")
    assert free.wait() == 0, free.output
    require_whole(folder, keys, epochs)
    for trial in trials(folder):
        last = [histories(folder)[f"{trial.number:04d}-s{seed}"][-1]["val/score"] for seed in (0, 1)]
        assert last[0] != last[1]
        assert trial.value == pytest.approx(sum(last) / 2)


@pytest.mark.slow
def test_asha_cuts_what_falls_behind_and_frees_its_space(sweep: Starter, tmp_path: Path) -> None:
    """One after the other, so that rates which cannot learn always meet the one that does."""
    started = sweep(
        ROOT / "tests" / "ray" / "learning_rates.py",
        tmp_path,
        *("--rates", "1e-2", "--rates", "1e-6", "--rates", "9e-7", "--rates", "8e-7"),
        *("--objective", "loss_species", "--scheduler", "asha", "--max-concurrent", "1"),
        *("--set", "epochs=12", "--set", "batch_size=8", *SMALL),
    )
    assert started.wait() == 0, started.output
    folder = started.folder
    first, *others = trials(folder)
    assert first.state == TrialState.COMPLETE
    assert len(histories(folder)["0000-s0"]) == 12
    assert [trial.state for trial in others] == [TrialState.PRUNED] * 3
    for trial in others:
        key = f"{trial.number:04d}-s0"
        rows = histories(folder)[key]
        assert [row["epoch"] for row in rows] == list(range(1, len(rows) + 1))
        assert len(rows) < 12
        assert kept(folder, key).epochs() == []
        assert known(folder, key)["reason"] == f"cut by the scheduler after epoch {len(rows)}"
        assert trial.intermediate_values[len(rows)] == pytest.approx(rows[-1]["loss/species"])
        (run,) = runs(folder)[key]
        assert run.info.status == "KILLED"


@pytest.mark.long
def test_a_population_trades_checkpoints_and_settings(sweep: Starter, store: Path) -> None:
    """w_W, lr_D and the G/D ratio change while trials run, from checkpoints of better ones; control arms stay."""
    asked = ("--num-samples", "8", "--search", "random", "--scheduler", "pbt", "--set", "epochs=12", *SMALL)
    started = sweep("joint", store, *asked, "--objective", "score", "--max-concurrent", "2")
    assert started.wait() == 0, started.output  # 245 s on two cores of which others use one
    folder, keys = started.folder, {f"{number:04d}-s0" for number in range(8)}
    require_whole(folder, keys, 12)
    changed: dict[str, set[str]] = {}
    for trial in trials(folder):
        key, began = f"{trial.number:04d}-s0", trial.user_attrs["settings"]
        settings = known(folder, key).get("settings", began)
        if settings != began:
            assert not trial.user_attrs["control"]
            changed[key] = {name for name in settings if settings[name] != began[name]}
            latest = config_of(folder, key)
            assert latest["discriminator_learning_rate"] == settings[D_RATE]
            for path in (W, G_STEPS):
                assert latest["adversarial"][path.rpartition(".")[2]] == settings[path]
    assert changed
    assert {W, D_RATE} <= set.union(*changed.values()) <= {W, D_RATE, G_STEPS, W_POS, SIGMA}
    rows = histories(folder)
    clones = [one for one in changed if any(rows[one][1]["loss"] == rows[other][1]["loss"] for other in keys - {one})]
    assert clones  # a clone has its donor's past


def config_of(folder: Path, key: str) -> dict[str, Any]:
    """In the last checkpoint."""
    checkpoints = kept(folder, key)
    latest = checkpoints.latest()
    assert latest is not None
    return read_info(checkpoints.fetch(latest)).config
