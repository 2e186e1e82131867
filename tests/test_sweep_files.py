"""The sweep files: what each varies, what it is held against, and what its options ask for or refuse."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import optuna
import pytest
import torch
from click.testing import CliRunner, Result

from crystalsweep.artifacts.addresses import Address
from crystalsweep.data import load_data
from crystalsweep.hyperparameters import Range
from crystalsweep.losses.reconstruction import position_loss
from crystalsweep.structures.batch import collate, is_stable
from crystalsweep.structures.corruption import draw_noise
from crystalsweep.sweeping.command import sweep_command
from crystalsweep.sweeping.plan.points import known_points
from crystalsweep.sweeping.plan.request import FREE, SweepRequest
from crystalsweep.sweeping.space.parameters import grid_points, label
from crystalsweep.sweeping.space.settings import configured
from crystalsweep.sweeping.space.spec import SearchSpace, SweepSpec
from sweeps.axes import AS_RELEASED, D_RATE, SIGMA, W_POS_AS_IN_PAPER, W
from sweeps.gan_noise import SWEEP
from trainables.gan.config import GanConfig

GAN = ("w_wasserstein", "gan_noise", "gd_ratio", "joint")
FILES = (*GAN, "w_pos", "backbones", "recipe", "adversary", "finetune")
PRESETS = ("smoke", "demo", "small", "base", "paper")
SIZE = {"w_pos": 8, "w_wasserstein": 7, "gan_noise": 8, "gd_ratio": 16, "joint": 34, "backbones": 3, "recipe": 12}
SIZE |= {"adversary": 6, "finetune": 15}
"""Trials of each grid, control arms included."""


def command(name: str) -> click.Command:
    found: click.Command = import_module(f"sweeps.{name}").main
    return found


def asked(name: str, *options: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a command line hands over to be run."""
    told: dict[str, Any] = {}

    def run_sweep(spec: SweepSpec, request: SweepRequest, **rest: Any) -> None:
        told.update(rest, spec=spec, request=request, dry_run=False)

    def tell_plan(spec: SweepSpec, request: SweepRequest, **rest: Any) -> None:
        told.update(rest, spec=spec, request=request, dry_run=True)

    for module, run in (("run", run_sweep), ("preparation", tell_plan)):
        stub = SimpleNamespace(**{run.__name__: run})  # type: ignore[misc]
        monkeypatch.setitem(sys.modules, f"crystalsweep.sweeping.{module}", stub)
    ran = invoke(name, *options)
    assert ran.exit_code == 0, ran.output
    return told


def invoke(name: str, *options: str) -> Result:
    return CliRunner().invoke(command(name), options, catch_exceptions=False)


OWN = {
    "backbones": {"backbones": ["painn", "equiformer_v2", "escn_md"], "minutes": 1.0},
    "recipe": {"backbone": "painn", "minutes": 1.0},
    "adversary": {"backbone": "painn", "lessons": "judged,preference,gradient", "vary": "lesson"},
    "finetune": {
        "backbone": "painn",
        "target": "k_vrh",
        "shares": [1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0],
        "learning_rates": [1.0],
    },
}
"""Options that a file has, where these are not the backbone alone; with its minutes, it takes any preset."""


def space(name: str, preset: str = "demo", *settings: str) -> SearchSpace:
    own = OWN.get(name, {"backbone": "painn"})
    found: SearchSpace = import_module(f"sweeps.{name}").search_space(preset, settings, **own)
    return found


def request(monkeypatch: pytest.MonkeyPatch, name: str = "gan_noise", *options: str) -> SweepRequest:
    found: SweepRequest = asked(name, *options, monkeypatch=monkeypatch)["request"]
    return found


# What is tried


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", FILES)
def test_every_point_is_a_config_of_its_own(name: str, preset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = space(name, preset)
    stage, base = list(sweep.stages.items())[-1]
    tried = known_points(sweep, request(monkeypatch, name, "--search", "grid"))
    configs = [configured(stage, base.model_dump(mode="json"), point, sweep.choices) for point in tried]
    assert len({config.fingerprint() for config in configs}) == len(tried) == SIZE[name]
    assert len({label(sweep.parameters, point) for point in tried}) == len(tried)


@pytest.mark.parametrize("name", FILES)
def test_a_study_takes_the_grid_and_proposes_within_the_ranges(name: str) -> None:
    sweep = space(name)
    known = list(sweep.grid or grid_points(sweep.parameters))
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for point in known:
        study.enqueue_trial(point)
    for point in known:
        trial = study.ask()
        assert {parameter.key: parameter.suggest(trial) for parameter in sweep.parameters} == point
    for _ in range(20):
        trial = study.ask()
        proposed = {parameter.key: parameter.suggest(trial) for parameter in sweep.parameters}
        assert all(parameter.contains(proposed[parameter.key]) for parameter in sweep.parameters)
        stage, base = list(sweep.stages.items())[-1]
        configured(stage, base.model_dump(mode="json"), proposed, sweep.choices)


@pytest.mark.parametrize("name", FILES)
def test_the_papers_point_is_within_reach(name: str) -> None:
    for parameter in space(name).parameters:
        assert parameter.paper is None or parameter.contains(parameter.paper)


@pytest.mark.parametrize("name", GAN)
def test_control_arms_have_no_adversary(name: str) -> None:
    sweep = space(name)
    base = sweep.stages["gan"].model_dump(mode="json")
    assert sweep.controls
    for settings in sweep.controls:
        config = configured("gan", base, settings, {})
        assert isinstance(config, GanConfig)
        assert config.adversarial.w_wasserstein == 0 or config.adversarial.species_gradient == "none"


@pytest.mark.parametrize("name", FILES)
def test_the_paper_preset_is_the_papers_point(name: str) -> None:
    """Where the preset has the paper's losses and rates, a parameter's `paper` is what the preset says already."""
    if name == "backbones":
        return
    sweep = space(name, "paper")
    stage, base = list(sweep.stages.items())[-1]
    for parameter in sweep.parameters:
        if parameter.key not in (SIGMA, W):  # of two noise levels and two w_W the paper's preset has one each
            config = configured(stage, base.model_dump(mode="json"), {parameter.key: parameter.paper}, sweep.choices)
            assert config == base, parameter.title


def test_gan_noise_tries_what_the_readme_shows() -> None:
    sweep = space("gan_noise")
    tried = [(point[SIGMA], point[W]) for point in (*sweep.controls, *(sweep.grid or ()))]
    assert tried == [(s, w) for w in (0.0, 0.1, 1.0, 10.0) for s in (0.1, 0.2)]


def test_recipes_differ_from_the_preset_in_one_thing_each() -> None:
    first, *others = space("recipe").grid or ()
    assert [sum(point[key] != first[key] for key in first) for point in others] == [1] * len(others)
    told = space("recipe", "demo", "batch_size=8").stages["pretrain"]
    assert (told.max_minutes, told.batch_size, told.schedule) == (1.0, 8, "constant")
    noise = configured("pretrain", told.model_dump(mode="json"), {SIGMA: "0…0.4"}, space("recipe").choices)
    assert noise.corruption.sigma_noise == Range(low=0.0, high=0.4)  # type: ignore[attr-defined]


def test_w_wasserstein_has_the_released_code_as_a_control() -> None:
    assert AS_RELEASED in space("w_wasserstein").controls


def test_rates_of_the_discriminator_are_shown_over_the_generators() -> None:
    (ratio,) = (p for p in space("gd_ratio", "demo", "learning_rate=0.004").parameters if p.key == D_RATE)
    assert ratio.values == pytest.approx((4e-5, 4e-4, 4e-3))
    assert [ratio.shown(value) for value in ratio.values] == ["0.01", "0.1", "1"]
    assert ratio.shown(ratio.paper) == "0.1"


@pytest.mark.parametrize("unit", ["min_edge", "angstrom", "fractional"])
def test_w_pos_is_shown_on_the_papers_scale(unit: str) -> None:
    (w_pos,) = space("w_pos", "demo", f"position_unit={unit}").parameters
    assert [w_pos.shown(value) for value in w_pos.values] == ["2", "10", "20", "50", "100", "200", "400", "1000"]
    assert w_pos.shown(w_pos.paper) == "200"


def test_w_pos_weighs_positions_as_the_paper_does() -> None:
    """The untrained generator's error is the noise; the paper's loss averages over fractional components."""
    crystals = [crystal for crystal in load_data("bundled").train if is_stable(crystal) and len(crystal) <= 20]
    batch = collate(crystals)
    noise = draw_noise(batch, torch.full((len(crystals),), 0.1), True, torch.Generator().manual_seed(0))
    papers = 200 / 3 * float(position_loss(noise, batch, "fractional"))
    for unit, weight in W_POS_AS_IN_PAPER.items():
        assert weight * float(position_loss(noise, batch, unit)) == pytest.approx(papers, rel=0.03)  # type: ignore[arg-type]


def test_joint_tests_at_high_noise_unless_told_otherwise() -> None:
    assert space("joint").stages["gan"].evaluation.sigma_noise == (0.1, 0.2, 0.4)  # type: ignore[attr-defined]
    told = space("joint", "demo", "evaluation.sigma_noise=[0.3]").stages["gan"]
    assert told.evaluation.sigma_noise == (0.3,)  # type: ignore[attr-defined]


# What is asked


@pytest.mark.parametrize("name", FILES)
def test_help_teaches(name: str) -> None:
    shown = invoke(name, "--help").output
    question = " ".join((import_module(f"sweeps.{name}").__doc__ or "").split("\n\n")[0].split())
    assert question in " ".join(shown.split())
    assert f"    python sweeps/{name}.py --preset demo" in shown


def test_all_sweeps_share_their_options() -> None:
    shared = {option for parameter in sweep_command(SWEEP).params for option in parameter.opts}
    assert {
        *("--preset", "--data", "--set", "--num-samples", "--search", "--scheduler", "--objective", "--seeds"),
        *("--workers-per-trial", "--cpus-per-worker", "--gpus-per-worker", "--max-concurrent", "--keep-best"),
        *("--max-cpu-hours", "--max-gpu-hours", "--max-bytes", "--timeout", "--storage", "--tracking-uri"),
        *("--subject-to", "--start-from", "--resume", "--dry-run", "--json"),
    } == shared
    for name in FILES:
        extra = {option for parameter in command(name).params for option in parameter.opts} - shared
        own = {"backbones": {"--backbones", "--minutes"}, "recipe": {"--backbone", "--minutes"}}
        own |= {"adversary": {"--backbone", "--lessons", "--vary", "--energies", "--calculator"}}
        own |= {"finetune": {"--backbone", "--target", "--shares", "--learning-rates"}}
        assert extra == own.get(name, {"--backbone"})


def test_what_is_given_is_what_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    options = "--max-bytes 2GiB --gpus-per-worker 0.25 --objective novelty --objective score --set epochs=3"
    options += " --subject-to masked_accuracy=0.01"
    with socket.create_server(("127.0.0.1", 0)) as server:
        uri = f"http://127.0.0.1:{server.getsockname()[1]}"
        places = ("--storage", "s3://b/p", "--tracking-uri", uri)
        told = asked("joint", *options.split(), *places, monkeypatch=monkeypatch)
    given: SweepRequest = told["request"]
    assert (given.max_bytes, given.gpus_per_worker, given.settings) == (2 * 2**30, 0.25, ("epochs=3",))
    assert given.subject_to == ("masked_accuracy=0.01",)
    assert (given.objectives, given.search, given.scheduler) == (("novelty", "score"), "optuna", "asha")
    assert (given.storage, given.tracking_uri, given.own) == ("s3://b/p", Address(uri), {"backbone": "painn"})
    assert SweepRequest.from_json(given.as_json()) == given


@pytest.mark.parametrize(("text", "size"), [("500MB", 500_000_000), ("1GiB", 2**30), ("12345", 12345)])
def test_sizes(text: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert request(monkeypatch, "gan_noise", "--max-bytes", text).max_bytes == size


def test_options_of_a_file_of_its_own_make_its_sweep_again(monkeypatch: pytest.MonkeyPatch) -> None:
    told = asked("backbones", "--backbones", "escn_md,painn", "--minutes", "3", monkeypatch=monkeypatch)
    again = SweepRequest.from_json(told["request"].as_json() | {"preset": "smoke"})
    sweep = again.search_space(told["spec"])
    assert sweep.parameters[0].values == ("escn_md", "painn")
    assert sweep.stages["pretrain"].max_minutes == 3


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("gan_noise", "--preset dmo", "did you mean 'demo'"),
        ("gan_noise", "--objective scor", "did you mean 'score'"),
        ("joint", "--seeds 2", "--scheduler asha decides by single trainings, and of a trial's 2"),
        ("gan_noise", "--set lerning_rate=1", "did you mean 'learning_rate'"),
        ("gan_noise", "--set sigma_noise=0.3 --set corruption.sigma_noise=0.3", "ambiguous"),
        ("gan_noise", "--set corruption.sigma_noise=0.3", "what this sweep varies"),
        ("w_pos", "--set w_pos=3", "what this sweep varies"),
        ("joint", '--set adversarial={"w_wasserstein":3}', "what this sweep varies"),
        ("gan_noise", "--num-samples 1", "give 2 or more"),
        ("gan_noise", "--num-samples 9", "the grid has 8 trials; add --search"),
        ("gan_noise", "--scheduler pbt", "add --search random"),
        ("w_pos", "--scheduler pbt --search random", "take asha"),
        ("backbones", "--scheduler asha", "as many minutes"),
        ("joint", "--subject-to similarity=0.01", "there is no figure 'similarity'"),
        ("joint", "--subject-to error=0.01", "gan has no such figure"),
        ("w_pos", "--subject-to compositional_similarity=0.01", "no control arm that a trial could lose to"),
        ("joint", "--scheduler pbt --subject-to masked_accuracy=0.01", "pbt changes settings by the objective alone"),
        ("gan_noise", "--gpus-per-worker 1.5", "neither a share of one nor a whole number"),
        ("gan_noise", "--gpus-per-worker 0.5 --workers-per-trial 2", "cannot share a GPU"),
        ("gan_noise", "--storage s3://bucket/sweeps", "give --tracking-uri"),
        ("gan_noise", "--storage gs://bucket", "a folder or an s3:// address"),
        ("gan_noise", "--max-bytes lots", "write it as in 500MB"),
        ("backbones", "--preset paper", "give --minutes"),
        ("recipe", "--preset paper", "give --minutes"),
        ("recipe", "--set mask_types={}", "mask_types"),
        ("backbones", "--backbones painn,pain", "'pain' is none of"),
        ("gan_noise", "--resume latest --seeds 2 --set epochs=3", "a resumed sweep keeps its --seeds, --set"),
        ("backbones", "--resume latest --minutes 4", "a resumed sweep keeps its --minutes"),
    ],
)
def test_nonsense_is_refused_in_a_line(name: str, options: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    ran = invoke(name, *options.split())
    assert ran.exit_code != 0
    assert message in ran.output
    assert ran.output.splitlines()[-1].startswith("Error: ")


TOLD_LIGHTLY = """
import sys
from click.testing import CliRunner
from {page} import main
ran = CliRunner().invoke(main, {options!r}, catch_exceptions=False)
print(ran.output)
print(ran.exit_code, sorted({{"torch", "ray", "mlflow", "optuna", "pymatgen", "pandas"}} & set(sys.modules)))
"""
"""Says what is loaded by the time a mistake is told."""


@pytest.mark.parametrize("name", FILES)
def test_help_loads_nothing_heavy(name: str) -> None:
    code = TOLD_LIGHTLY.format(page=f"sweeps.{name}", options=["--help"])
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--dry-run" in ran.stdout
    assert ran.stdout.splitlines()[-1] == "0 []"


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("gan_noise", "--no-such-option", "No such option"),
        ("gan_noise", "--seeds none", "is not a valid integer"),
        ("joint", "--set w_poz=3", "did you mean"),
        ("w_pos", "--set epochs=-1", "epochs"),
        ("backbones", "--preset dmo", "did you mean 'demo'"),
        ("adversary", "--lessons juged", "did you mean 'judged'"),
        ("gd_ratio", "--data missing.csv", "there is no file or folder missing.csv; check the path"),
        ("gd_ratio", "--data {here},missing.csv", "there is no file or folder missing.csv; check the path"),
        ("w_wasserstein", "--start-from no/such/run", "--start-from 'no/such/run' is not there"),
        ("gan_noise", "--objective scor", "did you mean 'score'"),
        ("gan_noise", "--resume latest --storage nowhere", "there is none"),
        ("gan_noise", "--storage {here}/x", "cannot be written"),
        ("gan_noise", "--tracking-uri http://127.0.0.1:1", "no MLflow server answers"),
    ],
)
def test_mistakes_are_told_before_anything_heavy_is_loaded(name: str, options: str, message: str) -> None:
    given = [option.format(here=__file__) for option in options.split()]
    code = TOLD_LIGHTLY.format(page=f"sweeps.{name}", options=given)
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *told, last = ran.stdout.strip().splitlines()
    assert message in "\n".join(told)
    assert last in ("1 []", "2 []")


def test_what_a_dry_run_imports_has_neither_ray_nor_mlflow() -> None:
    code = (
        "import sys; from sweeps.gan_noise import SWEEP; import crystalsweep.sweeping.preparation; SWEEP.reporter(); "
        "print({'ray', 'mlflow', 'optuna', 'sqlalchemy'} & set(sys.modules))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "set()\n"


def test_every_page_names_a_report_that_is_there() -> None:
    for name in FILES:
        assert callable(import_module(f"sweeps.{name}").SWEEP.reporter())


def test_a_resumed_sweep_may_be_given_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRYSTALSWEEP_STORAGE", str(tmp_path))  # beside s3://… the study is there
    (tmp_path / "sweeps" / "gan_noise-1").mkdir(parents=True)
    (tmp_path / "sweeps" / "gan_noise-1" / "sweep.json").touch()
    options = "--resume latest --storage s3://bucket --num-samples 40 --max-cpu-hours 9 --timeout 5 --dry-run"
    told = asked("gan_noise", *options.split(), monkeypatch=monkeypatch)
    assert told["given"] == {"num_samples": 40, "max_cpu_hours": 9.0, "timeout": 5.0}
    assert (told["resume"], told["dry_run"], told["json"]) == ("latest", True, False)
    assert set(told["given"]) <= set(FREE)
    assert told["request"].storage == "s3://bucket"


# What will be done


@pytest.mark.parametrize("name", [name for name in FILES if name != "backbones"])  # which tests/ray plans
def test_dry_run_prices_the_sweep_and_leaves_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)  # an earlier test's store may have a champion
    ran = invoke(name, "--preset", "smoke", "--storage", str(tmp_path / "none"), "--dry-run")
    assert ran.exit_code == 0, ran.output
    sweep = space(name, "smoke")
    for title in (*(f"[{stage}]" for stage in sweep.stages), *(f"  {stage} " for stage in sweep.stages)):
        assert title in ran.output
    assert re.search(r"^expected [\d.]+ CPU-hours, [\d.]+ [kM]B of checkpoints$", ran.output, flags=re.MULTILINE)
    assert not (tmp_path / "none").exists()


def test_fine_tuning_is_swept_over_a_set_without_hull_energies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    asked = ("--data", "phonon-dos-sevennet", "--target", "spectrum(phonon_dos)", "--dry-run")
    ran = invoke("finetune", "--preset", "smoke", "--storage", str(tmp_path), *asked)
    assert ran.exit_code == 0, ran.output
    assert re.search(r"^expected [\d.]+ CPU-hours", ran.output, flags=re.MULTILINE)


def test_each_noise_and_balance_of_the_phase_diagram_has_a_control_arm() -> None:
    sweep = import_module("sweeps.adversary").search_space(
        "smoke", (), backbone="painn", lessons="gradient", vary="phase"
    )
    base = sweep.stages["teach"].model_dump(mode="json")
    reached = [("corruption.sigma_noise", "critic_share")] * 2
    arms, cells = (
        {tuple(point[key] for key in keys) for point in points}
        for keys, points in zip(reached, (sweep.controls, sweep.grid), strict=True)
    )
    assert arms == cells
    shares = {configured("teach", base, point, {}).critic_steps for point in (*sweep.controls, *sweep.grid)}
    assert shares == {2, 11}, "of 22: ten and one updates of the generator for each of the critic"
    assert {point["lesson"] for point in sweep.controls} == {"none"}
