"""The equivariant networks that can be trained, with their settings and sizes. Imports without torch.

Each config names the class that implements it; `SIZES` holds what the presets `smoke`, `demo`, `small`, `base` and
`paper` mean for each backbone. `equiformer_v2` at `paper` is the released configuration of Liu et al., iScience 27,
110672 (2024), doi:10.1016/j.isci.2024.110672; the others are given its width, depth, cutoff and neighbours there.

Every number has bounds, for a checkpoint comes with a config that a stranger may have written, and no weight's shape
tells a cutoff. They are far beyond what published networks have (12 Å, 500 neighbours, 20 layers, 600 functions of the
distance): they refuse mistakes, and no experiment.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, TypeAdapter, model_validator

from crystalsweep.config import Config, suggestion

Count = Annotated[int, Field(gt=0, le=65_536)]
"""Channels, heads and functions; published networks have up to 2,048."""
Share = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]


class BackboneConfig(Config):
    """What every backbone can be told."""

    implementation: ClassVar[str]
    """`module:class` of the network."""

    name: str
    """Which backbone; chosen with --backbone."""
    width: Count = 64
    """Channels of scalars and of vectors."""
    layers: Annotated[int, Field(gt=0, le=256)] = 3
    """Interaction blocks."""
    cutoff: Annotated[float, Field(ge=0.5, le=30, allow_inf_nan=False)] = 5.0
    """Å; pairs beyond do not interact."""
    max_neighbours: Annotated[int, Field(gt=0, le=10_000)] = 16
    """Edges per atom, whole shells kept, so that symmetric crystals stay symmetric."""
    precision: Literal["float32", "bf16"] = "float32"
    """Of the network; positions, edge vectors, frames and radial functions are float32 in either case."""
    activation_checkpointing: bool = False
    """Recompute each block's activations in the backward pass: less memory, about a third more time."""
    compile: bool | Literal["auto"] = "auto"
    """Compile the blocks with torch.compile for training; where that fails, one warning, and they run as they are.
    auto: where it was measured to pay, which is PaiNN on a CPU with a C++ compiler in a training of five minutes and
    more."""


class PaiNNConfig(BackboneConfig):
    """PaiNN: scalars and vectors, light enough for a laptop (doi:10.48550/arXiv.2102.03150)."""

    implementation = "crystalsweep.networks.backbones.painn:PaiNN"

    name: Literal["painn"] = "painn"
    """PaiNN."""
    radial_functions: Annotated[int, Field(gt=1, le=64)] = 20
    """Bessel functions of the distance; few and smooth, so that ∂D/∂x stays usable."""


class SphericalConfig(BackboneConfig):
    """Settings of the networks over spherical harmonics that convolve in each edge's frame (eSCN)."""

    lmax: Annotated[int, Field(ge=1, le=10)] = 2
    """Greatest degree l of the features."""
    mmax: Annotated[int, Field(ge=1, le=10)] = 2
    """Greatest order m in the edge's frame; below lmax it saves time, and networks that activate messages on a grid
    (EquiformerV2, s2) are equivariant only nearly."""
    edge_channels: Count = 64
    """Hidden channels of the radial functions, and of the species embeddings of an edge."""
    radial_functions: Annotated[int, Field(gt=1, le=2048)] = 64
    """Gaussians of the distance; the released code has 600 narrow ones, whose ∂D/∂x is noise (use ≤ 64 in D)."""
    symmetry: Literal["O3", "SO3"] = "O3"
    """O3: also reflections, by real SO(2) weights, at half their cost; SO3: the published networks, rotations only."""

    @model_validator(mode="after")
    def _orders_exist(self) -> SphericalConfig:
        if self.mmax > self.lmax:
            raise ValueError(f"mmax {self.mmax} is above lmax {self.lmax}")
        return self


class EquiformerV2Config(SphericalConfig):
    """EquiformerV2, the paper's network (doi:10.48550/arXiv.2306.12059)."""

    implementation = "crystalsweep.networks.backbones.equiformer_v2:EquiformerV2"

    name: Literal["equiformer_v2"] = "equiformer_v2"
    """EquiformerV2."""
    attention_heads: Count = 4
    """Heads of the graph attention."""
    attention_hidden: Count = 64
    """Channels between its two SO(2) convolutions."""
    alpha_channels: Count = 16
    """Channels per head of the attention logits."""
    value_channels: Count = 16
    """Channels per head of the messages."""
    feed_forward: Count = 128
    """Hidden channels of the feed-forward network."""
    alpha_drop: Share = 0.1
    """Dropout of attention weights."""
    drop_path: Share = 0.05
    """Share of crystals for which a residual branch is left out in training."""
    head_layout: Literal["common", "released"] = "common"
    """common: the small heads of every backbone; released: a feed-forward and an attention block, as the paper's."""


ESCN_MD_TABLES = ("sphere_embedding", "source_embedding", "target_embedding")
"""fairchem's embeddings of species in eSCN-MD: of an atom, of an edge's neighbour and of its centre."""


class EscnMdConfig(SphericalConfig):
    """eSCN-MD, the network of eSEN and UMA, as fairchem-core has it (doi:10.48550/arXiv.2502.12147)."""

    implementation = "crystalsweep.networks.backbones.escn_md:EscnMd"

    name: Literal["escn_md"] = "escn_md"
    """eSCN-MD."""
    hidden: Count = 64
    """Hidden channels of a block."""
    activation: Literal["gate", "s2"] = "gate"
    """Non-linearity of messages."""
    feed_forward: Literal["grid", "spectral"] = "spectral"
    """Non-linearity of atoms; spectral is the cheaper and the exactly equivariant one."""


EXECUTION = ("precision", "activation_checkpointing", "compile")
"""Settings of how a network runs; the others say what it is, and a checkpoint's weights fit no other."""

AnyBackbone = Annotated[PaiNNConfig | EquiformerV2Config | EscnMdConfig, Field(discriminator="name")]
"""One of the backbones, told apart by `name`."""

_PAPER_SIZE: dict[str, Any] = {"width": 128, "layers": 12, "cutoff": 5.0, "max_neighbours": 500}

SIZES: dict[str, dict[str, BackboneConfig]] = {
    "painn": {
        "smoke": PaiNNConfig(width=16, layers=1, radial_functions=8, max_neighbours=8),
        "demo": PaiNNConfig(width=48, layers=2, radial_functions=16, max_neighbours=12),
        "small": PaiNNConfig(width=96),
        "base": PaiNNConfig(width=256, layers=4, radial_functions=32, max_neighbours=20),
        "paper": PaiNNConfig(radial_functions=64, **_PAPER_SIZE),
    },
    "equiformer_v2": {
        "smoke": EquiformerV2Config(
            width=8, layers=1, lmax=1, mmax=1, edge_channels=8, radial_functions=16, max_neighbours=8,
            attention_heads=2, attention_hidden=8, alpha_channels=4, value_channels=4, feed_forward=16,
        ),
        "demo": EquiformerV2Config(
            width=32, layers=2, edge_channels=32, radial_functions=32, max_neighbours=12,
            attention_hidden=32, alpha_channels=8, value_channels=8, feed_forward=64,
        ),
        "small": EquiformerV2Config(layers=2),
        "base": EquiformerV2Config(
            width=128, layers=6, lmax=4, edge_channels=128, max_neighbours=20,
            attention_heads=8, attention_hidden=128, alpha_channels=32, feed_forward=256,
        ),
        "paper": EquiformerV2Config(
            lmax=6, mmax=2, edge_channels=128, radial_functions=600, symmetry="SO3",
            attention_heads=8, attention_hidden=128, alpha_channels=32, feed_forward=512, head_layout="released",
            **_PAPER_SIZE,
        ),
    },
    "escn_md": {
        "smoke": EscnMdConfig(
            width=8, layers=1, lmax=1, mmax=1, edge_channels=8, radial_functions=16, hidden=8, max_neighbours=8
        ),
        "demo": EscnMdConfig(width=32, layers=2, edge_channels=32, radial_functions=32, hidden=32, max_neighbours=12),
        "small": EscnMdConfig(layers=2),
        "base": EscnMdConfig(
            width=128, layers=6, lmax=4, edge_channels=128, hidden=128, max_neighbours=20
        ),
        "paper": EscnMdConfig(
            lmax=6, mmax=2, edge_channels=128, radial_functions=512, symmetry="SO3", activation="gate",
            feed_forward="grid", hidden=128, **_PAPER_SIZE,
        ),
    },
}  # fmt: skip
"""Config by backbone and preset."""


def size(backbone: str, preset: str) -> BackboneConfig:
    """Return the config of a backbone at a preset. Raises `ValueError` naming the nearest for an unknown backbone or
    size."""
    return _named(_named(SIZES, backbone, "backbone"), preset, f"size of {backbone}")


def backbone_config(content: dict[str, Any]) -> BackboneConfig:
    """Return a backbone's config from its JSON form. Raises pydantic's `ValidationError` for an unknown name or key."""
    return _ADAPTER.validate_python(content)


_ADAPTER: TypeAdapter[BackboneConfig] = TypeAdapter(AnyBackbone)


def run_as(network: BackboneConfig, run: BackboneConfig) -> BackboneConfig:
    """Return `network`, executed as `run` says."""
    return network.model_copy(update={key: getattr(run, key) for key in EXECUTION})


def resized(network: BackboneConfig, width: int | None, layers: int | None) -> BackboneConfig:
    """Return `network` with another width or number of layers, where they are given; it sees the same neighbours.

    Raises `ValueError` where there is no such network.
    """
    changed = {"width": width or network.width, "layers": layers or network.layers}
    return backbone_config({**network.model_dump(), **changed})


def _named(table: dict[str, Any], name: str, what: str) -> Any:
    if name not in table:
        raise ValueError(f"there is no {what} {name!r}; {suggestion(name, table)}")
    return table[name]
