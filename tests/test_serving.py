"""The registered model as MLflow has it: no pickle in it, in batch, and over HTTP by `mlflow models serve`."""

from __future__ import annotations

import json
import os
import pickletools
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest

from crystalsweep.artifacts.seal import SEAL, seal, seal_of
from crystalsweep.data.partial_cif import partial_from_cif
from crystalsweep.inference.restorer import load
from crystalsweep.inference.served_rows import MAX_ROWS
from crystalsweep.inference.serving import ANSWER_COLUMNS, EXAMPLE, PARAMS, write_pyfunc
from crystalsweep.structures.crystal import Crystal
from crystalsweep.tracking.tracker import Tracker, sqlite_uri
from tests.checkpoints import random_checkpoint
from tests.ray.servers import BIN, Server, free_port

BAD = "data_x\nloop_\n_atom_site_label\n_atom_site_type_symbol\nX1 X\n"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version's folder, of a generator with random weights."""
    folder = tmp_path_factory.mktemp("version")
    random_checkpoint(folder / "checkpoint", seed=11)
    write_pyfunc(folder)
    seal(folder)
    return folder


@pytest.fixture(scope="module")
def loaded(model: Path) -> Any:
    return mlflow.pyfunc.load_model(str(model))


def test_the_folder_is_a_model_without_code_or_pickles(model: Path) -> None:
    files = {str(path.relative_to(model)) for path in model.rglob("*") if path.is_file()}
    assert files == {
        "FILES.json",
        "MLmodel",
        "checkpoint/checkpoint.json",
        "checkpoint/generator.safetensors",
        "input_example.json",
        "python_env.yaml",
        "requirements.txt",
        "serving_input_example.json",
    }
    for name in files:
        content = (model / name).read_bytes()
        assert not content.startswith((b"\x80", b"PK")), name
        with pytest.raises(ValueError, match=r"opcode|pickle|exhausted|expected|invalid|unknown|not enough|no newline"):
            list(pickletools.genops(content))
    assert (model / "requirements.txt").read_text().startswith("crystalsweep")


def test_mlflow_knows_its_inputs_outputs_and_example(model: Path, loaded: Any) -> None:
    info = mlflow.models.get_model_info(str(model))
    assert info.flavors["python_function"]["loader_module"] == "crystalsweep.serving"
    assert info.signature.inputs.required_input_names() == ["cif"]
    assert info.signature.inputs.optional_input_names() == ["id"]
    assert info.signature.outputs.input_names() == list(ANSWER_COLUMNS)
    defaults = {param.name: param.default for param in info.signature.params}
    assert defaults == {name: default for name, (_, default) in PARAMS.items()}
    example = mlflow.models.Model.load(str(model)).load_input_example(str(model))
    answer = loaded.predict(example)
    assert answer["id"].tolist() == ["rock-salt"]
    assert answer["error"].tolist() == [""]


def test_the_library_gives_the_same(model: Path, loaded: Any) -> None:
    done = load(model).complete(EXAMPLE, top_k=2, keep_positions=True)
    row = loaded.predict(pd.DataFrame({"cif": [EXAMPLE]}), params={"top_k": 2, "keep_positions": True}).iloc[0]
    assert row["cif"] == done.cif
    odds = json.loads(row["odds"])
    assert [site["atom"] for site in odds["masked"]] == [5, 6, 7, 8]
    for site, expected in zip(odds["masked"], done.odds, strict=True):
        assert list(site["uncalibrated_probability"]) == [each.element for each in expected]
    assert odds["perturbation_angstrom"] == pytest.approx(done.best.moved.tolist(), abs=1e-4)


def test_candidates_are_told_as_the_command_tells_them(loaded: Any) -> None:
    params = {"top": 3, "keep_positions": True, "allowed": "F-Cl-Br-I", "charge": "neutral"}
    row = loaded.predict(pd.DataFrame({"cif": [EXAMPLE]}), params=params).iloc[0]
    told = json.loads(row["candidates"])
    assert [each["rank"] for each in told["candidates"]] == [1, 2, 3]
    assert {each["filled"] for each in told["candidates"]} <= {"F", "Cl", "Br", "I"}
    assert all(each["charge_balanced"] for each in told["candidates"])
    assert told["candidates"][0]["cif"] == row["cif"]
    assert sum(each["probability"] for each in told["candidates"]) <= 1


def test_whole_crystals_are_masked_and_shared_sites_ordered(loaded: Any) -> None:
    whole = EXAMPLE.replace("X1 X ", "Cl1 Cl ")
    shared = whole.replace("fract_z\n", "fract_z\n_atom_site_occupancy\n").replace("0 0 0", "0 0 0 1")
    shared = shared.replace("Cl1 Cl 0.5 0.5 0.5", "Cl1 Cl 0.5 0.5 0.5 0.75\nBr1 Br 0.5 0.5 0.5 0.25")
    answer = loaded.predict(pd.DataFrame({"cif": [whole, shared]}), params={"mask": "Cl", "keep_positions": True})
    assert answer["error"].tolist() == ["", ""]
    filled = [json.loads(each)["candidates"][0]["filled"] for each in answer["candidates"]]
    assert "," not in filled[0]
    ordered = loaded.predict(pd.DataFrame({"cif": [shared]}), params={"keep_positions": True}).iloc[0]
    assert json.loads(ordered["candidates"])["candidates"][0]["filled"] == "3 Cl, 1 Br"


def test_what_cannot_be_asked_is_a_bad_request_and_what_cannot_be_fulfilled_a_row(loaded: Any) -> None:
    table = pd.DataFrame({"cif": [EXAMPLE]})
    for wrong in ({"allowed": "Qx"}, {"formula": "Na0.5Cl"}, {"charge": "x"}, {"tie": "x"}, {"top": 0}, {"mask": "?"}):
        with pytest.raises(mlflow.MlflowException):
            loaded.predict(table, params=wrong)
    for wrong in ({"formula": "KCl"}, {"required": "Na,K,Rb,Cs,Li,Be"}):
        assert loaded.predict(table, params=wrong)["error"][0]


def test_a_bad_row_says_why_and_costs_the_others_nothing(loaded: Any) -> None:
    whole = EXAMPLE.replace("X1 X ", "Cl1 Cl ")
    ids = ["good", "bad", "empty", "rubbish", "whole", None]
    table = pd.DataFrame({"id": ids, "cif": [EXAMPLE, BAD, None, "no CIF at all", whole, EXAMPLE]})
    answer = loaded.predict(table, params={"keep_positions": True})
    assert answer["id"].tolist() == ["good", "bad", "empty", "rubbish", "whole", "6"]
    assert [bool(error) for error in answer["error"]] == [False, True, True, True, True, False]
    assert [bool(text) for text in answer["cif"]] == [True, False, False, False, False, True]
    assert answer["cif"][0] == answer["cif"][5]
    assert answer["error"][1].startswith("row 2, id bad: ")
    assert answer["error"][2] == "row 3, id empty: no CIF; give the text of a CIF"
    assert "nothing to do" in answer["error"][4]


def test_limits_of_a_request(loaded: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    many = pd.DataFrame({"cif": ["no CIF"] * (MAX_ROWS + 1)})
    assert len(loaded.predict(many)) == MAX_ROWS + 1
    monkeypatch.setenv("_MLFLOW_IS_IN_SERVING_ENVIRONMENT", "true")
    with pytest.raises(mlflow.MlflowException, match=f"{MAX_ROWS + 1} rows in one request; send at most {MAX_ROWS}"):
        loaded.predict(many)
    with pytest.raises(mlflow.MlflowException, match="top_k is 119; give 1 to 118"):
        loaded.predict(many[:1], params={"top_k": 119})
    long = loaded.predict(pd.DataFrame({"cif": [EXAMPLE + "#" * (1 << 20)]}))
    assert "CIF too long" in long["error"][0]


def test_a_folder_without_a_generator_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no checkpoint/generator\.safetensors to serve"):
        write_pyfunc(tmp_path)


def post(address: str, body: object) -> tuple[int, str]:
    request = urllib.request.Request(
        f"{address}/invocations", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.mark.server
def test_the_champion_completes_cifs_over_http(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = Tracker(sqlite_uri(tmp_path))
    experiment = tracker.experiment("tests", tmp_path / "artifacts")
    client = tracker.client
    logged = client.create_logged_model(experiment, name="crystal-generator")
    client.log_model_artifacts(logged.model_id, str(model))
    client.finalize_logged_model(logged.model_id, "READY")
    client.create_registered_model("crystal-generator")
    source, tags = f"models:/{logged.model_id}", {SEAL: seal_of(model)}
    client.create_model_version("crystal-generator", source, model_id=logged.model_id, tags=tags)
    client.set_registered_model_alias("crystal-generator", "champion", "1")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracker.uri)
    monkeypatch.setenv("PATH", str(BIN), prepend=os.pathsep)  # mlflow starts uvicorn by name

    port = free_port()
    command = [str(BIN / "mlflow"), "models", "serve", "-m", "models:/crystal-generator@champion"]
    server = Server([*command, "--env-manager", "local", "--port", str(port)], port, tmp_path / "serve.log")
    server.start()
    try:
        record = {"id": "salt", "cif": EXAMPLE}
        params = {"top_k": 3, "keep_positions": True}
        status, text = post(
            server.address, {"dataframe_records": [record, {"id": "bad", "cif": BAD}], "params": params}
        )
        assert status == 200, text
        good, bad = json.loads(text)["predictions"]
        assert good["cif"] == load(model).complete(EXAMPLE, keep_positions=True).cif
        completed = partial_from_cif(good["cif"], "completed")
        assert isinstance(completed, Crystal)
        assert (completed.species > 0).all()
        assert [len(site["uncalibrated_probability"]) for site in json.loads(good["odds"])["masked"]] == [3] * 4
        assert bad["error"].startswith("row 2, id bad: ")

        for wrong in (
            {"dataframe_records": [{"cif": "no CIF"}] * (MAX_ROWS + 1)},
            {"dataframe_records": [record], "params": {"top_k": 0}},
            {"dataframe_records": [record], "params": {"top_k": "many"}},
            {"dataframe_records": [{"structure": EXAMPLE}]},
        ):
            status, text = post(server.address, wrong)
            assert status == 400, text
            assert "Traceback" not in text, text
        assert post(server.address, {"dataframe_records": [record]})[0] == 200
    finally:
        server.kill()
