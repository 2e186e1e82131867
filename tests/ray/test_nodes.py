"""Sweeps on clusters of this machine's making: a node dies, trials are cut, and more is asked for than there is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from optuna.trial import TrialState
from ray.cluster_utils import Cluster
from ray.util.state import list_placement_groups

from crystalsweep.data import load_data
from crystalsweep.sweeping.cluster import cluster_nodes, on_a_worker
from tests.ray.conftest import ROOT, Starter, descendants, query, until
from tests.ray.remains import kept, require_whole, trials
from tests.ray.servers import free_port
from tests.test_plan import plan

EPOCHS = 30


@pytest.fixture
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A head node with as many CPUs as the test says."""
    port = free_port()
    head: dict[str, Any] = {"num_cpus": request.param, "include_dashboard": True, "dashboard_port": port}
    made = Cluster(initialize_head=True, head_node_args=head)
    yield made
    made.shutdown()


@pytest.mark.slow
@pytest.mark.parametrize("cluster", [1], indirect=True)
def test_the_trial_of_a_dead_node_moves_to_another(cluster: Cluster, sweep: Starter, tmp_path: Path) -> None:
    second = cluster.add_node(num_cpus=1)
    started = sweep(
        "w_pos",
        tmp_path,
        *("--num-samples", "2", "--set", f"epochs={EPOCHS}", "--set", "max_crystals=32"),
        RAY_ADDRESS=cluster.address,
    )
    until(lambda: started.reached("0000-s0", 4) and started.reached("0001-s0", 4), "epochs on both nodes")
    of_second = descendants(second.all_processes["raylet"][0].process.pid).values()
    assert [title for title in of_second if "ImplicitFunc" in title]
    cluster.remove_node(second, allow_graceful=False)
    assert started.wait() == 0, started.output
    require_whole(started.folder, {"0000-s0", "0001-s0"}, EPOCHS)


@pytest.mark.parametrize("cuts", [pytest.param(2, marks=pytest.mark.long), pytest.param(20, marks=pytest.mark.long)])
@pytest.mark.parametrize("cluster", [2], indirect=True)
def test_nested_trials_that_are_cut_leave_no_placement_group(
    cluster: Cluster, cuts: int, sweep: Starter, tmp_path: Path
) -> None:
    """Each takes all CPUs, so that one left behind would be the last; twenty at once are asked for."""
    hopeless = [f"{1e-6 * (1 - number / 50):.3g}" for number in range(cuts)]
    started = sweep(
        ROOT / "tests" / "ray" / "learning_rates.py",
        tmp_path,
        *(option for rate in ["1e-2", *hopeless] for option in ("--rates", rate)),
        *("--objective", "loss_species", "--scheduler", "asha", "--workers-per-trial", "2", "--max-concurrent", "20"),
        *("--set", "epochs=8", "--set", "max_crystals=32", "--set", "batch_size=8"),
        RAY_ADDRESS=cluster.address,
    )
    started.process.wait(120 + 120 * cuts)
    assert started.process.returncode == 0, started.output
    states = [trial.state for trial in trials(started.folder)]
    assert states == [TrialState.COMPLETE, *[TrialState.PRUNED] * cuts]

    def left() -> list[Any]:
        groups = list_placement_groups(address=cluster.address, limit=1000)
        return [group for group in groups if group.state != "REMOVED"]

    until(lambda: not left(), "placement groups to be freed")
    assert [kept(started.folder, f"{number:04d}-s0").epochs() for number in range(1, cuts + 1)] == [[]] * cuts


@pytest.mark.slow
def test_more_than_the_cluster_has_is_refused_before_anything_is_trained(sweep: Starter, tmp_path: Path) -> None:
    started = sweep("w_pos", tmp_path, "--workers-per-trial", "64", "--cpus-per-worker", "2")
    assert started.wait() == 1
    (line,) = [line for line in started.output.splitlines() if line.startswith("Error: ")]
    assert "a trial needs 64 worker(s) with 2 CPUs and 0 GPUs each; of 1 node(s), with at most " in line
    assert "lower --workers-per-trial, --cpus-per-worker or --gpus-per-worker, or add nodes" in line
    assert "Traceback" not in started.output
    assert query(tmp_path, "select 1 from runs") == []


@pytest.mark.slow
def test_a_sweep_whose_trials_have_gpus_is_timed_by_a_worker_that_has_one() -> None:
    """The process that plans is on the head node, which often has none. Ray is told of a GPU that is not there."""
    ray.init("local", num_cpus=1, num_gpus=1, include_dashboard=False, log_to_driver=False)
    try:
        shared = plan("w_pos", *cluster_nodes(), gpus_per_worker=0.5)
        assert on_a_worker(shared.resources, os.getenv, "CUDA_VISIBLE_DEVICES") == "0"
        forecast = on_a_worker(shared.resources, shared.forecast, load_data("bundled"))
    finally:
        ray.shutdown()
    assert forecast.cpu_hours > 0
    assert forecast.gpu_hours == pytest.approx(forecast.cpu_hours / 2)
