"""How fast are the cheap scores, and do they agree with the checks of CDVAE, one crystal at a time?

Crystals: the bundled ones with at most 20 atoms, corrupted as the evaluation protocol does at sigma_noise 0.1, 0.2
and 0.4; "generated" ones are displaced once more, so that nothing is trivially zero. Compositions: the distinct ones of
the bundled crystals, or of another file. Times are processor times of this process, both sides in turn.

python benchmarks/scoring.py
python benchmarks/scoring.py --crystals 20000 --data crystals.parquet
"""

from __future__ import annotations

import argparse
import itertools
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from tabulate import tabulate

from crystalsweep.data import load_bundled, read
from crystalsweep.metrics import score_table
from crystalsweep.metrics.charge_balance import charge_balanced
from crystalsweep.metrics.settings import METRIC_PRESETS
from crystalsweep.metrics.similarity import all_aligned, all_displacements, all_mean_distances
from crystalsweep.metrics.validity import LAST_IN_SMACT, all_structurally_valid
from crystalsweep.structures.batch import collate, uncollate
from crystalsweep.structures.corruption import apply, draw_noise, mask_of_type
from crystalsweep.structures.crystal import Crystal

MAX_ATOMS = 20
MASK_TYPES = ("species", "random15", "random30")
SIGMA_NOISE = (0.1, 0.2, 0.4)
CONDITIONS = tuple(itertools.product(MASK_TYPES, SIGMA_NOISE))
BATCH = 455
"""Crystals corrupted together; one batch per condition is scored at a time."""

RULES = METRIC_PRESETS["cdvae2022"]
T = TypeVar("T")


class Case(NamedTuple):
    """A reduced composition."""

    symbols: tuple[str, ...]
    numbers: list[int]
    counts: list[int]


class Chunk(NamedTuple):
    """Crystals to be scored together."""

    originals: list[Crystal]
    corrupted: list[Crystal]
    generated: list[Crystal]


def timed(times: dict[str, float], name: str, function: Callable[..., T], *args: object) -> T:
    """Return what the function returns; its processor time is added to times[name]."""
    began = time.process_time()
    result = function(*args)
    times[name] = times.get(name, 0.0) + time.process_time() - began
    return result


@torch.no_grad()
def chunks(crystals: Sequence[Crystal], number: int) -> Iterator[Chunk]:
    """Yield `number` cases, crystals and conditions in turn."""
    generator = torch.Generator().manual_seed(0)
    supply = itertools.cycle(crystals)
    while number > 0:
        chunk = Chunk([], [], [])
        for mask_type, sigma_noise in CONDITIONS:
            batch = collate(list(itertools.islice(supply, BATCH)))
            ids = [crystal.id for crystal in batch.crystals]
            masked = mask_of_type(batch, mask_type, generator)
            sigma = torch.full((len(batch),), sigma_noise)
            first, second = (draw_noise(batch, sigma, True, generator) for _ in range(2))
            given, made = apply(batch, masked, first), apply(batch, masked, first + second)
            chunk.originals.extend(batch.crystals)
            chunk.corrupted.extend(uncollate(given.cart, given.species, batch, ids))
            chunk.generated.extend(uncollate(made.cart, batch.species, batch, ids))
        yield Chunk(*(part[:number] for part in chunk))
        number -= len(chunk.originals)


def distances(chunk: Chunk) -> NDArray[np.float64]:
    """Return (C,) mean distance of generated from original, Å; the noise and both aligned forms are worked out as
    well."""
    counts = np.array([len(crystal) for crystal in chunk.originals])
    lattices = np.array([crystal.lattice for crystal in chunk.originals])
    results = []
    for others in (chunk.corrupted, chunk.generated):
        deltas = [other.frac - original.frac for original, other in zip(chunk.originals, others, strict=True)]
        moved = all_displacements(np.concatenate(deltas), lattices, counts)
        results += [all_mean_distances(moved, counts), all_mean_distances(all_aligned(moved, lattices, counts), counts)]
    return results[2]


def cdvae_structure(crystal: Crystal, cutoff: float = 0.5) -> bool:
    """Return CDVAE's check of a structure: pymatgen's distance matrix of one crystal."""
    from pymatgen.core import Structure

    structure = Structure(crystal.lattice, crystal.species.tolist(), crystal.frac)
    matrix = structure.distance_matrix + np.diag(np.full(len(crystal), cutoff + 10.0))
    return not (matrix.min() < cutoff or structure.volume < 0.1)


def pymatgen_distances(chunk: Chunk, picks: Sequence[int]) -> list[float]:
    """Return mean distances of the picked by pymatgen's minimum images; the noise is worked out as well."""
    from pymatgen.core import Lattice

    results = []
    for k in picks:
        lattice, frac = Lattice(chunk.originals[k].lattice), chunk.originals[k].frac
        for other in (chunk.corrupted[k], chunk.generated[k]):
            distance = float(np.diag(lattice.get_all_distances(frac, other.frac)).mean())
        results.append(distance)
    return results


def structures(number: int, sample: int) -> None:
    """Time structural validity and distances: flat arrays against one crystal at a time."""
    crystals = [crystal for crystal in load_bundled() if len(crystal) <= MAX_ATOMS]
    ours: dict[str, float] = {}
    theirs: dict[str, float] = {}
    sampled = differ = 0
    largest = 0.0
    cdvae_structure(crystals[0])  # imports
    for chunk in chunks(crystals, number):
        picks = range(0, len(chunk.generated), max(1, number // sample))
        valid = timed(ours, "structural validity", all_structurally_valid, chunk.generated, RULES.structure)
        checked = timed(
            theirs,
            "structural validity",
            lambda made: [cdvae_structure(c) for c in made],
            chunk.generated[:: picks.step],
        )
        distance = timed(ours, "distances", distances, chunk)
        measured = timed(theirs, "distances", pymatgen_distances, chunk, picks)
        keys = pd.DataFrame({"parent": [crystal.id for crystal in chunk.originals]})
        timed(ours, "whole table", score_table, *chunk, keys)
        sampled += len(picks)
        differ += int((valid[:: picks.step] != np.array(checked)).sum())
        largest = max(largest, float(np.abs(distance[:: picks.step] - measured).max()))
    rows: list[list[object]] = []
    for name, seconds in ours.items():
        scaled = theirs[name] / sampled * number if name in theirs else None
        rows.append([name, seconds, scaled, scaled / seconds if scaled else None])
    print(f"{number} generated crystals of {len(crystals)} parents; one at a time: {sampled} of them, scaled up")
    print(tabulate(rows, headers=["", "ours, s", "one at a time, s", "ratio"], floatfmt=".1f"))
    print("distances: of the noise and of the generated crystal; ours include both alignments, pymatgen's none")
    print(f"verdicts that differ: {differ}; largest difference of a distance: {largest:.1e} Å\n")


def published_pauling_test(states: Sequence[int], scale: Sequence[float | None]) -> bool:
    """Return SMACT 2.2.1's, with which CDVAE was published; comparing None raises TypeError."""
    first: Any
    second: Any
    for (q1, first), (q2, second) in itertools.combinations(list(zip(states, scale, strict=True)), 2):
        if q1 > 0 > q2 and first >= second:
            return False
        if q1 < 0 < q2 and first <= second:
            return False
        if first is None or second is None:
            return False
    return True


def cdvae_composition(symbols: tuple[str, ...], counts: Sequence[int], known: Mapping[str, Any] | None = None) -> bool:
    """Return CDVAE's check of a composition: every combination of oxidation states, Pauling test and alloy rule on.

    It makes the elements' data anew for each composition, unless they are `known`.
    """
    import smact

    space = smact.element_dictionary(symbols) if known is None else {symbol: known[symbol] for symbol in symbols}
    elements = list(space.values())
    scale = [element.pauling_eneg for element in elements]
    combinations = [element.oxidation_states_smact14 or [] for element in elements]
    if len(set(symbols)) == 1:
        return True
    if all(symbol in smact.metals for symbol in symbols):
        return True
    found = []
    for states in itertools.product(*combinations):
        ratios = smact.neutral_ratios(states, stoichs=[(count,) for count in counts], threshold=max(counts))
        if ratios:
            try:
                passes = published_pauling_test(states, scale)
            except TypeError:  # no electronegativity: assumed to be fine
                passes = True
            if passes:
                found += [(symbols, ratio) for ratio in ratios]
    return len(set(found)) > 0


def composition_cases(crystals: Sequence[Crystal], limit: int, cap: int) -> list[Case]:
    """Return distinct reduced compositions, in a random order, with what was left out printed."""
    import smact

    formulas = sorted({crystal.reduced_formula for crystal in crystals})
    chosen = np.random.default_rng(0).permutation(len(formulas))[:limit]
    pairs = [[tuple(map(int, pair.split(":"))) for pair in formulas[k].split()] for k in chosen]
    symbols = smact.ordered_elements(1, LAST_IN_SMACT)
    known = [
        Case(tuple(symbols[z - 1] for z, _ in pair), [z for z, _ in pair], [count for _, count in pair])
        for pair in pairs
        if pair[-1][0] <= LAST_IN_SMACT
    ]
    states = {
        symbol: len(element.oxidation_states_smact14 or []) for symbol, element in smact.element_dictionary().items()
    }
    within = [case for case in known if prod(states[symbol] for symbol in case.symbols) <= cap]
    print(
        f"{len(formulas)} distinct compositions, {len(pairs)} taken; left out on both sides: {len(pairs) - len(known)}"
    )
    print(f"beyond Z = {LAST_IN_SMACT} and {len(known) - len(within)} with more than {cap} combinations of states")
    return within


def compositions(cases: Sequence[Case]) -> None:
    """Time compositional validity, nothing cached but the elements' data, against CDVAE's product over states."""
    import smact

    elements = smact.element_dictionary()
    sides: dict[str, Callable[[Case], bool]] = {
        "ours": lambda case: charge_balanced(case.numbers, case.counts, RULES.composition),
        "CDVAE": lambda case: cdvae_composition(case.symbols, case.counts),
        "CDVAE, elements' data at hand": lambda case: cdvae_composition(case.symbols, case.counts, elements),
    }
    for side in sides.values():
        for number, symbol in enumerate(elements, start=1):
            side(Case((symbol, "O"), [number, 8], [1, 1]))
    times: dict[str, float] = {}
    verdicts: dict[str, list[bool]] = {name: [] for name in sides}
    for first in range(0, len(cases), 500):
        part = cases[first : first + 500]
        for name, side in sides.items():
            verdicts[name] += timed(times, name, lambda part, side: [side(case) for case in part], part, side)
    rows = [[name, seconds / len(cases) * 1e6, seconds / times["ours"]] for name, seconds in times.items()]
    print(tabulate(rows, headers=[f"{len(cases)} compositions", "µs each", "time ÷ ours"], floatfmt=".1f"))
    differ = sum(a != b for a, b in zip(verdicts["ours"], verdicts["CDVAE"], strict=True))
    print(f"valid: {np.mean(verdicts['ours']):.3f}; verdicts that differ: {differ}")


def main() -> None:
    """Time both, side by side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crystals", type=int, default=100_000, help="generated crystals")
    parser.add_argument("--sample", type=int, default=2000, help="of them, those that are also checked one at a time")
    parser.add_argument("--compositions", type=int, default=10_000, help="distinct compositions, if there are so many")
    parser.add_argument(
        "--cap", type=int, default=1_000_000, help="combinations of states (1,000,000: seconds for CDVAE)"
    )
    parser.add_argument("--data", type=Path, help="crystals whose compositions are taken instead of the bundled ones")
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", module="pymatgen")  # missing electronegativities of noble gases
    structures(args.crystals, args.sample)
    crystals = read(args.data).crystals if args.data else load_bundled()
    compositions(composition_cases(crystals, args.compositions, args.cap))


if __name__ == "__main__":
    main()
