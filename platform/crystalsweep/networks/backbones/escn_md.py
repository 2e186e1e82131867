"""eSCN-MD, the network of eSEN and UMA (Fu et al. 2025, doi:10.48550/arXiv.2502.12147), as fairchem-core has it.

fairchem's code runs unchanged over our graphs. What is ours around it: species enter as weights, geometry stays float32
under autocast, evaluation is deterministic, atoms on one spot are no singularity, and `symmetry="O3"` makes the SO(2)
convolutions real. Charge and spin are 0, there is no data set embedding, and messages are scaled by fairchem's constant
rather than by the training set's average degree.
"""

from __future__ import annotations

import logging
from typing import Any, cast

import torch
from fairchem.core.models.uma.common.so3 import CoefficientMapping
from fairchem.core.models.uma.escn_md import eSCNMDBackbone
from fairchem.core.models.uma.nn.execution_backends import ExecutionBackend
from torch import Tensor
from torch.func import functional_call

from crystalsweep.networks.architectures import ESCN_MD_TABLES, EscnMdConfig
from crystalsweep.networks.backbones._base import Backbone, Features
from crystalsweep.networks.backbones._frames import wigner_matrices
from crystalsweep.networks.backbones._so2 import RealConvolution, exchange
from crystalsweep.structures.crystal import N_SPECIES
from crystalsweep.structures.graph import Graph

SHORTEST_EDGE = 1e-4
"""Å; a shorter edge has no direction that float32 positions could tell."""

logger = logging.getLogger(__name__)


class Batch(dict[str, Any]):
    """What fairchem reads of a batch of crystals."""

    def get(self, key: str, default: Any = None) -> Any:
        """Return what `dict.get` does, with `default` also by name."""
        return super().get(key, default)


class Float32Frames(ExecutionBackend):
    """Rotations into edges' frames and back, and sums over edges, in the precision of the Wigner matrices.

    Under autocast fairchem would round the matrices to bfloat16, at four times the equivariance error.
    """

    @staticmethod
    def prepare_wigner(
        wigner: Tensor, wigner_inv: Tensor, mappingReduced: CoefficientMapping, coefficient_index: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return (E, M, L) and (E, L, M) matrices, ordered by m and without those beyond mmax."""
        with torch.autocast(wigner.device.type, enabled=False):
            into, back = ExecutionBackend.prepare_wigner(wigner, wigner_inv, mappingReduced, coefficient_index)
        return into, back

    @staticmethod
    def node_to_edge_wigner_permute(x_full: Tensor, edge_index: Tensor, wigner: Tensor) -> Tensor:
        """Return (E, M, 2C) features of both ends in the edge's frame."""
        with torch.autocast(wigner.device.type, enabled=False):
            turned: Tensor = ExecutionBackend.node_to_edge_wigner_permute(x_full.to(wigner.dtype), edge_index, wigner)
        return turned

    @staticmethod
    def permute_wigner_inv_edge_to_node(
        x_message: Tensor, wigner_inv: Tensor, scatter_target: Tensor, num_nodes: int
    ) -> Tensor:
        """Return (n, L, C) sums of the (E, M, C) messages, turned back."""
        with torch.autocast(wigner_inv.device.type, enabled=False):
            summed: Tensor = ExecutionBackend.permute_wigner_inv_edge_to_node(
                x_message.to(wigner_inv.dtype), wigner_inv, scatter_target, num_nodes
            )
        return summed

    @staticmethod
    def edge_degree_scatter(
        x: Tensor,
        radial_output: Tensor,
        wigner_inv: Tensor,
        scatter_target: Tensor,
        m_0_num_coefficients: int,
        sphere_channels: int,
        rescale_factor: float,
    ) -> Tensor:
        """Return (n, L, C) features plus the sums of (E, m0 · C) radial functions along the edges."""
        with torch.autocast(wigner_inv.device.type, enabled=False):
            embedded: Tensor = ExecutionBackend.edge_degree_scatter(
                x,
                radial_output.to(wigner_inv.dtype),
                wigner_inv,
                scatter_target,
                m_0_num_coefficients,
                sphere_channels,
                rescale_factor,
            )
        return embedded


class Network(eSCNMDBackbone):
    """fairchem's network over a `Graph`."""

    def _generate_graph(self, data: Batch) -> dict[str, Tensor]:
        """Return edges with vectors that carry the gradient.

        An edge without direction is put beyond the cutoff, where envelope and gradient are exactly 0. So is the edge of
        an atom to itself that stands in where nobody has neighbours, for fairchem needs one.
        """
        graph = cast(Graph, data["graph"]).with_an_edge()
        vectors = graph.edge_vectors()
        directed = vectors.detach().norm(dim=-1, keepdim=True) > SHORTEST_EDGE
        vectors = torch.where(directed, vectors, self.cutoff)
        data["scatter_target"] = graph.dst
        return {
            "edge_index": torch.stack([graph.src, graph.dst]),
            "edge_distance_vec": vectors,
            "edge_distance": vectors.norm(dim=-1),
        }

    def _get_rotmat_and_wigner(self, edge_distance_vecs: Tensor) -> tuple[Tensor, Tensor]:
        """Return Wigner matrices of the edges, never in bfloat16.

        fairchem rolls each frame about its edge by a random angle. Only where the `s2` activation samples fewer orders
        than degrees does it show, so in evaluation it is 0: one input then has one output.
        """
        return wigner_matrices(edge_distance_vecs, self.lmax, self.wigner_data, rolled=self.training)


class EscnMd(Backbone):
    """eSCN-MD; `network` is fairchem's, whose scalars and l = 1 features are its output."""

    config: EscnMdConfig

    def __init__(self, config: EscnMdConfig) -> None:
        super().__init__(config)
        if config.width % 2:
            raise ValueError(f"width is {config.width}; escn_md needs an even one, for its sines and cosines of charge")
        self.network = Network(
            max_num_elements=N_SPECIES,
            sphere_channels=config.width,
            lmax=config.lmax,
            mmax=config.mmax,
            cutoff=config.cutoff,
            edge_channels=config.edge_channels,
            num_distance_basis=config.radial_functions,
            num_layers=config.layers,
            hidden_channels=config.hidden,
            act_type=config.activation,
            ff_type=config.feed_forward,
            activation_checkpointing=config.activation_checkpointing,
            direct_forces=True,
            regress_forces=False,
            use_dataset_embedding=False,
            cs_emb_grad=True,  # of charge 0 and spin 0 it is zero; a parameter without gradient would be an exception
        )
        frames = Float32Frames()
        for module in self.network.modules():
            if hasattr(module, "backend"):
                module.backend = frames
        if config.symmetry == "O3":
            exchange(self.network, RealConvolution)
        if config.compile is True:
            logger.warning("escn_md is not compiled: its blocks run as they are")

    def forward(self, species: Tensor, graph: Graph) -> Features:
        """Return the features that `Backbone.forward` describes; every atom has its own row of the three tables of
        species."""
        rows = {f"{name}.weight": species @ getattr(self.network, name).weight for name in ESCN_MD_TABLES}
        batch = Batch(
            graph=graph,
            pos=graph.cart,
            atomic_numbers=torch.arange(len(species), device=species.device),
            batch=graph.crystal,
            natoms=graph.crystal.bincount(minlength=graph.size),
            charge=graph.lattice.new_zeros(graph.size),
            spin=graph.lattice.new_zeros(graph.size),
        )
        embedding = functional_call(self.network, rows, (batch,))["node_embedding"]
        return Features(embedding[:, 0], embedding[:, 1:4])
