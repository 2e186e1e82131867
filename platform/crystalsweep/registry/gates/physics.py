"""Whether a generator obeys what every crystal obeys, and restores rock salt.

The motions are those of the backbones' conformance kit, here on trained weights and in the units a user sees:
probabilities of species and displacements in Å.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from crystalsweep.networks.models import Generator, graph_of, one_hot
from crystalsweep.registry.gates.gate import Check, Gate
from crystalsweep.seeding import stream
from crystalsweep.structures.batch import collate
from crystalsweep.structures.corruption import apply, draw_noise
from crystalsweep.structures.crystal import MASK, Crystal

PROBABILITY_LIMIT = 0.01
"""Greatest change of a species' probability under a motion that changes nothing."""
LENGTH_LIMIT = 0.01
"""Greatest change of a predicted displacement under such a motion, Å."""
NACL_SIGMA = 0.1
"""Noise on rock salt, in units of its shortest distance; the paper's lower test noise."""
NACL_DRAWS = 64
NACL_LEFT_LIMIT = 0.99
"""Greatest share of the noise that may be left; what moves atoms by nothing leaves all of it."""
SEED = 20240917

_FCC = np.array([[0.0, 0.0, 0.0], [0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0]])
ROCK_SALT = Crystal.of("NaCl", [11] * 4 + [17] * 4, 5.64 * np.eye(3), np.concatenate([_FCC, (_FCC + 0.5) % 1]))
"""NaCl, conventional cell, a = 5.64 Å."""
_PRIMITIVE = np.array([[0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0]])
ONE_ATOM = (
    Crystal.of("Cu, fcc", [29], 3.61 * _PRIMITIVE, [[0, 0, 0]]),
    Crystal.of("W, bcc", [74], 3.165 * (0.5 - np.eye(3)), [[0, 0, 0]]),
    Crystal.of("Po, simple cubic", [84], 3.36 * np.eye(3), [[0, 0, 0]]),
)
"""One-atom cells whose site symmetry lets no displacement survive."""
DISTORTED = Crystal.of(
    "CaTiO3, distorted",
    [20, 22, 8, 8, 8],
    [[3.9, 0.0, 0.0], [0.15, 3.85, 0.0], [-0.1, 0.2, 3.95]],
    [[0.02, 0.01, 0.98], [0.51, 0.48, 0.53], [0.5, 0.03, 0.49], [0.04, 0.52, 0.5], [0.47, 0.51, 0.03]],
)
"""A cell without any symmetry, so that displacements are predicted."""


@dataclass(frozen=True)
class _Atoms:
    """Input of the network; atoms may lie outside the cell."""

    species: NDArray[np.int64]
    cart: NDArray[np.float64]
    lattice: NDArray[np.float64]


def physics(generator: Generator) -> Gate:
    """Check equivariance, one-atom cells, and NaCl restored from noise and from a mask."""
    return Gate(
        name="physics",
        title="Physics",
        checks=[*_motions(generator), _one_atom(generator), _positions(generator), *_species(generator)],
    )


@torch.no_grad()
def _predict(generator: Generator, atoms: _Atoms) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (n, 118) probabilities and (n, 3) predicted displacements, Å."""
    cart, lattice = (torch.from_numpy(values).float() for values in (atoms.cart, atoms.lattice[None]))
    graph = graph_of(cart, lattice, torch.tensor([len(atoms.species)]), generator.backbone.config)
    found = generator(one_hot(torch.from_numpy(atoms.species)), graph)
    return found.logits.softmax(dim=-1).double().numpy(), found.perturbation.double().numpy()


def _masked(crystal: Crystal, *sites: int) -> _Atoms:
    species = crystal.species.copy()
    species[list(sites)] = MASK
    return _Atoms(species, crystal.cart, crystal.lattice)


def _rotation() -> NDArray[np.float64]:
    """Return a seeded proper rotation."""
    q, r = np.linalg.qr(np.random.default_rng(SEED).normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return np.asarray(q * np.sign(np.linalg.det(q)))


def _motions(generator: Generator) -> list[Check]:
    """Return the same crystal, told otherwise."""
    start = _masked(DISTORTED, 1)
    n, rotation = len(start.species), _rotation()
    order = np.random.default_rng(SEED).permutation(n)
    basis = np.array([[1, 1, 0], [0, 1, 0], [0, -1, 1]])
    probabilities, displacements = _predict(generator, start)
    told: dict[str, tuple[_Atoms, Callable[[NDArray[np.float64]], NDArray[np.float64]]]] = {
        "rotation": (_Atoms(start.species, start.cart @ rotation, start.lattice @ rotation), lambda x: x),
        "translation": (_Atoms(start.species, start.cart + np.array([0.7, -1.3, 2.1]), start.lattice), lambda x: x),
        "order of the atoms": (_Atoms(start.species[order], start.cart[order], start.lattice), lambda x: x[order]),
        "another cell of the same lattice": (_Atoms(start.species, start.cart, basis @ start.lattice), lambda x: x),
        "2×1×1 supercell": (
            _Atoms(
                np.tile(start.species, 2),
                np.concatenate([start.cart, start.cart + start.lattice[0]]),
                np.diag([2, 1, 1]) @ start.lattice,
            ),
            lambda x: np.concatenate([x, x]),
        ),
    }
    checks = []
    for title, (atoms, same) in told.items():
        p, moved = _predict(generator, atoms)
        turned = displacements @ rotation if title == "rotation" else displacements
        checks.append(_unchanged(title, np.abs(p - same(probabilities)), np.abs(moved - same(turned))))
    return checks


def _unchanged(title: str, probabilities: NDArray[np.float64], lengths: NDArray[np.float64]) -> Check:
    p, length = float(probabilities.max()), float(lengths.max())
    return Check(
        title=title,
        passed=bool(p <= PROBABILITY_LIMIT and length <= LENGTH_LIMIT),  # NaN does not pass
        says=f"probabilities change by {p:.1e} (limit {PROBABILITY_LIMIT:g}), displacements by {length:.1e} Å "
        f"(limit {LENGTH_LIMIT:g})",
        numbers={"probability_change": p, "displacement_change_angstrom": length},
    )


def _one_atom(generator: Generator) -> Check:
    """Check a lone atom: symmetry leaves a lone atom where it is; its species must be told all the same."""
    longest, finite = 0.0, True
    for crystal in ONE_ATOM:
        for atoms in (_masked(crystal), _masked(crystal, 0)):
            p, moved = _predict(generator, atoms)
            finite &= bool(np.isfinite(p).all() and np.isfinite(moved).all())
            longest = max(longest, float(np.nan_to_num(np.linalg.norm(moved, axis=1), nan=np.inf).max()))
    return Check(
        title="one-atom cells",
        passed=finite and longest <= LENGTH_LIMIT,
        says=f"{'finite' if finite else 'NOT finite'} for {', '.join(c.id for c in ONE_ATOM)}, masked and not; "
        f"atoms move by {longest:.1e} Å at most (limit {LENGTH_LIMIT:g})",
        numbers={"longest_displacement_angstrom": longest, "finite": finite},
    )


@torch.no_grad()
def _rock_salt(generator: Generator, site: int | None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Restore `NACL_DRAWS` displaced cells with one masked site: distance left over distance put in, (draws,), and the
    most likely element of every site, (draws, 8)."""
    batch = collate([ROCK_SALT] * NACL_DRAWS)
    noise = draw_noise(batch, torch.full((NACL_DRAWS,), NACL_SIGMA), True, stream(SEED, "rock salt"))
    masked = torch.zeros(len(batch.species), dtype=torch.bool)
    if site is not None:
        masked[site :: len(ROCK_SALT)] = True
    corrupted = apply(batch, masked, noise)
    graph = graph_of(corrupted.cart, batch.lattice, batch.counts, generator.backbone.config)
    found = generator(one_hot(corrupted.species), graph)
    put_in = noise.view(NACL_DRAWS, -1, 3)
    left = put_in - found.perturbation.view(NACL_DRAWS, -1, 3)
    left = left - left.mean(dim=1, keepdim=True)  # a rigid translation is no error
    ratio = left.norm(dim=-1).mean(dim=1) / put_in.norm(dim=-1).mean(dim=1)
    return ratio.double().numpy(), found.species().view(NACL_DRAWS, -1).numpy()


def _positions(generator: Generator) -> Check:
    ratio, _ = _rock_salt(generator, None)
    mean, half = float(ratio.mean()), 1.96 * float(ratio.std(ddof=1)) / np.sqrt(len(ratio))
    return Check(
        title="NaCl restored from noise",
        passed=bool(mean + half < NACL_LEFT_LIMIT),
        says=f"distance left / noise put in {mean:.3f} [{mean - half:.3f}, {mean + half:.3f}] at σ = {NACL_SIGMA:g}, "
        f"{len(ratio)} draws (limit: below {NACL_LEFT_LIMIT:g})",
        numbers={"ratio": mean, "low": mean - half, "high": mean + half, "draws": len(ratio)},
    )


def _species(generator: Generator) -> list[Check]:
    checks = []
    for site, symbol in ((0, "Na"), (4, "Cl")):
        _, species = _rock_salt(generator, site)
        share = float((species[:, site] == ROCK_SALT.species[site]).mean())
        checks.append(
            Check(
                title=f"NaCl with one {symbol} masked",
                passed=share > 0.5,
                says=f"{symbol} is the most likely element in {share:.0%} of {NACL_DRAWS} draws at σ = "
                f"{NACL_SIGMA:g} (limit: more than half)",
                numbers={"share": share, "draws": NACL_DRAWS},
            )
        )
    return checks
