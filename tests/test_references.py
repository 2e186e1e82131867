"""One model by every name it has: folders, files, archives, runs and versions in a real SQLite MLflow store."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from crystalsweep.artifacts.archive import pack
from crystalsweep.artifacts.atomic import partial_name
from crystalsweep.artifacts.places import default_storage
from crystalsweep.cli.train import train
from crystalsweep.inference.locate import UnknownReferenceError, locate, tracker_for
from crystalsweep.inference.restorer import Restorer, load
from crystalsweep.inference.serving import EXAMPLE
from crystalsweep.tracking.tracker import Tracker, sqlite_uri
from tests.checkpoints import random_checkpoint

NAME = "crystal-generator"


@dataclass
class Store:
    """A local store with a run and versions of a model in its registry."""

    folder: Path
    tracker: Tracker

    @property
    def downloads(self) -> Path:
        return self.folder / "downloads"

    def run(self, checkpoint: Path, *, ended: bool = True) -> str:
        experiment = self.tracker.experiment("tests", self.folder / "artifacts")
        run = self.tracker.start(experiment, "a run", kind="pretrain")
        self.tracker.upload(run, checkpoint, "checkpoint")
        if ended:
            self.tracker.finish(run, "FINISHED")
        return run

    def register(self, checkpoint: Path, name: str = NAME, alias: str | None = "champion") -> tuple[str, str]:
        """Version and run; laid out as promotion does, with the checkpoint in a folder of the version."""
        run, client = self.run(checkpoint), self.tracker.client
        if not any(model.name == name for model in client.search_registered_models()):
            client.create_registered_model(name)
        source = f"{client.get_run(run).info.artifact_uri}"
        version = client.create_model_version(name, source=source, run_id=run)
        if alias:
            client.set_registered_model_alias(name, alias, version.version)
        return str(version.version), run

    def lose_artifacts(self) -> None:
        shutil.rmtree(self.folder / "artifacts")


def new_store(folder: Path, database: Path) -> Store:
    folder.mkdir(parents=True)
    shutil.copy(database, folder / "mlflow.db")
    return Store(folder, Tracker(sqlite_uri(folder)))


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of an empty store; making one takes seconds, copying it does not."""
    folder = tmp_path_factory.mktemp("template")
    Tracker(sqlite_uri(folder)).client.search_registered_models()
    return folder / "mlflow.db"


@pytest.fixture
def store(tmp_path: Path, database: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("CRYSTALSWEEP_STORAGE", str(tmp_path / "store"))
    made = new_store(tmp_path / "store", database)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)  # mlflow has put the address there
    return made


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return random_checkpoint(tmp_path / "trained" / "checkpoint", seed=1)


def answer(restorer: Restorer) -> tuple[object, ...]:
    done = restorer.complete(EXAMPLE)
    return done.cif, done.odds, [each.log_probability for each in done.candidates]


def weights(folder: Path) -> bytes:
    return (folder / "generator.safetensors").read_bytes()


def test_every_name_gives_the_same_model(store: Store, checkpoint: Path, tmp_path: Path) -> None:
    version, run = store.register(checkpoint)
    archive = tmp_path / "exported.zip"
    pack(checkpoint.parent, archive)
    local = [checkpoint, checkpoint.parent, checkpoint / "checkpoint.json", checkpoint / "generator.safetensors"]
    expected = answer(load(checkpoint))
    for path in (*local, archive):
        restorer = load(path)
        assert answer(restorer) == expected, path
        assert (restorer.run, restorer.model, restorer.version) == (None, None, None)
        assert restorer.reference == str(path)
    for reference in (f"models:/{NAME}@champion", f"models:/{NAME}/{version}"):
        restorer = load(reference)
        assert answer(restorer) == expected, reference
        assert (restorer.run, restorer.model, restorer.version) == (run, NAME, version)
    restorer = load(run)
    assert answer(restorer) == expected
    assert (restorer.run, restorer.version) == (run, None)
    assert restorer.info == load(checkpoint).info
    assert not restorer.generator.training


def test_stores_are_found_by_address_folder_and_environment(
    store: Store, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.register(checkpoint)
    reference = f"models:/{NAME}@champion"
    monkeypatch.setenv("CRYSTALSWEEP_STORAGE", str(tmp_path / "empty"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(ValueError, match="no MLflow store to look it up in; set MLFLOW_TRACKING_URI"):
        load(reference)
    assert not (tmp_path / "empty").exists()
    assert load(reference, storage=store.folder).version == "1"
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert load(reference, tracking_uri=sqlite_uri(store.folder)).version == "1"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", sqlite_uri(store.folder))
    assert load(reference).version == "1"


FRESH = """
import sys
from crystalsweep.inference.restorer import load
for reference in {references!r}:
    assert load(reference).complete({example!r}).masked.tolist() == [4, 5, 6, 7]
found = {absent!r} & set(sys.modules)
assert not found, found
"""


@pytest.mark.parametrize("registered", [False, pytest.param(True, marks=pytest.mark.server)])
def test_a_fresh_process_needs_no_ray_and_for_files_no_mlflow(
    registered: bool, store: Store, checkpoint: Path, tmp_path: Path
) -> None:
    if registered:
        store.register(checkpoint)
        references, absent = [f"models:/{NAME}@champion"], {"ray", "trainables", "sweeps"}
    else:
        pack(checkpoint, tmp_path / "exported.zip")
        references = list(map(str, (checkpoint, checkpoint / "generator.safetensors", tmp_path / "exported.zip")))
        absent = {"ray", "trainables", "sweeps", "mlflow"}
    code = FRESH.format(references=references, example=EXAMPLE, absent=absent)
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


# What is kept


def test_what_was_downloaded_is_kept_and_an_alias_followed(store: Store, checkpoint: Path, tmp_path: Path) -> None:
    store.register(checkpoint)
    reference = f"models:/{NAME}@champion"
    first = locate(reference, store.tracker, store.downloads)
    better = random_checkpoint(tmp_path / "better", seed=2)
    store.register(better)
    second = locate(reference, store.tracker, store.downloads)
    assert (first.version, second.version) == ("1", "2")
    assert weights(second.folder) == weights(better) != weights(first.folder)
    store.lose_artifacts()
    assert locate(reference, store.tracker, store.downloads) == second
    assert locate(f"models:/{NAME}/1", store.tracker, store.downloads) == first


def test_other_stores_and_models_made_anew_are_told_apart(
    store: Store, checkpoint: Path, database: Path, tmp_path: Path
) -> None:
    other_checkpoint = random_checkpoint(tmp_path / "other-checkpoint", seed=3)
    reference = f"models:/{NAME}/1"
    store.register(checkpoint)
    first = locate(reference, store.tracker, store.downloads)
    store.tracker.client.delete_registered_model(NAME)
    store.register(other_checkpoint)
    assert weights(locate(reference, store.tracker, store.downloads).folder) == weights(other_checkpoint)
    other = new_store(tmp_path / "other-store", database)
    third = random_checkpoint(tmp_path / "third", seed=4)
    other.register(third)
    assert weights(locate(reference, other.tracker, store.downloads).folder) == weights(third)
    assert weights(first.folder) == weights(checkpoint)


def test_a_run_that_goes_on_is_not_kept(store: Store, checkpoint: Path, tmp_path: Path) -> None:
    run = store.run(checkpoint, ended=False)
    assert weights(locate(run, store.tracker, store.downloads).folder) == weights(checkpoint)
    later = random_checkpoint(tmp_path / "later", seed=5)
    store.tracker.upload(run, later, "checkpoint")
    assert weights(locate(run, store.tracker, store.downloads).folder) == weights(later)


def test_half_a_download_is_never_taken_for_a_whole_one(store: Store, checkpoint: Path) -> None:
    store.register(checkpoint)
    whole = locate(f"models:/{NAME}/1", store.tracker, store.downloads).root
    name = whole.name
    shutil.rmtree(whole)
    code = (
        "import os; from pathlib import Path; from crystalsweep.artifacts.atomic import partial_name\n"
        f"with partial_name({name!r}) as left:\n"
        f"    half = Path({str(store.downloads)!r}, left, 'checkpoint'); half.mkdir(parents=True)\n"
        "    (half / 'checkpoint.json').write_text('{}')\n"
        "    os._exit(1)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=False)
    assert [path.name.startswith("partial-") for path in store.downloads.iterdir()] == [True]
    with partial_name("another") as busy:
        (store.downloads / busy).mkdir()
        found = locate(f"models:/{NAME}/1", store.tracker, store.downloads)
        assert weights(found.folder) == weights(checkpoint)
        assert {path.name for path in store.downloads.iterdir()} == {name, busy}


def test_what_holds_no_checkpoint_is_not_kept(store: Store, tmp_path: Path) -> None:
    empty = tmp_path / "no-checkpoint"
    empty.mkdir()
    (empty / "notes.txt").write_text("nothing trained")
    store.register(empty)
    archive = tmp_path / "notes.zip"
    pack(empty, archive)
    for reference in (f"models:/{NAME}@champion", str(archive)):
        with pytest.raises(ValueError, match=r"holds no checkpoint; name a trained model"):
            locate(reference, store.tracker, store.downloads)
    assert list(store.downloads.iterdir()) == []


def test_names_stay_below_the_downloads(store: Store, checkpoint: Path) -> None:
    name = "a .. model; $(x) é"
    store.register(checkpoint, name)
    found = locate(f"models:/{name}@champion", store.tracker, store.downloads)
    assert found.model == name
    assert found.root.parent == store.downloads.resolve()
    assert found.root.name.startswith("a-model-x-1-")


# What cannot be found


@pytest.mark.parametrize(
    "reference", ["nowhere", "runs/none", "3f2a", "models:/", f"models:/{NAME}", "models:/a/b", "models:/../../1", "\0"]
)
def test_unknown_references_say_what_would_be_understood(reference: str, tmp_path: Path) -> None:
    with pytest.raises(UnknownReferenceError, match="models:/name@alias or models:/name/version"):
        locate(reference, None, tmp_path)


def test_what_the_store_does_not_have(store: Store) -> None:
    for reference in ("0" * 32, f"models:/{NAME}@champion", f"models:/{NAME}/7", "models:/../1"):
        with pytest.raises(ValueError, match=f"{reference}: no checkpoint in sqlite:"):
            locate(reference, store.tracker, store.downloads)


def test_a_password_in_an_address_is_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    tracker = Tracker("http://user:secret@127.0.0.1:9")
    with pytest.raises(ValueError, match=r"no checkpoint in http://\*\*\*@127\.0\.0\.1:9") as caught:
        locate(f"models:/{NAME}@champion", tracker, tmp_path)
    assert "secret" not in str(caught.value)


def test_other_files_and_classifiers_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    stray = tmp_path / "stray.safetensors"
    shutil.copy(checkpoint / "generator.safetensors", stray)
    (checkpoint / "notes.txt").write_text("")
    for file in (stray, checkpoint / "notes.txt"):
        with pytest.raises(UnknownReferenceError, match="no file of a checkpoint"):
            load(file)
    with pytest.raises(ValueError, match="holds no checkpoint"):
        load(tmp_path)
    with pytest.raises(ValueError, match="of stage finetune, a property model"):
        load(random_checkpoint(tmp_path / "classifier", seed=6, stage="finetune"))


def test_nothing_is_opened_for_what_is_here(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert tracker_for(str(checkpoint), "http://127.0.0.1:9", None) is None
    assert tracker_for(f"models:/{NAME}/1", None, tmp_path / "nowhere") is None


def test_training_starts_from_a_registered_version(store: Store, checkpoint: Path) -> None:
    version, run = store.register(checkpoint)
    asked = ["finetune", "--preset", "smoke", "--generator", f"models:/{NAME}@champion", "--settings"]
    ran = CliRunner().invoke(train, asked)
    assert ran.exit_code == 0, ran.output
    assert f"models:/{NAME}@champion is version {version} of {NAME} (run {run})" in ran.output
    assert "backbone.width = " in ran.output
    assert list((default_storage() / "downloads").iterdir())
    elsewhere = CliRunner().invoke(train, ["finetune", "--generator", "models:/other/1", "--settings"])
    assert elsewhere.exit_code == 1
    assert "Error: models:/other/1: no checkpoint in sqlite:" in elsewhere.output
