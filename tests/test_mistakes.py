"""What is wrong with a setting is told with its place, what may stand there and what does, in plain words."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from pydantic import ValidationError

from crystalsweep.cli.main import main
from crystalsweep.config import Config, override
from crystalsweep.evaluation.suite import find_suite
from crystalsweep.networks.architectures import backbone_config
from crystalsweep.sweeping.space.settings import configured
from crystalsweep.training.catalogue import preset
from crystalsweep.wording.mistakes import mistakes
from sweeps.gan_noise import main as sweep

INNER = re.compile(r"constrained|function-|\[_|\]:|tuple\[|dict\[|Range|Config|Input should|Value error|\[key\]")
"""Names that pydantic has for its own parts."""

GAN = preset("gan", "demo")


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("epochs=-1", "epochs: give a whole number greater than 0 (got -1)"),
        ("epochs=2.5", "epochs: give a whole number (got 2.5)"),
        ("epochs=many", "epochs: give a whole number (got 'many')"),
        ("epochs=null", "epochs: give a whole number (got null)"),
        ("stable_only=7", "stable_only: give true or false (got 7)"),
        ("w_wasserstein=NaN", "adversarial.w_wasserstein: give a finite number (got nan)"),
        ("backbone.width=abc", "backbone.width: give a whole number (got 'abc')"),
        ("radial_functions=600", "backbone.radial_functions: give a whole number of 64 or less (got 600)"),
        ("schedule=cosin", "schedule: give 'constant' or 'cosine' (got 'cosin'; did you mean 'cosine'?)"),
        ("adversarial.loss=1", "adversarial.loss: give 'l1', 'bce', 'hinge', 'wgan_gp' or 'relativistic' (got 1)"),
        ("corruption.sigma_noise=-1", "corruption.sigma_noise: give a number of 0 or more (got -1)"),
        ("corruption.sigma_noise=[0.1, -2]", "corruption.sigma_noise.1: give a number of 0 or more (got -2)"),
        (
            "corruption.sigma_noise=much",
            'corruption.sigma_noise: give a number, or a list, as [a, b], or {"low": …, "high": …} (got \'much\')',
        ),
        ('corruption.sigma_noise={"low": 0.4, "high": 0.1}', "corruption.sigma_noise: low 0.4 is above high 0.1"),
        ('corruption.sigma_noise={"low": 0.4}', "corruption.sigma_noise.high is missing"),
        (
            'corruption.sigma_noise={"lo": 0.1, "low": 0, "high": 1}',
            "corruption.sigma_noise.lo: there is no such setting; did you mean 'low'?",
        ),
        ("batch_size=0", "batch_size: give a whole number greater than 0 (got 0)"),
        ('batch_size={"0": 0}', "batch_size.0: give a whole number greater than 0 (got 0)"),
        ('batch_size={"x": 1}', "batch_size: its keys are each a whole number (got 'x')"),
        ("corruption.mask_types=species", "corruption.mask_types: give a table, as {\"a\": b} (got 'species')"),
        ("corruption.mask_types={}", "corruption: mask_types and sigma_noise need at least one entry"),
        ('backbone={"name": "painn", "wdith": 3}', "backbone.wdith: there is no such setting; did you mean 'width'?"),
        ('backbone={"name": "painn", "width": 0}', "backbone.width: give a whole number greater than 0 (got 0)"),
        (
            'backbone={"name": "pain"}',
            (
                "backbone: give its name, 'painn', 'equiformer_v2', 'escn_md' "
                '(got {"name": "pain"}; did you mean \'painn\'?)'
            ),
        ),
        ('backbone={"width": 3}', 'backbone: give its name too (got {"width": 3})'),
        ('adversarial={"losss": "l1"}', "adversarial.losss: there is no such setting; did you mean 'loss'?"),
    ],
)
def test_a_setting_that_is_wrong_is_told_in_plain_words(setting: str, told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)) as refused:
        override(GAN, [setting])
    assert str(refused.value) == told
    assert not INNER.search(told)


def test_a_mask_type_says_itself_what_it_may_be() -> None:
    with pytest.raises(ValueError, match=r"^evaluation.mask_types.0: mask type 'randomx' is neither") as refused:
        override(GAN, ['evaluation.mask_types=["randomx"]'])
    assert not INNER.search(str(refused.value))


def test_axes_of_a_sweep_are_told_likewise() -> None:
    with pytest.raises(ValueError, match=r"^corruption.sigma_noise: give a number of 0 or more \(got -0.1\)$"):
        configured("gan", GAN.model_dump(mode="json"), {"corruption.sigma_noise": -0.1}, {})


def test_commands_tell_them_in_a_line() -> None:
    for command, arguments in (
        (main, ["train", "pretrain", "--set", "batch_size=0"]),
        (main, ["evaluate", "--checkpoint", "identity", "--set", "protocol.sigma_noise=0.1"]),
        (main, ["model", "info", "--set", "width=-3"]),
        (sweep, ["--set", "batch_size=0"]),
    ):
        ran = CliRunner().invoke(command, arguments, catch_exceptions=False)
        assert ran.exit_code == 1
        assert re.match(r"^Error: [a-z_.]+: give a .* \(got .*\)\n$", ran.output)
        assert not INNER.search(ran.output)


def test_a_file_of_settings_is_told_likewise(tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    for content, told in (
        ("{", "Invalid JSON"),
        ("[]", 'give {"format": …'),
        ('{"format": 7}', "format: give 1 (got 7)"),
        ('{"name": "mine"}', "source is missing; part is missing"),
    ):
        file.write_text(content)
        with pytest.raises(ValueError, match=r"mine\.json is no suite: .*") as refused:
            find_suite(str(file))
        assert told in str(refused.value)
        assert not INNER.search(str(refused.value))


def test_no_more_than_a_few_are_told() -> None:
    class Many(Config):
        values: dict[str, int]

    with pytest.raises(ValidationError) as refused:
        Many.model_validate({"values": {f"v{i}": "x" for i in range(9)}})
    told = mistakes(refused.value, Many, {"values": {f"v{i}": "x" for i in range(9)}})
    assert told.count("give a whole number") == 5
    assert told.endswith("; and 4 more")


def test_what_is_long_is_cut() -> None:
    with pytest.raises(ValueError, match=r"^name: give text \(got \[0, 1, 2.{60,80}…\)$"):
        override(_Named(), [f"name={list(range(99))}"])


def test_a_backbone_of_a_file_is_told_likewise() -> None:
    with pytest.raises(ValidationError) as refused:
        backbone_config({"name": "painn", "width": "8; import os"})
    told = mistakes(refused.value, Config, {"name": "painn", "width": "8; import os"})
    assert told == "width: give a whole number (got '8; import os')"


class _Named(Config):
    name: str = ""
