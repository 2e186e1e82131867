"""eSCN-MD passes the conformance kit, agrees with fairchem, and starts from fairchem's checkpoint files."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import fairchem.core.models.uma.escn_moe  # noqa: F401  makes the model of its name known
import hydra
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from fairchem.core.datasets.atomic_data import AtomicData
from fairchem.core.units.mlip_unit.api.inference import MLIPInferenceCheckpoint
from omegaconf import OmegaConf
from torch import Tensor, nn

from crystalsweep.cli.train import train
from crystalsweep.networks.architectures import SIZES, EscnMdConfig
from crystalsweep.networks.backbones import build_backbone
from crystalsweep.networks.backbones.escn_md import EscnMd
from crystalsweep.networks.checkpoint import read_info, read_weights
from crystalsweep.networks.models import one_hot
from crystalsweep.networks.pretrained import load_pretrained, read_escn_md
from crystalsweep.networks.testing import SAMPLES, BackboneConformance, Cell
from crystalsweep.structures.crystal import MASK
from crystalsweep.structures.graph import Graph

GENERATORS = Path(__file__).parent / "fixtures" / "generators"

CONFIG = EscnMdConfig(
    width=8, layers=2, lmax=2, mmax=2, edge_channels=8, radial_functions=16, hidden=8, max_neighbours=12
)


class TestEscnMd(BackboneConformance):
    config = CONFIG


class TestEscnMdOfHighDegree(BackboneConformance):
    config = CONFIG.model_copy(update={"layers": 1, "lmax": 3})


# What is particular to eSCN-MD


def kit_for(**changes: Any) -> BackboneConformance:
    class Kit(BackboneConformance):
        config = CONFIG.model_copy(update=changes)

    return Kit()


def samples(kit: BackboneConformance) -> tuple[Tensor, Graph]:
    cells = [Cell.of(crystal) for crystal in SAMPLES]
    species = torch.from_numpy(np.concatenate([cell.species for cell in cells]))
    return one_hot(species), kit.graph(*cells)


def test_complex_weights_break_the_reflection_symmetry_that_real_ones_have() -> None:
    kit = kit_for(symmetry="SO3")
    kit.test_rotation_turns_vectors_and_leaves_scalars()
    with pytest.raises(AssertionError, match="differ by"):
        kit.test_reflection_and_inversion_turn_vectors_and_leave_scalars()


def test_evaluation_repeats_itself_where_the_roll_of_frames_shows() -> None:
    kit = kit_for(lmax=4, mmax=2, activation="s2", layers=1)
    model, (species, graph) = kit.backbone(), samples(kit)
    with torch.no_grad():
        assert all(torch.equal(a, b) for a, b in zip(model(species, graph), model(species, graph), strict=True))
        model.train()
        assert not torch.equal(model(species, graph).vectors, model(species, graph).vectors)


def test_recomputed_activations_give_the_same_gradients() -> None:
    def gradients(**changes: Any) -> list[Tensor]:
        kit = kit_for(**changes)
        model, (species, graph) = kit.backbone(), samples(kit)
        scalars, vectors = model(species.requires_grad_(), graph)
        loss = scalars.square().sum() + vectors.square().sum()
        learnt = [p for p in model.parameters() if p.requires_grad]
        return list(torch.autograd.grad(loss, [species, *learnt]))

    for kept, recomputed in zip(gradients(), gradients(activation_checkpointing=True), strict=True):
        assert torch.allclose(kept, recomputed, rtol=1e-4, atol=1e-5)


def test_half_precision_keeps_geometry_exact() -> None:
    kit = kit_for(precision="bf16")
    model, (species, graph) = kit.backbone(), samples(kit)
    exact = model(species, graph)
    seen: list[torch.dtype] = []
    layer = model.network.blocks[0].edge_wise
    layer.register_forward_hook(lambda _, inputs, __: seen.extend((inputs[1].dtype, inputs[3].dtype)))
    with model.autocast():
        rounded = model(species, graph)
    assert seen == [torch.float32, torch.float32], "distances or frames lost precision"
    for a, b in zip(rounded, exact, strict=True):
        assert 0 < (a - b).abs().max() < 0.05 * b.abs().max()


def test_every_parameter_has_a_gradient_also_where_nobody_has_neighbours() -> None:
    kit = kit_for()
    for cell in (Cell.of(SAMPLES[0]), Cell(np.array([29]), np.zeros((1, 3)), 30.0 * np.eye(3))):
        model = kit.backbone().train()
        scalars, vectors = model(one_hot(torch.from_numpy(cell.species)), kit.graph(cell))
        gradients = torch.autograd.grad(scalars.sum() + vectors.sum(), list(model.parameters()))
        assert all(gradient.isfinite().all() for gradient in gradients)


def test_gradient_penalty_can_differentiate_twice() -> None:
    kit = kit_for(activation_checkpointing=True)
    model, (species, graph) = kit.backbone().train(), samples(kit)
    scalars, vectors = model(species.requires_grad_(), replace(graph, cart=graph.cart.requires_grad_()))
    first = torch.autograd.grad(scalars.sum() + vectors.sum(), (species, graph.cart), create_graph=True)
    penalty = sum(gradient.square().sum() for gradient in first)
    second = torch.autograd.grad(penalty, list(model.parameters()), allow_unused=True)
    assert all(gradient is None or gradient.isfinite().all() for gradient in second)
    assert sum(float(gradient.abs().sum()) for gradient in second if gradient is not None) > 0


def test_an_odd_width_is_refused() -> None:
    with pytest.raises(ValueError, match="width is 7"):
        build_backbone(CONFIG.model_copy(update={"width": 7}))


# fairchem's files

FAIRCHEM: dict[str, Any] = {
    "model": "fairchem.core.models.uma.escn_md.eSCNMDBackbone",
    "max_num_elements": 100,
    "sphere_channels": 8,
    "lmax": 2,
    "mmax": 2,
    "otf_graph": False,
    "max_neighbors": 12,
    "cutoff": 5.0,
    "edge_channels": 8,
    "num_distance_basis": 16,
    "direct_forces": True,
    "regress_forces": False,
    "num_layers": 2,
    "hidden_channels": 8,
    "norm_type": "rms_norm_sh",
    "act_type": "gate",
    "ff_type": "spectral",
    "use_dataset_embedding": False,
}
UMA: dict[str, Any] = {
    "model": "escnmd_moe_backbone",
    "num_experts": 4,
    "use_composition_embedding": True,
    "chg_spin_emb_type": "rand_emb",
    "use_dataset_embedding": True,
    "dataset_list": ["oc20", "omat", "omol"],
}


def saved(folder: Path, **changes: Any) -> tuple[Path, nn.Module]:
    """A checkpoint as fairchem writes it, and the backbone whose weights are to be read from it."""
    head = {"module": "fairchem.core.models.uma.escn_md.MLP_Energy_Head"}
    content = {
        "_target_": "fairchem.core.models.base.HydraModel",
        "backbone": FAIRCHEM | changes,
        "heads": {"energy": head},
    }
    root = OmegaConf.create({"runner": {"train_eval_unit": {"model": content, "tasks": [{"_target_": "a.Task"}]}}})
    unit = root.runner.train_eval_unit  # a node with parents, as in the files
    torch.manual_seed(1)
    model = hydra.utils.instantiate(OmegaConf.to_container(unit.model))
    averaged = torch.optim.swa_utils.AveragedModel(model)
    for parameter in model.parameters():
        parameter.data += 1.0
    path = folder / "inference_ckpt.pt"
    torch.save(MLIPInferenceCheckpoint(unit.model, model.state_dict(), averaged.state_dict(), unit.tasks), path)
    return path, averaged.module.backbone.eval()


def fairchem_embedding(backbone: nn.Module, cells: list[Cell], graph: Graph) -> Tensor:
    """(n, (lmax + 1)², width) node embedding by fairchem, of charge 0, spin 0 and omat."""
    counts = torch.tensor([len(cell.species) for cell in cells])
    species = torch.from_numpy(np.concatenate([cell.species for cell in cells]))
    data = AtomicData(
        pos=graph.cart,
        atomic_numbers=species,
        cell=graph.lattice,
        pbc=torch.ones(graph.size, 3, dtype=torch.bool),
        natoms=counts,
        edge_index=torch.stack([graph.src, graph.dst]),
        cell_offsets=graph.offset,
        nedges=graph.crystal[graph.dst].bincount(minlength=graph.size),
        charge=torch.zeros(graph.size, dtype=torch.long),
        spin=torch.zeros(graph.size, dtype=torch.long),
        fixed=torch.zeros_like(species),
        tags=torch.zeros_like(species),
        batch=graph.crystal,
        sid=[""] * graph.size,
        dataset=["omat"] * graph.size,
    )
    with torch.no_grad():
        embedding: Tensor = backbone(data)["node_embedding"]
    return embedding


def assert_as_fairchem(path: Path, theirs: nn.Module) -> list[str]:
    """The backbone of the file, filled from it, says what fairchem's says; returns what was dropped."""
    torch.manual_seed(2)
    backbone = EscnMd(read_escn_md(path).config).eval()
    dropped = load_pretrained(backbone, path)
    kit, cells = kit_for(), [Cell.of(crystal) for crystal in SAMPLES]
    species, graph = samples(kit)
    with torch.no_grad():
        scalars, vectors = backbone(species, graph)
    expected = fairchem_embedding(theirs, cells, graph)
    assert torch.allclose(scalars, expected[:, 0], atol=1e-5)
    assert torch.allclose(vectors, expected[:, 1:4], atol=1e-5)
    return dropped


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"lmax": 3, "ff_type": "grid"},
        {"chg_spin_emb_type": "rand_emb"},
        {"chg_spin_emb_type": "lin_emb"},
        {"use_dataset_embedding": True, "dataset_mapping": {"omat": "salex", "salex": "salex"}},
    ],
    ids=["plain", "grid", "tables of charge", "slopes of charge", "data sets"],
)
def test_a_file_of_esen_gives_fairchems_own_embedding(changes: dict[str, Any], tmp_path: Path) -> None:
    dropped = assert_as_fairchem(*saved(tmp_path, **changes))
    assert [name for name in dropped if not name.startswith("output_heads.")] == (
        ["backbone.dataset_embedding.dataset_emb_dict.omat.weight"] if "dataset_mapping" in changes else []
    )


def test_a_file_of_uma_gives_what_an_undecided_router_does(tmp_path: Path) -> None:
    path, theirs = saved(tmp_path, **UMA)
    for parameter in theirs.routing_mlp.parameters():
        nn.init.zeros_(parameter)
    dropped = assert_as_fairchem(path, theirs)
    assert "backbone.composition_embedding.weight" in dropped
    assert "backbone.dataset_embedding.dataset_emb_dict.oc20.weight" in dropped
    assert not any("blocks" in name for name in dropped)


def test_architecture_is_the_files(tmp_path: Path) -> None:
    path, _ = saved(tmp_path, lmax=3, num_layers=1)
    assert read_escn_md(path).config == CONFIG.model_copy(update={"symmetry": "SO3", "lmax": 3, "layers": 1})


def test_mask_token_and_elements_beyond_the_file_keep_theirs(tmp_path: Path) -> None:
    path, theirs = saved(tmp_path)
    backbone = EscnMd(read_escn_md(path).config)
    before = backbone.network.sphere_embedding.weight.detach().clone()
    load_pretrained(backbone, path)
    after = backbone.network.sphere_embedding.weight
    assert torch.equal(after[MASK], before[MASK])
    assert torch.equal(after[100:], before[100:])
    assert torch.equal(after[1:100], theirs.sphere_embedding.weight[1:])


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"norm_type": "layer_norm_sh"}, "norm_type=layer_norm_sh"),
        ({"grid_resolution": 14}, "grid_resolution=14"),
        ({"charge_balanced_channels": [0]}, "charge_balanced_channels"),
        ({"num_distance_basis": 1}, "num_distance_basis"),
    ],
)
def test_a_setting_that_we_do_not_have_is_refused_by_name(changes: dict[str, Any], named: str, tmp_path: Path) -> None:
    path = tmp_path / "other.pt"
    model = {"backbone": FAIRCHEM | changes}
    torch.save(MLIPInferenceCheckpoint(model, saved(tmp_path)[1].state_dict(), None, []), path)
    with pytest.raises(ValueError, match=named):
        read_escn_md(path)


def test_another_architecture_is_refused_by_name(tmp_path: Path) -> None:
    path, _ = saved(tmp_path)
    with pytest.raises(ValueError, match=r"backbone\.symmetry is SO3"):
        load_pretrained(EscnMd(CONFIG), path)
    with pytest.raises(ValueError, match=r"backbone\.layers is 2"):
        load_pretrained(EscnMd(CONFIG.model_copy(update={"layers": 1})), path)


def test_pretraining_starts_from_a_file(tmp_path: Path) -> None:
    """One update at a tiny learning rate leaves the file's weights all but as they were."""
    path, theirs = saved(tmp_path, **UMA)
    args = ["--init-backbone", path, "--preset", "smoke", "--device", "cpu", "--out", tmp_path / "run"]
    args += ["--set", "learning_rate=1e-9", "--set", "epochs=1", "--set", "max_crystals=8"]
    result = CliRunner().invoke(train, ["pretrain", *map(str, args)])
    assert result.exit_code == 0, result.output
    assert re.search(r"backbone\.routing_mlp \(\d tensors\), .*output_heads \(\d tensors\)", result.output), (
        result.output
    )
    checkpoint = tmp_path / "run" / "checkpoint"
    backbone = read_info(checkpoint).config["backbone"]
    assert (backbone["width"], backbone["radial_functions"], backbone["symmetry"]) == (8, 16, "SO3")
    assert backbone["max_neighbours"] == SIZES["escn_md"]["smoke"].max_neighbours
    found = read_weights(checkpoint, "generator")
    assert torch.allclose(found["backbone.network.norm.affine_weight"], theirs.norm.affine_weight, atol=1e-6)
    for layer in range(2):
        name = f"blocks.{layer}.edge_wise.so2_conv_1.rad_func.net.0.weight"
        assert torch.allclose(found[f"backbone.network.{name}"], theirs.get_parameter(name), atol=1e-6)


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (("--backbone", "painn"), "leave out --backbone painn"),
        (("--set", "backbone.lmax=3"), "backbone.lmax is 2 in"),
        (("--generator", str(GENERATORS / "control")), "give one of them"),
    ],
)
def test_pretraining_refuses_what_contradicts_the_file(more: tuple[str, str], reason: str, tmp_path: Path) -> None:
    path, _ = saved(tmp_path)
    args = ["pretrain", "--init-backbone", str(path), "--preset", "smoke", "--out", str(tmp_path / "run"), *more]
    result = CliRunner().invoke(train, args)
    assert result.exit_code == 1
    assert reason in result.output


class Hostile:
    """Runs a command where it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


def test_a_hostile_file_is_refused_and_does_not_run(tmp_path: Path) -> None:
    path, trace = tmp_path / "hostile.pt", tmp_path / "trace"
    hostile = Hostile(f"touch {trace}")
    torch.save(MLIPInferenceCheckpoint({"backbone": FAIRCHEM}, {}, None, [hostile]), path)
    with pytest.raises(ValueError, match=r"hostile\.pt asks for posix\.system"):
        read_escn_md(path)
    assert not trace.exists()


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.pt"
    path.write_text("no checkpoint")
    with pytest.raises(ValueError, match="no checkpoint that torch can read"):
        read_escn_md(path)
    torch.save({"weights": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match="MLIPInferenceCheckpoint"):
        read_escn_md(path)
