"""Whether a model was trained on crystals that it is judged by: the same id, the same structure, or its supercell."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tqdm import tqdm

from crystalsweep.data import load_data
from crystalsweep.metrics.duplicates import MATCHER_ERRORS, Comparable, fits, too_large_to_match, unscorable
from crystalsweep.metrics.settings import MatcherTolerances, MetricConfig
from crystalsweep.networks.checkpoint import PUBLISHED, UNKNOWN
from crystalsweep.registry.gates.gate import Check, Gate, Number
from crystalsweep.structures.crystal import Crystal

_NAMED = 5
"""Leaks that are told by name."""

_HOW = (
    "Same structure: pymatgen's StructureMatcher with its defaults, on reduced cells. Supercell: the smaller cell, "
    "repeated, matches the larger one. Only crystals of the same reduced composition can match."
)


@dataclass(frozen=True, kw_only=True)
class Ancestor:
    """Crystals that one training of a lineage used."""

    told: str
    """What it is called, as `gan on bundled`."""
    train: Sequence[Crystal]
    val: Sequence[Crystal]


@dataclass(frozen=True, kw_only=True)
class Leak:
    """A held-out crystal that was trained on."""

    held_out: str
    train: str
    how: str
    """`id`, `structure` or `supercell`."""


def leakage(trainings: Sequence[Ancestor], unknown: Sequence[str], judged_by: Sequence[Crystal]) -> Gate:
    """Return the gate.

    Args:
        trainings: Every training of the model's lineage whose data is at hand.
        unknown: What is known of the others, one sentence each; they cannot be looked at, so the gate does not pass.
        judged_by: The suite's crystals.
    """
    checks = [
        Check(title="training data at hand", passed=False, says=each, numbers={}) for each in dict.fromkeys(unknown)
    ]
    for training in trainings:
        checks.append(_check(f"suite and {training.told}", training.train, judged_by))
        checks.append(_check(f"validation and {training.told}", training.train, training.val))
    return Gate(name="leakage", title="Leakage", checks=checks, notes=[_HOW])


def _check(title: str, train: Sequence[Crystal], held_out: Sequence[Crystal]) -> Check:
    found = list(leaks(train, held_out, title))
    counts = {how: sum(leak.how == how for leak in found) for how in ("id", "structure", "supercell")}
    says = f"{len(found)} of {len(held_out):,} held-out crystals among {len(train):,} training crystals"
    if found:
        named = ", ".join(f"{leak.held_out} = {leak.train} ({leak.how})" for leak in found[:_NAMED])
        says += f": {named}{', …' if len(found) > _NAMED else ''}"
    else:
        says += " (by id, structure and supercell)"
    numbers: dict[str, Number] = {"held_out": len(held_out), "train": len(train), **counts}
    return Check(title=title, passed=not found, says=says, numbers=numbers)


def leaks(train: Iterable[Crystal], held_out: Sequence[Crystal], told: str = "") -> Iterable[Leak]:
    """Return held-out crystals that are among the training crystals, each once, with what gave it away."""
    ids: set[str] = set()
    by_composition: defaultdict[str, list[Comparable]] = defaultdict(list)
    for crystal in train:
        ids.add(crystal.id)
        by_composition[crystal.reduced_formula].append(Comparable(crystal))
    for crystal in tqdm(held_out, desc=f"leakage: {told}"[:40], unit="", disable=not told, leave=False):
        if crystal.id in ids:
            yield Leak(held_out=crystal.id, train=crystal.id, how="id")
        elif by_composition.get(crystal.reduced_formula) and not unscorable(crystal):
            yield from _alike(by_composition[crystal.reduced_formula], Comparable(crystal))


def _alike(known: Sequence[Comparable], new: Comparable) -> Iterable[Leak]:
    """Return the first training crystal that is the same."""
    tolerances = MetricConfig().duplicate
    scorable = [other for other in known if not unscorable(other.crystal)]
    for how, same in (("structure", fits), ("supercell", _repeats)):
        for other in scorable:
            if same(other, new, tolerances):
                yield Leak(held_out=new.crystal.id, train=other.crystal.id, how=how)
                return


def _repeats(a: Comparable, b: Comparable, tolerances: MatcherTolerances) -> bool:
    """Return whether one reduced cell, repeated, is the other: a distorted supercell does not reduce to its primitive
    cell."""
    from pymatgen.analysis.structure_matcher import StructureMatcher

    if a.reduced is None or b.reduced is None or too_large_to_match(a.crystal) or too_large_to_match(b.crystal):
        return False
    small, large = sorted((a.reduced, b.reduced), key=len)
    if len(small) == len(large) or len(large) % len(small):
        return False
    matcher = StructureMatcher(**tolerances.model_dump(), primitive_cell=False, attempt_supercell=True)
    try:
        return bool(matcher.fit(small, large))
    except MATCHER_ERRORS:
        return False


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
            found[told] = Ancestor(told=told, train=data.train, val=data.val)
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
