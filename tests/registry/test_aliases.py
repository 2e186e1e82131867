"""Aliases on a real server that several processes move at once, and whose holders die."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterator

import pytest

from crystalsweep.registry.aliases import (
    GENERATION,
    HOLDER,
    STALE_S,
    ConflictError,
    ensure_registered,
    holder_of,
    lease,
    move,
    replaced_by,
)
from crystalsweep.tracking.tracker import Tracker
from tests.ray.servers import mlflow_server

pytestmark = pytest.mark.server

MODEL = "crystal-generator"
PROCESSES = 6


@pytest.fixture(scope="module")
def tracker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tracker]:
    server = mlflow_server(tmp_path_factory.mktemp("server"))
    server.start()
    yield Tracker(server.address)
    server.kill()


@pytest.fixture
def model(tracker: Tracker, request: pytest.FixtureRequest) -> str:
    """A registered model with versions 1 to 3, of which none has an alias."""
    name = f"{MODEL}-{request.node.name}"
    ensure_registered(tracker, name)
    for _ in range(3):
        tracker.client.create_model_version(name, source="s3://nowhere/checkpoint")
    return name


def at(tracker: Tracker, model: str, alias: str = "champion") -> str | None:
    found = holder_of(tracker, model, alias)
    return None if found is None else str(found.version)


def leases(tracker: Tracker, model: str) -> list[str]:
    return [found.name for found in tracker.client.search_registered_models(f"name LIKE '{model}.lock-%'")]


def test_nobody_holds_what_is_not_registered(tracker: Tracker) -> None:
    assert holder_of(tracker, "no-such-model", "champion") is None


def test_an_alias_moves_from_where_it_was_expected_only(tracker: Tracker, model: str) -> None:
    move(tracker, model, "champion", "1", expected=None)
    move(tracker, model, "champion", "2", expected="1")
    with pytest.raises(ConflictError, match="at version 2 now, at version 1 when this began"):
        move(tracker, model, "champion", "3", expected="1")
    assert at(tracker, model) == "2"
    assert replaced_by(tracker.client.get_model_version(model, "2"), "champion") == "1"
    assert replaced_by(tracker.client.get_model_version(model, "1"), "champion") is None
    move(tracker, model, "champion", None, expected="2")
    assert at(tracker, model) is None
    assert not leases(tracker, model)


def test_of_many_promotions_at_once_one_wins_and_the_others_are_told(tracker: Tracker, model: str) -> None:
    code = textwrap.dedent("""
        import sys
        from crystalsweep.registry.aliases import ConflictError, move
        from crystalsweep.tracking.tracker import Tracker
        tracker = Tracker(sys.argv[1])
        print("ready", flush=True)
        sys.stdin.readline()
        try:
            move(tracker, sys.argv[2], "champion", sys.argv[3], expected=None)
            print("won")
        except ConflictError as error:
            print("lost:", error)
    """)
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", code, tracker.uri, model, str(1 + i % 3)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for i in range(PROCESSES)
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    said = [racer.communicate(timeout=120)[0].strip() for racer in racers]
    winners = [i for i, text in enumerate(said) if text == "won"]
    assert len(winners) == 1, said
    assert all(text.startswith("lost: ") for i, text in enumerate(said) if i not in winners)
    assert at(tracker, model) == str(1 + winners[0] % 3)
    assert not leases(tracker, model)


def dead(tracker: Tracker, model: str, generation: int) -> None:
    """What a promotion leaves that was killed while it moved the alias."""
    code = f"""
import os, signal
from crystalsweep.registry.aliases import claimant, HOLDER
from crystalsweep.tracking.tracker import Tracker
Tracker({tracker.uri!r}).client.create_registered_model("{model}.lock-{generation}", tags={{HOLDER: claimant()}})
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", code], check=False)
    assert f"{model}.lock-{generation}" in leases(tracker, model)


def test_a_dead_holder_is_passed_over_and_who_comes_late_lets_go(tracker: Tracker, model: str) -> None:
    dead(tracker, model, 0)
    dead(tracker, model, 1)
    move(tracker, model, "champion", "1", expected=None)
    assert at(tracker, model) == "1"
    assert tracker.client.get_registered_model(model).tags[GENERATION] == "2"
    assert not leases(tracker, model)
    move(tracker, model, "champion", "2", expected="1")
    assert at(tracker, model) == "2"


def test_a_living_holder_is_named(tracker: Tracker, model: str) -> None:
    with lease(tracker, model), pytest.raises(ConflictError, match=r"is moving an alias of .*process"):
        move(tracker, model, "champion", "1", expected=None)
    assert at(tracker, model) is None


def test_a_holder_of_another_host_is_waited_for(tracker: Tracker, model: str) -> None:
    name = f"{model}.lock-0"
    tracker.client.create_registered_model(name, tags={HOLDER: "anna elsewhere 4711 0a1b2c3d"})
    with pytest.raises(ConflictError, match="anna is moving an alias"):
        move(tracker, model, "champion", "1", expected=None)
    assert STALE_S >= 60
    tracker.client.delete_registered_model(name)
