"""Training of every stage in one process: it learns, it repeats, it resumes exactly, and it fails with a reason."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result

from crystalsweep.cli.train import train
from crystalsweep.config import override
from crystalsweep.data import DataSet, load_data
from crystalsweep.hyperparameters import EvaluationConfig
from crystalsweep.networks.architectures import PaiNNConfig
from crystalsweep.networks.checkpoint import (
    lineage,
    load_generator,
    read_backbone,
    read_info,
    read_training_state,
    read_weights,
)
from crystalsweep.networks.models import graph_of
from crystalsweep.seeding import derive_seed, stream
from crystalsweep.structures.batch import collate, is_stable
from crystalsweep.structures.crystal import Crystal
from crystalsweep.training.catalogue import stage_builder
from crystalsweep.training.config import StageConfig
from crystalsweep.training.local import LocalSession
from crystalsweep.training.loop import DivergedError, epoch_batches, fit
from crystalsweep.training.resumption import COMPILED
from trainables.finetune.config import FinetuneConfig
from trainables.finetune.train import Finetune, Labelled
from trainables.gan.config import GanConfig
from trainables.pretrain.config import PretrainConfig

BACKBONE = PaiNNConfig(width=16, layers=1, radial_functions=8, cutoff=4.0, max_neighbours=8)
EVALUATION = EvaluationConfig(mask_types=("species",), sigma_noise=(0.1,), draws=1, max_crystals=2)
RESTORING: dict[str, Any] = {"backbone": BACKBONE, "evaluation": EVALUATION, "batch_size": 4, "learning_rate": 3e-3}
CONFIGS: dict[str, StageConfig] = {
    "pretrain": PretrainConfig(**RESTORING, epochs=3),
    "finetune": FinetuneConfig(backbone=BACKBONE, batch_size=4, learning_rate=3e-3, epochs=3),
    "gan": GanConfig(**RESTORING, epochs=3).model_copy(
        update={"adversarial": GanConfig().adversarial.model_copy(update={"g_steps_per_d_step": 3})}
    ),
}


@pytest.fixture(scope="module")
def data() -> DataSet:
    """Sixteen small crystals, half of them stable, and four to validate on."""
    bundled = load_data("bundled")
    small = [crystal for crystal in bundled.train if 2 <= len(crystal) <= 5 and "e_above_hull" in crystal.labels]
    stable, unstable = ([c for c in small if is_stable(c) == kind] for kind in (True, False))
    return replace(bundled, train=stable[:8] + unstable[:8], val=stable[8:10] + unstable[8:10])


def trained(
    stage: str, folder: Path, data: DataSet, *settings: str, resume: bool = False, inputs: dict[str, Path] | None = None
) -> Path:
    """The checkpoint of a stage trained in `folder`."""
    session = LocalSession(folder, resume=resume, device="cpu", progress=False)
    fit(stage_builder(stage)(override(CONFIGS[stage], settings), data, session, inputs or {}), session)
    return folder / "checkpoint"


def rows(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def tensors(checkpoint: Path) -> dict[str, torch.Tensor]:
    return {
        f"{path.stem}/{name}": value
        for path in sorted(checkpoint.glob("*.safetensors"))
        for name, value in read_weights(checkpoint, path.stem).items()
    }


def assert_same_run(a: Path, b: Path) -> None:
    assert (a / "metrics.jsonl").read_bytes() == (b / "metrics.jsonl").read_bytes()
    left, right = tensors(a / "checkpoint"), tensors(b / "checkpoint")
    assert left.keys() == right.keys()
    assert all(torch.equal(left[name], right[name]) for name in left)


# It learns


@pytest.mark.parametrize("stage", ["pretrain", "finetune"])
def test_loss_falls_on_a_handful_of_crystals(stage: str, data: DataSet, tmp_path: Path) -> None:
    more = () if stage == "finetune" else ("stable_only=false",)
    trained(stage, tmp_path, data, "epochs=12", "learning_rate=1e-2", *more)
    losses = [row["loss"] for row in rows(tmp_path)]
    assert sum(losses[-3:]) < 0.8 * sum(losses[:3])


def test_classifier_can_learn_its_training_set_by_heart(data: DataSet, tmp_path: Path) -> None:
    trained("finetune", tmp_path, replace(data, val=data.train), "epochs=25", "learning_rate=1e-2")
    last = rows(tmp_path)[-1]
    assert last["val/accuracy"] == 1.0
    assert last["val/majority_accuracy"] == 0.5


def test_head_alone_can_be_trained(data: DataSet, tmp_path: Path) -> None:
    start = tensors(trained("finetune", tmp_path / "a", data, "epochs=1", "trainable=head", "learning_rate=1e-12"))
    end = tensors(trained("finetune", tmp_path / "b", data, "epochs=1", "trainable=head"))
    changed = {name.split("/")[1].split(".")[0] for name in start if not torch.allclose(start[name], end[name])}
    assert changed == {"head"}


# It repeats


@pytest.mark.parametrize("stage", CONFIGS)
def test_same_seed_gives_the_same_bytes_and_another_seed_others(stage: str, data: DataSet, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        torch.manual_seed(len(name) + seed + 99)  # whatever came before must not matter
        torch.rand(seed)
        trained(stage, tmp_path / name, data, "epochs=2", f"seed={seed}")
    assert_same_run(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "a" / "metrics.jsonl").read_bytes() != (tmp_path / "c" / "metrics.jsonl").read_bytes()


def test_streams_are_named_by_all_their_parts() -> None:
    seeds = {
        derive_seed(0, "order", 1),
        derive_seed(0, "order", 11),
        derive_seed(0, "order", 1, 1),
        derive_seed(1, "order", 1),
    }
    assert len(seeds) == 4
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert torch.equal(torch.rand(3, generator=stream(3, "x")), torch.rand(3, generator=stream(3, "x")))


# It resumes exactly


@pytest.mark.parametrize("stage", CONFIGS)
def test_interrupted_run_resumes_to_the_same_bytes(stage: str, data: DataSet, tmp_path: Path) -> None:
    """With what changes over epochs: batch size, learning rate, and discriminator steps across their borders."""
    settings = ('batch_size={"0": 2, "1": 3, "2": 5}', "schedule=cosine")
    trained(stage, tmp_path / "whole", data, *settings)
    trained(stage, tmp_path / "cut", data, *settings, "max_minutes=1e-9")
    assert [row["epoch"] for row in rows(tmp_path / "cut")] == [1]
    trained(stage, tmp_path / "cut", data, *settings, resume=True)
    assert [row["epoch"] for row in rows(tmp_path / "cut")] == [1, 2, 3]
    assert_same_run(tmp_path / "whole", tmp_path / "cut")


class Telling(Finetune):
    """A classifier whose step also draws from torch's global state, as dropout does, and tells its learning rate."""

    def step(self, batch: Labelled, epoch: int, step: int) -> dict[str, torch.Tensor | float]:
        rates = {f"rate/{name}": float(o.param_groups[0]["lr"]) for name, o in self.optimizers.items()}
        return super().step(batch, epoch, step) | rates | {"drawn": float(torch.rand(()))}


def told(data: DataSet, folder: Path, *settings: str, resume: bool = False) -> None:
    session = LocalSession(folder, resume=resume, device="cpu", progress=False)
    fit(Telling(override(CONFIGS["finetune"], settings), data, session, None), session)


def test_global_random_state_is_resumed_too(data: DataSet, tmp_path: Path) -> None:
    told(data, tmp_path / "whole")
    told(data, tmp_path / "cut", "max_minutes=1e-9")
    told(data, tmp_path / "cut", resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "cut")
    assert len({row["drawn"] for row in rows(tmp_path / "whole")}) == 3


@pytest.mark.parametrize(("schedule", "factors"), [("constant", (1, 1, 1)), ("cosine", (1, 0.75, 0.25))])
def test_learning_rate_follows_its_schedule(
    schedule: str, factors: tuple[float, ...], data: DataSet, tmp_path: Path
) -> None:
    """Half a cosine: (1 + cos(π e / 3)) / 2 in epochs 0, 1, 2."""
    told(data, tmp_path, f"schedule={schedule}", "learning_rate=0.01")
    found = [row["rate/classifier"] for row in rows(tmp_path)]
    assert found == pytest.approx([0.01 * factor for factor in factors])


def test_resuming_a_finished_run_changes_nothing(data: DataSet, tmp_path: Path) -> None:
    trained("finetune", tmp_path, data)
    before = (tmp_path / "metrics.jsonl").read_bytes()
    trained("finetune", tmp_path, data, resume=True)
    assert (tmp_path / "metrics.jsonl").read_bytes() == before


def test_run_killed_between_two_renames_resumes(data: DataSet, tmp_path: Path) -> None:
    trained("finetune", tmp_path / "whole", data)
    trained("finetune", tmp_path / "cut", data, "max_minutes=1e-9")
    (tmp_path / "cut" / "checkpoint").rename(tmp_path / "cut" / "previous")
    trained("finetune", tmp_path / "cut", data, resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "cut")


def test_metrics_line_without_its_checkpoint_is_written_anew(data: DataSet, tmp_path: Path) -> None:
    trained("finetune", tmp_path / "whole", data)
    trained("finetune", tmp_path / "cut", data, "max_minutes=1e-9")
    with (tmp_path / "cut" / "metrics.jsonl").open("a") as lines:
        lines.write('{"epoch": 2, "loss": 99.0}\n')
    trained("finetune", tmp_path / "cut", data, resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "cut")


@pytest.mark.parametrize(
    ("settings", "named"),
    [(("seed=5",), "settings seed"), (("width=8", "batch_size=3"), "settings batch_size, backbone.width")],
)
def test_resuming_with_other_settings_is_refused(
    data: DataSet, tmp_path: Path, settings: tuple[str, ...], named: str
) -> None:
    trained("finetune", tmp_path, data, "max_minutes=1e-9")
    with pytest.raises(ValueError, match=f"was trained with other {named}; start a new run, or restore them"):
        trained("finetune", tmp_path, data, *settings, resume=True)


def test_a_run_out_of_memory_can_be_resumed_with_checkpointing(data: DataSet, tmp_path: Path) -> None:
    trained("finetune", tmp_path / "whole", data)
    trained("finetune", tmp_path / "cut", data, "max_minutes=1e-9")
    trained("finetune", tmp_path / "cut", data, "activation_checkpointing=true", resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "cut")


def test_resuming_with_other_data_is_refused(data: DataSet, tmp_path: Path) -> None:
    trained("finetune", tmp_path, data, "max_minutes=1e-9")
    with pytest.raises(ValueError, match="was trained with other stage or data"):
        trained("finetune", tmp_path, replace(data, data_sha256="0" * 64), resume=True)


def test_folder_of_another_run_is_refused(data: DataSet, tmp_path: Path) -> None:
    trained("finetune", tmp_path, data, "max_minutes=1e-9")
    with pytest.raises(ValueError, match="already holds a run; pass --resume"):
        trained("finetune", tmp_path, data)


# It fails with a reason


@pytest.mark.parametrize("stage", CONFIGS)
def test_divergence_is_named(stage: str, data: DataSet, tmp_path: Path) -> None:
    """Weights of 1e30 overflow within a step or two."""
    with pytest.raises((DivergedError, ValueError), match=r"lower (the )?learning.rate"):
        trained(stage, tmp_path, data, "learning_rate=1e30")
    assert not (tmp_path / "checkpoint").exists()


def test_divergence_names_the_metric_and_the_step(data: DataSet, tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match=r"loss\S* is (nan|inf) in epoch 1, step 2; lower learning_rate"):
        trained("pretrain", tmp_path, data, "learning_rate=1e30")


@pytest.mark.parametrize("stage", CONFIGS)
def test_divergence_in_the_last_step_of_an_epoch_is_not_saved(stage: str, data: DataSet, tmp_path: Path) -> None:
    """Else the next epoch fails, and the last good checkpoint has been replaced by one of NaNs."""
    with pytest.raises((DivergedError, ValueError), match=r"lower (the )?learning.rate"):
        trained(stage, tmp_path, data, "learning_rate=1e30", "batch_size=16", "epochs=1")
    assert not (tmp_path / "checkpoint").exists()


def unlabelled(crystals: list[Crystal]) -> list[Crystal]:
    return [replace(crystal, labels={}) for crystal in crystals]


@pytest.mark.parametrize("stage", ["pretrain", "gan"])
def test_unlabelled_data_name_the_label_and_the_switch(stage: str, data: DataSet, tmp_path: Path) -> None:
    bare = replace(data, train=unlabelled(data.train), val=unlabelled(data.val))
    with pytest.raises(ValueError, match=r"none of the 16 train crystals is stable \(0 have .* stable_only=false"):
        trained(stage, tmp_path / "a", bare)
    trained(stage, tmp_path / "b", bare, "stable_only=false", "epochs=1")


def test_classifier_without_labels_names_the_label(data: DataSet, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no train crystal has a label 'e_above_hull'"):
        trained("finetune", tmp_path, replace(data, train=unlabelled(data.train)))


def test_filter_that_leaves_nothing_is_named(data: DataSet, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="none of the 16 train crystals has at most max_atoms=1 atoms"):
        trained("pretrain", tmp_path, data, "max_atoms=1")


# What it trains on


def stage_of(name: str, data: DataSet, folder: Path, *settings: str) -> Any:
    session = LocalSession(folder, device="cpu", progress=False)
    return stage_builder(name)(override(CONFIGS[name], settings), data, session, {}), session


def test_batch_size_follows_its_schedule(data: DataSet, tmp_path: Path) -> None:
    stage, session = stage_of("finetune", data, tmp_path, 'batch_size={"0": 5, "1": 8}')
    assert [len(batch) for batch in epoch_batches(stage, session, 0)] == [5, 5, 5, 1]
    assert [len(batch) for batch in epoch_batches(stage, session, 1)] == [8, 8]


def test_every_epoch_shows_every_crystal_once_in_another_order(data: DataSet, tmp_path: Path) -> None:
    stage, session = stage_of("finetune", data, tmp_path)
    orders = [[i for batch in epoch_batches(stage, session, epoch) for i in batch] for epoch in (0, 1, 0)]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(len(data.train)))
    assert orders[0] != orders[1]
    assert orders[0] == orders[2]


def test_stable_crystals_alone_train_the_generator(data: DataSet, tmp_path: Path) -> None:
    stage, _ = stage_of("pretrain", data, tmp_path)
    assert [crystal.id for crystal in stage.train] == [crystal.id for crystal in data.train[:8]]
    assert [crystal.id for crystal in stage.val] == [crystal.id for crystal in data.val[:2]]


def test_sample_of_training_crystals_is_seeded(data: DataSet, tmp_path: Path) -> None:
    chosen = [
        [c.id for c in stage_of("finetune", data, tmp_path, "max_crystals=5", f"seed={seed}")[0].train]
        for seed in (0, 0, 1)
    ]
    assert len(set(chosen[0])) == 5
    assert chosen[0] == chosen[1] != chosen[2]


def test_classifier_samples_among_labelled_crystals(data: DataSet, tmp_path: Path) -> None:
    partly = replace(data, train=data.train + unlabelled(data.train))
    assert len(stage_of("finetune", partly, tmp_path, "max_crystals=12")[0].train) == 12


SCALED = [
    ("pretrain", "generator"),
    ("gan", "generator"),
    ("gan", "discriminator"),
    pytest.param(
        *("finetune", "classifier"),
    ),
]


@pytest.mark.parametrize(("name", "model"), SCALED)
def test_messages_are_scaled_by_the_degree_of_the_training_set(
    name: str, model: str, data: DataSet, tmp_path: Path
) -> None:
    stage, _ = stage_of(name, data, tmp_path, "max_neighbours=5")
    batch = collate(stage.train)
    edges = graph_of(batch.cart, batch.lattice, batch.counts, stage.config.backbone).src
    degree = float(stage.models[model].backbone.average_degree)
    assert degree == pytest.approx(len(edges) / len(batch.species))
    assert degree > 5


# One stage starts from another


@pytest.fixture(scope="module")
def pretrained(data: DataSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained("pretrain", tmp_path_factory.mktemp("pretrain"), data, "epochs=1", "width=12")


def test_finetuning_starts_from_the_pretrained_backbone(data: DataSet, pretrained: Path, tmp_path: Path) -> None:
    checkpoint = trained("finetune", tmp_path, data, "epochs=1", "trainable=head", inputs={"generator": pretrained})
    before, after = read_weights(pretrained, "generator"), read_weights(checkpoint, "classifier")
    shared = [name for name in before if name.startswith("backbone.")]
    assert shared
    assert all(torch.equal(before[name], after[name]) for name in shared)
    assert read_info(checkpoint).config["backbone"]["width"] == 12  # the checkpoint's, not the config's 16


def test_pretraining_goes_on_from_another_generator_with_a_fresh_optimizer(
    data: DataSet, pretrained: Path, tmp_path: Path
) -> None:
    """Its weights and its network, and none of its optimizer's momenta; whence it comes is kept."""
    inputs = {"generator": pretrained}
    stage = stage_builder("pretrain")(CONFIGS["pretrain"], data, LocalSession(tmp_path / "a", device="cpu"), inputs)
    before = read_weights(pretrained, "generator")
    assert all(torch.equal(value, before[name]) for name, value in stage.models["generator"].state_dict().items())
    assert stage.optimizers["generator"].state_dict()["state"] == {}
    checkpoint = trained("pretrain", tmp_path / "b", data, "epochs=1", inputs=inputs)
    info = read_info(checkpoint)
    assert (info.config["backbone"]["width"], info.dropped) == (12, [])
    assert info.ancestry == lineage([pretrained]) and info.ancestry[0]["stage"] == "pretrain"
    assert any(not torch.equal(value, before[name]) for name, value in read_weights(checkpoint, "generator").items())


def test_pretraining_from_a_generator_resumes_to_the_same_bytes(
    data: DataSet, pretrained: Path, tmp_path: Path
) -> None:
    settings, inputs = ("ema_decay=0.9", "schedule=cosine"), {"generator": pretrained}
    trained("pretrain", tmp_path / "whole", data, *settings, inputs=inputs)
    trained("pretrain", tmp_path / "cut", data, *settings, "max_minutes=1e-9", inputs=inputs)
    trained("pretrain", tmp_path / "cut", data, *settings, inputs=inputs, resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "cut")


def test_how_a_network_runs_is_for_each_stage_to_say(data: DataSet, pretrained: Path, tmp_path: Path) -> None:
    """Its architecture comes from the checkpoint, its precision does not."""
    settings = ("epochs=1", "precision=bf16")
    checkpoint = trained("finetune", tmp_path, data, *settings, inputs={"generator": pretrained})
    found = read_backbone(checkpoint)
    assert (found.precision, found.width) == ("bf16", 12)


@pytest.mark.parametrize("width", [16, 20])
def test_another_backbone_than_the_checkpoints_is_refused(pretrained: Path, tmp_path: Path, width: int) -> None:
    """Also where it is the preset's own."""
    asked = ["finetune", "--preset", "smoke", "--set", f"backbone.width={width}", "--generator", str(pretrained)]
    result = command(*asked, "--out", str(tmp_path / "run"))
    assert result.exit_code == 1
    assert "backbone.width is 12 in" in result.output


def test_gan_starts_from_generator_and_classifier(data: DataSet, pretrained: Path, tmp_path: Path) -> None:
    classifier = trained("finetune", tmp_path / "classifier", data, "epochs=1", inputs={"generator": pretrained})
    inputs = {"generator": pretrained, "discriminator": classifier}
    session = LocalSession(tmp_path / "gan", device="cpu", progress=False)
    gan = stage_builder("gan")(CONFIGS["gan"], data, session, inputs)
    for model, folder, name in (("generator", pretrained, "generator"), ("discriminator", classifier, "classifier")):
        expected = read_weights(folder, name)
        assert all(torch.equal(value, expected[key]) for key, value in gan.models[model].state_dict().items())


def test_checkpoint_loads_without_running_code(data: DataSet, pretrained: Path) -> None:
    files = {path.name for path in pretrained.iterdir()}
    assert files == {"checkpoint.json", "generator.safetensors", "training.pt", "evaluation.parquet", "sums.json"}
    assert set(read_training_state(pretrained)) == {"generator", COMPILED}  # reads with weights_only=True
    assert not load_generator(pretrained).training
    info = read_info(pretrained)
    assert (info.stage, info.epoch, info.data_sha256) == ("pretrain", 1, data.data_sha256)


def test_folder_without_a_checkpoint_is_refused(tmp_path: Path, pretrained: Path) -> None:
    with pytest.raises(ValueError, match=r"is not a checkpoint: it has no checkpoint\.json"):
        read_info(tmp_path)
    with pytest.raises(ValueError, match="has no 'classifier' weights; it has generator"):
        read_weights(pretrained, "classifier")


def test_checkpoint_of_another_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.json").write_text('{"format": 99}')
    with pytest.raises(ValueError, match="checkpoint format 99, this version reads 2"):
        read_info(tmp_path)


# The command line

TINY = ("epochs=1", "max_crystals=4", "max_atoms=3", "width=8", "layers=1", "batch_size=4")


def command(*arguments: str) -> Result:
    return CliRunner().invoke(train, list(arguments))


def settings_of(*settings: str) -> list[str]:
    return [part for setting in settings for part in ("--set", setting)]


def test_three_stages_train_one_after_another_from_the_command_line(tmp_path: Path) -> None:
    pre, fine, gan = (str(tmp_path / stage) for stage in ("pretrain", "finetune", "gan"))
    restoring = settings_of(*TINY, "evaluation.max_crystals=2")
    for arguments in (
        ["pretrain", *restoring, "--out", pre],
        ["finetune", *settings_of(*TINY), "--generator", pre, "--out", fine],
        ["gan", *restoring, "--generator", pre, "--discriminator", f"{fine}/checkpoint", "--out", gan],
    ):
        result = command(*arguments, "--device", "cpu")
        assert result.exit_code == 0, result.output
        assert result.output.strip().endswith(f"checkpoint: {Path(arguments[-1]) / 'checkpoint'}")
    left = {"checkpoint", "config.json", "metrics.jsonl", "origin.json", "timing.jsonl"}
    assert {path.name for path in Path(gan).iterdir()} == left
    assert len(rows(Path(gan))) == 1
    again = command("gan", *restoring, "--out", gan)
    assert again.exit_code == 1
    assert "already holds a run; pass --resume" in again.output


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("w_poz=50", "did you mean 'reconstruction.w_pos'"),
        ("sigma_noise=0.2", "write one of corruption.sigma_noise, evaluation.sigma_noise"),
        ("epochs=-1", "epochs: "),
        ("epochs", "not of the form key=value"),
    ],
)
def test_bad_settings_are_explained(setting: str, message: str, tmp_path: Path) -> None:
    result = command("pretrain", "--set", setting, "--out", str(tmp_path / "run"))
    assert result.exit_code == 1
    assert message in result.output
    assert "Traceback" not in result.output
    assert not (tmp_path / "run").exists()


def test_unknown_preset_names_the_nearest() -> None:
    result = command("pretrain", "--preset", "dmo")
    assert result.exit_code == 1
    assert "did you mean 'demo'?" in result.output


def test_input_without_a_checkpoint_is_explained(tmp_path: Path) -> None:
    result = command("finetune", "--generator", str(tmp_path), "--out", str(tmp_path / "run"))
    assert result.exit_code == 1
    assert "holds no checkpoint; train one with" in result.output


def test_settings_are_listed_with_their_descriptions() -> None:
    result = command("gan", "--settings")
    assert result.exit_code == 0
    assert "adversarial.w_wasserstein = 0.1\n    w_W, the weight of L_W" in result.output


def test_refused_run_can_be_tried_again_in_its_folder(tmp_path: Path) -> None:
    for _ in range(2):
        result = command("pretrain", "--data", str(tmp_path / "absent.csv"), "--out", str(tmp_path / "run"))
        assert result.exit_code == 1
        assert "absent.csv" in result.output
        assert "already holds" not in result.output
