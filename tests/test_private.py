"""What is used beyond documented interfaces: each is named here, so that an upgrade that drops it fails by name."""

from __future__ import annotations

import ast
import inspect
import io
import re
import zipfile
from pathlib import Path

import optuna
import pytest
from ray._private.node import Node
from ray.tune.schedulers import ASHAScheduler

from crystalsweep.artifacts.private import index_bytes
from crystalsweep.cluster.private import TOO_LATE, kept_on_loopback, started_in_time
from crystalsweep.sweeping import private
from crystalsweep.tracking.private import get, is_serving

ROOT = Path(__file__).resolve().parent.parent
SOURCES = [
    path for folder in ("platform/crystalsweep", "trainables", "sweeps") for path in (ROOT / folder).rglob("*.py")
]
LIBRARIES = {"ray", "optuna", "mlflow", "zipfile"}


def test_private_names_of_libraries_stand_in_modules_named_private() -> None:
    found = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or "", *(a.name for a in node.names)] if isinstance(node, ast.ImportFrom) else []
            if names and names[0].split(".")[0] in LIBRARIES and any(re.search(r"(^|\.)_[a-z_A-Z]", n) for n in names):
                found.add(path.name)
            private_attribute = isinstance(node, ast.Attribute) and node.attr.startswith("_")
            if private_attribute and isinstance(node.value, ast.Name) and node.value.id in LIBRARIES:
                found.add(path.name)
    assert found == {"private.py"}


def test_ray_says_that_it_did_not_start_in_time() -> None:
    assert TOO_LATE in inspect.getsource(Node)
    with pytest.raises(RuntimeError, match="--workers 1"), started_in_time():
        raise Exception(f"The current node {TOO_LATE}.")
    with pytest.raises(Exception, match="another"), started_in_time():
        raise Exception("another")


def test_zipfile_end_rec_data_tells_the_bytes_of_the_index() -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a", "b")
    assert index_bytes(stream) == 46 + len("a")
    assert index_bytes(io.BytesIO(b"no zip")) is None


def test_optuna_trial_goes_on_with_a_trial_of_an_earlier_process() -> None:
    storage = optuna.storages.InMemoryStorage()
    study = optuna.create_study(storage=storage, study_name="s")
    asked = study.ask()
    again = private.live_trial(optuna.load_study(storage=storage, study_name="s"), study.get_trials()[0])
    again.set_user_attr("found", True)
    assert study.get_trials()[asked.number].user_attrs == {"found": True}


@pytest.mark.parametrize(("greater_is_better", "kept"), [(True, 0.5), (False, -0.5)])
def test_asha_brackets_and_rungs_take_what_a_trial_had(greater_is_better: bool, kept: float) -> None:
    halving = ASHAScheduler(time_attr="epoch", metric="m", mode="max", max_t=9, grace_period=1, reduction_factor=3)
    private.recall_at_rungs(halving, "t", {3: 0.5, 2: 0.4}, greater_is_better=greater_is_better)
    rungs = {int(milestone): dict(recorded) for milestone, recorded in halving._brackets[0]._rungs}
    assert rungs[3] == {"t": kept}
    assert all(not recorded for milestone, recorded in rungs.items() if milestone != 3)


def test_ray_worker_logs_can_be_silenced() -> None:
    from ray._private import worker

    assert isinstance(worker._worker_logs_enabled, bool)
    before = worker._worker_logs_enabled
    private.silence_raylet()
    assert worker._worker_logs_enabled is False
    worker._worker_logs_enabled = before


def test_ray_train_passes_variables_on() -> None:
    from ray.train.v2._internal.constants import ENV_VARS_TO_PROPAGATE

    assert isinstance(ENV_VARS_TO_PROPAGATE, set)
    private.pass_on_to_train("SOMETHING_OF_OURS")
    assert "SOMETHING_OF_OURS" in ENV_VARS_TO_PROPAGATE
    ENV_VARS_TO_PROPAGATE.discard("SOMETHING_OF_OURS")


def test_mlflow_asks_once_and_tells_that_nobody_answers() -> None:
    from mlflow.exceptions import MlflowException

    with pytest.raises(MlflowException):
        get("http://127.0.0.1:9", "/health", retries=0, timeout=2, params={})


def test_mlflow_says_whether_it_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_serving()
    monkeypatch.setenv("_MLFLOW_IS_IN_SERVING_ENVIRONMENT", "true")
    assert is_serving()


def test_ray_resolve_ip_for_localhost_leaves_the_loopback_address_only_meanwhile() -> None:
    from ray._private import services

    before = services.resolve_ip_for_localhost
    with kept_on_loopback():
        assert services.resolve_ip_for_localhost("127.0.0.1") == "127.0.0.1"
    assert services.resolve_ip_for_localhost is before
    assert services.is_localhost("127.0.0.1")
