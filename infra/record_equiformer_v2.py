"""Records what fairchem-core 1.10's EquiformerV2 computes, for `tests/` to compare ours with.

    pip install --no-deps --target DIR fairchem-core==1.10.0
    python infra/record_equiformer_v2.py --reference DIR
    python infra/record_equiformer_v2.py --install            # the same, in a temporary folder

Writes `tests/fixtures/equiformer_v2_<name>.safetensors` for the tiny nets in `NETS`, byte for byte the same each time.
The network is the paper's generator: the backbone, `output_block` (species, read at l = 0) and `force_block`
(perturbation, read at l = 1). Weights and cotangents follow from names by `weight` and `probe`, so no file holds them.

Release 1.10 shares its package name with fairchem 2, which we depend on. It therefore runs in a process of its own,
unchanged but for the roll of each edge's frame, which it draws at random: it is given fairchem 2's frames of roll 0.
"""

from __future__ import annotations

import importlib.metadata
import json
import math
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import click
import torch
from torch import Tensor

RELEASE = "fairchem-core==1.10.0"
CUTOFF = 5.0
MAX_NEIGHBOURS = 8
SPECIES = 119
PROJECTIONS = 3
"""Of every parameter's gradient."""
FIXTURES = Path(__file__).parents[1] / "tests/fixtures"


@dataclass(frozen=True, kw_only=True)
class Net:
    """Sizes of an EquiformerV2 with the paper's heads; 600 Gaussians, as release 1.10 has them."""

    lmax: int
    mmax: int = 2
    blocks: int = 2
    channels: int = 8
    attn_hidden: int = 8
    heads: int = 2
    alpha: int = 4
    value: int = 4
    ffn: int = 16
    edge: int = 8
    outputs: int = 118
    """Of `output_block`, at every degree; l = 0 is read."""
    vectors: bool = True
    """Has a `force_block`."""


NETS = {"lmax2": Net(lmax=2), "lmax4": Net(lmax=4), "lmax6": Net(lmax=6, blocks=1)}
PAPER = Net(lmax=6, blocks=12, channels=128, attn_hidden=128, heads=8, alpha=32, value=16, ffn=512, edge=128)
PAPER_DISCRIMINATOR = Net(**asdict(PAPER) | {"outputs": 2, "vectors": False})


def weight(name: str, shape: tuple[int, ...]) -> Tensor:
    """Return the parameter of this name: float32, of a size that keeps activations near 1."""
    values, leaf = probe(name, shape), name.rpartition(".")[2]
    if leaf == "alpha_dot" or name.endswith("_embedding.weight"):
        return 0.5 * values
    if leaf == "affine_weight" or (leaf == "weight" and len(shape) == 1):
        return 1 + 0.1 * values
    if leaf in ("bias", "affine_bias"):
        return 0.1 * values
    if leaf == "weight":
        return values / math.sqrt(shape[-1])
    raise ValueError(f"no rule for a parameter called {name}")


def probe(name: str, shape: tuple[int, ...]) -> Tensor:
    """Return standard normal float32 numbers that belong to this name.

    The loss is `(scalars * probe("scalars", ...)).sum() + (vectors * probe("vectors", ...)).sum()`; the k-th
    projection of a parameter's gradient is onto `probe(f"{name}/{k}", ...)`.
    """
    return torch.randn(shape, generator=torch.Generator().manual_seed(zlib.crc32(name.encode())))


def summary(name: str, gradient: Tensor) -> Tensor:
    """Return (PROJECTIONS + 1,) projections of a parameter's gradient, then its norm."""
    exact = gradient.detach().double()
    onto = [(exact * probe(f"{name}/{k}", tuple(gradient.shape))).sum() for k in range(PROJECTIONS)]
    return torch.stack([*onto, exact.norm()]).float()


# Release 1.10, in a process that has not imported fairchem 2


def load_release(folder: Path) -> None:
    """Make `fairchem.core` release 1.10 in this process, without the packages that it names but does not use here."""
    import torch_geometric  # noqa: F401 - before the stand-ins, or it takes them for the packages themselves

    assert not any(name.startswith("fairchem") for name in sys.modules), "another release is loaded already"
    core = ModuleType("fairchem.core")  # its own __init__ imports the relaxation code and all that needs
    core.__path__ = [str(folder / "fairchem/core")]
    scatter = ModuleType("torch_scatter")
    scatter.scatter = _unused  # type: ignore[attr-defined]
    sys.modules |= {"fairchem.core": core, "torch_scatter": scatter, "torch_sparse": ModuleType("torch_sparse")}
    sys.path.insert(0, str(folder))
    import fairchem

    fairchem.core = core


def _unused(*_: Any, **__: Any) -> Tensor:
    raise NotImplementedError("EquiformerV2 with edges given calls no torch_scatter")


def build(net: Net) -> Any:
    """Release 1.10's EquiformerV2 with the paper's heads, as it initialises itself; `load_release` comes first."""
    from fairchem.core.models.equiformer_v2.equiformer_v2 import EquiformerV2Backbone
    from fairchem.core.models.equiformer_v2.transformer_block import FeedForwardNetwork, SO2EquivariantGraphAttention
    from fairchem.core.models.equiformer_v2.weight_initialization import eqv2_init_weights

    model = EquiformerV2Backbone(
        otf_graph=False,
        max_radius=CUTOFF,
        max_num_elements=SPECIES,
        num_layers=net.blocks,
        sphere_channels=net.channels,
        attn_hidden_channels=net.attn_hidden,
        num_heads=net.heads,
        attn_alpha_channels=net.alpha,
        attn_value_channels=net.value,
        ffn_hidden_channels=net.ffn,
        edge_channels=net.edge,
        lmax_list=[net.lmax],
        mmax_list=[net.mmax],
        alpha_drop=0.0,
        drop_path_rate=0.0,
    )
    degrees = {"lmax_list": [net.lmax], "mmax_list": [net.mmax], "SO3_grid": model.SO3_grid}
    model.output_block = FeedForwardNetwork(net.channels, net.ffn, net.outputs, **degrees)
    if net.vectors:
        model.force_block = SO2EquivariantGraphAttention(
            net.channels,
            net.attn_hidden,
            net.heads,
            net.alpha,
            net.value,
            1,
            **degrees,
            SO3_rotation=model.SO3_rotation,
            mappingReduced=model.mappingReduced,
            max_num_elements=SPECIES,
            edge_channels_list=model.edge_channels_list,
        )
    for head in (model.output_block, *([model.force_block] if net.vectors else [])):
        head.apply(lambda module: eqv2_init_weights(module, weight_init="normal"))
    return model


def batch(crystals: dict[str, Tensor]) -> SimpleNamespace:
    """Return what release 1.10 reads of a batch, with our edges in it."""
    counts, src, dst = (crystals[name] for name in ("counts", "src", "dst"))
    crystal = torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)
    return SimpleNamespace(
        pos=crystals["cart"],
        cell=crystals["lattice"],
        natoms=counts,
        batch=crystal,
        atomic_numbers=crystals["species"],
        edge_index=torch.stack([src, dst]),
        cell_offsets=crystals["offset"],
        neighbors=torch.bincount(crystal[dst], minlength=len(counts)),
    )


def apply(model: Any, crystals: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Return (n, (lmax + 1)², channels) node embedding, (n, outputs) scalars and (n, 3) vectors."""
    found = model(batch(crystals))
    nodes, graph = found["node_embedding"], found["graph"]
    assert graph.edge_index.shape[1] == len(crystals["src"]), "release 1.10 did not take the edges it was given"
    scalars = model.output_block(nodes).embedding[:, 0]
    turned = model.force_block(nodes, graph.atomic_numbers_full, graph.edge_distance, graph.edge_index)
    return nodes.embedding, scalars, turned.embedding[:, 1:4, 0]


def record(folder: Path, net: Net, given: Path, taken: Path) -> dict[str, Any]:
    """Write outputs and gradients for the crystals and frames in `given` to `taken`; returns what else to note."""
    from safetensors.torch import load_file, save_file

    torch.set_num_threads(1)
    load_release(folder)
    crystals = load_file(given)
    frames = crystals.pop("frames")
    model = build(net).eval()
    for rotation in model.SO3_rotation:
        rotation.set_wigner = _given(rotation, frames)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(weight(name, tuple(parameter.shape)))
    nodes, scalars, vectors = apply(model, crystals)
    loss = (scalars * probe("scalars", tuple(scalars.shape))).sum()
    loss = loss + (vectors * probe("vectors", tuple(vectors.shape))).sum()
    named = dict(model.named_parameters())
    gradients = torch.autograd.grad(loss, list(named.values()))
    found = {"nodes": nodes, "scalars": scalars, "vectors": vectors}
    found |= {f"gradient/{name}": summary(name, grad) for name, grad in zip(named, gradients, strict=True)}
    save_file({name: value.detach().contiguous() for name, value in found.items()}, taken)
    return {"parameters": sum(parameter.numel() for parameter in named.values())}


def _given(rotation: Any, frames: Tensor) -> Callable[[Tensor], None]:
    def set_wigner(_: Tensor) -> None:
        rotation.wigner, rotation.wigner_inv = frames, frames.transpose(1, 2).contiguous()

    return set_wigner


def parameters(folder: Path, net: Net) -> int:
    """Return how many parameters release 1.10 has at these sizes."""
    load_release(folder)
    return sum(parameter.numel() for parameter in build(net).parameters())


# The process that starts it, with our graphs and fairchem 2's frames


def crystals_and_frames(lmax: int) -> dict[str, Tensor]:
    """Return two crystals without a centre of inversion, one atom masked, their edges and the edges' Wigner
    matrices."""
    from fairchem.core.models.uma.common.quaternion.wigner_d_hybrid import axis_angle_wigner_hybrid
    from fairchem.core.models.uma.escn_md import create_wigner_data_module

    from crystalsweep.networks.testing import ASYMMETRIC
    from crystalsweep.structures.crystal import MASK
    from crystalsweep.structures.graph import build_graph

    cart = _exact(torch.cat([torch.from_numpy(crystal.cart) for crystal in ASYMMETRIC]))
    lattice = _exact(torch.stack([torch.from_numpy(crystal.lattice) for crystal in ASYMMETRIC]))
    counts = torch.tensor([len(crystal) for crystal in ASYMMETRIC])
    species = torch.cat([torch.from_numpy(crystal.species) for crystal in ASYMMETRIC])
    species[1] = MASK
    graph = build_graph(cart, lattice, counts, CUTOFF, MAX_NEIGHBOURS)
    constants = create_wigner_data_module(lmax=lmax, lmin=5)
    frames, _ = axis_angle_wigner_hybrid(
        graph.edge_vectors(),
        lmax,
        gamma=torch.zeros(len(graph.src)),
        coeffs=constants.coeffs,
        U_blocks=constants.U_blocks,
        custom_kernels=constants.custom_kernels,
    )
    edges = {"src": graph.src, "dst": graph.dst, "offset": graph.offset}
    return {"cart": cart, "lattice": lattice, "counts": counts, "species": species, "frames": frames} | edges


def _exact(lengths: Tensor) -> Tensor:
    """Round to whole 1/1024 Å in float32: edge vectors are then exact, however they are summed.

    The Gaussians are 0.017 Å wide and would turn a rounding of 2e-7 Å into one of 5e-5 of the gradients.
    """
    return ((lengths * 1024).round() / 1024).float()


def in_own_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """Return the function's result from a fresh Python process."""
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def write(which: str, folder: Path, out: Path) -> Path:
    """Return one fixture."""
    from safetensors.torch import load_file, save_file

    net = NETS[which]
    crystals = crystals_and_frames(net.lmax)
    with tempfile.TemporaryDirectory() as exchange:
        given, taken = Path(exchange) / "given.safetensors", Path(exchange) / "taken.safetensors"
        save_file(crystals, given)
        notes = in_own_process(record, folder, net, given, taken)
        found = load_file(taken)
    del crystals["frames"]
    notes |= {"net": asdict(net), "cutoff": CUTOFF, "max_neighbours": MAX_NEIGHBOURS, "reference": RELEASE}
    notes["frames"] = f"fairchem-core=={importlib.metadata.version('fairchem-core')}, roll 0"
    notes["versions"] = {
        package: importlib.metadata.version(package) for package in ("torch", "torch-geometric", "e3nn")
    }
    path = out / f"equiformer_v2_{which}.safetensors"
    # One key: safetensors writes several in no fixed order.
    save_file(crystals | found, path, metadata={"record": json.dumps(notes, sort_keys=True)})
    return path


@contextmanager
def installed() -> Iterator[Path]:
    """Yield a temporary folder with release 1.10 and none of its dependencies."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder, RELEASE]
        subprocess.run(command, check=True)
        yield Path(folder)


@click.command()
@click.option("--reference", type=click.Path(path_type=Path, exists=True, file_okay=False), help="Where 1.10 is.")
@click.option("--install", is_flag=True, help="Install 1.10 into a temporary folder with pip.")
@click.option("--count", is_flag=True, help="Only print the paper's parameter counts.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=FIXTURES, help="Of the fixtures.")
def main(reference: Path | None, install: bool, count: bool, out: Path) -> None:
    """Write the fixtures, or count the paper's parameters."""
    if install:
        with installed() as folder:
            run(folder, count, out)
    elif reference is not None:
        run(reference.resolve(), count, out)
    else:
        raise click.UsageError("give --reference, the folder of release 1.10, or --install")


def run(folder: Path, count: bool, out: Path) -> None:
    """Do what `main` does once release 1.10 is there."""
    if count:
        for name, net in (("generator", PAPER), ("discriminator", PAPER_DISCRIMINATOR)):
            click.echo(f"{name}: {in_own_process(parameters, folder, net):,}")
        return
    out.mkdir(parents=True, exist_ok=True)
    for name in NETS:
        path = write(name, folder, out)
        click.echo(f"{path.name}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
