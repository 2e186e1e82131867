"""A data set with its split, from the one word that a config holds: `bundled`, a path, or a path for each part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from crystalsweep.data.bundled import bundled_fingerprint, bundled_split, load_bundled
from crystalsweep.data.errors import DataError
from crystalsweep.data.fingerprint import fingerprint
from crystalsweep.data.reading import Note, Reading, Reject, read
from crystalsweep.data.splitting import PARTS, Part, Split, grouped_split
from crystalsweep.structures.crystal import Crystal


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """Crystals by part, with the hashes that identify data and split in a run's record."""

    name: str
    train: list[Crystal]
    val: list[Crystal]
    test: list[Crystal]
    data_sha256: str
    """`fingerprint` of all crystals."""
    split_sha256: str
    rejects: tuple[Reject, ...] = ()
    """Rows of the source that are in no part."""
    notes: tuple[Note, ...] = ()
    """What a user must know of how the others were read."""

    @property
    def crystals(self) -> list[Crystal]:
        """All crystals that are in a part."""
        return [*self.train, *self.val, *self.test]

    def part(self, part: Part) -> list[Crystal]:
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
        return _data_set("bundled", load_bundled(), bundled_split(), bundled_fingerprint(), [])
    if "," in source and not Path(source).exists():
        return _from_parts(source, split, strict, progress)
    reading = _read(source, strict, progress)
    file = split or Path(f"{source}.split.json")
    if split is None and not file.exists():
        chosen = grouped_split(reading.crystals)
    else:
        chosen = Split.from_json(file)
        _require_known_ids(chosen, reading, file)
    data_sha256 = fingerprint(reading.crystals)
    return _data_set(Path(source).stem, reading.crystals, chosen, data_sha256, [reading])


def _from_parts(source: str, split: Path | None, strict: bool, progress: bool) -> DataSet:
    paths = [path.strip() for path in source.split(",")]
    if len(paths) > len(PARTS) or split is not None:
        raise DataError(f"{source}: give two or three paths, for train, val and test, and no split file with them")
    readings = [_read(path, strict, progress) for path in paths]
    ids = [{crystal.id for crystal in reading.crystals} for reading in readings]
    for i in range(len(ids)):
        for j in range(i):
            if both := sorted(ids[i] & ids[j]):
                raise DataError(
                    f"{paths[j]} and {paths[i]} share {len(both)} ids, e.g. {both[0]}; keep each in one file"
                )
    crystals = [crystal for reading in readings for crystal in reading.crystals]
    chosen = Split(**{part: tuple(sorted(names)) for part, names in zip(PARTS, ids, strict=False)})
    return _data_set(Path(paths[0]).stem, crystals, chosen, fingerprint(crystals), readings)


def _read(source: str, strict: bool, progress: bool) -> Reading:
    reading = read(Path(source), progress=progress)
    if not reading.crystals:
        why = f"; the first reject: {reading.rejects[0]}" if reading.rejects else ""
        raise DataError(f"{source}: no usable crystal among {reading.n_rows} rows{why}")
    return reading.require_clean() if strict else reading


def _require_known_ids(split: Split, reading: Reading, file: Path) -> None:
    """Require that listed ids are known. One may have been rejected; one that the source never held means that the two
    do not belong together."""
    known = {crystal.id for crystal in reading.crystals} | {reject.id for reject in reading.rejects}
    unknown = sorted(name for part in PARTS for name in split.ids(part) if name not in known)
    if unknown:
        raise DataError(f"{file}: {len(unknown)} ids are not in {reading.source}, e.g. {unknown[0]}; write it again")


def _data_set(
    name: str, crystals: list[Crystal], split: Split, data_sha256: str, readings: Sequence[Reading]
) -> DataSet:
    by_id = {crystal.id: crystal for crystal in crystals}
    return DataSet(
        name=name,
        **{part: [by_id[i] for i in split.ids(part) if i in by_id] for part in PARTS},
        data_sha256=data_sha256,
        split_sha256=split.sha256,
        rejects=tuple(reject for reading in readings for reject in reading.rejects),
        notes=tuple(note for reading in readings for note in reading.notes),
    )


def absolute_source(source: str) -> str:
    """Return the same source for a process that runs elsewhere: every path absolute."""
    if source == "bundled":
        return source
    parts = [source] if Path(source).exists() else source.split(",")
    return ",".join(str(Path(part.strip()).resolve()) for part in parts)
