"""Train, validation and test parts of a data set; crystals of one composition never straddle two of them."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from crystalsweep.data.errors import DataError
from crystalsweep.data.fingerprint import ids_sha256
from crystalsweep.data.packed import Crystals, Pack, in_order_of_ids
from crystalsweep.data.packing import pack_of
from crystalsweep.structures.crystal import Crystal

Part = Literal["train", "val", "test"]
PARTS: tuple[Part, ...] = get_args(Part)

_ELEMENTS = 128
"""More than there are atomic numbers."""

RULE = (
    "Crystals are grouped by reduced formula. Groups are taken in the order of sha256('<seed>:<formula>'); each goes "
    "to val if it fits into what is left of val's share, else to test likewise, else to train. A val or test left "
    "empty gets train's smallest group."
)


@dataclass(frozen=True, kw_only=True)
class Split:
    """Sorted ids of the three parts."""

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        ids = [*self.train, *self.val, *self.test]
        if len(set(ids)) != len(ids):
            twice = next(name for name, count in Counter(ids).items() if count > 1)
            raise DataError(f"split: id {twice} is listed twice; give each id to one part")

    @property
    def sha256(self) -> str:
        """Over the three lists."""
        return hashlib.sha256("".join(ids_sha256(self.ids(part)) for part in PARTS).encode()).hexdigest()

    def ids(self, part: Part) -> tuple[str, ...]:
        """Return sorted ids of one part."""
        return {"train": self.train, "val": self.val, "test": self.test}[part]

    def to_json(self) -> dict[str, Any]:
        """Return id lists with their sizes and hashes, ready for `json.dump`."""
        return {
            "sizes": {part: len(self.ids(part)) for part in PARTS},
            "sha256": self.sha256,
            "ids_sha256": {part: ids_sha256(self.ids(part)) for part in PARTS},
            **{part: list(self.ids(part)) for part in PARTS},
        }

    @classmethod
    def from_json(cls, path: Path) -> Split:
        """Read a split from a file; `DataError` if it is no split or its lists do not have the hashes that it names."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            split = cls(**{part: tuple(sorted(content.get(part, ()))) for part in PARTS})
        except (OSError, ValueError, AttributeError, TypeError) as error:
            raise DataError(f"{path}: not a split ({error}); expected JSON with lists train, val and test") from error
        if content.get("sha256", split.sha256) != split.sha256:
            raise DataError(f"{path}: the id lists do not have the sha256 that the file names; write the split again")
        return split


def grouped_split(
    crystals: Sequence[Crystal], fractions: tuple[float, float, float] = (0.8, 0.1, 0.1), seed: int = 0
) -> Split:
    """Return a split by `RULE`; depends on ids, compositions and seed only. A fraction of 0 leaves its part empty.

    Raises `DataError` if the fractions do not add up to 1 or there are fewer compositions than parts.
    """
    pack = pack_of(crystals)
    return split_of_groups(reduced_formulas(pack), pack.ids(), fractions, seed)


def split_of_groups(
    keys: Sequence[str],
    ids: Sequence[str],
    fractions: tuple[float, float, float],
    seed: int,
    named: str = "compositions",
) -> Split:
    """Return a split by `RULE` that keeps together what has one key, whatever that is.

    Args:
        keys: (M,) group of each crystal, such as its formula.
        ids: (M,) of the crystals.
        fractions: Shares of train, val and test; they must add up to 1.
        seed: Of the order of groups.
        named: What groups are called, where there are too few.

    Raises:
        DataError: The fractions do not add up to 1, or there are fewer groups than parts.
    """
    if min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-9:
        raise DataError(f"fractions {fractions} are no shares of 1; give those of train, val and test like 0.8 0.1 0.1")
    room = {part: max(1, round(share * len(ids))) for part, share in zip(PARTS, fractions, strict=True) if share}
    groups = _groups(keys, ids, seed)
    if len(groups) < len(room):
        raise DataError(
            f"{len(groups)} {named} cannot be split into {len(room)} parts without straddling; "
            "give the parts as files of their own: train.parquet,val.parquet"
        )
    parts = _assign(groups, room)
    return Split(**{part: tuple(sorted(chain.from_iterable(parts[part]))) for part in PARTS})


def _groups(keys: Sequence[str], ids: Sequence[str], seed: int) -> list[list[str]]:
    """Return ids by group, in hash order."""
    groups: dict[str, list[str]] = defaultdict(list)
    for key, name in zip(keys, ids, strict=True):
        groups[key].append(name)
    order = sorted(groups, key=lambda formula: hashlib.sha256(f"{seed}:{formula}".encode()).hexdigest())
    return [groups[formula] for formula in order]


def with_split(pack: Pack) -> Pack:
    """Return a pack that knows the order of its ids and its `grouped_split`, where it has one."""
    ids = pack.ids()
    by_id = in_order_of_ids(ids)
    try:
        split = grouped_split(Crystals(pack))
    except DataError:
        return replace(pack, by_id=by_id)
    part_of = {name: i for i, part in enumerate(PARTS) for name in split.ids(part)}
    part = np.array([part_of[name] for name in ids], dtype=np.int8)
    return replace(pack, by_id=by_id, part=part, split_sha256=split.sha256)


def reduced_formulas(pack: Pack) -> list[str]:
    """Return what `Crystal.reduced_formula` is of each crystal of a pack."""
    if not len(pack):
        return []
    sites = np.repeat(np.arange(len(pack)) * _ELEMENTS, np.diff(pack.start)) + pack.species
    elements, counts = np.unique(sites, return_counts=True)
    ends = np.searchsorted(elements, np.arange(1, len(pack) + 1) * _ELEMENTS)
    starts = np.concatenate([[0], ends[:-1]])
    divisors = np.repeat(np.gcd.reduceat(counts, starts), ends - starts)
    terms = [f"{z}:{n}" for z, n in zip((elements % _ELEMENTS).tolist(), (counts // divisors).tolist(), strict=True)]
    return [" ".join(terms[a:b]) for a, b in zip(starts.tolist(), ends.tolist(), strict=True)]


def _assign(groups: list[list[str]], room: dict[Part, int]) -> dict[Part, list[list[str]]]:
    """Return groups by part; `room` is the number of crystals that each part takes."""
    parts: dict[Part, list[list[str]]] = {part: [] for part in PARTS}
    held_out: list[Part] = [part for part in ("val", "test") if part in room]
    left = dict(room)
    for group in groups:
        chosen: Part = next((part for part in held_out if len(group) <= left[part]), "train")
        parts[chosen].append(group)
        left[chosen] -= len(group)
    for part in held_out:
        if not parts[part]:
            smallest = min(parts["train"], key=len)
            parts["train"].remove(smallest)
            parts[part].append(smallest)
    return parts
