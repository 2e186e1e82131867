"""What a sweep starts from: the champion of a real registry where it fits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from crystalsweep.artifacts.addresses import Address
from crystalsweep.artifacts.seal import seal
from crystalsweep.data import DataSet, load_data
from crystalsweep.networks.architectures import backbone_config
from crystalsweep.networks.checkpoint import read_info
from crystalsweep.registry.aliases import move
from crystalsweep.registry.versions import register, stage
from crystalsweep.sweeping.plan.plan import Plan
from crystalsweep.sweeping.plan.request import CHAMPION, SCRATCH
from crystalsweep.sweeping.prerequisites import kept
from crystalsweep.sweeping.start import MODEL, adopt, look_up
from crystalsweep.tracking.tracker import Tracker, sqlite_uri
from sweeps.gan_noise import SWEEP, main
from tests.test_plan import REQUEST

CONTROL = Path(__file__).parent / "fixtures" / "generators" / "control"


@pytest.fixture(scope="module")
def bundled() -> DataSet:
    return load_data("bundled")


@pytest.fixture
def champion(tmp_path: Path) -> str:
    """A registered champion of the demo's network, trained on the bundled crystals; its run."""
    tracker = Tracker(sqlite_uri(tmp_path))
    experiment = tracker.experiment("promotions", tmp_path / "mlflow-artifacts")
    run = tracker.start(experiment, "control", kind="promotion")
    files = tmp_path / "files"
    stage(CONTROL, files)
    seal(files)
    version = register(tracker, MODEL, files, experiment=experiment, source_run=run, run=None, tags={})
    move(tracker, MODEL, "champion", version, expected=None)
    return run


def plan(storage: Path, start_from: str, preset: str = "demo", backbone: str = "painn") -> Plan:
    request = replace(
        REQUEST,
        start_from=start_from,
        preset=preset,
        storage=str(storage),
        tracking_uri=Address(sqlite_uri(storage)),
        own={"backbone": backbone},
    )
    return Plan(spec=SWEEP, request=request, space=request.search_space(SWEEP))


def test_the_champion_stands_in_for_pre_training(tmp_path: Path, champion: str, bundled: DataSet) -> None:
    said: list[str] = []
    start = look_up(plan(tmp_path, CHAMPION), bundled, said.append)
    assert start is not None
    assert start.told == "crystal-generator version 1"
    assert said == [f"starts from {start.told} (run {champion}); --start-from scratch pre-trains anew"]
    made = adopt(start, str(tmp_path), said.append)
    assert made.run == champion
    assert read_info(Path(made.checkpoint)).epoch == read_info(CONTROL).epoch
    assert (Path(made.checkpoint) / "generator.safetensors").read_bytes() == (
        CONTROL / "generator.safetensors"
    ).read_bytes()
    assert adopt(start, str(tmp_path), said.append) == made
    assert kept(made, str(tmp_path)) == made  # a resumed sweep finds it


def test_it_is_left_aside_where_it_does_not_fit(tmp_path: Path, champion: str, bundled: DataSet) -> None:
    assert champion
    for other, crystals, why in (
        (plan(tmp_path, CHAMPION, preset="smoke"), bundled, "its network is not this sweep's"),
        (plan(tmp_path, CHAMPION, backbone="escn_md"), bundled, "its network is not this sweep's"),
        (plan(tmp_path, CHAMPION), replace(bundled, data_sha256="0"), "it was trained on other crystals"),
        (plan(tmp_path, CHAMPION), replace(bundled, split_sha256="0"), "it was trained on other crystals"),
    ):
        said: list[str] = []
        assert look_up(other, crystals, said.append) is None
        assert len(said) == 1
        assert why in said[0]


def test_scratch_and_an_empty_registry_pre_train_without_a_word(tmp_path: Path, bundled: DataSet) -> None:
    said: list[str] = []
    assert look_up(plan(tmp_path, CHAMPION), bundled, said.append) is None
    assert not (tmp_path / "mlflow.db").exists()
    assert look_up(plan(tmp_path, SCRATCH), bundled, said.append) is None
    assert not said


def test_a_checkpoint_that_is_named_must_fit(tmp_path: Path, bundled: DataSet) -> None:
    start = look_up(plan(tmp_path, str(CONTROL)), replace(bundled, data_sha256="0"), print)
    assert start is not None
    assert start.told == str(CONTROL)
    with pytest.raises(ValueError, match=r"--start-from .*: its network is painn, not escn_md"):
        look_up(plan(tmp_path, str(CONTROL), backbone="escn_md"), bundled, print)
    with pytest.raises(ValueError, match="nor a name that is understood"):
        look_up(plan(tmp_path, "no/such/folder"), bundled, print)


def test_the_stages_take_over_the_network_of_a_checkpoint_that_is_named(tmp_path: Path, bundled: DataSet) -> None:
    smoke = plan(tmp_path, "shipped", preset="smoke")
    start = look_up(smoke, bundled, print)
    assert start is not None and start.named
    network = backbone_config(start.info.config["backbone"])
    assert network.width != smoke.swept.backbone.width
    taken = smoke.on(network)
    assert {config.backbone.width for config in taken.space.stages.values()} == {network.width}
    assert taken.swept.backbone.compile == smoke.swept.backbone.compile
    assert taken.swept.model_copy(update={"backbone": smoke.swept.backbone}) == smoke.swept


def test_a_dry_run_tells_what_it_would_start_from(
    tmp_path: Path, champion: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert champion
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    ran = CliRunner().invoke(main, ["--dry-run", "--storage", str(tmp_path), "--num-samples", "2"])
    assert ran.exit_code == 0, ran.output
    assert "starts from crystal-generator version 1" in ran.output
    pretrain = next(line for line in ran.output.splitlines() if line.split()[:1] == ["pretrain"])
    assert float(pretrain.split()[-1]) == 0.0
