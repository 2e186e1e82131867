"""Registered versions whose files were changed after they were sealed: neither MLflow nor the library loads them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
from safetensors.torch import load_file, save_file

from crystalsweep.artifacts.seal import SEAL, BrokenSealError, require_sealed, seal, seal_of
from crystalsweep.inference.restorer import load
from crystalsweep.inference.serving import write_pyfunc
from crystalsweep.tracking.tracker import Tracker, sqlite_uri
from tests.checkpoints import random_checkpoint

NAME = "crystal-generator"
WEIGHTS = "checkpoint/generator.safetensors"


def sealed_version(folder: Path, seed: int) -> Path:
    """A version as `promote` leaves it, of a generator with random weights and without a dossier."""
    random_checkpoint(folder / "checkpoint", seed)
    write_pyfunc(folder)
    seal(folder)
    return folder


def change_weights(folder: Path, _other: Path) -> None:
    tensors = load_file(folder / WEIGHTS)
    first = next(iter(tensors))
    tensors[first] = tensors[first] + 0.5
    save_file(tensors, folder / WEIGHTS)


def change_one_bit(folder: Path, _other: Path) -> None:
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[-2] ^= 1
    (folder / WEIGHTS).write_bytes(content)


def change_config(folder: Path, _other: Path) -> None:
    file = folder / "checkpoint" / "checkpoint.json"
    content = json.loads(file.read_text())
    content["config"]["backbone"]["cutoff"] = 2.5
    file.write_text(json.dumps(content))


def add_a_file(folder: Path, _other: Path) -> None:
    (folder / "checkpoint" / "discriminator.safetensors").write_bytes((folder / WEIGHTS).read_bytes())


def add_a_hidden_file(folder: Path, _other: Path) -> None:
    (folder / ".env").write_text("PYTHONPATH=/tmp\n")


def remove_a_file(folder: Path, _other: Path) -> None:
    (folder / "requirements.txt").unlink()


def remove_the_seal(folder: Path, other: Path) -> None:
    change_weights(folder, other)
    (folder / "FILES.json").unlink()


def swap_the_seal(folder: Path, other: Path) -> None:
    change_weights(folder, other)
    shutil.copy(other / "FILES.json", folder / "FILES.json")


def break_the_seal(folder: Path, _other: Path) -> None:
    (folder / "FILES.json").write_text("[" * 100_000)


def empty_the_seal(folder: Path, _other: Path) -> None:
    (folder / "FILES.json").write_text("[]")


def lead_elsewhere(folder: Path, other: Path) -> None:
    (folder / WEIGHTS).unlink()
    (folder / WEIGHTS).symlink_to(other / WEIGHTS)


def lead_to_the_same(folder: Path, _other: Path) -> None:
    """A link to a file that is as it was sealed, until somebody changes it."""
    copy = folder.parent / "elsewhere.safetensors"
    shutil.move(folder / WEIGHTS, copy)
    (folder / WEIGHTS).symlink_to(copy)


def link_the_seal(folder: Path, other: Path) -> None:
    (folder / "FILES.json").unlink()
    (folder / "FILES.json").symlink_to(other / "FILES.json")


def link_the_checkpoint(folder: Path, other: Path) -> None:
    shutil.rmtree(folder / "checkpoint")
    (folder / "checkpoint").symlink_to(other / "checkpoint")


def take_all_of_another(folder: Path, other: Path) -> None:
    """Files and seal of another version, which fit each other: only the registry can tell."""
    shutil.rmtree(folder)
    shutil.copytree(other, folder)


def seal_again(folder: Path, other: Path) -> None:
    change_weights(folder, other)
    seal(folder)


Attack = Callable[[Path, Path], None]
BESIDE_THE_SEAL: list[Attack] = [
    *(change_weights, change_one_bit, change_config, add_a_file, add_a_hidden_file, remove_a_file),
    *(remove_the_seal, swap_the_seal, break_the_seal, empty_the_seal),
]
LINKS: list[Attack] = [lead_elsewhere, lead_to_the_same, link_the_seal, link_the_checkpoint]
WITH_THE_SEAL: list[Attack] = [take_all_of_another, seal_again]


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("versions")
    return sealed_version(folder / "first", 1), sealed_version(folder / "second", 2)


@pytest.mark.parametrize("attack", [*BESIDE_THE_SEAL, *LINKS], ids=lambda attack: attack.__name__)
def test_a_folder_that_was_changed_is_not_served(versions: tuple[Path, Path], tmp_path: Path, attack: Attack) -> None:
    first, second = versions
    folder = tmp_path / "version"
    shutil.copytree(first, folder)
    assert mlflow.pyfunc.load_model(str(folder))
    attack(folder, second)
    with pytest.raises(BrokenSealError) as refused:
        mlflow.pyfunc.load_model(str(folder))
    told = str(refused.value)
    assert "Nothing was loaded: download the version again" in told
    assert "\n" not in told
    assert len(told) < 1000


class Registry:
    """A store of its own with one version, whose files lie in a folder that others can write."""

    def __init__(self, folder: Path, version: Path, **tags: str) -> None:
        self.folder = folder
        self.tracker = Tracker(sqlite_uri(folder))
        experiment = self.tracker.experiment("tests", folder / "artifacts")
        client = self.tracker.client
        logged = client.create_logged_model(experiment, name=NAME)
        client.log_model_artifacts(logged.model_id, str(version))
        client.finalize_logged_model(logged.model_id, "READY")
        client.create_registered_model(NAME)
        client.create_model_version(NAME, f"models:/{logged.model_id}", model_id=logged.model_id, tags=tags)
        client.set_registered_model_alias(NAME, "champion", "1")
        self.model = f"models:/{logged.model_id}"
        self.champion = f"models:/{NAME}@champion"
        (mlmodel,) = (folder / "artifacts").rglob("MLmodel")
        self.files = mlmodel.parent

    def load(self) -> Any:
        """The champion, as the library has it."""
        return load(self.champion, tracking_uri=self.tracker.uri, storage=self.folder)


@pytest.fixture(scope="module")
def one_registry(versions: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Registry:
    return Registry(tmp_path_factory.mktemp("registry"), versions[0], **{SEAL: seal_of(versions[0])})


@pytest.fixture
def registry(one_registry: Registry, versions: tuple[Path, Path]) -> Iterator[Registry]:
    """It, with files as they were registered, and MLflow's server by default."""
    mlflow.set_tracking_uri(one_registry.tracker.uri)
    yield one_registry
    shutil.rmtree(one_registry.files)
    shutil.copytree(versions[0], one_registry.files)
    shutil.rmtree(one_registry.folder / "downloads", ignore_errors=True)
    one_registry.tracker.client.set_model_version_tag(NAME, "1", SEAL, seal_of(versions[0]))


def test_what_was_not_changed_is_loaded_by_every_name(registry: Registry, tmp_path: Path) -> None:
    assert mlflow.pyfunc.load_model(registry.champion, dst_path=str(tmp_path))
    assert mlflow.pyfunc.load_model(f"models:/{NAME}/1")
    assert mlflow.pyfunc.load_model(registry.model)
    assert registry.load()
    assert registry.load(), "what was downloaded before is checked and taken"


@pytest.mark.parametrize("attack", [*BESIDE_THE_SEAL, *WITH_THE_SEAL], ids=lambda attack: attack.__name__)
def test_a_version_that_was_changed_in_the_store_is_not_loaded(
    registry: Registry, versions: tuple[Path, Path], attack: Attack
) -> None:
    attack(registry.files, versions[1])
    with pytest.raises(BrokenSealError, match="Nothing was loaded"):
        mlflow.pyfunc.load_model(registry.champion)
    with pytest.raises(BrokenSealError):
        registry.load()
    assert not list((registry.folder / "downloads").rglob("*.safetensors")), "nothing of it was kept"


def test_a_download_that_was_changed_since_is_not_loaded(registry: Registry, versions: tuple[Path, Path]) -> None:
    root = registry.load().folder.parent
    change_weights(root, versions[1])
    with pytest.raises(BrokenSealError, match="then it is downloaded again"):
        registry.load()
    shutil.rmtree(root)
    assert registry.load()


def test_a_version_without_a_seal_in_the_registry_is_not_served(registry: Registry) -> None:
    registry.tracker.client.delete_model_version_tag(NAME, "1", SEAL)
    with pytest.raises(
        BrokenSealError, match="version 1, has no seal: it was not registered by `crystalsweep promote`"
    ):
        mlflow.pyfunc.load_model(registry.champion)


def test_a_download_is_served_where_its_registry_can_be_asked(registry: Registry, tmp_path: Path) -> None:
    root = Path(mlflow.artifacts.download_artifacts(registry.champion, dst_path=str(tmp_path / "down")))
    assert (root / "registered_model_meta").exists()
    assert mlflow.pyfunc.load_model(str(root))
    mlflow.set_tracking_uri(sqlite_uri(tmp_path))
    with pytest.raises(ValueError, match="let MLFLOW_TRACKING_URI name the server it is from"):
        mlflow.pyfunc.load_model(str(root))
    (root / "registered_model_meta").write_text("model_name: [")
    with pytest.raises(BrokenSealError, match="does not say which version this is"):
        mlflow.pyfunc.load_model(str(root))


def test_a_seal_tells_the_file(versions: tuple[Path, Path], tmp_path: Path) -> None:
    folder = tmp_path / "version"
    shutil.copytree(versions[0], folder)
    require_sealed(folder, seal_of(versions[0]))
    with pytest.raises(BrokenSealError, match="the registry has"):
        require_sealed(folder, seal_of(versions[1]))
    change_one_bit(folder, versions[1])
    with pytest.raises(BrokenSealError, match=r"'checkpoint/generator\.safetensors' was changed"):
        require_sealed(folder)
