"""A sweep's folder: what is kept of a request, which sweep `latest` is, and that one process runs it."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from crystalsweep.artifacts.addresses import Address
from crystalsweep.artifacts.places import state_folder
from crystalsweep.sweeping.folder import (
    SweepRecord,
    allowed,
    find_sweep,
    locked,
    new_name,
    read_history,
    read_sweep,
    write_history,
    write_sweep,
)
from crystalsweep.sweeping.plan.request import FREE, SweepRequest
from crystalsweep.tracking.opening import checked_tracker

REQUEST = SweepRequest(
    preset="smoke",
    data="bundled",
    settings=("epochs=3",),
    search="optuna",
    num_samples=4,
    seeds=2,
    scheduler="asha",
    objectives=("score", "novelty"),
    workers_per_trial=1,
    cpus_per_worker=0.5,
    gpus_per_worker=None,
    max_concurrent=8,
    keep_best=1,
    max_cpu_hours=1.5,
    max_gpu_hours=None,
    max_bytes=10**9,
    timeout=60.0,
    tracking_uri=Address("sqlite:////tmp/mlflow.db"),
    storage="/tmp/storage",
    own={"backbone": "painn"},
)


def record(name: str) -> SweepRecord:
    return SweepRecord(name=name, sweep="w_pos", request=REQUEST, code_sha256="c", data_sha256="d", split_sha256="s")


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    kept = record("w_pos-20260101-000000")
    kept.prerequisites = {"generator": {"stage": "pretrain", "key": "k", "run": "r", "checkpoint": "/c"}}
    write_sweep(tmp_path, kept)
    assert asdict(read_sweep(tmp_path)) == asdict(kept)
    assert read_sweep(tmp_path).request == REQUEST
    assert [path.name for path in tmp_path.iterdir()] == ["sweep.json"]


def test_latest_is_the_newest_of_this_sweep_file(tmp_path: Path) -> None:
    for name in ("w_pos-20260102-000000", "w_pos-20260101-000000", "gan_noise-20260103-000000"):
        write_sweep(tmp_path / "sweeps" / name, record(name))
    (tmp_path / "sweeps" / "w_pos-20260109-000000").mkdir()  # a dry run, or one refused: it has no record
    assert find_sweep(str(tmp_path), "w_pos", "latest").name == "w_pos-20260102-000000"
    assert find_sweep(str(tmp_path), "w_pos", "w_pos-20260101-000000").name == "w_pos-20260101-000000"
    for name in ("w_pos-2", "gan_noise-20260103-000000"):
        with pytest.raises(ValueError, match=f"no sweep '{name}' of w_pos.py .*w_pos-20260102-000000"):
            find_sweep(str(tmp_path), "w_pos", name)
    with pytest.raises(ValueError, match="there is none"):
        find_sweep(str(tmp_path / "empty"), "w_pos", "latest")


@pytest.mark.parametrize("content", [b"", b'{"name": "w', b"\xff\xfe", b"[]", b"{}", b'{"request": {}}'])
def test_a_damaged_record_is_told_by_its_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "sweep.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"sweep\.json"):
        read_sweep(tmp_path)


def test_a_damaged_history_is_told_by_its_file(tmp_path: Path) -> None:
    write_history(tmp_path, "k", [{"epoch": 1.0}])
    with (tmp_path / "histories" / "k.jsonl").open("a") as file:
        file.write('{"epoch"')
    with pytest.raises(ValueError, match=r"line 2 of .*k\.jsonl"):
        read_history(tmp_path, "k")


def test_a_folder_without_a_record_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no sweep"):
        read_sweep(tmp_path)


def test_only_what_is_free_differs_in_a_resumed_request() -> None:
    changed = allowed(REQUEST, {"max_cpu_hours": 3.0, "num_samples": 8})
    assert (changed.max_cpu_hours, changed.num_samples) == (3.0, 8)
    assert {n for n, v in vars(changed).items() if v != vars(REQUEST)[n]} == {"max_cpu_hours", "num_samples"}
    assert set(FREE) <= set(vars(REQUEST))


def test_another_process_holds_a_sweep_until_it_dies(tmp_path: Path) -> None:
    folder = tmp_path / "w_pos-20260101-000000"
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom crystalsweep.sweeping.folder import locked\n"
        "with locked(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(folder)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout
        assert other.stdout.readline() == "held\n"
        with pytest.raises(ValueError, match="w_pos-20260101-000000 is being run by another process"), locked(folder):
            pass
        other.send_signal(signal.SIGKILL)
        other.wait()
    with locked(folder):
        pass


def test_the_state_of_a_sweep_in_an_object_store_is_kept_on_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRYSTALSWEEP_STORAGE", str(tmp_path))
    assert state_folder("s3://bucket/prefix") == tmp_path
    assert state_folder("/data") == Path("/data")


def test_names_sort_by_time() -> None:
    name = new_name("w_pos")
    assert name.startswith("w_pos-20")
    assert len(name) == len("w_pos-20260101-000000")


# Passwords


def test_a_sweeps_file_is_nobody_elses_and_has_no_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = replace(REQUEST, tracking_uri=Address("http://me:geheim4@host:5000"))
    for _ in range(2):
        write_sweep(tmp_path, replace(record("w_pos-1"), request=secret))
        assert (tmp_path / "sweep.json").stat().st_mode & 0o777 == 0o600
    assert "geheim4" not in (tmp_path / "sweep.json").read_text()
    again = read_sweep(tmp_path).request
    assert str(again.tracking_uri) == "http://***@host:5000"
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(ValueError, match=r"http://\*\*\*@host:5000 lacks its password"):
        checked_tracker(again.tracking_uri)
    given = allowed(again, {"tracking_uri": "http://me:geheim5@host:5000"}).tracking_uri
    assert given.with_password() == "http://me:geheim5@host:5000"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:geheim6@host:5000")
    assert again.tracking_uri.with_password() == "http://me:geheim6@host:5000"
