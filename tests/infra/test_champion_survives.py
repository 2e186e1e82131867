"""PostgreSQL or the object store dies while a version is registered: the champion is the old one or the new one."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from crystalsweep.artifacts.archive import pack, unpack
from crystalsweep.artifacts.seal import SEAL, require_sealed, seal
from crystalsweep.config import override
from crystalsweep.evaluation.freezing import freeze
from crystalsweep.evaluation.settings import EvaluationSettings
from crystalsweep.inference.locate import locate
from crystalsweep.registry.exchange import RECORD, VersionRecord
from crystalsweep.tracking.holders import holder_of
from crystalsweep.tracking.tracker import Tracker
from tests.infra.conftest import RunningStack

MODEL = "crystal-generator"
GENERATORS = Path(__file__).parents[1] / "fixtures" / "generators"
SERVERS = ["database", "object store"]


def crystalsweep(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "crystalsweep", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def read(*arguments: object) -> str:
    command = [sys.executable, "-m", "crystalsweep", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    said = process.communicate(timeout=300)[0]
    return process.returncode, said


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty small crystals, each species masked once."""
    settings = override(
        EvaluationSettings(),
        [
            *("max_atoms=6", "energies.calculator=none", "protocol.max_crystals=40"),
            *('protocol.mask_types=["species"]', "protocol.sigma_noise=[0.1]"),
        ],
    )
    file = tmp_path_factory.mktemp("suite") / "small.json"
    file.write_text(freeze("small", "bundled", "test", settings).model_dump_json())
    return file


@pytest.fixture(scope="module")
def exported(suite: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A champion of another, local registry, as one file."""
    folder = tmp_path_factory.mktemp("home")
    options = ("--suite", suite, "--metric", "masked_accuracy", "--workers", 1)
    where = ("--tracking-uri", f"sqlite:///{folder / 'mlflow.db'}", "--storage", folder)
    code, said = ended(crystalsweep("promote", GENERATORS / "control", *options, *where))
    assert code == 0, said
    file = folder / "champion.zip"
    code, said = ended(crystalsweep("registry", "export", f"models:/{MODEL}@champion", file, *where))
    assert code == 0, said
    return file


def another(exported: Path, into: Path, number: int) -> Path:
    """The same version with empty lines more below its suite: other data, so that it is sent."""
    folder = unpack(exported, into / f"version-{number}")
    record = VersionRecord.model_validate_json((folder / RECORD).read_text())
    (folder / RECORD).unlink()
    with (folder / "dossier" / "suite.json").open("a") as file:
        file.write("\n" * (number + 1))
    tags = record.tags | {SEAL: seal(folder)}
    (folder / RECORD).write_text(record.model_copy(update={"tags": tags}).model_dump_json())
    archive = into / f"version-{number}.zip"
    pack(folder, archive)
    return archive


def kill(stack: RunningStack, server: str) -> None:
    {"database": stack.kill_postgres, "object store": stack.kill_store}[server]()


def champion(stack: RunningStack) -> str:
    found = holder_of(Tracker(stack.tracking_uri), MODEL, "champion")
    assert found is not None, "there is no champion"
    return str(found.version)


def require_usable(stack: RunningStack, downloads: Path) -> None:
    """Every file of the champion is there and is the one that was sealed."""
    tracker = Tracker(stack.tracking_uri)
    found = locate(f"models:/{MODEL}@champion", tracker, downloads)
    assert found.version is not None
    require_sealed(found.root, tracker.registered(MODEL, version=found.version).tags[SEAL])


def rounds(stack: RunningStack, exported: Path, folder: Path, server: str, delays: list[float]) -> list[str]:
    """Kill the server so many seconds into an import; says each time who is champion after."""
    storage = folder / "storage"

    def imported(number: int) -> subprocess.Popen[str]:
        file = another(exported, folder, number)
        options = ("--to", "champion", "--replace", "--storage", storage)
        return crystalsweep("registry", "import", file, *options)

    code, said = ended(imported(0))
    assert code == 0, said
    outcomes = []
    for number, delay in enumerate(delays, start=1):
        before = champion(stack)
        process = imported(number)
        time.sleep(delay)
        kill(stack, server)
        code, said = ended(process)
        stack.restart()
        after = champion(stack)
        require_usable(stack, folder / f"downloads-{number}")
        assert code == 0 or "Error: " in said
        assert code != 0 or after != before
        assert "Traceback" not in said
        outcomes.append("new" if after != before else "old")
    code, said = ended(imported(len(delays) + 1))
    assert code == 0, said  # nothing that was left stands in the way
    require_usable(stack, folder / "downloads-last")
    return outcomes


@pytest.mark.server
@pytest.mark.parametrize("server", SERVERS)
def test_a_killed_server_leaves_a_champion(
    signed_in: RunningStack, exported: Path, tmp_path: Path, server: str
) -> None:
    assert len(rounds(signed_in, exported, tmp_path, server, [6.0])) == 1


@pytest.mark.long
@pytest.mark.parametrize("server", SERVERS)
def test_killed_at_any_moment_it_leaves_the_old_or_the_new_champion(
    signed_in: RunningStack, exported: Path, tmp_path: Path, server: str
) -> None:
    delays = [random.Random(server).uniform(2, 12) for _ in range(8)]
    outcomes = rounds(signed_in, exported, tmp_path, server, delays)
    print(f"{server}: {dict(zip(delays, outcomes, strict=True))}")
    assert set(outcomes) <= {"old", "new"}


@pytest.mark.long
@pytest.mark.parametrize("server", SERVERS)
def test_a_promotion_whose_server_is_killed_ends_with_the_old_or_the_new_champion(
    signed_in: RunningStack, exported: Path, suite: Path, tmp_path: Path, server: str
) -> None:
    storage = ("--storage", tmp_path / "storage")
    code, said = ended(crystalsweep("registry", "import", exported, "--to", "champion", "--replace", *storage))
    assert code == 0, said
    before = champion(signed_in)

    chosen = ("--suite", suite, "--metric", "masked_accuracy", "--workers", 1)
    overruled = ("--force", "--reason", "to be killed")
    process = crystalsweep("promote", GENERATORS / "adversarial", *chosen, *overruled, *storage)
    assert process.stdout is not None
    until = next((line for line in process.stdout if "registering" in line), None)
    assert until, "it ended before it registered anything"
    time.sleep(random.Random(server).uniform(0, 3))
    kill(signed_in, server)
    code, said = ended(process)
    signed_in.restart()

    after = champion(signed_in)
    require_usable(signed_in, tmp_path / "downloads")
    assert "Traceback" not in said
    assert code == 0 or "Error: " in said
    assert code != 0 or after != before
    verdict = json.loads(read("history", "--json", *storage))[0]["verdict"]
    assert verdict in ({"interrupted"} if after == before else {"forced", "interrupted"})
