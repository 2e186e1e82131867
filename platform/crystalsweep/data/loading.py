"""A data set with its split, from the one word that a config holds: `bundled`, a path, or a path for each part."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crystalsweep.data.bundled import bundled_fingerprint, bundled_split, load_bundled
from crystalsweep.data.cache import find, keep, key_of
from crystalsweep.data.errors import DataError
from crystalsweep.data.fingerprint import fingerprint
from crystalsweep.data.packed import Crystals, ids_of, in_order_of_ids, joined, pick
from crystalsweep.data.reading import Note, Reading, Reject, read
from crystalsweep.data.shipped import is_shipped
from crystalsweep.data.splitting import PARTS, Part, Split, grouped_split
from crystalsweep.structures.crystal import Crystal


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """Crystals by part, with the hashes that identify data and split in a run's record."""

    name: str
    train: Sequence[Crystal]
    val: Sequence[Crystal]
    test: Sequence[Crystal]
    data_sha256: str
    """`fingerprint` of all crystals."""
    split_sha256: str
    rejects: tuple[Reject, ...] = ()
    """Rows of the source that are in no part."""
    notes: tuple[Note, ...] = ()
    """What a user must know of how the others were read."""
    unsplit: tuple[str, ...] = ()
    """Crystals of the source that its split file puts into no part, and that nothing uses."""

    @property
    def crystals(self) -> Sequence[Crystal]:
        """All crystals that are in a part."""
        return joined([self.part(part) for part in PARTS])

    def part(self, part: Part) -> Sequence[Crystal]:
        """Return crystals of one part."""
        return {"train": self.train, "val": self.val, "test": self.test}[part]


def load_data(source: str, split: Path | None = None, *, strict: bool = False, progress: bool = False) -> DataSet:
    """Return a data set by name.

    `bundled` has its frozen split. One path is split by the file `split`, else by `<path>.split.json` beside it, else
    by `grouped_split`. Paths joined by commas, `train.parquet,val.parquet` and optionally a third, are the parts.

    Raises `DataError` for what cannot be read, ids in two parts, and, if `strict`, for any rejected row.
    """
    if source == "bundled":
        if split is not None:
            raise DataError(f"bundled data has its own split; leave {split} out, or export the data and load that file")
        whole = load_bundled()
        frozen = bundled_split()
        parts = {part: pick(whole, rows) for part, rows in _rows(whole, frozen).items()}
        return _data_set("bundled", parts, (bundled_fingerprint(), frozen.sha256), [])
    if "," in source and not Path(source).exists():
        return _from_parts(source, split, strict, progress)
    reading = _read(source, strict, progress)
    file = split or Path(f"{source}.split.json")
    if split is None and not file.exists():
        rows, split_sha256 = _split_of(reading.crystals)
        unsplit: tuple[str, ...] = ()
    else:
        chosen = Split.from_json(file)
        _require_known_ids(chosen, reading, file)
        rows, split_sha256 = _rows(reading.crystals, chosen), chosen.sha256
        divided = {name for part in PARTS for name in chosen.ids(part)}
        unsplit = tuple(name for name in ids_of(reading.crystals) if name not in divided)
    return _data_set(
        Path(source).stem,
        {part: pick(reading.crystals, chosen_rows) for part, chosen_rows in rows.items()},
        (fingerprint(reading.crystals), split_sha256),
        [reading],
        unsplit,
    )


def _from_parts(source: str, split: Path | None, strict: bool, progress: bool) -> DataSet:
    paths = [path.strip() for path in source.split(",")]
    if len(paths) > len(PARTS) or split is not None:
        raise DataError(f"{source}: give two or three paths, for train, val and test, and no split file with them")
    readings = [_read(path, strict, progress) for path in paths]
    parts = {
        part: pick(reading.crystals, _in_order(reading.crystals))
        for part, reading in zip(PARTS, readings, strict=False)
    }
    return _data_set(Path(paths[0]).stem, parts, _hashes(paths, readings), readings)


def _hashes(paths: Sequence[str], readings: Sequence[Reading]) -> tuple[str, str]:
    """Return the fingerprint of all crystals, and the hash of their split; kept beside the readings, where these are.

    Raises `DataError` where an id is in two of them.
    """
    keys = [reading.key for reading in readings]
    key = key_of("parts", *keys) if all(keys) else ""
    if key and (kept := find(key)):
        data_sha256, split_sha256 = json.loads(kept.read_text(encoding="utf-8"))
        return str(data_sha256), str(split_sha256)
    found = _computed_hashes(paths, readings)
    if key:
        keep(key, lambda file: Path(file).write_text(json.dumps(found), encoding="utf-8"))
    return found


def _computed_hashes(paths: Sequence[str], readings: Sequence[Reading]) -> tuple[str, str]:
    ids = [set(ids_of(reading.crystals)) for reading in readings]
    for i in range(len(ids)):
        for j in range(i):
            if both := sorted(ids[i] & ids[j]):
                raise DataError(
                    f"{paths[j]} and {paths[i]} share {len(both)} ids, e.g. {both[0]}; keep each in one file"
                )
    chosen = Split(**{part: tuple(sorted(names)) for part, names in zip(PARTS, ids, strict=False)})
    return fingerprint(joined([reading.crystals for reading in readings])), chosen.sha256


def _read(source: str, strict: bool, progress: bool) -> Reading:
    reading = read(Path(source), progress=progress)
    if not reading.crystals:
        why = f"; the first reject: {reading.rejects[0]}" if reading.rejects else ""
        raise DataError(f"{source}: no usable crystal among {reading.n_rows} rows{why}")
    return reading.require_clean() if strict else reading


def _require_known_ids(split: Split, reading: Reading, file: Path) -> None:
    """Require that listed ids are known. One may have been rejected; one that the source never held means that the two
    do not belong together."""
    known = set(ids_of(reading.crystals)) | {reject.id for reject in reading.rejects}
    unknown = sorted(name for part in PARTS for name in split.ids(part) if name not in known)
    if unknown:
        raise DataError(f"{file}: {len(unknown)} ids are not in {reading.source}, e.g. {unknown[0]}; write it again")


def _split_of(crystals: Sequence[Crystal]) -> tuple[dict[Part, NDArray[np.int64]], str]:
    """Return the rows of each part by `grouped_split`, in the order of ids, and the split's hash."""
    pack = crystals.pack if isinstance(crystals, Crystals) else None
    if pack is None or pack.by_id is None or pack.part is None:
        chosen = grouped_split(crystals)
        return _rows(crystals, chosen), chosen.sha256
    part = pack.part[pack.by_id]
    return {name: pack.by_id[part == i] for i, name in enumerate(PARTS)}, pack.split_sha256


def _rows(crystals: Sequence[Crystal], split: Split) -> dict[Part, NDArray[np.int64]]:
    """Return the rows of each part, in the order of its ids; ids that are not there are left out."""
    row_of = {name: row for row, name in enumerate(ids_of(crystals))}
    return {part: np.array([row_of[i] for i in split.ids(part) if i in row_of], dtype=np.int64) for part in PARTS}


def _in_order(crystals: Sequence[Crystal]) -> NDArray[np.int64]:
    """Return all rows in the order of ids."""
    pack = crystals.pack if isinstance(crystals, Crystals) else None
    if pack is not None and pack.by_id is not None:
        return pack.by_id
    return in_order_of_ids(ids_of(crystals))


def _data_set(
    name: str,
    parts: Mapping[Part, Sequence[Crystal]],
    hashes: tuple[str, str],
    readings: Sequence[Reading],
    unsplit: tuple[str, ...] = (),
) -> DataSet:
    return DataSet(
        name=name,
        **{part: parts.get(part, []) for part in PARTS},
        data_sha256=hashes[0],
        split_sha256=hashes[1],
        rejects=tuple(reject for reading in readings for reject in reading.rejects),
        notes=tuple(note for reading in readings for note in reading.notes),
        unsplit=unsplit,
    )


def absolute_source(source: str) -> str:
    """Return the same source for a process that runs elsewhere: every path absolute."""
    if source == "bundled" or is_shipped(source):
        return source
    parts = [source] if Path(source).exists() else source.split(",")
    return ",".join(str(Path(part.strip()).resolve()) for part in parts)
