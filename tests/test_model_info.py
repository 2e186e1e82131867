"""`crystalsweep model`: counts are exact, measurements agree with what is known, and mistakes get one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from torch import nn
from torch.utils.checkpoint import checkpoint

from crystalsweep.cli.model import PRESETS, model
from crystalsweep.config import parse_bytes
from crystalsweep.data import load_bundled
from crystalsweep.networks.architectures import SIZES, BackboneConfig, PaiNNConfig, size
from crystalsweep.networks.checkpoint import CheckpointInfo, save_checkpoint
from crystalsweep.networks.cost import (
    LiveBytes,
    Sample,
    count_flops,
    draw_sample,
    flops_per_structure,
    forward_backward,
    largest_batch,
    memory_of_step,
    parameters_by_part,
    peak_bytes,
    standing_bytes,
    weightless,
)
from crystalsweep.networks.models import Generator, PropertyModel, graph_of
from crystalsweep.structures.batch import collate
from crystalsweep.structures.crystal import Crystal
from crystalsweep.training.catalogue import stages

CONFIG = size("painn", "smoke")


@pytest.fixture(scope="module")
def crystals() -> list[Crystal]:
    return [crystal for crystal in load_bundled("val") if 2 <= len(crystal) <= 8][:6]


def run(*args: str) -> Result:
    return CliRunner().invoke(model, args)


def report(*args: str) -> dict[str, Any]:
    result = run("info", *args, "--json")
    assert result.exit_code == 0, result.output
    content: dict[str, Any] = json.loads(result.stdout)
    return content


# Parameters


@pytest.mark.parametrize("backbone", list(SIZES))
@pytest.mark.parametrize("network", [Generator, PropertyModel])
def test_counts_without_weights_are_those_with(backbone: str, network: type[nn.Module]) -> None:
    with weightless():
        empty = network(size(backbone, "smoke"))
    real = network(size(backbone, "smoke"))
    assert all(parameter.is_meta for parameter in empty.parameters())
    assert not any(buffer.is_meta for buffer in empty.buffers())
    assert not any(parameter.is_meta for parameter in real.parameters())
    assert sum(parameters_by_part(empty).values()) == sum(p.numel() for p in real.parameters())
    assert parameters_by_part(empty) == parameters_by_part(real)


def test_parts_are_the_backbones_children_and_the_heads() -> None:
    generator = Generator(CONFIG)
    parts = parameters_by_part(generator)
    assert list(parts) == [
        *("backbone.embedding", "backbone.messages", "backbone.updates"),
        *("species_head", "perturbation_head"),
    ]
    assert parts["backbone.embedding"] == 119 * CONFIG.width


def test_a_backbone_of_one_module_is_split_by_that() -> None:
    with weightless():
        parts = parameters_by_part(PropertyModel(size("escn_md", "smoke")))
    assert {"backbone.network.blocks", "backbone.network.sphere_embedding", "head"} <= set(parts)


@pytest.mark.parametrize(("network", "count"), [(Generator, 142_464_951), (PropertyModel, 132_200_962)])
def test_parameters_of_the_papers_networks(network: type[nn.Module], count: int) -> None:
    with weightless():
        assert sum(p.numel() for p in network(size("equiformer_v2", "paper")).parameters()) == count


def test_adam_takes_four_times_the_weights() -> None:
    linear = nn.Linear(3, 5)
    linear.register_buffer("constant", torch.zeros(7))
    assert standing_bytes(linear) == 4 * 4 * (3 * 5 + 5) + 4 * 7
    linear.requires_grad_(False)
    assert standing_bytes(linear) == 4 * (3 * 5 + 5) + 4 * 7


def test_adam_does_allocate_what_is_counted() -> None:
    linear = nn.Linear(30, 50)
    adam = torch.optim.Adam(linear.parameters())
    linear(torch.ones(1, 30)).sum().backward()
    adam.step()
    moments = [v for state in adam.state.values() for k, v in state.items() if k != "step"]
    tensors = [*linear.parameters(), *(p.grad for p in linear.parameters() if p.grad is not None), *moments]
    assert sum(t.numel() * t.element_size() for t in tensors) == standing_bytes(linear)


# FLOPs


@pytest.mark.parametrize(("inputs_learn", "products"), [(False, 2), (True, 3)])
def test_flops_of_a_linear_layer(inputs_learn: bool, products: int) -> None:
    linear, x = nn.Linear(10, 20), torch.ones(7, 10, requires_grad=inputs_learn)
    assert count_flops(lambda: linear(x).sum().backward()) == products * 2 * 7 * 10 * 20


def test_flops_per_structure_do_not_depend_on_the_batch(crystals: list[Crystal]) -> None:
    network = Generator(CONFIG)
    once = flops_per_structure(network, CONFIG, crystals)
    assert once > 0
    assert flops_per_structure(network, CONFIG, crystals * 3) == pytest.approx(once)


# Memory


def test_live_bytes_of_known_tensors() -> None:
    x = torch.ones(1000)
    with LiveBytes() as live:
        y = x * 2  # 4000 bytes
        z = y.view(10, 100).T  # a view is not new
        y.add_(1)  # nor is what changes in place
        x.add_(1)
        assert live.now == 4000
        w = z.double()  # 8000
        assert live.now == 12000
        del w
        v = z.exp()
        assert live.now == 8000
        del y, z, v
        assert live.now == 0
    assert live.peak == 12000


def test_peak_of_a_network_is_its_activations(width: int = 100) -> None:
    """h and silu(h), which the forward pass keeps, and the gradient of the latter."""
    network = nn.Sequential(nn.Linear(8, width, bias=False), nn.SiLU(), nn.Linear(width, 1, bias=False))
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)

    def peak(rows: int) -> int:
        x, answer = torch.ones(rows, 8), torch.ones(rows, 1)
        return peak_bytes(lambda: network(x).backward(answer), "cpu")

    assert (peak(300) - peak(100)) / 200 == pytest.approx(3 * 4 * width, abs=8)


def test_recomputed_activations_are_counted_once() -> None:
    """Ten layers keep ten activations; checkpointed they keep ten inputs of 1/16 the width and recompute one."""
    blocks = [nn.Sequential(nn.Linear(16, 256), nn.Tanh(), nn.Linear(256, 16)) for _ in range(10)]
    x = torch.ones(500, 16, requires_grad=True)

    def plain() -> None:
        y = x
        for block in blocks:
            y = block(y)
        y.sum().backward()

    def recomputing() -> None:
        y = x
        for block in blocks:
            y = checkpoint(block, y, use_reentrant=False)
        y.sum().backward()

    wide, narrow = 4 * 500 * 256, 4 * 500 * 16
    assert 10 * wide < peak_bytes(plain, "cpu") < 14 * wide
    assert wide + 9 * narrow < peak_bytes(recomputing, "cpu") < 5 * wide


@pytest.mark.parametrize("network", [Generator, PropertyModel])
def test_memory_is_positive_and_linear_in_the_batch(network: type[nn.Module], crystals: list[Crystal]) -> None:
    net, many = network(CONFIG), crystals * 8
    memory = memory_of_step(net, CONFIG, many)
    assert memory.per_structure > 0
    assert memory_of_step(net, CONFIG, many * 2).per_structure == pytest.approx(memory.per_structure, rel=0.02)
    batch = collate(many * 40)
    graph = graph_of(batch.cart, batch.lattice, batch.counts, CONFIG)
    expected = memory.extra + memory.per_structure * len(batch)
    assert peak_bytes(lambda: forward_backward(net, batch, graph), "cpu") == pytest.approx(expected, rel=0.02)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_what_the_cpu_counts_is_what_cuda_allocates(crystals: list[Crystal]) -> None:
    config = PaiNNConfig(width=64)
    here, there = (memory_of_step(Generator(config).to(d), config, crystals * 4) for d in ("cpu", "cuda"))
    assert there.per_structure == pytest.approx(here.per_structure, rel=0.1)


def test_largest_batch_grows_with_memory_and_fills_it() -> None:
    batches = [largest_batch(memory, 1e9, 3e6) for memory in np.linspace(0, 1e11, 50)]
    assert batches == sorted(batches)
    assert batches[0] == 0
    assert largest_batch(1e9 + 7 * 3e6, 1e9, 3e6, headroom=0) == 7
    assert largest_batch(1e9 + 7 * 3e6 - 1, 1e9, 3e6, headroom=0) == 6


@pytest.mark.parametrize(
    ("text", "size"), [("80GB", 80 * 10**9), ("24 GiB", 24 * 2**30), ("1.5g", 1_500_000_000), ("512", 512)]
)
def test_amounts_of_memory(text: str, size: int) -> None:
    assert parse_bytes(text) == size


# The sample


def test_sample_is_seeded_and_obeys_the_number_of_atoms(crystals: list[Crystal]) -> None:
    first, second = (draw_sample(crystals, CONFIG, 6, size=3) for _ in range(2))
    assert [c.id for c in first.crystals] == [c.id for c in second.crystals]
    assert first.atoms.max() <= 6
    for crystal, edges in zip(first.crystals, first.edges, strict=True):
        batch = collate([crystal])
        assert edges == len(graph_of(batch.cart, batch.lattice, batch.counts, CONFIG).src)
    with pytest.raises(ValueError, match="at most 1 atoms"):
        draw_sample(crystals, CONFIG, 1)


def test_crystals_to_measure_are_usual_ones_within_the_budget(crystals: list[Crystal]) -> None:
    sample = Sample(crystals=crystals, atoms=np.array([2, 2, 2, 4, 2, 2]), edges=np.array([0, 20, 22, 40, 24, 90]))
    assert sample.affordable(1e9, 10) == [4, 2, 1]
    assert sample.affordable(6 * 10 * 45, 10) == [4, 1]
    assert sample.affordable(1, 10) == [1]


# The command


def test_atoms_are_those_of_the_stages_presets() -> None:
    pretrain, *others = (
        {name: config.max_atoms for name, config in stage.presets.items()} for stage in stages().values()
    )
    assert others == [pretrain] * len(others)
    assert tuple(pretrain) == PRESETS


def test_info_says_everything() -> None:
    result = run("info", "--preset", "smoke", "--memory", "80GB", "--device", "cpu")
    assert result.exit_code == 0, result.output
    for text in (
        *("painn at smoke", "max_neighbours            8", "backbone.messages", "8,566", "6,002"),
        *("128 structures of bundled of at most 12 atoms", "FLOPs per structure", "matrix multiplications only"),
        *("largest batch in 80 GB", "largest batch in 80 GB, checkpointing"),
    ):
        assert text in result.output


def test_info_for_machines() -> None:
    content = report("--preset", "smoke", "--memory", "80GB", "--device", "cpu")
    assert content["settings"] == CONFIG.model_dump(mode="json")
    assert content["memory_bytes"] == 80 * 10**9
    assert 1 < content["sample"]["mean_atoms"] <= content["sample"]["most_atoms"] <= 12
    for name, network in {"generator": Generator, "discriminator": PropertyModel}.items():
        found = content["networks"][name]
        assert found["parameters"] == parameters_by_part(network(CONFIG))
        assert found["standing_bytes"] == standing_bytes(network(CONFIG))
        assert found["flops_per_structure"] > 0
        for variant in ("no_checkpointing", "checkpointing"):
            assert found[variant]["largest_batch"] > 1000


def test_more_memory_fits_more_and_settings_are_obeyed() -> None:
    small = report("--preset", "smoke", "--memory", "1GB", "--device", "cpu")["networks"]["generator"]
    wider = report("--preset", "smoke", "--memory", "2GB", "--device", "cpu", "--set", "width=32")
    assert wider["settings"]["width"] == 32
    assert sum(wider["networks"]["generator"]["parameters"].values()) > 2 * sum(small["parameters"].values())
    double = report("--preset", "smoke", "--memory", "2GB", "--device", "cpu")["networks"]["generator"]
    assert double["no_checkpointing"]["largest_batch"] == pytest.approx(
        2 * small["no_checkpointing"]["largest_batch"], rel=0.01
    )


def test_counts_only_runs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crystalsweep.data.load_data", None)
    content = report("--preset", "base", "--counts-only")
    assert set(content["networks"]["generator"]) == {"parameters"}
    text = run("info", "--preset", "base", "--counts-only").output
    assert "3,324,790" in text
    assert "FLOPs" not in text


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A run folder with a checkpoint of a network of its own size."""
    config: BackboneConfig = CONFIG.model_copy(update={"width": 24})
    folder = tmp_path / "run" / "checkpoint"
    folder.mkdir(parents=True)
    info = CheckpointInfo(
        stage="pretrain",
        config={"backbone": config.model_dump(mode="json"), "max_atoms": 5},
        epoch=3,
        step=9,
        data_sha256="",
        split_sha256="",
    )
    save_checkpoint(folder, info, {"generator": Generator(config)})
    return folder


def test_a_checkpoint_brings_its_backbone_and_its_atoms(trained: Path) -> None:
    content = report(str(trained), "--device", "cpu")
    assert content["settings"]["width"] == 24
    assert content["sample"]["max_atoms"] == 5
    assert "pretrain, epoch 3, step 9" in content["title"]
    assert report(str(trained.parent), "--counts-only")["settings"]["width"] == 24


def test_the_shipped_generator_is_one_too() -> None:
    found = report("shipped", "--counts-only")
    assert (found["settings"]["name"], found["settings"]["width"]) == ("painn", 128)


def test_list_has_a_row_per_backbone_and_preset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crystalsweep.cli.model.SIZES", {"painn": SIZES["painn"]})
    result = run("list", "--json")
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)
    assert [row["preset"] for row in rows] == list(PRESETS)
    assert list(rows[0].values()) == ["painn", "smoke", 16, 1, 1, 8566]
    assert "8,566" in run("list").output


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--backbone", "equiformer"], "did you mean 'equiformer_v2'?"),
        (["--preset", "demmo"], "did you mean 'demo'?"),
        (["--set", "widht=3"], "did you mean 'width'?"),
        (["--set", "width=-3"], "greater than 0"),
        (["--preset", "smoke", "--memory", "lots"], "80GB"),
        (["--data", "nowhere.csv"], "nowhere.csv"),
        (["nowhere"], "holds no checkpoint"),
        (["nowhere", "--preset", "demo"], "a checkpoint has its own backbone"),
    ],
)
def test_a_mistake_gets_one_line(args: list[str], said: str) -> None:
    result = run("info", *args)
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    (line,) = result.output.splitlines()
    assert line.startswith("Error: ")
    assert said in line


def test_help_teaches_and_loads_nothing_heavy() -> None:
    assert "crystalsweep model info --backbone" in run("info", "--help").output
    assert "crystalsweep model list" in run("list", "--help").output
    code = (
        "import sys; from crystalsweep.cli.model import model; "
        "print([m for m in ('torch', 'ray', 'fairchem', 'pymatgen') if m in sys.modules])"
    )
    env = os.environ | {"PYTHONPATH": str(Path(sys.modules["crystalsweep"].__path__[0]).parent)}
    assert subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True).stdout == "[]\n"
