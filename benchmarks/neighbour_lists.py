"""Which periodic neighbour search is fastest on bundled crystals? All must find the same edges.

pip install vesin matscipy ase       # whichever of the others are to be compared; absent ones are skipped
python benchmarks/neighbour_lists.py
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable

import numpy as np
from tabulate import tabulate

from crystalsweep.data import load_bundled
from crystalsweep.structures.crystal import Crystal
from crystalsweep.structures.neighbours import neighbour_list

CUTOFF = 6.0
CRYSTALS = 200
ROUNDS = 5

Search = Callable[[Crystal], int]
"""Directed edges found within the cutoff."""


def ours(crystal: Crystal) -> int:
    """Return pymatgen's `find_points_in_spheres`, as the library calls it."""
    return len(neighbour_list(crystal.lattice, crystal.frac, CUTOFF).src)


def vesin(crystal: Crystal) -> int:
    """Return vesin's cell list."""
    from vesin import NeighborList

    calculator = NeighborList(cutoff=CUTOFF, full_list=True)
    return len(calculator.compute(points=crystal.cart, box=crystal.lattice, periodic=True, quantities="i")[0])


def matscipy(crystal: Crystal) -> int:
    """Return matscipy's C search."""
    from matscipy.neighbours import neighbour_list as search

    return len(search("i", positions=crystal.cart, cell=crystal.lattice, pbc=(True, True, True), cutoff=CUTOFF))


def ase(crystal: Crystal) -> int:
    """Return ASE's pure NumPy search."""
    from ase.neighborlist import primitive_neighbor_list

    return len(primitive_neighbor_list("i", (True, True, True), crystal.lattice, crystal.cart, CUTOFF))


def microseconds(search: Search, crystals: list[Crystal]) -> tuple[float, int]:
    """Return least time per crystal over the rounds, and the edges found in all."""
    times, edges = [], 0
    for _ in range(ROUNDS):
        began = time.perf_counter()
        edges = sum(search(crystal) for crystal in crystals)
        times.append((time.perf_counter() - began) / len(crystals) * 1e6)
    return min(times), edges


def main() -> None:
    """Time every search that is installed on the same crystals."""
    crystals = load_bundled("val")
    picks = np.random.default_rng(0).choice(len(crystals), CRYSTALS, replace=False)
    sample = [crystals[i] for i in sorted(picks)]
    searches = {"pymatgen (ours)": ours} | {
        search.__name__: search for search in (vesin, matscipy, ase) if importlib.util.find_spec(search.__name__)
    }
    measured = {name: microseconds(search, sample) for name, search in searches.items()}
    base, edges = measured["pymatgen (ours)"]
    rows = [[name, f"{t:.0f}", f"{t / base:.1f}", found] for name, (t, found) in measured.items()]
    print(tabulate(rows, headers=["search", "µs/crystal", "time ÷ ours", "edges"]))
    wrong = [name for name, (_, found) in measured.items() if found != edges]
    if wrong:
        raise SystemExit(f"{', '.join(wrong)} found other edges than ours")


if __name__ == "__main__":
    main()
