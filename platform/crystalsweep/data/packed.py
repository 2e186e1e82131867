"""Crystals in columns: a sequence that makes a `Crystal` where one is asked for.

A million crystals as objects are three gigabytes in every process; as columns mapped from a file they are pages that
all processes of a machine share. What is asked of all of them (atom counts, labels, ids) is asked of the columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from crystalsweep.structures.crystal import Crystal

KEPT = 50_000
"""Crystals of a pack that stay made once they were asked for: some 90 MB. What is known of an object, such as its
neighbours, is then searched for once."""

SMALL = 8 << 20
"""Bytes of a pack that travels to other processes as it is; a larger one as the name of the file it is mapped from."""

Rows = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Pack:
    """M crystals with n atoms in all, in columns; those of one crystal are contiguous. Arrays may be read-only."""

    id_text: NDArray[np.uint8]
    """UTF-8 of all ids, one after another."""
    id_start: NDArray[np.int64]
    """(M + 1,) where each begins, and the end."""
    start: NDArray[np.int64]
    """(M + 1,) the first atom of each crystal, and n."""
    species: NDArray[np.int8]
    """(n,) atomic numbers."""
    lattice: NDArray[np.floating]
    """(M, 3, 3) Å; float32 where that loses nothing."""
    frac: NDArray[np.floating]
    """(n, 3) fractional coordinates, likewise."""
    labels: dict[str, NDArray[np.float64]]
    """(M,) each; NaN where a crystal has no such label."""
    min_edge: NDArray[np.float64] | None = None
    """(M,) Å; None where it was not searched for."""
    likeness: NDArray[np.uint8] | None = None
    """(M, 16) digests of cell and sites, equal where one crystal was written twice (`told.copied`)."""
    by_id: Rows | None = None
    """(M,) rows in the order of ids."""
    part: NDArray[np.int8] | None = None
    """(M,) index into `PARTS` by `grouped_split`."""
    data_sha256: str = ""
    """`fingerprint` of all of them; empty where not asked yet."""
    split_sha256: str = ""
    """Of the split that `part` is."""
    opener: tuple[Callable[..., Pack], tuple[Any, ...]] | None = None
    """How another process gets the same pack, where it comes from a file."""
    _made: dict[int, Crystal] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.start) - 1

    def __reduce__(self) -> tuple[Any, ...]:
        """Return how another process gets the pack: by name where it has one and is large, else by content."""
        if self.opener is not None and self.species.nbytes + self.frac.nbytes > SMALL:
            return self.opener
        return _pack, ({name: value for name, value in vars(self).items() if name not in ("_made", "opener")},)

    def id(self, row: int) -> str:
        """Return the id of a row."""
        text = self.id_text[self.id_start[row] : self.id_start[row + 1]].tobytes()
        return text.decode("utf-8", "surrogatepass")

    def ids(self) -> list[str]:
        """Return all ids."""
        text, ends = self.id_text.tobytes(), self.id_start.tolist()
        return [text[a:b].decode("utf-8", "surrogatepass") for a, b in pairwise(ends)]

    def crystal(self, row: int) -> Crystal:
        """Return the crystal of a row, the same object as before where that was not long ago."""
        made = self._made.get(row)
        if made is None:
            made = self._make(row)
            if len(self._made) < KEPT:
                made = self._made.setdefault(row, made)
        return made

    def _make(self, row: int) -> Crystal:
        atoms = slice(int(self.start[row]), int(self.start[row + 1]))
        values = ((name, float(column[row])) for name, column in self.labels.items())
        crystal = Crystal(
            id=self.id(row),
            species=self.species[atoms].astype(np.int64),
            lattice=self.lattice[row].astype(np.float64),
            frac=self.frac[atoms].astype(np.float64),
            labels={name: value for name, value in values if value == value},
        )
        return crystal if self.min_edge is None else crystal.with_min_edge(float(self.min_edge[row]))


def _pack(columns: dict[str, Any]) -> Pack:
    return Pack(**columns)


class Crystals(Sequence[Crystal]):
    """Some rows of one or several packs, in any order: slices and choices of it are such sequences too."""

    def __init__(self, *packs: Pack, rows: Rows | None = None) -> None:
        """Begin with packs, one after another, and the numbers of rows chosen; all of them by default."""
        self._packs = packs
        self._rows = np.arange(sum(map(len, packs))) if rows is None else np.asarray(rows, dtype=np.int64)
        self._all = rows is None

    def __reduce__(self) -> tuple[Any, ...]:
        return _crystals, (self._packs, None if self._all else self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, at: int) -> Crystal: ...
    @overload
    def __getitem__(self, at: slice) -> Crystals: ...
    def __getitem__(self, at: int | slice) -> Crystal | Crystals:
        if isinstance(at, slice):
            return Crystals(*self._packs, rows=self._rows[at])
        return self._crystal(int(self._rows[at]))

    def __iter__(self) -> Iterator[Crystal]:
        return map(self._crystal, self._rows.tolist())

    def _crystal(self, row: int) -> Crystal:
        for pack in self._packs:
            if row < len(pack):
                return pack.crystal(row)
            row -= len(pack)
        raise IndexError(row)

    def take(self, positions: NDArray[np.int64]) -> Crystals:
        """Return those at some positions of this sequence, in their order."""
        return Crystals(*self._packs, rows=self._rows[positions])

    @classmethod
    def chain(cls, parts: Sequence[Crystals]) -> Crystals:
        """Return several such sequences as one, each pack once."""
        packs = list(dict.fromkeys(pack for part in parts for pack in part._packs))
        first = dict(zip(packs, np.cumsum([0, *map(len, packs)])[:-1].tolist(), strict=True))
        return cls(*packs, rows=np.concatenate([part._rows_among(first) for part in parts]))

    def _rows_among(self, first: Mapping[Pack, int]) -> Rows:
        """Return the numbers of these rows where each pack begins at `first`."""
        begins = np.cumsum([0, *map(len, self._packs)])[:-1]
        which = np.searchsorted(begins, self._rows, side="right") - 1
        return self._rows - begins[which] + np.array([first[pack] for pack in self._packs])[which]

    @property
    def pack(self) -> Pack | None:
        """The pack that this is all of, in its order; None where it is none, or of several."""
        return self._packs[0] if self._all and len(self._packs) == 1 else None

    @property
    def counts(self) -> NDArray[np.int64]:
        """(M,) atoms of each."""
        return self._column(lambda pack: np.diff(pack.start))

    @property
    def volumes(self) -> NDArray[np.float64]:
        """(M,) Å³."""
        return self._column(lambda pack: np.abs(np.linalg.det(pack.lattice.astype(np.float64))))

    def sums_over_atoms(self, of_species: NDArray[np.generic]) -> NDArray[np.float64]:
        """Return (M,) sums over each one's atoms of what (119,) says of their species."""
        return self._column(lambda pack: _sums(pack, of_species.astype(np.float64)))

    def label(self, name: str) -> NDArray[np.float64]:
        """Return (M,) values; NaN where a crystal has no such label."""
        return self._column(lambda pack: pack.labels[name] if name in pack.labels else np.full(len(pack), np.nan))

    def label_names(self) -> list[str]:
        """Return the labels that any of them has, sorted."""
        names = {name for pack in self._packs for name in pack.labels}
        return [name for name in sorted(names) if np.isfinite(self.label(name)).any()]

    @property
    def likeness(self) -> NDArray[np.uint8] | None:
        """(M, 16) digests of cells and sites; None where those of some are not known."""
        known = [pack.likeness for pack in self._packs]
        return None if any(column is None for column in known) else self._rowwise(known)

    @property
    def ids(self) -> list[str]:
        """Ids in order."""
        every = [name for pack in self._packs for name in pack.ids()]
        return every if self._all else [every[row] for row in self._rows.tolist()]

    def gathered(self) -> Pack:
        """Return one pack of these crystals alone, in their order; the pack itself where this is all of it."""
        if self.pack is not None:
            return self.pack
        names = dict.fromkeys(name for pack in self._packs for name in pack.labels)
        counts = self.counts
        start = np.concatenate([[0], np.cumsum(counts)])
        text = [name.encode("utf-8", "surrogatepass") for name in self.ids]
        first = np.cumsum([0, *[len(pack.species) for pack in self._packs]])[:-1]
        begins = self._rowwise([pack.start[:-1] + at for pack, at in zip(self._packs, first, strict=True)])
        atoms = np.repeat(begins - start[:-1], counts) + np.arange(start[-1])
        searched = all(pack.min_edge is not None for pack in self._packs)
        return Pack(
            id_text=np.frombuffer(b"".join(text), dtype=np.uint8),
            id_start=np.concatenate([[0], np.cumsum([len(each) for each in text], dtype=np.int64)]),
            start=start,
            species=_joined([pack.species for pack in self._packs])[atoms],
            lattice=self._rowwise([pack.lattice for pack in self._packs]),
            frac=_joined([pack.frac for pack in self._packs])[atoms],
            labels={name: self.label(name) for name in names},
            min_edge=self._rowwise([pack.min_edge for pack in self._packs]) if searched else None,
        )

    def _column(self, of: Callable[[Pack], NDArray[Any]]) -> NDArray[Any]:
        return self._rowwise([of(pack) for pack in self._packs])

    def _rowwise(self, columns: Sequence[Any]) -> NDArray[Any]:
        whole = _joined(columns)
        return whole if self._all else whole[self._rows]


def _joined(columns: Sequence[Any]) -> NDArray[Any]:
    return np.asarray(columns[0] if len(columns) == 1 else np.concatenate(columns))


def _sums(pack: Pack, of_species: NDArray[np.float64]) -> NDArray[np.float64]:
    crystal = np.repeat(np.arange(len(pack)), np.diff(pack.start))
    return np.asarray(np.bincount(crystal, weights=of_species[pack.species], minlength=len(pack)), dtype=np.float64)


def _crystals(packs: tuple[Pack, ...], rows: Rows | None) -> Crystals:
    return Crystals(*packs, rows=rows)


def atom_counts(crystals: Sequence[Crystal]) -> NDArray[np.int64]:
    """Return (M,) atoms of each crystal of any sequence."""
    if isinstance(crystals, Crystals):
        return crystals.counts
    return np.array([len(crystal) for crystal in crystals], dtype=np.int64)


def volumes_of(crystals: Sequence[Crystal]) -> NDArray[np.float64]:
    """Return (M,) volumes of the cells of any sequence, Å³."""
    if isinstance(crystals, Crystals):
        return crystals.volumes
    return np.array([crystal.volume for crystal in crystals], dtype=np.float64)


def sums_over_atoms(crystals: Sequence[Crystal], of_species: NDArray[np.generic]) -> NDArray[np.float64]:
    """Return (M,) sums over each crystal's atoms, of any sequence, of what (119,) says of their species."""
    if isinstance(crystals, Crystals):
        return crystals.sums_over_atoms(of_species)
    return np.array([of_species[crystal.species].sum() for crystal in crystals], dtype=np.float64)


def label_values(crystals: Sequence[Crystal], name: str) -> NDArray[np.float64]:
    """Return (M,) values of a label of any sequence; NaN where a crystal has none."""
    if isinstance(crystals, Crystals):
        return crystals.label(name)
    return np.array([crystal.labels.get(name, np.nan) for crystal in crystals], dtype=np.float64)


def ids_of(crystals: Sequence[Crystal]) -> list[str]:
    """Return the ids of any sequence, in order."""
    return crystals.ids if isinstance(crystals, Crystals) else [crystal.id for crystal in crystals]


def in_order_of_ids(ids: Sequence[str]) -> NDArray[np.int64]:
    """Return (M,) positions in the order of ids."""
    return np.array(sorted(range(len(ids)), key=ids.__getitem__), dtype=np.int64)


def pick(crystals: Sequence[Crystal], positions: NDArray[np.int64]) -> Sequence[Crystal]:
    """Return the crystals at some positions of any sequence, none of them made where they are packed."""
    if isinstance(crystals, Crystals):
        return crystals.take(positions)
    return [crystals[i] for i in positions.tolist()]


def joined(parts: Sequence[Sequence[Crystal]]) -> Sequence[Crystal]:
    """Return several sequences one after another; packed where all are that hold any crystal."""
    packed = [part for part in parts if isinstance(part, Crystals)]
    if not packed or any(len(part) for part in parts if not isinstance(part, Crystals)):
        return [crystal for part in parts for crystal in part]
    return Crystals.chain(packed)
