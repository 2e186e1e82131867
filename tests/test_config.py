"""Configs refuse what they do not know and say which key was meant."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from pydantic import Field, ValidationError

from crystalsweep.cli.train import train
from crystalsweep.config import Config, as_parameters, leaves, override
from crystalsweep.hyperparameters import CorruptionConfig, EvaluationConfig, Range
from crystalsweep.networks.architectures import SIZES, PaiNNConfig
from crystalsweep.training.catalogue import config_from, preset, stages
from crystalsweep.training.config import RestorationConfig, StageConfig
from trainables.finetune.config import FinetuneConfig
from trainables.gan.config import GanConfig
from trainables.pretrain.config import PretrainConfig

STAGES = stages()


class Inner(Config):
    """Part of a config."""

    width: int = Field(default=3, gt=0)
    """How wide."""
    shared: float = 0.5


class Other(Config):
    """Another part, with a name in common."""

    shared: float = 0.25


class Outer(Config):
    """A config."""

    name: str = "x"
    inner: Inner = Inner()
    other: Other = Other()
    schedule: dict[str, int] = {"a": 1}


# Override


@pytest.mark.parametrize("key", ["inner.width", "width", " width "])
def test_a_value_is_set_by_path_or_by_last_name(key: str) -> None:
    assert override(Outer(), [f"{key}=7"]) == Outer(inner=Inner(width=7))


def test_no_assignment_changes_nothing_and_the_original_stays() -> None:
    config = Outer()
    assert override(config, []) == config
    override(config, ["width=9"])
    assert config.inner.width == 3


def test_later_assignments_win() -> None:
    assert override(Outer(), ["width=4", "inner.width=5"]).inner.width == 5


@pytest.mark.parametrize(
    ("assignment", "value"), [("name=plain text", "plain text"), ('name="3"', "3"), ("name=a=b", "a=b")]
)
def test_text_needs_no_quotes(assignment: str, value: str) -> None:
    assert override(Outer(), [assignment]).name == value


def test_a_number_of_more_digits_than_python_reads_is_told_in_our_words() -> None:
    with pytest.raises(ValueError, match=r"width") as told:
        override(Outer(), ["inner.width=" + "9" * 5000])
    assert "digit" not in str(told.value)


@pytest.mark.parametrize("value", ["true", "false", "5_0", "1_0.5", '"5_0"', "[true]", "[[1_0]]"])
@pytest.mark.parametrize("key", ["epochs", "corruption.sigma_noise", "learning_rate"])
def test_what_is_no_number_is_not_taken_for_one(key: str, value: str) -> None:
    with pytest.raises(ValueError, match=rf"{key}.*number"):
        override(preset("pretrain", "smoke"), [f"{key}={value}"])


def test_a_table_that_holds_true_for_a_number_is_refused() -> None:
    tree = preset("pretrain", "smoke").model_dump(mode="json") | {"epochs": True}
    with pytest.raises(ValidationError, match="epochs"):
        config_from("pretrain", tree)


@pytest.mark.parametrize("assignment", ["sigma_noise=[0.1, 1e-1]", "epochs=3.0", "learning_rate=.5", "compile=true"])
def test_numbers_are_taken_however_they_are_written(assignment: str) -> None:
    override(preset("pretrain", "smoke"), [assignment if "sigma" not in assignment else f"corruption.{assignment}"])


def test_json_values_replace_whole_dictionaries() -> None:
    assert override(Outer(), ['schedule={"b": 2}']).schedule == {"b": 2}


def test_a_whole_part_is_set_as_json() -> None:
    assert override(Outer(), ['inner={"width": 5}', "other.shared=1"]) == Outer(
        inner=Inner(width=5), other=Other(shared=1)
    )


@pytest.mark.parametrize("backbone", SIZES)
def test_the_backbone_is_set_whole_whichever_it_was(backbone: str) -> None:
    for chosen in SIZES[backbone].values():
        config = override(PretrainConfig(), [f"backbone={chosen.model_dump_json()}", "learning_rate=0.5"])
        assert config.backbone == chosen
        assert config.learning_rate == 0.5
        assert json.loads(as_parameters(config)["backbone.name"]) == backbone


@pytest.mark.parametrize("text", ["3", "null", "painn", "[1]"])
def test_a_part_is_not_replaced_by_a_value(text: str) -> None:
    with pytest.raises(ValueError, match=r"inner has parts: set one of them, or all as JSON \(got "):
        override(Outer(), [f"inner={text}", "inner.width=4"])


@pytest.mark.parametrize(
    ("text", "value"),
    [("0.3", 0.3), ("[0.1, 0.2]", (0.1, 0.2)), ('{"low": 0.1, "high": 0.4}', Range(low=0.1, high=0.4))],
)
def test_every_form_of_sigma_noise_can_be_set(text: str, value: object) -> None:
    assert override(PretrainConfig(), [f"corruption.sigma_noise={text}"]).corruption.sigma_noise == value


@pytest.mark.parametrize(("text", "value"), [("0.3", 0.3), ('{"low": 0.2, "high": 0.4}', Range(low=0.2, high=0.4))])
def test_a_range_can_be_replaced(text: str, value: object) -> None:
    config = PretrainConfig(corruption=CorruptionConfig(sigma_noise=Range(low=0.1, high=0.2)))
    assert override(config, [f"corruption.sigma_noise={text}"]).corruption.sigma_noise == value


def test_unknown_key_names_the_nearest() -> None:
    with pytest.raises(
        ValueError, match=r"unknown key 'w_poz' for PretrainConfig; did you mean 'reconstruction.w_pos'"
    ):
        override(PretrainConfig(), ["w_poz=50"])


def test_hopeless_key_lists_all() -> None:
    with pytest.raises(ValueError, match=r"unknown key 'qqqq' for Outer; known keys: name, inner.width"):
        override(Outer(), ["qqqq=1"])


def test_ambiguous_key_lists_its_paths() -> None:
    with pytest.raises(ValueError, match=r"'shared' is ambiguous: write one of inner.shared, other.shared"):
        override(Outer(), ["shared=1"])


def test_top_level_key_is_not_ambiguous() -> None:
    assert override(PretrainConfig(), ["seed=4"]).seed == 4


def test_part_of_a_name_is_not_a_name() -> None:
    with pytest.raises(ValueError, match=r"unknown key 'idth' for Outer; did you mean 'inner\.width'"):
        override(Outer(), ["idth=1"])


def test_assignment_without_equals_sign_is_refused() -> None:
    with pytest.raises(ValueError, match="'width' is not of the form key=value"):
        override(Outer(), ["width"])


def test_bad_value_is_refused_with_its_path_and_value() -> None:
    with pytest.raises(ValueError, match=r"inner\.width: .*greater than 0.*\(got -2\)"):
        override(Outer(), ["width=-2"])


def test_all_bad_values_are_named_at_once() -> None:
    with pytest.raises(ValueError, match=r"inner\.width: .*; other\.shared: "):
        override(Outer(), ["width=-2", "other.shared=high"])


# Leaves, flat, fingerprint


def test_leaves_are_all_settings_in_order_with_their_docstrings() -> None:
    found = list(leaves(Outer()))
    assert [leaf.path for leaf in found] == ["name", "inner.width", "inner.shared", "other.shared", "schedule"]
    assert found[1].value == 3
    assert found[1].description == "How wide."


def test_every_setting_of_every_stage_has_a_description() -> None:
    for stage in STAGES.values():
        for config in stage.presets.values():
            assert [leaf.path for leaf in leaves(config) if not leaf.description] == []


def test_parameters_are_json_by_path() -> None:
    found = as_parameters(PretrainConfig(batch_size={0: 1, 25: 3}))
    assert json.loads(found["batch_size"]) == {"0": 1, "25": 3}
    assert json.loads(found["evaluation.mask_types"]) == ["species", "random15", "random30"]
    assert found["corruption.sigma_noise"] == "0.1"
    assert found["max_minutes"] == "null"
    assert set(found) == {leaf.path for leaf in leaves(PretrainConfig())}


def test_fingerprint_follows_content_alone() -> None:
    assert Outer().fingerprint() == Outer(inner=Inner(width=3)).fingerprint()
    assert Outer(schedule={"a": 1, "b": 2}).fingerprint() == Outer(schedule={"b": 2, "a": 1}).fingerprint()
    assert Outer().fingerprint() != Outer(inner=Inner(width=4)).fingerprint()


@pytest.mark.parametrize("stage", STAGES)
def test_configs_survive_json(stage: str) -> None:
    for config in STAGES[stage].presets.values():
        again = config_from(stage, json.loads(config.model_dump_json()))
        assert again == config
        assert again.fingerprint() == config.fingerprint()


def test_batch_size_schedule_survives_json() -> None:
    config = PretrainConfig(batch_size={0: 1, 25: 3, 45: 5}, corruption=CorruptionConfig(sigma_noise=(0.1, 0.2)))
    assert config_from("pretrain", json.loads(config.model_dump_json())) == config


# Validation


def test_unknown_fields_are_refused() -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        PaiNNConfig.model_validate({"wdith": 3})


def test_configs_do_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Outer().name = "y"


@pytest.mark.parametrize(
    ("config", "content"),
    [
        (CorruptionConfig, {"mask_types": {"random200": 1.0}}),
        (CorruptionConfig, {"mask_types": {"species": 0.0}}),
        (CorruptionConfig, {"mask_types": {}}),
        (CorruptionConfig, {"sigma_noise": -0.1}),
        (CorruptionConfig, {"sigma_noise": []}),
        (CorruptionConfig, {"sigma_noise": {"low": 0.4, "high": 0.1}}),
        (EvaluationConfig, {"draws": 0}),
        (PaiNNConfig, {"radial_functions": 600}),
        (PaiNNConfig, {"name": "equiformer"}),
        (StageConfig, {"epochs": 0}),
        (StageConfig, {"batch_size": 0}),
        (StageConfig, {"learning_rate": 0.0}),
        (FinetuneConfig, {"stable_only": True}),
        (GanConfig, {"adversarial": {"loss": "wasserstein"}}),
        (GanConfig, {"adversarial": {"g_steps_per_d_step": 0}}),
    ],
)
def test_nonsense_is_refused(config: type[Config], content: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        config.model_validate(content)


def test_batch_size_follows_its_schedule() -> None:
    config = StageConfig(batch_size={0: 1, 25: 3, 45: 5})
    assert [config.batch_size_at(epoch) for epoch in (0, 24, 25, 44, 45, 100)] == [1, 1, 3, 3, 5, 5]
    assert StageConfig(batch_size=7).batch_size_at(99) == 7


def test_defaults_are_those_of_the_method() -> None:
    config = GanConfig()
    assert isinstance(config, RestorationConfig)
    assert config.corruption.mask_types == {"species": 0.5, "random15": 0.5}
    assert config.adversarial.w_wasserstein == 0.1
    assert config.adversarial.g_steps_per_d_step == 10
    assert config.adversarial.real_sigma_noise == 0.001
    assert config.discriminator_learning_rate == 1e-5


# Presets


def test_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="pretrain has no preset 'dmo'; did you mean 'demo'"):
        preset("pretrain", "dmo")


def test_hopeless_preset_lists_all() -> None:
    with pytest.raises(ValueError, match=f"there are {', '.join(STAGES['gan'].presets)}"):
        preset("gan", "qqqq")


def test_name_of_a_backbone_is_not_changed_alone() -> None:
    with pytest.raises(ValueError, match=r"backbone\.name decides what other settings .* --backbone"):
        override(PretrainConfig(), ["backbone.name=escn_md"])
    assert override(PretrainConfig(), ["backbone.name=painn"]) == PretrainConfig()


_PENALTY = "--set adversarial.gradient_penalty has no effect: it is of loss=wgan_gp, and loss={} here"
_GUMBEL = "it is of species_gradient=gumbel, and species_gradient={} here"
_TEMPERATURE = f"--set adversarial.temperature has no effect: {_GUMBEL}"


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (["gradient_penalty=5"], [_PENALTY.format("l1")]),
        (["adversarial.gradient_penalty=5", "adversarial.loss=hinge"], [_PENALTY.format("hinge")]),
        (["gradient_penalty=5", "adversarial.loss=wgan_gp"], []),
        (["temperature = 2", "species_gradient=soft"], [_TEMPERATURE.format("soft")]),
        (["temperature=2", "species_gradient=gumbel"], []),
        (["species_gradient=soft", "epochs=1"], []),
        (
            ["temperature=1", "temperature=2", "gradient_penalty=1"],
            [_TEMPERATURE.format("straight_through"), _PENALTY.format("l1")],
        ),
    ],
)
def test_a_typed_setting_without_effect_is_told_and_trains(
    settings: list[str], told: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On stderr; a sweep's trials, which do not pass the command, say nothing."""

    def read(*_: object) -> None:
        raise ValueError("as far as the data")

    monkeypatch.setattr("crystalsweep.cli.train._read", read)
    typed = [part for setting in settings for part in ("--set", setting)]
    said = CliRunner().invoke(train, ["gan", "--preset", "smoke", "--out", str(tmp_path / "run"), *typed])
    assert "as far as the data" in said.stderr
    assert "has no effect" not in said.stdout
    lines = [line for line in said.stderr.splitlines() if "has no effect" in line]
    assert lines == told


@pytest.mark.parametrize(
    ("stage", "settings", "told"),
    [
        ("finetune", ("loss=l1",), "loss=l1 is of numbers and spectra, which no target is"),
        ("pretrain", ("best_by=val/loss",), "best_by decides nothing alone"),
        ("pretrain", ("batch_size={}",), "batch_size: give at least 1 of them"),
        ("finetune", ('targets=["k_vrh>=100"]',), "write k_vrh<=100, and look for the answer no$"),
    ],
)
def test_settings_that_nothing_would_read_are_refused(stage: str, settings: tuple[str, ...], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        override(preset(stage, "smoke"), settings).require_read()


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("sigma_noise=[0.1, 0.1000000001]", "sigma_noise names one twice"),
        ("sigma_noise=[]", "sigma_noise: give at least 1 of them"),
        ('mask_types=["species", "species"]', "mask_types names one twice"),
    ],
)
def test_no_case_is_evaluated_twice_and_there_is_one(setting: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        override(EvaluationConfig(), [setting])
