"""Property models in the registry as a user has them: promoted, predicted with, served, verified, exported, refused."""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

import crystalsweep
from crystalsweep.artifacts.archive import pack, unpack
from crystalsweep.artifacts.seal import RECORD, require_sealed, seal
from crystalsweep.cli.main import main
from crystalsweep.data import load_bundled, write
from crystalsweep.data.writing import cif_text
from crystalsweep.inference.locate import locate
from crystalsweep.inference.serving import EXAMPLE, WHOLE
from crystalsweep.registry.dossier import PropertyDossier, read_dossier
from crystalsweep.registry.property_names import default_name
from crystalsweep.structures.crystal import Crystal
from crystalsweep.tracking.tracker import Tracker, sqlite_uri
from tests.html_words import words_of
from tests.ray.servers import BIN, Server, free_port

pytestmark = pytest.mark.server  # a store, and evaluations in processes of their own

MODEL = "crystal-property-sites"
CHAMPION = f"models:/{MODEL}@champion"
Run = Callable[..., Result]


def sites_of(part: str, n: int) -> list[Crystal]:
    """Crystals labelled with their number of sites, which no formula and no neighbour tells."""
    small = [each for each in load_bundled(part) if len(each) <= 12][:n]  # type: ignore[arg-type]
    return [replace(each, labels={"sites": float(len(each))}) for each in small]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("data")
    write(sites_of("train", 300), folder / "train.parquet")
    write(sites_of("test", 60), folder / "val.parquet")
    return f"{folder / 'train.parquet'},{folder / 'val.parquet'}"


def trained(data: str, out: Path, *settings: str) -> Path:
    chosen = ("pooling=sum", "max_crystals=null", "batch_size=16", "learning_rate=0.01", *settings)
    options = [option for setting in chosen for option in ("--set", setting)]
    command = ["train", "finetune", "--preset", "smoke", "--target", "sites", "--data", data, "--device", "cpu"]
    ran = CliRunner().invoke(main, [*command, *options, "--out", str(out)])
    assert ran.exit_code == 0, ran.output
    return out


@pytest.fixture(scope="module")
def good(data: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(data, tmp_path_factory.mktemp("runs") / "good", "epochs=8")


@pytest.fixture(scope="module")
def hasty(data: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that has seen a few batches."""
    return trained(data, tmp_path_factory.mktemp("runs") / "hasty", "epochs=1", "max_crystals=64")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store, in which the tests below happen one after another."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def run(store: Path) -> Run:
    def runs(*arguments: object, code: int = 0, storage: Path = store) -> Result:
        where = ("--storage", str(storage), "--tracking-uri", sqlite_uri(storage))
        ran = CliRunner().invoke(main, [*map(str, arguments), *where])
        assert ran.exit_code == code, f"{ran.output}\n{ran.exception!r}"
        return ran

    return runs


def tracker(storage: Path) -> Tracker:
    return Tracker(sqlite_uri(storage))


def test_a_name_is_made_of_what_is_predicted() -> None:
    assert default_name(["k_vrh"]) == "crystal-property-k_vrh"
    assert default_name(["log10(k_vrh)", "g_vrh"]) == "crystal-property-log10-k_vrh-and-g_vrh"
    assert default_name(["e_above_hull<=0.1"]) == "crystal-property-e_above_hull-le-0.1"


def test_what_learned_too_little_is_refused_and_kept(run: Run, store: Path, hasty: Path, data: str) -> None:
    dry = run("promote", hasty, "--dry-run", "--trained-on", data, code=3).output
    assert "dry run: it would be refused; nothing was registered" in dry
    told = run("promote", hasty, "--trained-on", data, code=3).output
    assert "sites: mae is better than" in told
    assert "reproducibility: not asked, since it is refused already" in told
    assert not tracker(store).client.search_registered_models()
    assert "refused" in run("history", "--model", MODEL).output


def test_the_first_champion_beats_the_baselines(run: Run, store: Path, good: Path, data: str) -> None:
    told = run("promote", good, "--trained-on", data).output
    assert f"version 1 is now {MODEL}@champion" in told
    assert f"predict FILE_OR_FOLDER --model {CHAMPION}" in told
    found = locate(CHAMPION, tracker(store), store / "downloads")
    require_sealed(found.root)
    dossier = read_dossier(found.root)
    assert isinstance(dossier, PropertyDossier)
    assert [gate.name for gate in dossier.gates] == ["leakage", "gain", "reproducibility"]
    assert dossier.passed
    assert any("no test part" in note for note in dossier.gates[1].notes)
    assert any(note.startswith("1 earlier attempts") for note in dossier.gates[1].notes)
    page = words_of((found.root / "dossier" / "dossier.html").read_text())
    card = (found.root / "MODEL_CARD.md").read_text()
    for text in ("composition only", "nearest in structure", "sites", dossier.candidate.weights_sha256):
        assert text in page
        assert text in card
    assert "the interval is for 90% of cases" in card
    tags = tracker(store).client.get_model_version(MODEL, "1").tags
    assert tags["crystalsweep.targets"] == "sites"
    assert tags["sites/mae"].startswith(f"{dossier.targets['sites'].rows['candidate']['mae'].mean:.4f} [")


def test_what_is_champion_already_is_not_promoted(run: Run, good: Path, data: str) -> None:
    told = run("promote", good, "--trained-on", data, code=1).output
    assert f"has the weights of {MODEL}@champion" in told


def test_a_worse_one_does_not_replace_it(run: Run, store: Path, hasty: Path, data: str) -> None:
    told = run("promote", hasty, "--trained-on", data, code=3).output
    assert "better than champion, version 1" in told
    assert "worse: sites: MAE +" in " ".join(told.split())
    assert str(tracker(store).client.get_model_version_by_alias(MODEL, "champion").version) == "1"


def test_a_challenger_need_not_be_better_and_is_demoted(run: Run, hasty: Path, data: str) -> None:
    told = run("promote", hasty, "--to", "challenger", "--trained-on", data).output
    assert f"version 2 is now {MODEL}@challenger" in told
    assert "no (told only)" in told
    back = run("demote", "challenger", "--model", MODEL, "--reason", "only a test").output
    assert f"version 2 is no longer {MODEL}@challenger" in back


def test_what_is_of_generators_is_refused(run: Run, good: Path, data: str) -> None:
    told = run("promote", good, "--trained-on", data, "--metric", "score", code=1).output
    assert "--metric is of generators" in told
    assert "name it with --trained-on" in run("promote", good, "--model", "other", code=1).output


def test_other_properties_and_other_kinds_keep_their_own_names(
    run: Run, store: Path, control: Path, suite_file: Path
) -> None:
    told = run("promote", control, "--suite", suite_file, "--model", MODEL, "--workers", 1, code=1).output
    assert f"{MODEL}@champion, version 1, predicts properties" in told
    with pytest.raises(ValueError, match="a property model, which `crystalsweep predict` uses"):
        crystalsweep.load(CHAMPION, tracking_uri=sqlite_uri(store), storage=store)


def test_the_champion_predicts_by_name(run: Run, store: Path, good: Path, tmp_path: Path) -> None:
    crystals = sites_of("test", 3)
    (tmp_path / "one.cif").write_text(cif_text(crystals[0]))
    run("predict", tmp_path / "one.cif", "--model", CHAMPION, "--out", tmp_path / "told.csv")
    by_name = crystalsweep.predict(crystals, model=CHAMPION, tracking_uri=sqlite_uri(store), storage=store)
    by_folder = crystalsweep.predict(crystals, model=good)
    pd.testing.assert_frame_equal(by_name, by_folder)
    assert pd.read_csv(tmp_path / "told.csv")["sites"][0] == pytest.approx(by_name["sites"][0], rel=1e-4)


def test_it_is_verified(run: Run) -> None:
    told = run("verify", CHAMPION).output
    assert "holds" in told
    assert "all the same" in told


def test_a_changed_figure_is_found(run: Run, tmp_path: Path) -> None:
    run("registry", "export", CHAMPION, tmp_path / "a.zip")
    folder = unpack(tmp_path / "a.zip", tmp_path / "a")
    file = folder / "dossier" / "dossier.json"
    told = json.loads(file.read_text())
    told["targets"]["sites"]["rows"]["candidate"]["mae"]["mean"] /= 2
    file.write_text(json.dumps(told))
    (folder / RECORD).unlink()
    seal(folder)
    pack(folder, tmp_path / "better.zip")
    assert "its figures differ from the files" in " ".join(
        run("verify", tmp_path / "better.zip", code=3).output.split()
    )


def test_it_travels(run: Run, store: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    run("registry", "export", CHAMPION, tmp_path / "champion.zip")
    told = run("registry", "import", tmp_path / "champion.zip", "--to", "champion", storage=other).output
    assert f"{MODEL} version 1, now champion" in told
    assert "a report without plots" in told
    again = run("registry", "import", tmp_path / "champion.zip", storage=other).output
    assert "which this server had" in again
    crystals = sites_of("test", 3)
    here = crystalsweep.predict(crystals, model=CHAMPION, tracking_uri=sqlite_uri(store), storage=store)
    there = crystalsweep.predict(crystals, model=CHAMPION, tracking_uri=sqlite_uri(other), storage=other)
    pd.testing.assert_frame_equal(here, there)
    root = locate(CHAMPION, tracker(other), other / "downloads").root
    assert "written from dossier.json when" in (root / "dossier" / "dossier.html").read_text().lower()
    assert not (root / "dossier" / "evaluation" / "predictions.csv").exists()
    assert "holds" in run("verify", CHAMPION, storage=other).output


def test_a_stranger_s_command_is_not_registered(run: Run, tmp_path: Path) -> None:
    run("registry", "export", CHAMPION, tmp_path / "a.zip")
    folder = unpack(tmp_path / "a.zip", tmp_path / "a")
    record = json.loads((folder / RECORD).read_text())
    (folder / RECORD).unlink()
    file = folder / "dossier" / "dossier.json"
    told = json.loads(file.read_text())
    file.write_text(json.dumps({**told, "command": "rm -r ~"}))
    record["tags"]["crystalsweep.files_sha256"] = seal(folder)
    (folder / RECORD).write_text(json.dumps(record))
    pack(folder, tmp_path / "b.zip")
    refused = run("registry", "import", tmp_path / "b.zip", storage=tmp_path / "other", code=1)
    assert "another command than" in refused.output


def test_the_pyfunc_predicts_and_a_bad_row_costs_the_others_nothing(store: Path) -> None:
    root = locate(CHAMPION, tracker(store), store / "downloads").root
    loaded = mlflow.pyfunc.load_model(str(root))
    info = mlflow.models.get_model_info(str(root))
    assert info.signature.outputs.input_names() == ["id", "sites", "sites low", "sites high", "error"]
    table = pd.DataFrame({"id": ["salt", "masked", None], "cif": [WHOLE, EXAMPLE, "no CIF at all"]})
    answer = loaded.predict(table)
    assert answer["id"].tolist() == ["salt", "masked", "3"]
    assert answer["sites low"][0] < answer["sites"][0] < answer["sites high"][0]
    assert answer["error"][0] == ""
    assert answer["error"][1].startswith("row 2, id masked: no whole crystal (4 of 8 sites are masked")
    assert answer["error"][2].startswith("row 3, id 3: ")
    assert answer["sites"][1] is None
    own = crystalsweep.predict([WHOLE], model=CHAMPION, tracking_uri=sqlite_uri(store), storage=store)
    assert own["sites"][0] == pytest.approx(answer["sites"][0], rel=1e-6)
    example = mlflow.models.Model.load(str(root)).load_input_example(str(root))
    assert np.isfinite(loaded.predict(example)["sites"][0])


def test_it_is_served_over_http(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", sqlite_uri(store))
    monkeypatch.setenv("PATH", str(BIN), prepend=os.pathsep)  # mlflow starts uvicorn by name
    port = free_port()
    command = [str(BIN / "mlflow"), "models", "serve", "-m", CHAMPION, "--env-manager", "local", "--port", str(port)]
    server = Server(command, port, tmp_path / "serve.log")
    server.start()
    try:
        records = [{"id": "salt", "cif": WHOLE}, {"id": "bad", "cif": EXAMPLE}]
        body = json.dumps({"dataframe_records": records}).encode()
        asked = urllib.request.Request(f"{server.address}/invocations", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(asked, timeout=60) as answer:
            good, bad = json.loads(answer.read())["predictions"]
    finally:
        server.kill()
    own = crystalsweep.predict([WHOLE], model=CHAMPION, tracking_uri=sqlite_uri(store), storage=store)
    for name in ("sites", "sites low", "sites high"):
        assert good[name] == pytest.approx(own[name][0], rel=1e-6)
    assert bad["sites"] is None
    assert "no whole crystal" in bad["error"]
