"""Promotions as a user makes them, in a local store: champion, refusal, force, challenger, demotion, verification."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from crystalsweep import load
from crystalsweep.artifacts.archive import pack, unpack
from crystalsweep.artifacts.seal import SEAL, require_sealed, seal
from crystalsweep.cli.registry import demote, history, promote, registry, verify
from crystalsweep.inference.locate import locate
from crystalsweep.pages.text import plain_markdown
from crystalsweep.registry.attempts import PROMOTIONS, VERDICT
from crystalsweep.registry.dossier import read_dossier
from crystalsweep.registry.foreign import content_sha256
from crystalsweep.tracking.tracker import Tracker, sqlite_uri
from tests.html_words import words_of

pytestmark = pytest.mark.server  # a store, and evaluations in processes of their own

CHAMPION = "models:/crystal-generator@champion"
Run = Callable[..., Result]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store, in which the tests below happen one after another."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def run(store: Path) -> Run:
    def runs(command: object, *arguments: object, code: int = 0, storage: Path = store) -> Result:
        where = ("--storage", str(storage), "--tracking-uri", sqlite_uri(storage))
        ran = CliRunner().invoke(command, [*map(str, arguments), *where])  # type: ignore[arg-type]
        assert ran.exit_code == code, f"{ran.output}\n{ran.exception!r}"
        return ran

    return runs


@pytest.fixture
def asked(suite_file: Path) -> tuple[object, ...]:
    """A suite and a metric on which forty crystals tell the two generators apart."""
    return ("--suite", suite_file, "--metric", "masked_accuracy", "--workers", 1)


def tracker(storage: Path) -> Tracker:
    return Tracker(sqlite_uri(storage))


def champion(storage: Path) -> str:
    return str(tracker(storage).client.get_model_version_by_alias("crystal-generator", "champion").version)


def test_a_dry_run_registers_nothing(run: Run, store: Path, control: Path, asked: tuple[object, ...]) -> None:
    told = run(promote, control, "--dry-run", *asked).output
    assert "dry run: it would be promoted" in told
    assert not tracker(store).client.search_registered_models()
    assert tracker(store).client.get_experiment_by_name(PROMOTIONS) is None


def test_the_first_champion_beats_the_baselines(
    run: Run, store: Path, control: Path, asked: tuple[object, ...]
) -> None:
    told = run(promote, control, *asked).output
    assert "version 1 is now crystal-generator@champion" in told
    found = locate(CHAMPION, tracker(store), store / "downloads")
    require_sealed(found.root)
    dossier = read_dossier(found.root)
    assert [gate.name for gate in dossier.gates] == ["physics", "leakage", "gain", "reproducibility"]
    assert dossier.passed
    assert dossier.champion is None
    page, card = (found.root / "dossier" / "dossier.html").read_text(), (found.root / "MODEL_CARD.md").read_text()
    for check in (check for gate in dossier.gates for check in gate.checks):
        assert check.title in words_of(page)
        assert plain_markdown(check.says) in card
    assert "http" not in page.replace("http-equiv", "")
    assert not list(found.root.rglob("training.pt"))


def test_what_is_champion_already_is_not_promoted(run: Run, control: Path, asked: tuple[object, ...]) -> None:
    assert "has the weights of crystal-generator@champion" in run(promote, control, *asked, code=1).output


def test_a_worse_one_is_refused_with_numbers(
    run: Run, store: Path, adversarial: Path, asked: tuple[object, ...]
) -> None:
    told = run(promote, adversarial, *asked, code=3).output
    assert "Masked accuracy is better: worse: -0." in told
    assert "stays as it is" in told
    assert champion(store) == "1"
    assert len(tracker(store).client.search_model_versions("name = 'crystal-generator'")) == 1
    experiment = tracker(store).client.get_experiment_by_name(PROMOTIONS)
    refused = tracker(store).tagged(experiment.experiment_id, {VERDICT: "refused"})
    assert len(refused) == 1
    assert "Masked accuracy" in refused[0].data.tags["mlflow.note.content"]
    files = {entry.path for entry in tracker(store).client.list_artifacts(refused[0].info.run_id, "dossier")}
    assert {"dossier/dossier.json", "dossier/dossier.html"} <= files


def test_force_needs_a_reason_and_leaves_a_trace(
    run: Run, store: Path, adversarial: Path, asked: tuple[object, ...]
) -> None:
    assert "--reason" in run(promote, adversarial, "--force", *asked, code=1).output
    told = run(promote, adversarial, "--force", "--reason", "to see it fail", *asked).output
    assert "version 2 is now crystal-generator@champion by force" in told
    dossier = read_dossier(locate(CHAMPION, tracker(store), store / "downloads").root)
    assert dossier.verdict == "forced"
    assert dossier.forced == "to see it fail"
    version = tracker(store).client.get_model_version("crystal-generator", "2")
    assert version.tags["crystalsweep.forced"] == "to see it fail"
    assert "to see it fail" in version.description
    assert "to see it fail" in run(history).output


def test_demotion_gives_the_alias_back(run: Run, store: Path) -> None:
    assert "which is version 1 again" in run(demote, "champion", "--reason", "it fails").output
    assert champion(store) == "1"
    entries = json.loads(run(history, "--json").output)
    assert [entry["verdict"] for entry in entries] == ["demoted", "forced", "refused", "promoted"]


def test_a_challenger_need_not_gain(run: Run, store: Path, adversarial: Path, asked: tuple[object, ...]) -> None:
    """It must restore rock salt all the same."""
    told = run(promote, adversarial, "--to", "challenger", *asked, code=3).output
    assert "NaCl with one Na masked" in told
    assert "no (told only)" in told
    told = run(promote, adversarial, "--to", "challenger", "--force", "--reason", "for tests", *asked).output
    assert "is now crystal-generator@challenger" in told
    assert champion(store) == "1"


def test_the_champion_is_verified_until_a_file_is_changed(run: Run, store: Path) -> None:
    assert " holds" in run(verify, CHAMPION, "--workers", 1).output
    root = locate(CHAMPION, tracker(store), store / "downloads").root
    copy = store / "copy"
    shutil.copytree(root, copy)
    assert " holds" in run(verify, copy, "--workers", 1).output
    metrics = copy / "dossier" / "evaluation" / "metrics.json"
    content = json.loads(metrics.read_text())
    content["rows"]["candidate"]["masked_accuracy"]["mean"] += 0.1
    metrics.write_text(json.dumps(content))
    told = run(verify, copy, "--workers", 1, code=3).output
    assert "NO LONGER HOLDS" in told
    assert "'dossier/evaluation/metrics.json' was changed" in told
    assert "candidate/masked_accuracy" in told


def test_export_and_import_carry_the_dossier_to_another_server(run: Run, store: Path, tmp_path: Path) -> None:
    file = tmp_path / "champion.zip"
    run(registry, "export", CHAMPION, file)
    there = tmp_path / "other"
    told = run(registry, "import", file, "--to", "champion", storage=there).output
    assert "crystal-generator version 1, now champion" in told
    found = locate(CHAMPION, tracker(there), there / "downloads")
    here = locate(CHAMPION, tracker(store), store / "downloads")
    assert content_sha256(found.root) == content_sha256(here.root)
    require_sealed(found.root)
    assert read_dossier(found.root) == read_dossier(here.root)
    assert "which this server had" in run(registry, "import", file, storage=there).output
    assert load(str(file)).info == load(str(here.folder)).info
    assert " holds" in run(verify, file, "--workers", 1).output
    run(registry, "import", file, "--to", "champion", storage=there)
    assert "which is no version" in run(demote, "champion", "--reason", "a test", storage=there).output
    changed = bytearray(file.read_bytes())
    changed[len(changed) // 2] ^= 1
    (tmp_path / "changed.zip").write_bytes(changed)
    before = len(tracker(there).client.search_model_versions("name = 'crystal-generator'"))
    assert "changed.zip" in run(registry, "import", tmp_path / "changed.zip", storage=there, code=1).output
    assert len(tracker(there).client.search_model_versions("name = 'crystal-generator'")) == before


def test_figures_that_came_in_an_archive_decide_no_promotion(
    run: Run, tmp_path: Path, adversarial: Path, asked: tuple[object, ...]
) -> None:
    run(registry, "export", CHAMPION, tmp_path / "champion.zip")
    run(registry, "import", tmp_path / "champion.zip", "--to", "champion", storage=tmp_path / "other")
    told = run(promote, adversarial, "--dry-run", *asked, storage=tmp_path / "other", code=3).output
    assert "was measured elsewhere: it is evaluated again" in told
    assert "Masked accuracy is better: worse: -0." in told


MLMODEL = """flavors:
  python_function:
    loader_module: evil
    code: code
    data: checkpoint
    env: {virtualenv: python_env.yaml}
"""


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("MLmodel", MLMODEL, "MLmodel has other code loaded"),
        ("code/evil.py", "open('/tmp/evil', 'w')", "'code/evil.py' is no file of a promoted version"),
        ("requirements.txt", "crystalsweep==0.1.0\nevil\n", "requirements.txt asks for more"),
        ("python_env.yaml", "dependencies: [evil]\n", "python_env.yaml asks for more"),
    ],
)
def test_a_hostile_archive_that_is_consistent_is_refused(
    run: Run, store: Path, tmp_path: Path, name: str, content: str, told: str
) -> None:
    file, folder = tmp_path / "champion.zip", tmp_path / "files"
    run(registry, "export", CHAMPION, file)
    unpack(file, folder)
    record = json.loads((folder / "registry.json").read_text())
    (folder / "registry.json").unlink()
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(content)
    record["tags"][SEAL] = seal(folder)
    (folder / "registry.json").write_text(json.dumps(record))
    pack(folder, tmp_path / "hostile.zip")
    before = len(tracker(store).client.search_model_versions("name = 'crystal-generator'"))
    assert told in run(registry, "import", tmp_path / "hostile.zip", code=1).output
    assert len(tracker(store).client.search_model_versions("name = 'crystal-generator'")) == before


def test_a_dossier_that_says_what_its_evaluation_does_not_is_found_out(run: Run, store: Path, tmp_path: Path) -> None:
    folder = tmp_path / "forged"
    shutil.copytree(locate(CHAMPION, tracker(store), store / "downloads").root, folder)
    file = folder / "dossier" / "dossier.json"
    content = json.loads(file.read_text())
    content["rows"]["candidate"]["masked_accuracy"]["mean"] = 0.99
    file.write_text(json.dumps(content))
    seal(folder)
    told = run(verify, folder, "--workers", 1, code=3).output
    assert "its figures differ from the files" in told


def test_import_does_not_take_an_alias_unasked(run: Run, store: Path, tmp_path: Path) -> None:
    file = tmp_path / "challenger.zip"
    run(registry, "export", "models:/crystal-generator@challenger", file)
    told = run(registry, "import", file, "--to", "champion", code=1).output
    assert "--replace" in told
    assert champion(store) == "1"


def test_an_unfinished_run_is_refused(run: Run, store: Path, asked: tuple[object, ...], control: Path) -> None:
    mlflow = tracker(store)
    made = mlflow.start(mlflow.experiment("gan", store / "mlflow-artifacts"), "trial", kind="trial")
    mlflow.upload(made, control, "checkpoint")
    assert "is RUNNING" in run(promote, made, *asked, code=1).output
    assert "nor a name that is understood" in run(promote, "no/such/folder", *asked, code=1).output
    assert "no suite" in run(promote, control, "--suite", "bundled-1000", code=1).output


def test_the_champion_loads_in_a_process_of_its_own(store: Path) -> None:
    code = f"""
import sys, crystalsweep
restorer = crystalsweep.load({CHAMPION!r}, tracking_uri={sqlite_uri(store)!r})
assert "ray" not in sys.modules
print(restorer.info.stage)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={"HOME": str(store)})
    assert ran.stdout.strip() == "gan", ran.stderr
