"""Every number of every backbone's config, at its worst, beside real weights: it is refused in a line, or it works."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel, ValidationError

from crystalsweep.config import Config
from crystalsweep.networks.architectures import SIZES, BackboneConfig
from crystalsweep.structures import neighbours
from crystalsweep.structures.batch import collate
from crystalsweep.structures.crystal import Crystal
from crystalsweep.structures.graph import pristine_graph
from crystalsweep.structures.neighbours import NeighboursError, nearest, nearest_neighbours, neighbour_list
from crystalsweep.training.config import RestorationConfig
from crystalsweep.wording.mistakes import mistakes
from tests.checkpoints import random_checkpoint
from trainables.finetune.config import FinetuneConfig
from trainables.gan.config import GanConfig

EXTREMES = (0, -1, 1, 2, 1000, 2**31, 2**53, 2**63, 2**70, 10**300, 1e-300, 1e300, 1e308, math.nan, math.inf, -math.inf)

NAMES = sorted(SIZES)

SECONDS, GIGABYTE = 60, 1 << 30

_READER = """
import json, resource, sys, time
from pathlib import Path
import numpy as np
from crystalsweep.inference.completion import complete
from crystalsweep.networks.checkpoint import load_generator, read_backbone
from crystalsweep.structures.crystal import Crystal

resource.setrlimit(resource.RLIMIT_DATA, (int(sys.argv[2]), int(sys.argv[2])))
folder = Path(sys.argv[1])
file = folder / "checkpoint.json"
info = json.loads(file.read_text())
plain = dict(info["config"]["backbone"])
salt = Crystal.of("salt", [0, 17], 3.99 * (1 - np.eye(3)) / 2**0.5, [[0, 0, 0], [0.5, 0.5, 0.5]])
for line in sys.stdin:
    info["config"]["backbone"] = {**plain, **json.loads(line)}
    file.write_text(json.dumps(info))
    began = time.monotonic()
    try:
        read_backbone(folder)
        complete(load_generator(folder), [salt])
        outcome = "works"
    except ValueError as error:
        outcome = f"refused {error}"
    print(json.dumps([line.strip(), outcome, time.monotonic() - began]), flush=True)
"""


def numbers_of(config: BackboneConfig) -> Iterator[str]:
    """Yield the names of a config's numbers; a truth value is none."""
    for name, value in config:
        if type(value) in (int, float):
            yield name


def outcomes(folder: Path, changes: list[dict[str, Any]]) -> list[tuple[dict[str, Any], str, float]]:
    """Return what became of the checkpoint under each change, in a process that may take a gigabyte more than torch."""
    given = "".join(json.dumps(change) + "\n" for change in changes)
    command = [sys.executable, "-W", "ignore", "-c", _READER, str(folder), str(4 * GIGABYTE)]
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-2000:]
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return [(json.loads(change), outcome, seconds) for change, outcome, seconds in rows]


@pytest.mark.parametrize("name", NAMES)
def test_an_absurd_number_in_a_checkpoint_is_refused_in_a_line_or_works(tmp_path: Path, name: str) -> None:
    config = SIZES[name]["smoke"]
    folder = random_checkpoint(tmp_path / "checkpoint", 0, config)
    changes = [{field: value} for field in numbers_of(config) for value in EXTREMES]
    changes += [{"cutoff": 30.0, "max_neighbours": 10_000}]
    found = outcomes(folder, [{}, *changes])
    assert len(found) == len(changes) + 1
    assert found[0][1] == found[-1][1] == "works"
    for change, outcome, seconds in found:
        assert "\n" not in outcome, (change, outcome)
        assert outcome == "works" or "checkpoint.json" in outcome, (change, outcome)
        assert seconds < SECONDS, (change, seconds)
    unconfirmed = {"cutoff", "max_neighbours", "alpha_drop", "drop_path"}
    worked = {name for change, outcome, _ in found if outcome == "works" for name, value in change.items() if value > 2}
    assert worked <= unconfirmed  # every other number is told by the weights


@pytest.mark.parametrize("name", NAMES)
def test_no_number_of_a_backbone_is_without_bounds(name: str) -> None:
    config = SIZES[name]["smoke"]
    for field in numbers_of(config):
        for value in (2**70, 1e308, math.nan, math.inf, -1):
            with pytest.raises(ValidationError):
                type(config).model_validate({**config.model_dump(), field: value})


def test_published_networks_are_within_the_bounds() -> None:
    published = {"width": 128, "layers": 20, "cutoff": 12.0, "max_neighbours": 500, "radial_functions": 600}
    for name in ("equiformer_v2", "escn_md"):
        config = SIZES[name]["paper"]
        assert type(config).model_validate({**config.model_dump(), **published}).layers == 20


def settings(config: Config, prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the paths of all numbers in a config, those that are None by default too."""
    for name, value in config:
        if isinstance(value, BaseModel):
            assert isinstance(value, Config)
            yield from settings(value, (*prefix, name))
        elif type(value) in (int, float) or value is None:
            yield (*prefix, name)


@pytest.mark.parametrize("config", [RestorationConfig(), GanConfig(), FinetuneConfig()], ids=lambda c: type(c).__name__)
def test_no_number_of_a_stage_is_without_bounds(config: Config) -> None:
    paths = list(settings(config))
    assert len(paths) > 8
    for path in paths:
        for value in (2**128, 10**300, 1e308, math.nan, math.inf, -(2**128)):
            tree = config.model_dump(mode="json")
            *parents, last = path
            node = tree
            for part in parents:
                node = node[part]
            node[last] = value
            with pytest.raises(ValidationError) as raised:
                type(config).model_validate(tree)
            assert "\n" not in mistakes(raised.value, type(config), tree)


@pytest.mark.parametrize(
    "changes",
    [
        {"mask_types": {"species": 1e300}},
        {"mask_types": {"species": 1e-300}},
        {"sigma_noise": 1e300},
        {"sigma_noise": [0.1, 1e300]},
        {"sigma_noise": {"low": 0.0, "high": 1e300}},
    ],
    ids=str,
)
def test_numbers_within_lists_and_tables_have_bounds_too(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        RestorationConfig.model_validate({"corruption": changes})


# Neighbours


def cluster(atoms: int, edge: float, cell: float) -> tuple[np.ndarray, np.ndarray]:
    """Return a cubic cell and atoms at random in a corner of it."""
    frac = np.random.default_rng(0).random((atoms, 3)) * edge / cell
    return cell * np.eye(3), frac


@pytest.mark.parametrize(
    ("crystal", "cutoff", "most", "words"),
    [
        (cluster(2, 4, 4), 1000.0, 12, "about 2.6.e.08 pairs of atoms within 1000 Å in a crystal of 2 atoms"),
        (cluster(1, 3, 3), 1000.0, 12, "pairs of atoms within 1000 Å in a crystal of 1 atoms"),
        (cluster(10_000, 18, 18), 12.0, 500, "about 1.24e.08 pairs of atoms within 12 Å"),
        (cluster(10_000, 4, 1000), 5.0, 10, "more than 2.* pairs of atoms within 5 Å in a crystal of 10,000 atoms"),
        (cluster(4000, 4, 100), 5.0, 10_000, "a graph of more than 5.* edges, at most 5,000,000 are made; lower"),
        (([[3, 0, 0], [290, 3, 0], [0, 280, 3]] * np.ones(1), np.zeros((54, 3))), 5.0, 12, "give a reduced cell"),
        ((np.ones((3, 3)), np.zeros((1, 3))), 5.0, 12, "a cell without volume"),
    ],
    ids=["far", "far alone", "dense", "clustered", "all kept", "skewed", "flat"],
)
def test_more_neighbours_than_fit_are_refused_before_they_fill_the_memory(
    crystal: tuple[np.ndarray, np.ndarray], cutoff: float, most: int, words: str
) -> None:
    with pytest.raises(NeighboursError, match=words) as raised:
        nearest_neighbours(*crystal, cutoff, most)
    assert "\n" not in str(raised.value)
    assert "; " in str(raised.value)


def test_found_some_at_a_time_they_are_those_found_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    lattice, frac = cluster(60, 9, 9)
    at_once = neighbour_list(lattice, frac, 5.0)
    near = nearest_neighbours(lattice, frac, 5.0, 12)
    monkeypatch.setattr(neighbours, "_PAIRS_AT_ONCE", 700)
    monkeypatch.setattr(neighbours, "MAX_PAIRS", 10**7)
    calls = list(neighbours._portions(lattice, frac, 5.0))
    assert len(calls) > 3
    assert as_set(neighbour_list(lattice, frac, 5.0)) == as_set(at_once)
    assert as_set(nearest_neighbours(lattice, frac, 5.0, 12)) == as_set(near) == as_set(nearest(at_once, 12))


def test_a_coarser_search_in_an_empty_cell_finds_the_same() -> None:
    lattice = 900.0 * np.eye(3)
    cart = np.array([[1, 1, 1], [3, 1, 1], [898, 1, 1], [700, 800, 400], [700, 804.5, 400], [700, 806, 400]], float)
    found = neighbour_list(lattice, cart / 900, 5.0)
    assert sorted(zip(found.dst.tolist(), found.src.tolist(), strict=True)) == [
        (0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1), (3, 4), (4, 3), (4, 5), (5, 4),
    ]  # fmt: skip
    assert neighbours.shortest_distance(lattice, cart / 900) == pytest.approx(1.5)


def test_an_empty_cell_takes_no_memory() -> None:
    """It took 4 GB and 10 s."""
    code = """
import resource
import numpy as np
from crystalsweep.structures.neighbours import neighbour_list, shortest_distance
neighbour_list(np.eye(3), np.zeros((1, 3)), 2.0)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(shortest_distance(1000 * np.eye(3), np.array([[0, 0, 0], [0.99, 0.99, 0.99]])))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=True)
    distance, kilobytes = done.stdout.split()
    assert float(distance) == pytest.approx(10 * 3**0.5)
    assert int(kilobytes) < 200_000


def test_edges_are_counted_over_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    crystal = Crystal.of("x", [29], 2.5 * np.eye(3), [[0, 0, 0]])
    edges = len(pristine_graph(collate([crystal]), 5.0, 12).src)
    monkeypatch.setattr(neighbours, "MAX_EDGES", 3 * edges)
    assert len(pristine_graph(collate([crystal] * 3), 5.0, 12).src) == 3 * edges
    with pytest.raises(ValueError, match=f"a graph of more than {4 * edges} edges.*batch_size"):
        pristine_graph(collate([crystal] * 5), 5.0, 12)


def as_set(found: neighbours.NeighbourList) -> set[tuple[int, ...]]:
    rows = np.column_stack([found.dst, found.src, found.offset]).round().astype(int)
    assert len(set(map(tuple, rows.tolist()))) == len(rows)
    return set(map(tuple, rows.tolist()))
