"""EquiformerV2: the conformance kit, and parity with fairchem-core 1.10."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from crystalsweep.networks.architectures import EquiformerV2Config
from crystalsweep.networks.backbones import build_backbone
from crystalsweep.networks.backbones.equiformer_v2 import DropPath, Edges, Frames
from crystalsweep.networks.models import Generator, one_hot
from crystalsweep.networks.testing import ASYMMETRIC, BackboneConformance, Cell
from crystalsweep.structures.graph import Graph

ROOT = Path(__file__).resolve().parents[1]
FIXTURES = {path.stem.rpartition("_")[2]: path for path in (ROOT / "tests" / "fixtures").glob("equiformer_v2_*")}
TINY = EquiformerV2Config(
    width=8,
    layers=2,
    edge_channels=8,
    radial_functions=16,
    max_neighbours=12,
    attention_heads=2,
    attention_hidden=8,
    alpha_channels=4,
    value_channels=4,
    feed_forward=16,
)


class TestEquiformerV2(BackboneConformance):
    config = TINY
    tolerance = 2e-5
    vector_tolerance = 2e-3  # the SiLU on a 6 × 7 grid is equivariant up to aliasing
    bf16_tolerance = 0.1  # eight channels average little


class TestEquiformerV2WithFewerOrders(BackboneConformance):
    config = TINY.model_copy(update={"lmax": 3, "mmax": 2, "layers": 1})
    tolerance = 2e-5
    vector_tolerance = 2e-3
    bf16_tolerance = 0.1


# Parity with fairchem-core 1.10


def recorder() -> ModuleType:
    """The script that recorded the fixtures: it holds the rule of their weights."""
    name = "record_equiformer_v2"
    spec = importlib.util.spec_from_file_location(name, ROOT / "infra" / f"{name}.py")
    assert spec and spec.loader
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def name_in_1_10(ours: str) -> str:
    for prefix in ("backbone.", "species_head.", "perturbation_head."):
        ours = ours.removeprefix(prefix)
    return ours


def recorded(name: str) -> tuple[dict[str, Tensor], EquiformerV2Config, int]:
    with safe_open(FIXTURES[name], framework="pt") as file:
        record = json.loads(file.metadata()["record"])
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  not a dict
    net = record["net"]
    config = EquiformerV2Config(
        width=net["channels"],
        layers=net["blocks"],
        lmax=net["lmax"],
        mmax=net["mmax"],
        edge_channels=net["edge"],
        radial_functions=600,
        symmetry="SO3",
        attention_heads=net["heads"],
        attention_hidden=net["attn_hidden"],
        alpha_channels=net["alpha"],
        value_channels=net["value"],
        feed_forward=net["ffn"],
        head_layout="released",
        cutoff=record["cutoff"],
        max_neighbours=record["max_neighbours"],
    )
    return tensors, config, record["parameters"]


def difference(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("name", ["lmax2", "lmax4", "lmax6"])
def test_agrees_with_fairchem_1_10(name: str) -> None:
    """Same weights and frames: outputs to 1e-5, parameter gradients to 1e-4 of their norm."""
    expected, config, parameters = recorded(name)
    rule = recorder()
    model = Generator(config).eval()
    assert sum(p.numel() for p in model.parameters()) == parameters
    with torch.no_grad():
        for ours, parameter in model.named_parameters():
            parameter.copy_(rule.weight(name_in_1_10(ours), tuple(parameter.shape)))
        model.backbone.average_degree.fill_(23.395238876342773)
    graph = Graph(
        cart=expected["cart"],
        lattice=expected["lattice"],
        crystal=torch.repeat_interleave(torch.arange(2), expected["counts"]),
        src=expected["src"],
        dst=expected["dst"],
        offset=expected["offset"],
    )
    features = model.backbone(one_hot(expected["species"]), graph)
    scalars, vectors = model.species_head(features), model.perturbation_head(features)
    assert difference(features.coefficients, expected["nodes"]) < 1e-5
    assert difference(scalars, expected["scalars"]) < 1e-5
    assert difference(vectors, expected["vectors"]) < 1e-5
    loss = (scalars * rule.probe("scalars", tuple(scalars.shape))).sum()
    (loss + (vectors * rule.probe("vectors", tuple(vectors.shape))).sum()).backward()
    for ours, parameter in model.named_parameters():
        theirs = expected[f"gradient/{name_in_1_10(ours)}"]
        assert parameter.grad is not None, ours
        found = rule.summary(name_in_1_10(ours), parameter.grad)
        assert float((found - theirs).abs().max()) <= 1e-4 * float(theirs[-1]) + 1e-6, ours


def test_every_parameter_of_1_10_has_its_namesake() -> None:
    tensors, config, _ = recorded("lmax2")
    theirs = {key.removeprefix("gradient/") for key in tensors if key.startswith("gradient/")}
    assert {name_in_1_10(name) for name, _ in Generator(config).named_parameters()} == theirs


# Symmetry


def turned(config: EquiformerV2Config, matrix: Tensor) -> float:
    """Greatest change of scalars, relative to their greatest, when a chiral crystal is turned by `matrix`."""
    kit = BackboneConformance()
    kit.config = config  # type: ignore[misc]
    model, cell = kit.backbone(), Cell.of(ASYMMETRIC[0])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)  # beyond the first steps of training
    before = kit.features(model, cell).scalars
    moved = cell._replace(cart=cell.cart @ matrix.numpy().T, lattice=cell.lattice @ matrix.numpy().T)
    return difference(kit.features(model, moved).scalars, before)


def test_complex_convolutions_tell_a_crystal_from_its_mirror_image() -> None:
    """Why O3 is the default: the published network is equivariant under rotations only."""
    mirror = torch.diag(torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64))
    published = turned(TINY.model_copy(update={"symmetry": "SO3"}), mirror)
    assert published > 20 * turned(TINY, mirror)


# The roll about an edge


def test_frames_turn_edges_onto_y_and_back() -> None:
    vectors = torch.randn(50, 3, dtype=torch.float64)
    into, out = Frames(2, 2).double()(vectors)
    order_of_y = 1  # m = 0 of degree 1, second among the orders m = 0
    along = into[:, order_of_y, 1:4]
    torch.testing.assert_close(along, vectors / vectors.norm(dim=1, keepdim=True))
    torch.testing.assert_close(out @ into, torch.eye(9, dtype=torch.float64).expand(50, 9, 9))


def test_evaluation_repeats_and_training_rolls() -> None:
    torch.manual_seed(0)
    frames, vectors = Frames(4, 2), torch.randn(10, 3)
    assert torch.equal(frames.eval()(vectors)[0], frames(vectors)[0])
    assert not torch.equal(frames.train()(vectors)[0], frames(vectors)[0])


@pytest.mark.parametrize("dropped", ["alpha_drop", "drop_path"])
def test_dropout_acts_in_training_only(dropped: str) -> None:
    """Each kind alone, with the frames held still."""
    kit, cell = TestEquiformerV2(), Cell.of(ASYMMETRIC[0])
    none = {"alpha_drop": 0.0, "drop_path": 0.0}
    model = build_backbone(TINY.model_copy(update=none | {dropped: 0.5})).train()
    model.get_submodule("frames").eval()
    outcomes = [kit.features(model, cell).scalars for _ in range(8)]
    assert not all(torch.equal(outcome, outcomes[0]) for outcome in outcomes)
    model.eval()
    assert torch.equal(kit.features(model, cell).scalars, kit.features(model, cell).scalars)


def test_dropped_paths_are_those_of_whole_crystals_and_keep_the_mean() -> None:
    torch.manual_seed(0)
    crystal = torch.arange(2000).repeat_interleave(3)
    edges = Edges(*[torch.empty(0)] * 6, crystal=crystal, crystals=2000)  # type: ignore[misc]
    factors = DropPath(0.25).train()(torch.ones(len(crystal), 1, 1), edges).view(2000, 3)
    assert factors.unique().tolist() == pytest.approx([0.0, 4 / 3])
    assert torch.equal(factors.amin(dim=1), factors.amax(dim=1))
    assert float(factors.mean()) == pytest.approx(1, abs=0.05)
