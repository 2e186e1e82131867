"""Generator and discriminator keep the symmetries of their backbone, and heads are loaded by name."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from crystalsweep.data import load_bundled
from crystalsweep.evaluation.protocol import restore
from crystalsweep.hyperparameters import CorruptionConfig
from crystalsweep.networks.architectures import PaiNNConfig
from crystalsweep.networks.models import Generator, PropertyModel, Restoration, graph_of, load_matching, one_hot
from crystalsweep.structures.batch import CrystalBatch, collate, to_fractional, wrap_into_cell
from crystalsweep.structures.corruption import Corrupted, corrupt
from crystalsweep.structures.crystal import Crystal

CONFIG = PaiNNConfig(width=16, layers=2, radial_functions=8, max_neighbours=12)
ROTATION = np.linalg.qr(np.random.default_rng(5).normal(size=(3, 3)))[0]


@pytest.fixture(scope="module")
def crystals() -> list[Crystal]:
    small = sorted(load_bundled("val"), key=lambda crystal: (len(crystal), crystal.id))
    return [small[0], *small[150:155]]


@pytest.fixture(scope="module")
def corrupted(crystals: list[Crystal]) -> Corrupted:
    return corrupt(collate(crystals), CorruptionConfig(sigma_noise=0.2), torch.Generator().manual_seed(0))


@pytest.fixture
def generator() -> Generator:
    torch.manual_seed(0)
    return Generator(CONFIG).eval()


@pytest.fixture
def discriminator() -> PropertyModel:
    torch.manual_seed(0)
    return PropertyModel(CONFIG).eval()


@torch.no_grad()
def restored(generator: Generator, species: Tensor, cart: Tensor, batch: CrystalBatch, lattice: Tensor) -> Restoration:
    result: Restoration = generator(one_hot(species), graph_of(cart, lattice, batch.counts, CONFIG))
    return result


@torch.no_grad()
def scored(model: PropertyModel, *crystals: Crystal) -> Tensor:
    batch = collate(crystals)
    logits: Tensor = model(one_hot(batch.species), graph_of(batch.cart, batch.lattice, batch.counts, CONFIG))
    return logits


def supercell(crystal: Crystal, n: int) -> Crystal:
    cells = np.stack(np.meshgrid(*[np.arange(n)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    frac: NDArray[np.float64] = ((crystal.frac[None] + cells[:, None]) / n).reshape(-1, 3)
    return Crystal.of(crystal.id, np.tile(crystal.species, len(cells)), n * crystal.lattice, frac)


def test_generator_answers_per_atom(generator: Generator, corrupted: Corrupted) -> None:
    batch = corrupted.pristine
    answer = restored(generator, corrupted.species, corrupted.cart, batch, batch.lattice)
    assert answer.logits.shape == (len(batch.species), 118)
    assert answer.perturbation.shape == (len(batch.species), 3)
    assert answer.species().min() >= 1
    assert torch.equal(answer.species(), answer.logits.argmax(dim=1) + 1)


@pytest.mark.parametrize("outputs", [1, 2, 5])
def test_property_model_answers_per_crystal(crystals: list[Crystal], outputs: int) -> None:
    assert scored(PropertyModel(CONFIG, outputs), *crystals).shape == (len(crystals), outputs)


@pytest.mark.parametrize("matrix", [ROTATION, -ROTATION, -np.eye(3)], ids=["turn", "improper turn", "inversion"])
def test_predicted_perturbation_turns_with_the_crystal(
    generator: Generator, corrupted: Corrupted, matrix: NDArray[np.float64]
) -> None:
    batch, turn = corrupted.pristine, torch.from_numpy(matrix).float()
    before = restored(generator, corrupted.species, corrupted.cart, batch, batch.lattice)
    after = restored(generator, corrupted.species, corrupted.cart @ turn.T, batch, batch.lattice @ turn.T)
    scale = before.perturbation.abs().max()
    assert scale > 1e-3
    assert (after.perturbation - before.perturbation @ turn.T).abs().max() < 1e-3 * scale
    assert torch.allclose(after.logits, before.logits, atol=1e-3 * float(before.logits.abs().max()))


def test_perturbation_of_an_inversion_centre_is_zero(generator: Generator) -> None:
    rock_salt = Crystal.of("x", [11, 17], 2.82 * (1 - np.eye(3)), [[0, 0, 0], [0.5, 0.5, 0.5]])
    batch = collate([rock_salt])
    answer = restored(generator, batch.species, batch.cart, batch, batch.lattice)
    assert answer.perturbation.abs().max() < 1e-5


def test_restored_positions_are_the_input_minus_the_perturbation_modulo_the_lattice(
    generator: Generator, corrupted: Corrupted
) -> None:
    batch = corrupted.pristine
    answer = restored(generator, corrupted.species, corrupted.cart, batch, batch.lattice)
    answer = answer._replace(perturbation=answer.perturbation * 20)  # so that atoms cross faces
    cart = answer.cart(corrupted.cart, batch.lattice, batch.crystal)
    jump = to_fractional(cart - (corrupted.cart - answer.perturbation), batch.lattice, batch.crystal)
    assert jump.round().any()
    assert (jump - jump.round()).abs().max() < 1e-5
    frac = to_fractional(cart, batch.lattice, batch.crystal)
    assert float(frac.min()) > -1e-5
    assert float(frac.max()) < 1 + 1e-5


def test_wrapping_passes_the_gradient_unchanged() -> None:
    cart = torch.tensor([[5.0, -1.0, 0.5]], requires_grad=True)
    wrapped = wrap_into_cell(cart, 2.0 * torch.eye(3)[None], torch.zeros(1, dtype=torch.long))
    assert wrapped.tolist() == [[1.0, 1.0, 0.5]]
    (gradient,) = torch.autograd.grad((wrapped * torch.tensor([1.0, 2.0, 3.0])).sum(), cart)
    assert gradient.tolist() == [[1.0, 2.0, 3.0]]


def test_discriminator_answers_a_supercell_as_its_primitive_cell(
    discriminator: PropertyModel, crystals: list[Crystal]
) -> None:
    """The released code sums over atoms: eight times the logits in a 2×2×2 supercell."""
    small = crystals[:4]
    assert torch.allclose(
        scored(discriminator, *[supercell(c, 2) for c in small]), scored(discriminator, *small), rtol=1e-3, atol=1e-4
    )


def test_discriminator_tells_crystals_apart(discriminator: PropertyModel, crystals: list[Crystal]) -> None:
    assert scored(discriminator, *crystals).std(dim=0).min() > 1e-3


def test_crystals_of_a_batch_are_scored_as_alone(discriminator: PropertyModel, crystals: list[Crystal]) -> None:
    alone = torch.cat([scored(discriminator, crystal) for crystal in crystals])
    assert torch.allclose(scored(discriminator, *crystals), alone, atol=1e-5)


def test_gradient_of_the_score_reaches_positions_and_species(
    discriminator: PropertyModel, crystals: list[Crystal]
) -> None:
    batch = collate(crystals[1:])
    weights, cart = one_hot(batch.species).requires_grad_(), batch.cart.clone().requires_grad_()
    logits = discriminator(weights, graph_of(cart, batch.lattice, batch.counts, CONFIG))
    for gradient in torch.autograd.grad((logits[:, 1] - logits[:, 0]).sum(), (weights, cart)):
        assert torch.isfinite(gradient).all()
        assert gradient.any()


# Restoring


@pytest.mark.parametrize("keep_known", [True, False])
def test_visible_species_are_kept_where_asked(generator: Generator, corrupted: Corrupted, keep_known: bool) -> None:
    ids = [str(i) for i in range(len(corrupted.pristine))]
    found = np.concatenate(
        [crystal.species for crystal in restore(generator, corrupted, ids).reading(keep_known=keep_known)]
    )
    visible = ~corrupted.masked.numpy()
    assert (found[visible] == corrupted.species.numpy()[visible]).all() == keep_known
    assert found.min() >= 1


# Checkpoints of other heads


def test_discriminator_takes_the_backbone_and_drops_heads_by_name(generator: Generator) -> None:
    torch.manual_seed(1)
    model = PropertyModel(CONFIG)
    head = {name: value.clone() for name, value in model.state_dict().items() if name.startswith("head.")}
    dropped = load_matching(model, generator.state_dict())
    assert dropped == sorted(name for name in generator.state_dict() if not name.startswith("backbone."))
    assert "perturbation_head.sum.weight" in dropped
    for name, value in model.state_dict().items():
        expected = head[name] if name in head else generator.state_dict()[name]
        assert torch.equal(value, expected), name


def test_head_of_another_size_is_dropped_alone() -> None:
    trained, model = PropertyModel(CONFIG, outputs=2), PropertyModel(CONFIG, outputs=5)
    assert load_matching(model, trained.state_dict()) == ["head.layers.3.bias", "head.layers.3.weight"]
    assert torch.equal(model.state_dict()["head.layers.1.weight"], trained.state_dict()["head.layers.1.weight"])


def test_average_degree_travels_with_the_backbone(generator: Generator) -> None:
    generator.backbone.average_degree.fill_(23.0)
    model = PropertyModel(CONFIG)
    load_matching(model, generator.state_dict())
    assert float(model.backbone.average_degree) == 23.0


@pytest.mark.parametrize("other", [{"width": 8}, {"layers": 3}, {"radial_functions": 9}])
def test_another_backbone_is_refused(generator: Generator, other: dict[str, int]) -> None:
    model = PropertyModel(CONFIG.model_copy(update=other))
    before = [value.clone() for value in model.state_dict().values()]
    with pytest.raises(ValueError, match=r"backbone is another one: backbone\..* there and .* here"):
        load_matching(model, generator.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(before, model.state_dict().values(), strict=True))


def test_weights_without_a_backbone_are_refused() -> None:
    with pytest.raises(ValueError, match="absent there"):
        load_matching(PropertyModel(CONFIG), nn.Linear(2, 2).state_dict())


def test_precision_of_the_config_is_what_the_network_runs_in(generator: Generator, corrupted: Corrupted) -> None:
    exact, batch = generator, corrupted.pristine
    rounded = Generator(CONFIG.model_copy(update={"precision": "bf16"})).eval()
    rounded.load_state_dict(exact.state_dict())
    seen = []
    rounded.species_head.register_forward_hook(lambda *call: seen.append(call[2].dtype))
    graph = graph_of(batch.cart, batch.lattice, batch.counts, CONFIG)
    found, expected = (model(one_hot(batch.species), graph).logits for model in (rounded, exact))
    assert seen == [torch.bfloat16]
    assert found.dtype == expected.dtype == torch.float32
    assert 0 < float((found - expected).abs().max()) < 0.1 * float(expected.abs().max())
