"""Checkpoints at an address: which are kept, and that no kill and no failing storage costs one that was complete."""

from __future__ import annotations

import itertools
import json
import math
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import pyarrow.fs
import pytest
from torch.nn import Linear

from crystalsweep.artifacts.atomic import partial_name
from crystalsweep.artifacts.checkpoint_store import CheckpointGoneError, CheckpointStore, StorageError, child
from crystalsweep.artifacts.folder_store import FolderStore
from crystalsweep.artifacts.places import checkpoint_folder
from crystalsweep.networks.checkpoint import CheckpointInfo, read_info, save_checkpoint
from crystalsweep.training.stored import StoredRun

PATIENCE = 60
WEIGHTS = "generator.safetensors"
NOBODY = 65534
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"waited {PATIENCE} s for {what}"
        time.sleep(0.002)


# A real server that speaks S3


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def request(port: int, path: str, method: str = "GET") -> str:
    with urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{port}/{path}", method=method)) as answer:
        text: str = answer.read().decode()
        return text


def answers(port: int) -> bool:
    with suppress(urllib.error.URLError, ConnectionError):
        request(port, "moto-api/")
        return True
    return False


def address_on(port: int) -> str:
    return f"s3://bucket/run?endpoint_override=127.0.0.1:{port}&scheme=http"


@pytest.fixture(scope="module")
def server() -> Iterator[int]:
    """Port of a server with the empty bucket `bucket`."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: answers(port), "the S3 server")
        yield port
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def bucket(server: int, monkeypatch: pytest.MonkeyPatch) -> int:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    request(server, "moto-api/reset", "POST")
    request(server, "bucket", "PUT")
    return server


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.server)])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "store") if request.param == "local" else address_on(request.getfixturevalue("bucket"))


def folder(epoch: int, megabytes: int = 0, **metrics: float) -> Path:
    """A local folder with a checkpoint's files; of any size without writing it."""
    made = Path(tempfile.mkdtemp(prefix="given-"))
    (made / "generator.safetensors").write_bytes(bytes([epoch % 256]) * 100)
    if megabytes:
        os.truncate(made / "generator.safetensors", megabytes << 20)
    rows = "".join(json.dumps({"epoch": e, "loss": e / 8}) + "\n" for e in range(1, epoch + 1))
    (made / "history.jsonl").write_text(rows)
    info = {"epoch": epoch, "metrics": {"epoch": epoch, **metrics}, "config": {"learning_rate": 1.0, "seed": 3}}
    (made / "checkpoint.json").write_text(json.dumps(info))
    return made


def filled(address: str, *epochs: int, **options: Any) -> CheckpointStore:
    store = CheckpointStore(address, keep_last=9, **options)
    for epoch in epochs:
        store.put(folder(epoch), epoch)
    store.flush()
    return store


# What is kept

NAN = math.nan


@pytest.mark.parametrize(
    ("mode", "keep_best", "keep_last", "values", "kept", "best"),
    [
        ("max", 1, 1, [0.1, 0.5, 0.3, 0.2], [2, 4], 2),
        ("min", 1, 1, [0.1, 0.5, 0.3, 0.2], [1, 4], 1),
        ("max", 2, 1, [0.1, 0.5, 0.3, 0.2], [2, 3, 4], 2),
        ("max", 2, 2, [0.1, 0.5, 0.4, 0.3, 0.2, 0.1], [2, 3, 5, 6], 2),
        ("max", 1, 1, [0.5, 0.5, 0.5], [1, 3], 1),
        ("max", 1, 1, [NAN, 0.1, NAN, NAN], [2, 4], 2),
        ("min", 1, 1, [NAN, 0.1, NAN, NAN], [2, 4], 2),
        ("max", 1, 1, [NAN, NAN, NAN], [1, 3], 1),
        ("max", 0, 2, [0.5, 0.1, 0.2], [2, 3], 3),
        ("max", 1, 1, [-math.inf, NAN, math.inf, 2.0], [3, 4], 3),
    ],
)
def test_best_and_last_are_kept(
    mode: Literal["max", "min"],
    keep_best: int,
    keep_last: int,
    values: list[float],
    kept: list[int],
    best: int,
    tmp_path: Path,
) -> None:
    store = CheckpointStore(tmp_path, metric="score", mode=mode, keep_best=keep_best, keep_last=keep_last)
    for epoch, value in enumerate(values, 1):
        store.put(folder(epoch, score=value), epoch)
    store.flush()
    assert (store.epochs(), store.latest(), store.best()) == (kept, len(values), best)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"epoch_{epoch:05d}" for epoch in kept]


def test_best_and_last_are_kept_at_any_address(address: str) -> None:
    store = CheckpointStore(address, metric="score")
    for epoch, value in enumerate([0.1, 0.5, 0.3, 0.2], 1):
        store.put(folder(epoch, score=value), epoch)
    store.flush()
    again = CheckpointStore(address, metric="score")
    assert (again.epochs(), again.latest(), again.best()) == ([2, 4], 4, 2)
    assert 2 * 100 < again.size() < 2000


def test_checkpoints_without_the_metric_are_the_worst(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, metric="score", keep_last=2)
    store.put(folder(1), 1)
    store.put(folder(2, score=-1.0), 2)
    store.flush()
    assert store.best() == 2


def test_without_a_metric_there_is_no_best(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep_last=2)
    for epoch in (1, 2, 3):
        store.put(folder(epoch, score=0.5), epoch)
    store.flush()
    assert store.best() is None
    assert store.epochs() == [2, 3]


def test_an_empty_store_has_nothing(address: str) -> None:
    store = CheckpointStore(address, metric="score")
    assert (store.epochs(), store.latest(), store.best(), store.history(), store.size()) == ([], None, None, [], 0)
    with pytest.raises(ValueError, match="has no checkpoint of epoch 1; it has none"):
        store.fetch(1)


def test_a_taken_folder_is_gone_once_kept(tmp_path: Path) -> None:
    store, taken = CheckpointStore(tmp_path), folder(1)
    store.put(taken, 1)
    store.flush()
    assert not taken.exists()


def test_the_newest_of_more_than_99999_epochs_is_found(tmp_path: Path) -> None:
    store = filled(str(tmp_path), 99_999, 100_000)
    assert store.latest() == 100_000
    assert checkpoint_folder(tmp_path).name == "epoch_100000"


# Reading


def test_files_are_fetched_as_they_were(address: str) -> None:
    store = filled(address, 1, 2)
    fetched = store.fetch(2)
    assert (fetched / "generator.safetensors").read_bytes() == bytes([2]) * 100
    assert json.loads((fetched / "checkpoint.json").read_text())["epoch"] == 2
    assert (store.fetch(1, only=["history.jsonl", "absent"]) / "history.jsonl").exists()
    assert [row["epoch"] for row in store.history()] == [1, 2]
    with pytest.raises(ValueError, match="has no checkpoint of epoch 7; it has 1, 2"):
        store.fetch(7)


@pytest.mark.server
def test_only_the_files_asked_for_are_downloaded(bucket: int) -> None:
    fetched = filled(address_on(bucket), 1).fetch(1, only=["checkpoint.json"])
    assert [path.name for path in fetched.iterdir()] == ["checkpoint.json"]


def test_a_checkpoint_replaced_by_another_process_is_fetched_anew(address: str) -> None:
    reader = filled(address, 1)
    reader.fetch(1)
    writer, other = CheckpointStore(address), folder(1, score=0.7)
    (other / "generator.safetensors").write_bytes(b"other")
    writer.put(other, 1)
    writer.flush()
    assert (reader.fetch(1) / "generator.safetensors").read_bytes() == b"other"


def test_a_run_folder_reads_as_a_store(tmp_path: Path) -> None:
    """Whatever else lies there."""
    (tmp_path / "metrics.jsonl").write_text("{}\n")
    (tmp_path / "epochs").mkdir()
    store = filled(str(tmp_path), 1, 2)
    store.keep_only([2])
    assert checkpoint_folder(tmp_path) == store.fetch(2)
    assert (tmp_path / "metrics.jsonl").exists() and (tmp_path / "epochs").exists()


# Freeing and adopting


def test_only_what_is_named_is_kept(address: str) -> None:
    store = filled(address, 1, 2, 3)
    store.keep_only([2, 8])
    assert store.epochs() == [2]
    store.keep_only([])
    assert (store.epochs(), store.size()) == ([], 0)


def test_an_adopted_checkpoint_replaces_all_others(address: str, tmp_path: Path) -> None:
    donor, store = filled(str(tmp_path / "donor"), 4), filled(address, 3, 4, 5)
    source = donor.fetch(4)
    store.adopt(source, 4, {"learning_rate": 2.0})
    assert store.epochs() == [4]
    assert json.loads((store.fetch(4) / "checkpoint.json").read_text())["config"] == {"learning_rate": 2.0}
    assert json.loads((source / "checkpoint.json").read_text())["config"]["learning_rate"] == 1.0
    assert store.history() == donor.history()


# Killed while writing

WRITER = """
import sys
from pathlib import Path
from crystalsweep.artifacts.checkpoint_store import CheckpointStore
store = CheckpointStore(sys.argv[1])
store.put(Path(sys.argv[2]), 2)
print("sending", flush=True)
store.flush()
print("sent", flush=True)
"""


def writer(address: str, taken: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", WRITER, address, str(taken)], stdout=subprocess.PIPE, text=True)


def test_a_kill_while_sending_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    store, taken = filled(str(tmp_path), 1), folder(2, megabytes=400)
    process = writer(str(tmp_path), taken)
    until(lambda: half_sent(tmp_path), "the upload")
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert half_sent(tmp_path)
    assert (store.epochs(), [row["epoch"] for row in store.history()]) == ([1], [1])
    assert checkpoint_folder(tmp_path).name == "epoch_00001"
    store.put(folder(2), 2)
    store.flush()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch_00001", "epoch_00002"]
    assert store.epochs() == [1, 2]
    shutil.rmtree(taken)


def half_sent(at: Path) -> list[Path]:
    """Files under a partial name that have some of their bytes."""
    return [half for half in at.glob(f"partial-*/{WEIGHTS}") if half.stat().st_size > 0]


def uploads(port: int) -> bool:
    """Whether the server has an object whose parts are not all there."""
    return "<Key>run/epoch_00002/generator.safetensors</Key>" in request(port, "bucket?uploads")


@pytest.mark.server
def test_a_kill_while_sending_to_s3_leaves_the_checkpoint_before(bucket: int) -> None:
    store, taken = filled(address_on(bucket), 1), folder(2, megabytes=200)
    process = writer(address_on(bucket), taken)
    until(lambda: uploads(bucket), "the upload")
    process.send_signal(signal.SIGKILL)
    assert "sent" not in process.communicate()[0].split()
    assert (store.epochs(), [row["epoch"] for row in store.history()]) == ([1], [1])
    store.put(folder(2), 2)
    store.flush()
    assert store.epochs() == [1, 2]
    shutil.rmtree(taken)


def test_a_folder_without_its_mark_does_not_count_and_is_freed(tmp_path: Path) -> None:
    """As a kill between two deletions leaves it."""
    store = filled(str(tmp_path), 1, 2, 3)
    (tmp_path / "epoch_00003" / "checkpoint.json").unlink()
    assert (store.epochs(), store.latest()) == ([1, 2], 2)
    assert checkpoint_folder(tmp_path).name == "epoch_00002"
    store.put(folder(4), 4)
    store.flush()
    assert not (tmp_path / "epoch_00003").exists()


# Two processes at once

REPEATED_WRITER = """
import json, sys, tempfile
from pathlib import Path
from crystalsweep.artifacts.checkpoint_store import CheckpointStore, StorageError
store = CheckpointStore(sys.argv[1], keep_last=99)
failures = set()
for epoch in range(1, 41):
    made = Path(tempfile.mkdtemp(prefix="given-"))
    (made / "part").mkdir()
    for number in range(12):
        (made / "part" / f"{number}").write_bytes(bytes(1000))
    (made / "history.jsonl").write_text(json.dumps({"epoch": epoch}))
    (made / "checkpoint.json").write_text(json.dumps({"epoch": epoch, "metrics": {}}))
    try:
        store.put(made, epoch)
        store.flush()
    except StorageError as error:
        failures.add(str(error))
print(json.dumps(sorted(failures)))
"""


def whole(store: CheckpointStore) -> int:
    """How many checkpoints are listed; each has all its files."""
    listed = store.epochs()
    for epoch in listed:
        found = store.fetch(epoch)
        assert [(found / "part" / f"{number}").stat().st_size for number in range(12)] == [1000] * 12
    return len(listed)


def test_what_is_listed_is_whole_when_one_process_writes_and_another_frees(tmp_path: Path) -> None:
    command = [sys.executable, "-c", REPEATED_WRITER, str(tmp_path)]
    freeing, seen, pauses = CheckpointStore(tmp_path), 0, itertools.cycle([0, 0.002, 0.004, 0.008, 0.016, 0.032])
    for _ in range(10):  # where the machine has other work, all of one writer's may be freed unseen
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        while process.poll() is None:
            seen += whole(freeing)
            freeing.keep_only([])
            time.sleep(next(pauses))
        output, _ = process.communicate()
        assert process.returncode == 0
        assert all("another process freed epoch_" in failure for failure in json.loads(output)), output
        if seen:
            break
    assert seen > 0
    whole(freeing)
    freeing.keep_only([])
    assert list(tmp_path.iterdir()) == []


def test_a_live_writer_is_left_alone_by_another_that_writes(tmp_path: Path) -> None:
    store, taken = CheckpointStore(tmp_path, keep_last=2), folder(2, megabytes=400)
    process = writer(str(tmp_path), taken)
    until(lambda: half_sent(tmp_path), "the upload")
    process.send_signal(signal.SIGSTOP)
    try:
        store.put(folder(1), 1)
        store.flush()
        assert half_sent(tmp_path)
    finally:
        process.send_signal(signal.SIGCONT)
    assert process.communicate()[0].split() == ["sending", "sent"]
    assert 2 in store.epochs()


def test_a_writer_whose_checkpoint_is_freed_fails_and_leaves_nothing(tmp_path: Path) -> None:
    store, taken = CheckpointStore(tmp_path), folder(2, megabytes=400)
    process = writer(str(tmp_path), taken)
    until(lambda: half_sent(tmp_path), "the upload")
    process.send_signal(signal.SIGSTOP)
    store.keep_only([])
    process.send_signal(signal.SIGCONT)
    assert process.communicate()[0].split() == ["sending"]
    assert process.returncode == 1
    assert list(tmp_path.iterdir()) == []
    assert not taken.exists()


def test_what_a_writer_on_another_host_left_is_freed_once_it_is_old(tmp_path: Path) -> None:
    store = filled(str(tmp_path), 1)
    elsewhere = [tmp_path / f"partial-epoch_00002-1-{host}" for host in ("0" * 16, "1" * 16)]
    for half in elsewhere:
        half.mkdir()
        (half / WEIGHTS).write_bytes(b"1")
    for path in (elsewhere[0] / WEIGHTS, elsewhere[0]):
        os.utime(path, (time.time() - 7200,) * 2)
    with partial_name("epoch_00003") as ours:
        (tmp_path / ours).mkdir()
        store.put(folder(4), 4)
        store.flush()
        assert [half.exists() for half in elsewhere] == [False, True]
        assert (tmp_path / ours).exists()
    store.put(folder(5), 5)
    store.flush()
    assert not (tmp_path / ours).exists()
    store.keep_only([5])
    assert [path.name for path in tmp_path.iterdir()] == ["epoch_00005"]


def test_a_donor_that_is_freed_meanwhile_can_be_told_from_storage_that_fails(tmp_path: Path) -> None:
    donor, heir = filled(str(tmp_path / "donor"), 2), filled(str(tmp_path / "heir"), 1)
    source = donor.fetch(2)
    donor.keep_only([])
    with pytest.raises(CheckpointGoneError, match="epoch_00002 was freed while it was copied"):
        heir.adopt(source, 2, {})
    assert heir.epochs() == [1]


def test_a_donor_that_is_freed_during_the_copy_is_adopted_whole_or_told(tmp_path: Path) -> None:
    donor, heir = CheckpointStore(tmp_path / "donor"), filled(str(tmp_path / "heir"), 1)
    for turn in range(8):
        made = folder(2)
        for number in range(10):
            (made / f"{number}").write_bytes(b"1")
        donor.put(made, 2)
        donor.flush()
        freeing = threading.Timer(turn / 4_000, donor.keep_only, ([],))
        freeing.start()
        try:
            heir.adopt(tmp_path / "donor" / "epoch_00002", 2, {})
        except CheckpointGoneError:
            assert set(heir.epochs()) <= {1, 2}
        freeing.join()
        for epoch in heir.epochs():
            assert len(list(heir.fetch(epoch).iterdir())) == (3 if epoch == 1 else 13)


# Storage that fails


class Wire:
    """Connections to a port through another, until they are cut."""

    def __init__(self, port: int) -> None:
        self._target, self._open, self.cut_off = port, [socket.create_server(("127.0.0.1", 0))], False
        self.port: int = self._open[0].getsockname()[1]
        self.carried = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        self.cut_off = True
        for end in self._open:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while not self.cut_off:
                ends = [self._open[0].accept()[0], socket.create_connection(("127.0.0.1", self._target))]
                self._open += ends
                for source, target in (ends, ends[::-1]):
                    threading.Thread(target=self._carry, args=(source, target), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
                self.carried += len(data)
            target.shutdown(socket.SHUT_WR)


@pytest.mark.server
@pytest.mark.long
def test_a_server_lost_while_sending_is_told_and_costs_nothing(bucket: int) -> None:
    wire = Wire(bucket)
    store = filled(address_on(wire.port), 1)
    store.put(folder(2, megabytes=200), 2)
    until(lambda: wire.carried > 20 << 20, "a part of the upload")
    wire.cut()
    with pytest.raises(StorageError, match=r"cannot use the storage s3://bucket/run\S*: .*; see that the server is up"):
        store.flush()
    again = CheckpointStore(address_on(bucket))
    assert (again.epochs(), [row["epoch"] for row in again.history()]) == ([1], [1])
    again.put(folder(2), 2)
    again.flush()
    assert again.epochs() == [2]


@pytest.mark.server
def test_an_error_of_the_server_is_told_with_its_remedy_and_without_the_secret(bucket: int) -> None:
    address = address_on(bucket).replace("s3://bucket", "s3://mykey:mysecret@absent")
    with pytest.raises(StorageError, match=r"NO_SUCH_BUCKET.*; create the bucket, or name another") as caught:
        CheckpointStore(address).require_writable()
    assert "mysecret" not in str(caught.value)


def test_an_address_of_no_storage_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="s4://bucket is no storage address"):
        CheckpointStore("s4://bucket")
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"Not a directory; name a folder"):
        CheckpointStore(tmp_path / "file").require_writable()


@pytest.fixture
def small_disk(disk: Callable[[str], Path]) -> Path:
    return disk("4m")


def assert_fails_and_keeps(store: CheckpointStore, taken: Path, message: str) -> None:
    store.put(taken, 2)
    with pytest.raises(StorageError, match=message):
        store.flush()
    assert not taken.exists()
    assert store.epochs() == [1]
    assert (store.fetch(1) / "generator.safetensors").read_bytes() == bytes([1]) * 100


def test_a_full_disk_is_told_and_costs_nothing(small_disk: Path) -> None:
    store = filled(str(small_disk / "store"), 1)
    assert_fails_and_keeps(store, folder(2, megabytes=8), "No space left on device; free some space there, then resume")
    assert [path.name for path in (small_disk / "store").iterdir()] == ["epoch_00001"]
    store.put(folder(2), 2)
    store.flush()
    assert store.epochs() == [1, 2]


def test_a_limit_on_the_size_of_files_is_told_and_costs_nothing(tmp_path: Path) -> None:
    """What a full disk does, where no file system can be mounted."""
    store, before = filled(str(tmp_path), 1), resource.getrlimit(resource.RLIMIT_FSIZE)
    taken = folder(2, megabytes=8)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    try:
        assert_fails_and_keeps(store, taken, "File too large; raise the limit on the size of a file")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_read_only_disk_is_told_and_costs_nothing(small_disk: Path) -> None:
    store = filled(str(small_disk / "store"), 1)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert_fails_and_keeps(store, folder(2), "Read-only file system; make it writable, or name another place")
    with pytest.raises(StorageError, match="Read-only file system"):
        store.require_writable()


def test_a_folder_without_permission_is_told_and_costs_nothing() -> None:
    at = Path(tempfile.mkdtemp(prefix="permitted-"))
    store, root = filled(str(at), 1), os.geteuid() == 0
    at.chmod(0o555)
    if root:  # may write anywhere
        os.seteuid(NOBODY)
    try:
        assert_fails_and_keeps(store, folder(2), "Permission denied; permit this user to read and write it")
        with pytest.raises(StorageError, match="Permission denied"):
            store.require_writable()
    finally:
        if root:
            os.seteuid(0)
        at.chmod(0o755)
        shutil.rmtree(at)


def test_an_earlier_failure_is_raised_by_the_next_put(small_disk: Path) -> None:
    store, taken = filled(str(small_disk), 1), folder(3)
    store.put(folder(2, megabytes=8), 2)
    with pytest.raises(StorageError, match="No space left"):
        store.put(taken, 3)
    assert not taken.exists()
    store.flush()
    assert store.epochs() == [1]


def test_what_can_be_written_leaves_no_trace(address: str) -> None:
    store = filled(address, 1)
    before = store.size()
    store.require_writable()
    assert (store.epochs(), store.size()) == ([1], before)


# Addresses


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("/data/sweep", "/data/sweep/a b"),
        (Path("/data/sweep"), "/data/sweep/a b"),
        ("s3://bucket/sweep/", "s3://bucket/sweep/a%20b"),
        ("s3://bucket", "s3://bucket/a%20b"),
        ("s3://bucket/sweep?scheme=http&region=x", "s3://bucket/sweep/a%20b?scheme=http&region=x"),
    ],
)
def test_an_address_has_addresses_below_it(address: str | Path, expected: str) -> None:
    assert child(address, "a b") == expected


@pytest.mark.parametrize("address", ["s3://[key:hush@bucket", "s4://key:hush@bucket?a=hush"])
def test_an_address_is_refused_without_its_secrets(address: str) -> None:
    with pytest.raises(ValueError, match="is no storage address") as caught:
        CheckpointStore(address)
    assert "hush" not in str(caught.value)


def test_a_store_below_an_address_is_found_there(address: str) -> None:
    filled(child(address, "0007-s1"), 1)
    assert CheckpointStore(child(address, "0007-s1")).epochs() == [1]
    assert CheckpointStore(child(address, "0007-s2")).epochs() == []


@pytest.mark.parametrize("options", [{"mode": "best"}, {"keep_best": -1}, {"keep_last": 0}])
def test_impossible_options_are_refused(options: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"is max or min, keep_best .* at least 0, keep_last"):
        CheckpointStore(tmp_path, **options)


# Damage


def test_a_damaged_checkpoint_is_set_aside_and_kept(address: str) -> None:
    store = CheckpointStore(address, keep_last=3)
    for epoch in (1, 2, 3):
        store.put(folder(epoch), epoch)
    store.flush()
    fetched = store.fetch(3)
    content = {path.name: path.read_bytes() for path in fetched.iterdir()}
    assert store.set_aside(3) == "damaged-epoch_00003"
    assert (store.epochs(), store.latest()) == ([1, 2], 2)
    store.put(folder(3), 3)
    store.keep_only([3])
    assert store.epochs() == [3]
    kept = FolderStore(address, "checkpoint.json")
    assert {name: kept.read("damaged-epoch_00003", name) for name in content} == content
    assert store.set_aside(3) == "damaged-epoch_00003-2"
    assert store.epochs() == []


def test_a_training_at_an_address_goes_back_to_the_newest_whole_checkpoint(
    address: str, caplog: pytest.LogCaptureFixture
) -> None:
    run = StoredRun(CheckpointStore(address, keep_last=3))
    for epoch in (1, 2, 3):
        run.record(
            {"epoch": epoch}, lambda made, epoch=epoch: save_checkpoint(made, info_of(epoch), {"d": Linear(2, 2)})
        )
    run.finish()
    damaged = CheckpointStore(address).fetch(3)
    (damaged / "d.safetensors").write_bytes((damaged / "d.safetensors").read_bytes()[:-4])
    if "://" in address:
        filesystem, root = pyarrow.fs.FileSystem.from_uri(address)
        with filesystem.open_output_stream(f"{root}/epoch_00003/d.safetensors") as out:
            out.write((damaged / "d.safetensors").read_bytes())
    again = StoredRun(CheckpointStore(address, keep_last=3))
    assert [row["epoch"] for row in again.history] == [1, 2]
    found = again.resume_from()
    assert found is not None
    assert read_info(found).epoch == 2
    assert "is damaged (it is not what its manifest says: 'd.safetensors' was changed" in caplog.text
    assert "going back to epoch 2" in caplog.text


def info_of(epoch: int) -> CheckpointInfo:
    return CheckpointInfo(stage="gan", config={}, epoch=epoch, step=epoch, data_sha256="0", split_sha256="1")
