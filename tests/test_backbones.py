"""Every backbone passes the conformance kit, and the kit catches backbones that break what it claims."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from crystalsweep.networks.architectures import PaiNNConfig
from crystalsweep.networks.backbones import Backbone, Features, build_backbone
from crystalsweep.networks.backbones.painn import BesselBasis, PaiNN
from crystalsweep.networks.testing import BackboneConformance
from crystalsweep.structures.graph import Graph
from crystalsweep.structures.segments import segment_sum

CONFIG = PaiNNConfig(width=16, layers=2, radial_functions=8, cutoff=5.0, max_neighbours=12)


class TestPaiNN(BackboneConformance):
    config = CONFIG


# What is particular to PaiNN


def test_messages_end_smoothly_at_the_cutoff() -> None:
    """Envelope and slope vanish there, or an atom that crosses the cutoff would make every loss jump."""
    distance = torch.tensor([4.999, 5.0, 5.001], dtype=torch.float64, requires_grad=True)
    envelope = BesselBasis(8, 5.0).double()(distance)[:, -1]
    (slope,) = torch.autograd.grad(envelope.sum(), distance)
    assert envelope.abs().max() < 1e-6
    assert slope.abs().max() < 1e-3


def test_envelope_is_one_at_short_distances() -> None:
    envelope = BesselBasis(8, 5.0)(torch.tensor([0.01, 0.1]))[:, -1]
    assert envelope.min() > 0.9999


def test_bessel_functions_have_their_values() -> None:
    basis, _ = BesselBasis(3, 5.0)(torch.tensor([2.5]))
    expected = [(2 / 5) ** 0.5 / 2.5 * value for value in (1.0, 0.0, -1.0)]
    assert basis[0].tolist() == pytest.approx(expected, abs=1e-6)


def test_degree_starts_at_the_configured_maximum() -> None:
    assert float(build_backbone(PaiNNConfig(max_neighbours=9)).average_degree) == 9.0


# The kit catches what is broken

Break = Callable[[Features, torch.Tensor, Graph], Features]


def kit_for(kind: type[Backbone]) -> BackboneConformance:
    """The kit over another class than the registered one."""

    class Kit(BackboneConformance):
        config = CONFIG

        def backbone(self, seed: int | None = None) -> Backbone:
            torch.manual_seed(self.seed if seed is None else seed)
            return kind(self.config).eval()

    return Kit()


def with_laboratory_axis(x: Features, _: torch.Tensor, graph: Graph) -> Features:
    height = segment_sum(graph.edge_vectors()[:, 2].abs(), graph.dst, len(x.scalars))
    return Features(x.scalars + 0.01 * height[:, None], x.vectors)


def with_constant_vector(x: Features, _: torch.Tensor, __: Graph) -> Features:
    return Features(x.scalars, x.vectors + 0.1 * torch.tensor([1.0, 0.0, 0.0]).to(x.vectors)[:, None])


def with_pseudovectors(x: Features, _: torch.Tensor, __: Graph) -> Features:
    return Features(x.scalars, x.vectors + torch.linalg.cross(x.vectors, x.vectors.roll(1, dims=2), dim=1))


def with_absolute_positions(x: Features, _: torch.Tensor, graph: Graph) -> Features:
    return Features(x.scalars + 0.01 * graph.cart.norm(dim=1, keepdim=True), x.vectors)


def with_atom_number(x: Features, _: torch.Tensor, __: Graph) -> Features:
    return Features(x.scalars + 0.01 * torch.arange(len(x.scalars)).to(x.scalars)[:, None], x.vectors)


def with_size_of_crystal(x: Features, _: torch.Tensor, graph: Graph) -> Features:
    return Features(x.scalars + 0.01 * graph.crystal.bincount()[graph.crystal][:, None], x.vectors)


def with_cell_lengths(x: Features, _: torch.Tensor, graph: Graph) -> Features:
    return Features(x.scalars + 0.01 * graph.lattice.norm(dim=2).sum(dim=1)[graph.crystal][:, None], x.vectors)


def with_mean_over_the_batch(x: Features, _: torch.Tensor, __: Graph) -> Features:
    return Features(x.scalars + 0.1 * x.scalars.mean(dim=0), x.vectors)


def with_rounded_species(x: Features, species: torch.Tensor, _: Graph) -> Features:
    return Features(x.scalars + 10 * species.round()[:, :16], x.vectors)


def with_mask_read_as_hydrogen(_: Features, species: torch.Tensor, graph: Graph) -> Features:
    species = torch.cat([torch.zeros_like(species[:, :1]), species[:, :1] + species[:, 1:2], species[:, 2:]], dim=1)
    torch.manual_seed(0)
    return PaiNN(CONFIG)(species, graph)


def with_unprotected_length(x: Features, _: torch.Tensor, graph: Graph) -> Features:
    inverse = 1 / graph.edge_vectors().norm(dim=1)
    return Features(x.scalars + 0.01 * segment_sum(inverse, graph.dst, len(x.scalars))[:, None], x.vectors)


def with_silent_neighbours(_: Features, species: torch.Tensor, graph: Graph) -> Features:
    torch.manual_seed(0)
    nobody = replace(graph, src=graph.src[:0], dst=graph.dst[:0], offset=graph.offset[:0])
    return PaiNN(CONFIG)(species, nobody)


@pytest.mark.parametrize(
    ("broken", "caught_by"),
    [
        (with_laboratory_axis, "rotation_turns_vectors_and_leaves_scalars"),
        (with_constant_vector, "rotation_turns_vectors_and_leaves_scalars"),
        (with_constant_vector, "isolated_atom_has_finite_scalars_and_no_vector"),
        (with_constant_vector, "vectors_vanish_at_centres_of_inversion_and_nowhere_else"),
        (with_pseudovectors, "reflection_and_inversion_turn_vectors_and_leave_scalars"),
        (with_absolute_positions, "translation_changes_nothing"),
        (with_absolute_positions, "choice_of_the_cells_origin_changes_nothing"),
        (with_absolute_positions, "atoms_moved_by_lattice_vectors_are_the_same_atoms"),
        (with_atom_number, "permutation_of_atoms_permutes_features"),
        (with_size_of_crystal, "supercell_repeats_features"),
        (with_size_of_crystal, "needle_shaped_cell_equals_its_supercell"),
        (with_cell_lengths, "another_basis_of_the_same_lattice_changes_nothing"),
        (with_cell_lengths, "strongly_skewed_cell_equals_its_reduced_cell"),
        (with_mean_over_the_batch, "batch_of_several_crystals_is_each_alone"),
        (with_mean_over_the_batch, "isolated_atom_does_not_disturb_its_batch"),
        (with_rounded_species, "species_weights_interpolate_continuously"),
        (with_mask_read_as_hydrogen, "mask_token_and_elements_are_all_told_apart"),
        (with_unprotected_length, "coinciding_atoms_give_finite_outputs_and_gradients"),
        (with_silent_neighbours, "features_depend_on_positions"),
        (with_silent_neighbours, "a_hidden_neighbour_is_noticed"),
    ],
)
def test_kit_catches_a_broken_backbone(broken: Break, caught_by: str) -> None:
    class Broken(PaiNN):
        def forward(self, species: torch.Tensor, graph: Graph) -> Features:
            return broken(super().forward(species, graph), species, graph)

    kit = kit_for(Broken)
    with pytest.raises(AssertionError):
        getattr(kit, f"test_{caught_by}")()


def test_kit_catches_a_gradient_that_is_cut() -> None:
    class Cut(PaiNN):
        def forward(self, species: torch.Tensor, graph: Graph) -> Features:
            return super().forward(species, replace(graph, cart=graph.cart.detach()))

    kit = kit_for(Cut)
    with pytest.raises((AssertionError, RuntimeError)):
        kit.test_gradient_reaches_positions_and_species()


def test_kit_catches_a_gradient_that_is_wrong() -> None:
    class Wrong(PaiNN):
        def forward(self, species: torch.Tensor, graph: Graph) -> Features:
            half = (graph.cart + graph.cart.detach()) / 2
            return super().forward(species, replace(graph, cart=half))

    kit = kit_for(Wrong)
    with pytest.raises(AssertionError, match="gradient to positions is off"):
        kit.test_gradients_agree_with_finite_differences()


def test_kit_catches_weights_that_are_not_saved() -> None:
    class Forgetful(PaiNN):
        def __init__(self, config: PaiNNConfig) -> None:
            super().__init__(config)
            self.register_buffer("shift", torch.randn(config.width), persistent=False)

        def forward(self, species: torch.Tensor, graph: Graph) -> Features:
            x = super().forward(species, graph)
            return Features(x.scalars + self.shift, x.vectors)

    kit = kit_for(Forgetful)
    with pytest.raises(AssertionError):
        kit.test_saved_and_loaded_state_gives_the_same_features()
