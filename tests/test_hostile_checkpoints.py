"""What a stranger puts into a checkpoint, or a server into a download, is refused with a message and never executed."""

from __future__ import annotations

import json
import os
import pickle
import struct
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
import torch
from mlflow.exceptions import MlflowException
from safetensors.torch import load_file, save_file

from crystalsweep.artifacts.archive import plain_files
from crystalsweep.artifacts.safe_json import MAX_JSON
from crystalsweep.artifacts.safe_load import MAX_HEADER, described_tensors
from crystalsweep.data import DataError, read
from crystalsweep.networks.architectures import PaiNNConfig
from crystalsweep.networks.checkpoint import (
    CheckpointInfo,
    load_generator,
    read_backbone,
    read_info,
    read_training_state,
    read_weights,
    save_checkpoint,
)
from crystalsweep.networks.models import Generator
from crystalsweep.networks.pretrained import read_escn_md
from crystalsweep.tracking.tracker import Tracker

CONFIG = PaiNNConfig(width=8, layers=1, radial_functions=4)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "checkpoint"
    made.mkdir()
    torch.manual_seed(0)
    info = CheckpointInfo(
        stage="pretrain",
        config={"backbone": CONFIG.model_dump(mode="json")},
        epoch=1,
        step=2,
        data_sha256="0" * 64,
        split_sha256="1" * 64,
    )
    save_checkpoint(made, info, {"generator": Generator(CONFIG)}, {"adam": {"state": {}}})
    return made


class Marker:
    """Unpickling one makes a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self._path),)


def refused(read_it: Any, *words: str) -> str:
    with pytest.raises(ValueError, match=words[0]) as raised:
        read_it()
    assert all(word in str(raised.value) for word in words[1:])
    return str(raised.value)


def loads(folder: Path) -> Any:
    return lambda: load_generator(folder)


def edit(folder: Path, **changes: Any) -> None:
    content = json.loads((folder / "checkpoint.json").read_text())
    (folder / "checkpoint.json").write_text(json.dumps({**content, **changes}))


def edit_backbone(folder: Path, **changes: Any) -> None:
    edit(folder, config={"backbone": {**CONFIG.model_dump(mode="json"), **changes}})


def test_an_honest_checkpoint_loads_and_leaves_random_streams_alone(folder: Path) -> None:
    state = torch.get_rng_state()
    assert read_backbone(folder) == CONFIG
    assert torch.equal(torch.get_rng_state(), state)
    assert load_generator(folder).state_dict().keys() == read_weights(folder, "generator").keys()
    assert read_training_state(folder) == {"adam": {"state": {}}}


# Pickles


def hostile_pickles(marker: Path, scratch: Path) -> dict[str, bytes]:
    """By what wrote them; each makes `marker` where it is unpickled."""
    torch.save({"adam": Marker(marker)}, scratch)
    zipped = scratch.read_bytes()
    torch.save({"adam": Marker(marker)}, scratch, _use_new_zipfile_serialization=False)
    older = scratch.read_bytes()
    scratch.unlink()
    return {"pickle": pickle.dumps({"adam": Marker(marker)}), "torch": zipped, "old torch": older}


def test_the_pickles_are_loaded(tmp_path: Path) -> None:
    """Else the tests below would show nothing."""
    for name, content in hostile_pickles(tmp_path / "marker", tmp_path / "scratch").items():
        (tmp_path / "file").write_bytes(content)
        if name == "pickle":
            pickle.loads(content)
        else:
            torch.load(tmp_path / "file", weights_only=False)
        (tmp_path / "marker").rmdir()


@pytest.mark.parametrize("form", ["pickle", "torch", "old torch"])
@pytest.mark.parametrize(
    ("name", "reading"),
    [
        ("training.pt", lambda folder: read_training_state(folder)),
        ("checkpoint.json", lambda folder: load_generator(folder)),
        ("generator.safetensors", lambda folder: load_generator(folder)),
        ("generator.safetensors", lambda folder: read_weights(folder, "generator")),
        ("generator.safetensors", lambda folder: read_backbone(folder)),
        ("uma.pt", lambda folder: read_escn_md(folder / "uma.pt")),
        ("crystals.parquet", lambda folder: read(folder / "crystals.parquet")),
        ("crystals.extxyz", lambda folder: read(folder / "crystals.extxyz").require_clean()),
        ("crystals.csv", lambda folder: read(folder / "crystals.csv")),
        ("crystals.cif", lambda folder: read(folder / "crystals.cif").require_clean()),
    ],
    ids=["training", "info", "generator", "weights", "backbone", "uma", "parquet", "extxyz", "csv", "cif"],
)
def test_a_pickle_is_never_executed(tmp_path: Path, folder: Path, form: str, name: str, reading: Any) -> None:
    marker = tmp_path / "marker"
    (folder / name).write_bytes(hostile_pickles(marker, tmp_path / "scratch")[form])
    message = refused(lambda: reading(folder), str(folder / name))
    assert "\n" not in message
    assert not marker.exists()


def test_pickles_beside_the_weights_are_not_opened(tmp_path: Path, folder: Path) -> None:
    marker = tmp_path / "marker"
    content = hostile_pickles(marker, tmp_path / "scratch")["torch"]
    for name in ("generator.pt", "generator.bin", "model.pkl", "pytorch_model.bin", "MLmodel", "python_model.pkl"):
        (folder / name).write_bytes(content)
    (folder / "training.pt").write_bytes(content)
    assert isinstance(load_generator(folder), Generator)
    assert not marker.exists()


def test_strings_in_parquet_are_not_unpickled(tmp_path: Path) -> None:
    import pandas as pd

    marker = tmp_path / "marker"
    bomb = pickle.dumps(Marker(marker))
    rows = {"material_id": ["a"], "source": [bomb], "atomic_numbers": [bomb], "lattice": [bomb], "frac_coords": [bomb]}
    pd.DataFrame(rows).to_parquet(tmp_path / "x.parquet")
    assert len(read(tmp_path / "x.parquet").rejects) == 1
    assert not marker.exists()


# checkpoint.json


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is no JSON"),
        (b"\xff\xfe", "is no JSON"),
        (b"[]", "is no JSON object"),
        (b"1" * 5000, r"is no JSON \(a number of thousands of digits\)"),
        (b"[" * 100_000, r"is no JSON \(more than 50 lists and objects within each other\)"),
        (b'{"a":' * 200 + b"1" + b"}" * 200, "within each other"),
        (b" " * (MAX_JSON + 1), "at most 16,777,216 are read"),
    ],
    ids=["empty", "bytes", "list", "number", "deep", "nested", "long"],
)
def test_what_is_no_checkpoint_json_is_refused(folder: Path, content: bytes, words: str) -> None:
    (folder / "checkpoint.json").write_bytes(content)
    refused(lambda: read_info(folder), words, str(folder / "checkpoint.json"))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("stage", 1),
        ("config", []),
        ("epoch", "1"),
        ("epoch", True),
        ("step", -1),
        ("step", 1e400),
        ("step", 10**30),
        ("data_sha256", None),
        ("metrics", {"loss": "1"}),
        ("metrics", [1]),
        ("dropped", "abc"),
        ("dropped", [1]),
        ("ancestry", [{"stage": 1}]),
        ("ancestry", {"stage": "gan"}),
    ],
)
def test_a_field_of_another_type_is_named(folder: Path, field: str, value: Any) -> None:
    edit(folder, **{field: value})
    refused(lambda: read_info(folder), rf"checkpoint\.json: {field} is not ")


def test_unknown_and_missing_fields_are_named(folder: Path) -> None:
    content = json.loads((folder / "checkpoint.json").read_text())
    edit(folder, __class__="os.system")
    refused(lambda: read_info(folder), "has the field '__class__', which format 2 does not know")
    (folder / "checkpoint.json").write_text(json.dumps({k: v for k, v in content.items() if k != "epoch"}))
    refused(lambda: read_info(folder), "has no field 'epoch'")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"width": 60_000}, "config.backbone.width is 60,000, too large"),
        ({"layers": 200}, "config.backbone.layers is 200, too large"),
        ({"width": 10**30}, "width: give a whole number of 65536 or less"),
        ({"width": 16}, "does not fit its checkpoint.json"),
        ({"layers": 2}, "does not fit its checkpoint.json"),
        ({"width": 1e400}, "config.backbone.*width"),
        ({"width": "8; import os"}, "config.backbone.*width"),
        ({"cutoff": 1e400}, "config.backbone.*cutoff"),
        ({"implementation": "os:system"}, "config.backbone.*implementation"),
        ({"name": "os.system"}, "config.backbone"),
    ],
    ids=str,
)
def test_a_config_that_its_weights_do_not_have_is_refused_unbuilt(
    folder: Path, changes: dict[str, Any], words: str
) -> None:
    edit_backbone(folder, **changes)
    for reading in (load_generator, read_backbone):
        refused(lambda reading=reading: reading(folder), words, str(folder))


def test_a_config_without_backbone_is_refused(folder: Path) -> None:
    edit(folder, config={})
    refused(loads(folder), "config has no backbone")


# Weights


def raw(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def described(start: int = 0, stop: int = 4, shape: Any = (1,), dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, stop]}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "its header would have 0"),
        (b"1234567", "is no safetensors file"),
        (raw(b"{}", length=2**63), "its header would have"),
        (raw(b"{}", length=MAX_HEADER + 1), "its header would have"),
        (raw(b"{}", length=3), "its header would have"),
        (raw(b"{" * 100_000), "its header is no JSON"),
        (raw(b"[]"), "its header is no JSON object"),
        (raw({"a": 1}), "tensor 'a' wrongly: expected dtype"),
        (raw({"a": {**described(), "code": "x"}}, b"1234"), "wrongly: expected dtype"),
        (raw({"a": described(dtype="F8_E4M3")}, b"1234"), "no network has the dtype"),
        (raw({"a": described(dtype=[])}, b"1234"), "no network has the dtype"),
        (raw({"a": described(shape=(2**40, 2**40))}, b"1234"), "has not the size of its shape"),
        (raw({"a": described(shape=(-1,))}, b"1234"), "no list of whole numbers"),
        (raw({"a": described(shape=(1.0,))}, b"1234"), "no list of whole numbers"),
        (raw({"a": described(4, 0)}, b"1234"), "has not the size"),
        (raw({"a": described(), "b": described()}, b"1234"), "tensor 'b' begins at byte 0, where 4 is expected"),
        (raw({"a": described(), "b": described(8, 12)}, b"1" * 12), "begins at byte 8, where 4"),
        (raw({"a": described()}, b"1" * 12), "has 12 bytes of tensors, and describes 4"),
        (raw({"a": described(0, 8, (2,))}, b"1234"), "has 4 bytes of tensors, and describes 8"),
    ],
)  # fmt: skip
def test_a_header_that_lies_is_refused(folder: Path, content: bytes, words: str) -> None:
    path = folder / "generator.safetensors"
    path.write_bytes(content)
    for reading in (lambda: described_tensors(path), loads(folder), lambda: read_weights(folder, "generator")):
        assert "\n" not in refused(reading, words, str(path))


def change_weights(folder: Path, change: Any) -> None:
    path = folder / "generator.safetensors"
    weights = load_file(path)
    change(weights, next(iter(sorted(weights))))
    save_file(weights, path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda w, n: w.update({n: w[n].double()}), "is float64 of shape"),
        (lambda w, n: w.update({n: w[n][None].clone()}), "and should be float32 of shape"),
        (lambda w, n: w.pop(n), "is absent, and should be"),
        (lambda w, _: w.update({"more": torch.zeros(1)}), "its network has no 'more'"),
        (lambda w, n: w[n].view(-1)[:1].fill_(float("nan")), "the weights are not finite, first those of"),
        (lambda w, n: w[n].view(-1)[:1].fill_(float("inf")), "the weights are not finite, first those of"),
    ],
    ids=["dtype", "shape", "missing", "more", "nan", "inf"],
)
def test_weights_that_do_not_fit_are_refused(folder: Path, change: Any, words: str) -> None:
    change_weights(folder, change)
    refused(loads(folder), words, str(folder / "generator.safetensors"))


def test_every_flipped_byte_of_the_header_is_read_or_refused(folder: Path) -> None:
    path = folder / "generator.safetensors"
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    outcomes = set()
    for at in range(0, length + 8, 29):
        path.write_bytes(content[:at] + bytes([content[at] ^ 0x15]) + content[at + 1 :])
        try:
            load_generator(folder)
            outcomes.add("read")
        except ValueError as error:
            assert str(folder) in str(error)
            outcomes.add("refused")
    assert "refused" in outcomes


# Links, pipes and devices


@pytest.mark.parametrize("name", ["checkpoint.json", "generator.safetensors", "training.pt"])
def test_pipes_and_devices_are_not_waited_for(folder: Path, name: str) -> None:
    def reading() -> Any:
        return read_training_state(folder) if name == "training.pt" else load_generator(folder)

    (folder / name).unlink()
    os.mkfifo(folder / name)
    refused(reading, "is no regular file", name)
    (folder / name).unlink()
    (folder / name).symlink_to("/dev/zero")
    refused(reading, "is no regular file", name)


def test_a_linked_run_of_ones_own_is_read_and_a_link_in_a_download_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    assert isinstance(load_generator(tmp_path / "link"), Generator)
    (folder / "generator.safetensors").rename(tmp_path / "elsewhere")
    (folder / "generator.safetensors").symlink_to(tmp_path / "elsewhere")
    refused(lambda: plain_files(folder), "'generator.safetensors' is a link")


# An MLflow server that lists paths which lead out of the download


class _EvilMlflow(BaseHTTPRequestHandler):
    listed = "../../escaped.txt"

    def do_GET(self) -> None:
        path, query = urlsplit(self.path).path, parse_qs(urlsplit(self.path).query)
        if path.endswith("/runs/get"):
            uri = f"mlflow-artifacts://{self.headers['Host']}/0/{'0' * 32}/artifacts"
            info = {"run_id": "0" * 32, "experiment_id": "0", "status": "FINISHED", "artifact_uri": uri}
            self._say(json.dumps({"run": {"info": info, "data": {}}}).encode())
        elif path.endswith("/mlflow-artifacts/artifacts"):
            inside = query.get("path", [""])[0].endswith("checkpoint")
            entry = {"path": self.listed, "is_dir": False, "file_size": 4}
            self._say(json.dumps({"files": [entry] if inside else []}).encode())
        else:
            self._say(b"evil")

    def _say(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def evil_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _EvilMlflow)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)  # which MLflow sets itself, and this sets back
    yield address
    server.shutdown()
    server.server_close()


def test_the_servers_honest_files_are_downloaded(
    evil_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the next test would show nothing."""
    monkeypatch.setattr(_EvilMlflow, "listed", "honest.txt")
    Tracker(evil_server).download("0" * 32, "checkpoint", tmp_path / "downloads")
    assert [path.read_text() for path in tmp_path.rglob("honest.txt")] == ["evil"]


@pytest.mark.parametrize(
    "listed",
    ["../../escaped.txt", "../escaped.txt", "a/../../../escaped.txt", "%2e%2e/%2e%2e/escaped.txt", "{absolute}"],
)
def test_a_server_cannot_write_outside_the_download(
    evil_server: str, tmp_path: Path, listed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    into = tmp_path / "a" / "b" / "downloads"
    monkeypatch.setattr(_EvilMlflow, "listed", listed.format(absolute=tmp_path / "escaped.txt"))
    with pytest.raises(MlflowException):
        Tracker(evil_server).download("0" * 32, "checkpoint", into)
    assert [path for path in tmp_path.rglob("*") if path.is_file() or path.is_symlink()] == []


def test_numbers_of_a_dataset_are_no_objects(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([Marker(tmp_path / "marker")], dtype=object), allow_pickle=True)
    (tmp_path / "x.npy").rename(tmp_path / "x.parquet")
    with pytest.raises(DataError, match="not readable as Parquet"):
        read(tmp_path / "x.parquet")
    assert not (tmp_path / "marker").exists()
