"""Whether a model was trained on crystals that it is judged by: the same id, the same structure, or its supercell."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tqdm import tqdm

from crystalsweep.data import load_data, told_of_data
from crystalsweep.metrics.duplicates import find, repeats, unscorable
from crystalsweep.metrics.reduced_cell import Comparable
from crystalsweep.metrics.settings import MetricConfig
from crystalsweep.networks.checkpoint import PUBLISHED, UNKNOWN
from crystalsweep.registry.gates.gate import Check, Gate, Number
from crystalsweep.structures.crystal import Crystal
from crystalsweep.wording.stranger import in_a_line

_NAMED = 5
"""Leaks that are told by name."""

AT_HAND = "training data at hand"
"""Check that fails where crystals that it was trained on cannot be looked at."""

_HOW = (
    "Same structure: pymatgen's StructureMatcher with its defaults, on reduced cells. Supercell: the smaller cell, "
    "repeated, matches the larger one. Only crystals of the same reduced composition can match. What could not be "
    "compared does not pass."
)


@dataclass(frozen=True, kw_only=True)
class Ancestor:
    """Crystals that one training of a lineage used."""

    told: str
    """What it is called, as `gan on bundled`."""
    train: Sequence[Crystal]
    val: Sequence[Crystal]
    read: Sequence[str] = ()
    """What a reader must know of how they were read."""


@dataclass(frozen=True, kw_only=True)
class Leak:
    """A held-out crystal that was trained on."""

    held_out: str
    train: str
    how: str
    """`id`, `structure` or `supercell`."""


@dataclass(frozen=True, kw_only=True)
class Undecided:
    """A held-out crystal of which nothing could tell whether it was trained on."""

    held_out: str
    why: str
    pairs: int
    """Training crystals of its composition that it could not be told from."""


def leakage(trainings: Sequence[Ancestor], unknown: Sequence[str], judged_by: Sequence[Crystal]) -> Gate:
    """Return the gate.

    Args:
        trainings: Every training of the model's lineage whose data is at hand.
        unknown: What is known of the others, one sentence each; they cannot be looked at, so the gate does not pass.
        judged_by: The suite's crystals.
    """
    checks = [Check(title=AT_HAND, passed=False, says=each, numbers={}) for each in dict.fromkeys(unknown)]
    for training in trainings:
        checks.append(_check(f"suite and {training.told}", training.train, judged_by))
        checks.append(_check(f"validation and {training.told}", training.train, training.val))
    read = dict.fromkeys(line for training in trainings for line in training.read)
    return Gate(name="leakage", title="Leakage", checks=checks, notes=[_HOW, *read])


def _check(title: str, train: Sequence[Crystal], held_out: Sequence[Crystal]) -> Check:
    found = list(leaks(train, held_out, title))
    leaked = [each for each in found if isinstance(each, Leak)]
    undecided = [each for each in found if isinstance(each, Undecided)]
    counts = {how: sum(leak.how == how for leak in leaked) for how in ("id", "structure", "supercell")}
    says = f"{len(leaked)} of {len(held_out):,} held-out crystals among {len(train):,} training crystals"
    if leaked:
        says += f": {_first(f'{leak.held_out} = {leak.train} ({leak.how})' for leak in leaked)}"
    else:
        says += " (by id, structure and supercell)"
    if undecided:
        pairs = sum(each.pairs for each in undecided)
        named = _first(f"{each.held_out} ({each.why})" for each in undecided)
        says += f"; {len(undecided):,} could not be compared, in {pairs:,} pairs: {named}"
    numbers: dict[str, Number] = {"held_out": len(held_out), "train": len(train), **counts, "undecided": len(undecided)}
    return Check(title=title, passed=not found, says=says, numbers=numbers)


def _first(told: Iterable[str]) -> str:
    named = list(told)
    return ", ".join(named[:_NAMED]) + (", …" if len(named) > _NAMED else "")


def leaks(train: Iterable[Crystal], held_out: Sequence[Crystal], told: str = "") -> Iterable[Leak | Undecided]:
    """Return held-out crystals that are, or may be, among the training crystals, each once, with what gave it away."""
    ids: set[str] = set()
    by_composition: defaultdict[str, list[Crystal]] = defaultdict(list)
    for crystal in train:
        ids.add(crystal.id)
        by_composition[crystal.reduced_formula].append(crystal)
    known: dict[str, list[Comparable]] = {}
    for crystal in tqdm(held_out, desc=in_a_line(f"leakage: {told}")[:40], unit="", disable=not told, leave=False):
        formula = crystal.reduced_formula
        alike = by_composition.get(formula, [])
        if crystal.id in ids:
            yield Leak(held_out=crystal.id, train=crystal.id, how="id")
        elif alike and (why := unscorable(crystal)):
            yield Undecided(held_out=crystal.id, why=why, pairs=len(alike))
        elif alike:
            if formula not in known:
                known[formula] = [Comparable(each) for each in alike if not unscorable(each)]
            yield from _alike(known[formula], Comparable(crystal), len(alike) - len(known[formula]))


def _alike(known: Sequence[Comparable], new: Comparable, unscorable_ones: int) -> Iterable[Leak | Undecided]:
    """Return the first training crystal that is the same, or why nothing could tell."""
    tolerances, name = MetricConfig().duplicate, new.crystal.id
    found = find(known, new, tolerances)
    if found.position is not None:
        yield Leak(held_out=name, train=known[found.position].crystal.id, how="structure")
        return
    undecided = dict(found.undecided)
    for i, other in enumerate(known):
        same, why = repeats(other, new, tolerances)
        if same:
            yield Leak(held_out=name, train=other.crystal.id, how="supercell")
            return
        if why:
            undecided[i] = why
    if undecided or unscorable_ones:
        why = next(iter(undecided.values()), "training crystal that cannot be compared")
        yield Undecided(held_out=name, why=why, pairs=len(undecided) + unscorable_ones)


def trainings_of(lineage: Sequence[Mapping[str, str]], sources: Sequence[str]) -> tuple[list[Ancestor], list[str]]:
    """Return the trainings of a lineage (`checkpoint.lineage`), with their crystals, and what is not known of the
    others.

    Args:
        lineage: Stage and fingerprints of each training.
        sources: Data sets that may be what they were trained on; the bundled one is always looked at.
    """
    known = {}
    for source in dict.fromkeys((*sources, "bundled")):
        data = load_data(source)
        known[data.data_sha256, data.split_sha256] = (source, data)
    found: dict[str, Ancestor] = {}
    unknown = []
    for each in lineage:
        if each["stage"] == UNKNOWN:
            unknown.append("the checkpoint does not tell what it was started from; train it again with this version")
        elif each["stage"] == PUBLISHED:
            unknown.append(f"it started from {each['file']}, whose training crystals are not at hand")
        elif (key := (each["data_sha256"], each["split_sha256"])) in known:
            source, data = known[key]
            told = f"the training crystals of {source}"
            read = told_of_data(source, data)
            found[told] = Ancestor(told=told, train=data.train, val=data.val, read=read)
        elif any(data_sha256 == each["data_sha256"] for data_sha256, _ in known):
            unknown.append(
                f"{each['stage']} was trained on data {each['data_sha256'][:12]} under another split "
                f"({each['split_sha256'][:12]}); put that split beside the data, as FILE.split.json"
            )
        else:
            unknown.append(
                f"{each['stage']} was trained on data {each['data_sha256'][:12]}, which is none of "
                f"{', '.join(dict.fromkeys((*sources, 'bundled')))}; name it with --trained-on"
            )
    return list(found.values()), unknown
