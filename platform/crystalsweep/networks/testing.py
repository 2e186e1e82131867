"""Conformance kit for backbones: what every `Backbone` must satisfy, as tests to inherit.

A new backbone's test file is

    class TestMine(BackboneConformance):
        config = MineConfig(width=16, layers=2)

and pytest finds the rest. Real crystals of high and of low symmetry go in; the kit imports neither pytest nor data.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from crystalsweep.networks.architectures import BackboneConfig
from crystalsweep.networks.backbones import Backbone, Features, build_backbone
from crystalsweep.networks.models import one_hot
from crystalsweep.structures.crystal import MASK, N_SPECIES, Crystal
from crystalsweep.structures.graph import Graph, build_graph


class Cell(NamedTuple):
    """A crystal whose atoms may lie outside the cell; what a `Crystal` becomes once its cell is chosen otherwise."""

    species: NDArray[np.int64]
    """(N,) atomic numbers."""
    cart: NDArray[np.float64]
    """(N, 3) Å, not wrapped."""
    lattice: NDArray[np.float64]
    """(3, 3) Å, rows are lattice vectors."""

    @classmethod
    def of(cls, crystal: Crystal) -> Cell:
        """Return the crystal as given."""
        return cls(crystal.species, crystal.cart, crystal.lattice)

    def with_basis(self, whole: ArrayLike) -> Cell:
        """Return the same crystal over the lattice vectors `whole` L; the integer matrix has determinant ±1."""
        matrix = np.asarray(whole, dtype=np.float64)
        assert math.isclose(abs(np.linalg.det(matrix)), 1.0, rel_tol=1e-9), "another determinant is another crystal"
        return self._replace(lattice=matrix @ self.lattice)

    def doubled(self) -> Cell:
        """Return the 2×1×1 supercell; its second half follows its first."""
        cart = np.concatenate([self.cart, self.cart + self.lattice[0]])
        return Cell(np.tile(self.species, 2), cart, np.diag([2.0, 1.0, 1.0]) @ self.lattice)


_FCC = [[0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0]]

SYMMETRIC = (
    Crystal.of("NaCl, rock salt", [11, 17], np.multiply(5.64, _FCC), [[0.0, 0.0, 0.0], [0.5, 0.5, 0.5]]),
    Crystal.of("Cu, fcc", [29], np.multiply(3.61, _FCC), [[0, 0, 0]]),
)
"""Every atom is a centre of inversion, so every vector vanishes; distances come in large exact shells."""

ASYMMETRIC = (
    Crystal.of(
        "OsO4, C2, mp-551905",
        [8, 8, 8, 8, 76],
        [[4.792656, 0.0, 0.0], [0.0, 4.926714, 0.0], [-2.396328, -2.275591, 4.0731]],
        [
            [0.079772, 0.570385, 0.742617],
            [0.337155, 0.429615, 0.257383],
            [0.678245, 0.180218, 0.772655],
            [0.90559, 0.819782, 0.227345],
            [0.9996, 0.5, 0.0],
        ],
    ),
    Crystal.of(
        "YAgSe2, P1, mp-676284",
        [34, 34, 34, 34, 39, 39, 47, 47],
        [[5.728098, 0.0, 0.0], [0.000643, 5.728343, 0.0], [2.852227, 2.830074, 6.049908]],
        [
            [0.237594, 0.234867, 0.52313],
            [0.514756, 0.011968, 0.972375],
            [0.761196, 0.764854, 0.473764],
            [0.992282, 0.48633, 0.022261],
            [0.001497, 0.996959, 0.998841],
            [0.750158, 0.255374, 0.497038],
            [0.248836, 0.746085, 0.495498],
            [0.503746, 0.494887, 0.004308],
        ],
    ),
)
"""Materials Project crystals without a centre of inversion, so that vectors do not vanish."""

SAMPLES = SYMMETRIC + ASYMMETRIC
KINDS = ("scalars", "vectors")
"""Of features, in order."""

ISOLATED_BOX = 30.0
"""Å; edge of a cubic cell in which an atom sees nobody."""


class BackboneConformance:
    """Tests of one backbone; subclass it as `TestName` and give a tiny `config`."""

    config: ClassVar[BackboneConfig]
    """Of the backbone under test; small, or the tests are slow."""
    tolerance: ClassVar[float] = 1e-4
    """Greatest error of scalars and vectors in float32, in units of the greatest of its kind over `SAMPLES`."""
    vector_tolerance: ClassVar[float | None] = None
    """The same for vectors, where theirs is another one: a network that activates them on a grid is only nearly
    equivariant."""
    bf16_tolerance: ClassVar[float] = 0.05
    """The same under bf16 autocast, against float32."""
    skew_tolerance: ClassVar[float] = 1e-3
    """The same for cells so skewed that float32 rounds their edge vectors by 1e-5 Å."""
    gradient_tolerance: ClassVar[float] = 1e-6
    """Relative error of a float64 gradient against central differences."""
    runs_in_double: ClassVar[bool] = True
    """Off for backbones with float32 kernels; then gradients are compared in float32 to within 2 %."""
    seed: ClassVar[int] = 0
    """Of the weights and of the random motions."""

    # What the tests are made of

    def backbone(self, seed: int | None = None) -> Backbone:
        """Return a fresh backbone in evaluation mode."""
        torch.manual_seed(self.seed if seed is None else seed)
        return build_backbone(self.config).eval()

    def graph(self, *cells: Cell) -> Graph:
        """Return one graph of these cells, as the models make it."""
        cart = torch.from_numpy(np.concatenate([cell.cart for cell in cells])).float()
        lattice = torch.from_numpy(np.stack([cell.lattice for cell in cells])).float()
        counts = torch.tensor([len(cell.species) for cell in cells])
        return build_graph(cart, lattice, counts, self.config.cutoff, self.config.max_neighbours)

    def features(self, model: Backbone, *cells: Cell) -> Features:
        """Return features of the atoms of these cells, in order."""
        species = torch.from_numpy(np.concatenate([cell.species for cell in cells]))
        with torch.no_grad():
            return model(one_hot(species), self.graph(*cells))

    def assert_same(self, found: Features, expected: Features, what: str, tolerance: float | None = None) -> None:
        """Assert that scalars and vectors agree within the tolerance."""
        scale = self._scale()
        for kind, a, b, unit in zip(KINDS, found, expected, scale, strict=True):
            assert a.shape == b.shape, f"{what}: {kind} have shape {tuple(a.shape)}, expected {tuple(b.shape)}"
            assert torch.isfinite(a).all(), f"{what}: {kind} are not finite"
            error = float((a - b).abs().max()) / unit
            limit = tolerance or (self.tolerance if kind == "scalars" else self._vector_tolerance)
            assert error <= limit, f"{what}: {kind} differ by {error:.1e} of their greatest value, allowed is {limit:g}"

    @property
    def _vector_tolerance(self) -> float:
        return self.vector_tolerance or self.tolerance

    def _scale(self) -> tuple[float, float]:
        """Return the greatest scalar and the greatest vector component over `SAMPLES`."""
        found = self.features(self.backbone(), *(Cell.of(crystal) for crystal in SAMPLES))
        scalar, vector = (float(values.abs().max()) for values in found)
        assert scalar > 0 and vector > 0, "all features vanish: equivariance would hold for nothing"
        return scalar, vector

    def _samples(self) -> Iterator[tuple[str, Backbone, Cell, Features]]:
        model = self.backbone()
        for crystal in SAMPLES:
            cell = Cell.of(crystal)
            yield crystal.id, model, cell, self.features(model, cell)

    # What comes out

    def test_features_have_the_shapes_of_the_interface(self) -> None:
        """(n, width) scalars and (n, 3, width) vectors, float32."""
        for name, _, cell, found in self._samples():
            n, width = len(cell.species), self.config.width
            assert found.scalars.shape == (n, width), name
            assert found.vectors.shape == (n, 3, width), name
            assert found.scalars.dtype == found.vectors.dtype == torch.float32, name

    def test_features_depend_on_positions(self) -> None:
        """Moving one atom changes its scalars and its neighbours', or the invariances below would be empty."""
        scale, _ = self._scale()
        for name, model, cell, before in self._samples():
            if len(cell.species) > 1:
                cart = cell.cart.copy()
                cart[0] += [0.2, -0.1, 0.15]
                after = self.features(model, cell._replace(cart=cart))
                change = (after.scalars - before.scalars).abs().amax(dim=1)
                least, seen = 10 * self.tolerance, float(min(change[0], change[1:].max())) / scale
                assert seen > least, (
                    f"{name}: moving an atom by 0.27 Å changes scalars by {seen:.1e} of their greatest, at least "
                    f"{least:g} is needed: messages are too weak at initialisation"
                )

    def test_vectors_vanish_at_centres_of_inversion_and_nowhere_else(self) -> None:
        """Symmetry forbids an l = 1 feature at an inversion centre; without one it must not be zero."""
        _, scale = self._scale()
        for name, _, _, found in self._samples():
            greatest = float(found.vectors.abs().max()) / scale
            symmetric = name in {crystal.id for crystal in SYMMETRIC}
            assert greatest <= self.tolerance if symmetric else greatest > 100 * self.tolerance, (name, greatest)

    # Symmetries

    def test_rotation_turns_vectors_and_leaves_scalars(self) -> None:
        """Proper rotations, drawn uniformly."""
        for name, model, cell, before in self._samples():
            for k in range(3):
                self._assert_equivariant(name, model, cell, before, _rotation(self.seed + k))

    def test_reflection_and_inversion_turn_vectors_and_leave_scalars(self) -> None:
        """Improper rotations: the vectors are polar."""
        mirror = np.diag([1.0, 1.0, -1.0])
        for name, model, cell, before in self._samples():
            for improper in (-np.eye(3), mirror, -_rotation(self.seed)):
                self._assert_equivariant(name, model, cell, before, improper)

    def _assert_equivariant(
        self, name: str, model: Backbone, cell: Cell, before: Features, matrix: NDArray[np.float64]
    ) -> None:
        turned = cell._replace(cart=cell.cart @ matrix.T, lattice=cell.lattice @ matrix.T)
        vectors = torch.einsum("ij,njw->niw", torch.from_numpy(matrix).float(), before.vectors)
        self.assert_same(self.features(model, turned), Features(before.scalars, vectors), name)

    def test_translation_changes_nothing(self) -> None:
        """All atoms together, without wrapping."""
        for name, model, cell, before in self._samples():
            moved = cell._replace(cart=cell.cart + np.array([0.31, -1.27, 2.9]))
            self.assert_same(self.features(model, moved), before, name)

    def test_permutation_of_atoms_permutes_features(self) -> None:
        """Order of atoms is no property of a crystal."""
        rng = np.random.default_rng(self.seed)
        for name, model, cell, before in self._samples():
            order = rng.permutation(len(cell.species))
            shuffled = Cell(cell.species[order], cell.cart[order], cell.lattice)
            self.assert_same(self.features(model, shuffled), Features(*(values[order] for values in before)), name)

    def test_choice_of_the_cells_origin_changes_nothing(self) -> None:
        """Atoms moved together and wrapped into the cell again."""
        for name, model, cell, before in self._samples():
            frac = (cell.cart @ np.linalg.inv(cell.lattice) + [0.37, 0.71, 0.13]) % 1.0
            self.assert_same(self.features(model, cell._replace(cart=frac @ cell.lattice)), before, name)

    def test_atoms_moved_by_lattice_vectors_are_the_same_atoms(self) -> None:
        """Each by its own whole lattice vectors."""
        rng = np.random.default_rng(self.seed)
        for name, model, cell, before in self._samples():
            whole = rng.integers(-2, 3, size=cell.cart.shape)
            moved = cell._replace(cart=cell.cart + whole @ cell.lattice)
            self.assert_same(self.features(model, moved), before, name)

    def test_another_basis_of_the_same_lattice_changes_nothing(self) -> None:
        """A unimodular change of lattice vectors, a left-handed one among them."""
        for name, model, cell, before in self._samples():
            for whole in ([[1, 1, 0], [0, 1, 0], [1, -1, 1]], [[0, 1, 0], [1, 0, 0], [0, 0, 1]]):
                self.assert_same(self.features(model, cell.with_basis(whole)), before, name)

    def test_strongly_skewed_cell_equals_its_reduced_cell(self) -> None:
        """Angles near 0 and 180 degrees, as unreduced inputs have them."""
        for name, model, cell, before in self._samples():
            skewed = cell.with_basis([[1, 0, 0], [3, 1, 0], [-2, 4, 1]])
            self.assert_same(self.features(model, skewed), before, name, self.skew_tolerance)

    def test_supercell_repeats_features(self) -> None:
        """2×1×1."""
        for name, model, cell, before in self._samples():
            twice = Features(*(torch.cat([values, values]) for values in before))
            self.assert_same(self.features(model, cell.doubled()), twice, name)

    def test_batch_of_several_crystals_is_each_alone(self) -> None:
        """Nothing leaks from one crystal into the next."""
        model = self.backbone()
        cells = [Cell.of(crystal) for crystal in SAMPLES]
        alone = [self.features(model, cell) for cell in cells]
        together = Features(*(torch.cat(values) for values in zip(*alone, strict=True)))
        self.assert_same(self.features(model, *cells), together, "batch")

    # Gradients

    def test_gradient_reaches_positions_and_species(self) -> None:
        """Non-zero and finite everywhere: through it the discriminator teaches the generator."""
        for crystal in ASYMMETRIC:
            model, graph, weights = self._differentiable(crystal)
            cart = graph.cart.requires_grad_()
            loss = _probe(model(weights.requires_grad_(), graph))
            for what, gradient in zip(
                ("positions", "species"), torch.autograd.grad(loss, (cart, weights)), strict=True
            ):
                assert torch.isfinite(gradient).all(), f"{crystal.id}: gradient to {what} is not finite"
                assert (gradient.abs().sum(dim=1) > 0).all(), f"{crystal.id}: an atom's {what} get no gradient"

    def test_gradients_agree_with_finite_differences(self) -> None:
        """One coordinate and one species weight of every atom, by central differences over a fixed graph."""
        step, allowed = (1e-5, self.gradient_tolerance) if self.runs_in_double else (3e-3, 0.02)
        for crystal in ASYMMETRIC:
            model, graph, weights = self._differentiable(crystal)
            inputs = (graph.cart.requires_grad_(), weights.requires_grad_())
            gradients = torch.autograd.grad(_probe_at(model, graph, *inputs), inputs)
            for k, what in enumerate(("positions", "species")):
                for atom in range(len(crystal)):
                    bump = torch.zeros_like(inputs[k])
                    bump[atom, 1] = step
                    up, down = (
                        _probe_at(model, graph, *(x + sign * bump if j == k else x for j, x in enumerate(inputs)))
                        for sign in (1, -1)
                    )
                    error = abs(float((up - down).detach() / (2 * step) - gradients[k][atom, 1]))
                    limit = allowed * float(gradients[k].abs().max())
                    assert error <= limit, (
                        f"{crystal.id}: gradient to {what} is off by {error:.1e}, allowed {limit:.1e}"
                    )

    def _differentiable(self, crystal: Crystal) -> tuple[Backbone, Graph, Tensor]:
        model, graph = self.backbone(), self.graph(Cell.of(crystal))
        weights = one_hot(torch.from_numpy(crystal.species))
        if not self.runs_in_double:
            return model, graph, weights
        exact = replace(graph, cart=graph.cart.double(), lattice=graph.lattice.double(), offset=graph.offset.double())
        return model.double(), exact, weights.double()

    def test_coinciding_atoms_give_finite_outputs_and_gradients(self) -> None:
        """The generator may put one atom onto another before it has learnt not to."""
        cell = Cell(np.array([11, 17]), np.zeros((2, 3)), 4.0 * np.eye(3))
        graph = self.graph(cell)
        assert ((graph.src == 0) & (graph.dst == 1)).any(), "the pair must see each other for this to be tested"
        cart, weights = graph.cart.requires_grad_(), one_hot(torch.from_numpy(cell.species)).requires_grad_()
        found = self.backbone()(weights, graph)
        assert all(torch.isfinite(values).all() for values in found)
        gradients = torch.autograd.grad(_probe(found), (cart, weights))
        assert all(torch.isfinite(gradient).all() for gradient in gradients)

    # Unusual cells

    def test_one_atom_cell_sees_its_own_images(self) -> None:
        """Its scalars depend on the lattice, its vectors vanish."""
        model, (_, scale) = self.backbone(), self._scale()
        tight, wide = (self.features(model, Cell(np.array([29]), np.zeros((1, 3)), a * np.eye(3))) for a in (2.5, 3.0))
        assert float(tight.vectors.abs().max()) <= self._vector_tolerance * scale
        assert float((tight.scalars - wide.scalars).abs().max()) > 10 * self.tolerance

    def test_isolated_atom_has_finite_scalars_and_no_vector(self) -> None:
        """No edges at all in a 30 Å box; a grid on the sphere gives back zero to rounding only."""
        cell = Cell(np.array([29]), np.zeros((1, 3)), ISOLATED_BOX * np.eye(3))
        assert len(self.graph(cell).src) == 0
        found = self.features(self.backbone(), cell)
        assert torch.isfinite(found.scalars).all()
        assert float(found.vectors.abs().max()) <= 1e-5 * self._scale()[1]

    def test_isolated_atom_alone_leaves_no_weight_without_gradient(self) -> None:
        """A worker that meets no edge must still have a gradient for all, or the others wait for it."""
        model, cell = self.backbone(), Cell(np.array([29]), np.zeros((1, 3)), ISOLATED_BOX * np.eye(3))
        _probe(model(one_hot(torch.from_numpy(cell.species)), self.graph(cell))).backward()
        assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []

    def test_isolated_atom_does_not_disturb_its_batch(self) -> None:
        """An atom without edges in the middle of a batch."""
        model, (first, last) = self.backbone(), (Cell.of(crystal) for crystal in ASYMMETRIC)
        lonely = Cell(np.array([29]), np.zeros((1, 3)), ISOLATED_BOX * np.eye(3))
        alone = [self.features(model, cell) for cell in (first, lonely, last)]
        together = Features(*(torch.cat(values) for values in zip(*alone, strict=True)))
        self.assert_same(self.features(model, first, lonely, last), together, "isolated atom in a batch")

    def test_needle_shaped_cell_equals_its_supercell(self) -> None:
        """1×1×30 Å: the cutoff reaches over many cells one way and not across one the other way."""
        model = self.backbone()
        needle = Cell(np.array([6, 7]), np.array([[0.0, 0.0, 0.0], [0.3, 0.4, 1.5]]), np.diag([1.0, 1.0, 30.0]))
        once = self.features(model, needle)
        twice = Features(*(torch.cat([values, values]) for values in once))
        greatest = tuple(float(values.abs().max()) for values in once)
        found = self.features(model, needle.doubled())
        for kind, a, b, unit in zip(KINDS, found, twice, greatest, strict=True):
            assert torch.isfinite(a).all() and float((a - b).abs().max()) <= self.tolerance * unit, kind

    # Species

    def test_mask_token_and_elements_are_all_told_apart(self) -> None:
        """119 isolated atoms, no two alike."""
        model = self.backbone()
        box = ISOLATED_BOX * np.eye(3)
        found = self.features(model, *(Cell(np.array([z]), np.zeros((1, 3)), box) for z in range(N_SPECIES))).scalars
        distance = (found[:, None] - found[None]).norm(dim=-1) + torch.eye(N_SPECIES) * 1e9
        assert float(distance.min()) > 1e-3
        assert float(distance[MASK].min()) > 1e-3

    def test_a_hidden_neighbour_is_noticed(self) -> None:
        """Masking one atom changes what its neighbours know."""
        scale, _ = self._scale()
        for name, model, cell, before in self._samples():
            if len(cell.species) > 1:
                species = cell.species.copy()
                species[0] = MASK
                after = self.features(model, cell._replace(species=species))
                seen = float((after.scalars - before.scalars)[1:].abs().max()) / scale
                assert seen > 10 * self.tolerance, f"{name}: masking a neighbour changes scalars by {seen:.1e} only"

    def test_species_weights_interpolate_continuously(self) -> None:
        """From one element to another in forty steps, none of which is a jump or nothing."""
        model, crystal = self.backbone(), ASYMMETRIC[0]
        graph = self.graph(Cell.of(crystal))
        here = one_hot(torch.from_numpy(crystal.species))
        there = one_hot(torch.from_numpy(np.where(crystal.species == 8, 16, crystal.species)))

        def at(t: float) -> Tensor:
            with torch.no_grad():
                found: Tensor = model((1 - t) * here + t * there, graph).scalars
                return found

        path = torch.stack([at(float(t)) for t in torch.linspace(0, 1, 41)])
        whole = float((path[-1] - path[0]).abs().max())
        assert whole > 100 * self.tolerance, "two elements look the same"
        steps = (path[1:] - path[:-1]).abs().amax(dim=(1, 2)) / whole
        assert float(steps.max()) < 0.2, "a small change of the weights makes a jump"
        assert (steps > 0).all(), "a change of the weights goes unnoticed"

    # Precision and memory

    def test_bf16_autocast_stays_close_to_float32(self) -> None:
        """The network may round, the geometry may not: coordinates of 30 Å, rounded to bf16, are 0.1 Å off."""
        rng = np.random.default_rng(self.seed)
        for name, model, cell, exact in self._samples():
            whole = rng.integers(-9, 10, size=cell.cart.shape)
            for each in (cell, cell._replace(cart=cell.cart + whole @ cell.lattice)):
                with torch.autocast("cpu", torch.bfloat16):
                    rounded = self.features(model, each)
                full = Features(*(values.float() for values in rounded))
                self.assert_same(full, exact, f"{name} in bf16", self.bf16_tolerance)

    def test_bf16_gradients_are_close_to_those_of_float32(self) -> None:
        """To positions and to species weights, in direction."""
        for crystal in ASYMMETRIC:
            pairs = []
            for enabled in (False, True):
                model, graph = self.backbone(), self.graph(Cell.of(crystal))
                inputs = graph.cart.requires_grad_(), one_hot(torch.from_numpy(crystal.species)).requires_grad_()
                with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
                    loss = _probe(model(inputs[1], graph))
                pairs.append(torch.autograd.grad(loss, inputs))
            for what, exact, rounded in zip(("positions", "species"), *pairs, strict=True):
                cosine = float(torch.cosine_similarity(exact.flatten(), rounded.flatten(), dim=0))
                assert cosine > 0.95, f"{crystal.id}: gradient to {what} has cosine {cosine:.3f} in bf16"

    def test_activation_checkpointing_changes_nothing(self) -> None:
        """Same gradients to every weight in training, dropout included, from fewer tensors kept."""
        cell, kept, gradients = Cell.of(ASYMMETRIC[0]), [], []
        for checkpointing in (False, True):
            torch.manual_seed(self.seed)
            model = build_backbone(self.config.model_copy(update={"activation_checkpointing": checkpointing}))
            species, graph = one_hot(torch.from_numpy(cell.species)), self.graph(cell)
            sizes: list[int] = []

            def pack(saved: Tensor, sizes: list[int] = sizes) -> Tensor:
                sizes.append(saved.numel())
                return saved

            with torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved):
                loss = _probe(model(species, graph))
            loss.backward()
            kept.append(sum(sizes))
            gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
        plain, recomputed = gradients
        assert kept[1] < 0.8 * kept[0], f"it keeps {kept[1]} numbers with checkpointing and {kept[0]} without"
        assert plain.keys() == recomputed.keys()
        for name, gradient in plain.items():
            torch.testing.assert_close(recomputed[name], gradient, rtol=1e-4, atol=1e-6, msg=name)

    # Storage

    def test_saved_and_loaded_state_gives_the_same_features(self) -> None:
        """Through safetensors, into a backbone initialised otherwise; training-set statistics included."""
        cell = Cell.of(ASYMMETRIC[0])
        model, other = self.backbone(), self.backbone(self.seed + 1)
        model.average_degree.fill_(7.0)
        expected = self.features(model, cell)
        assert not torch.equal(self.features(other, cell).scalars, expected.scalars)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "backbone.safetensors"
            save_file({name: value.contiguous() for name, value in model.state_dict().items()}, path)
            other.load_state_dict(load_file(path))
        found = self.features(other, cell)
        assert torch.equal(found.scalars, expected.scalars)
        assert torch.equal(found.vectors, expected.vectors)


def _rotation(seed: int) -> NDArray[np.float64]:
    """Return (3, 3) a proper rotation, uniform over SO(3): from a random unit quaternion."""
    w, x, y, z = (q := np.random.default_rng(seed).normal(size=4)) / np.linalg.norm(q)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def _probe_at(model: Backbone, graph: Graph, cart: Tensor, weights: Tensor) -> Tensor:
    """Return `_probe` with the atoms elsewhere and the edges as they were."""
    return _probe(model(weights, replace(graph, cart=cart)))


def _probe(features: Features) -> Tensor:
    """Return a scalar that every feature enters with its own fixed weight."""
    generator = torch.Generator().manual_seed(0)
    terms = (torch.randn(values.shape, generator=generator).to(values) * values for values in features)
    return torch.stack([term.sum() for term in terms]).sum()
