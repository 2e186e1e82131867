"""From crystals to columns, and to the file that holds them: a safetensors file, which is mapped into memory.

That form is a header in JSON and the numbers as they are, checked by its library to lie within the file: no
compression, no code, nothing that could be larger in memory than it is on the disk. Its name ends with `.crystals`.
"""

from __future__ import annotations

import json
import mmap
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from crystalsweep.data.errors import DataError
from crystalsweep.data.packed import Crystals, Pack
from crystalsweep.structures.crystal import N_ELEMENTS, Crystal

SUFFIX = ".crystals"
_AT_ONCE = 4096
_FORM = "crystalsweep crystals 1"

_TYPES: Mapping[str, str] = {"I8": "i1", "U8": "u1", "I64": "<i8", "F32": "<f4", "F64": "<f8"}
"""Numbers by safetensors' names."""

_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "id_text": ("U8",),
    "id_start": ("I64",),
    "start": ("I64",),
    "species": ("I8",),
    "lattice": ("F32", "F64"),
    "frac": ("F32", "F64"),
}
_OPTIONAL: Mapping[str, tuple[str, ...]] = {
    "min_edge": ("F64",),
    "likeness": ("U8",),
    "by_id": ("I64",),
    "part": ("I8",),
}
_KINDS: Mapping[str, tuple[str, ...]] = {**_COLUMNS, **_OPTIONAL, "facts": ("U8",)}
_LABEL, _FACTS = "label.", "facts"
_SUMS = "crc32"
"""Of every column by name, in the file's metadata."""


def pack_of(crystals: Iterable[Crystal]) -> Pack:
    """Return crystals in columns; those that are packed already are not made first."""
    if isinstance(crystals, Crystals):
        return crystals.gathered()
    return pack_rows(crystals, searched=False)


def pack_rows(crystals: Iterable[Crystal], *, searched: bool) -> Pack:
    """Return crystals in columns, of which some thousand at a time are needed; with `min_edge` where `searched`."""
    rest = iter(crystals)
    blocks = [_block(block, searched) for block in iter(lambda: list(islice(rest, _AT_ONCE)), [])]
    names = dict.fromkeys(name for block in blocks for name in block["labels"])
    text = [name for block in blocks for name in block["ids"]]
    counts = _all(blocks, "counts", np.int64)
    labels = {
        name: np.concatenate([block["labels"].get(name, np.full(len(block["ids"]), np.nan)) for block in blocks])
        for name in names
    }
    return Pack(
        id_text=np.frombuffer(b"".join(text), dtype=np.uint8),
        id_start=np.concatenate([[0], np.cumsum([len(name) for name in text], dtype=np.int64)]).astype(np.int64),
        start=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        species=_all(blocks, "species", np.int8),
        lattice=_narrow(_all(blocks, "lattice", np.float64).reshape(-1, 3, 3)),
        frac=_narrow(_all(blocks, "frac", np.float64).reshape(-1, 3)),
        labels=labels,
        min_edge=_all(blocks, "min_edge", np.float64) if searched else None,
    )


def _block(crystals: Sequence[Crystal], searched: bool) -> dict[str, Any]:
    names = dict.fromkeys(name for crystal in crystals for name in crystal.labels)
    return {
        "ids": [crystal.id.encode("utf-8", "surrogatepass") for crystal in crystals],
        "counts": np.array([len(crystal) for crystal in crystals]),
        "species": np.concatenate([crystal.species for crystal in crystals]).astype(np.int8),
        "lattice": np.stack([crystal.lattice for crystal in crystals]),
        "frac": np.concatenate([crystal.frac for crystal in crystals]),
        "labels": {name: np.array([c.labels.get(name, np.nan) for c in crystals]) for name in names},
        "min_edge": np.array([crystal.min_edge for crystal in crystals]) if searched else None,
    }


def _all(blocks: Sequence[dict[str, Any]], name: str, kind: type[np.generic]) -> NDArray[Any]:
    return np.concatenate([block[name] for block in blocks]) if blocks else np.empty(0, dtype=kind)


def _narrow(values: NDArray[np.float64]) -> NDArray[np.floating]:
    """Return float32 where every value is one, as in the files of many data sets."""
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float32)
    return narrow if np.array_equal(narrow, values) else values


def write_pack(pack: Pack, path: Path, told: Mapping[str, Any] | None = None) -> None:
    """Write a pack, and what is told of it as JSON, to a file."""
    columns = {name: getattr(pack, name) for name in (*_COLUMNS, *_OPTIONAL) if getattr(pack, name) is not None}
    columns |= {f"{_LABEL}{i}": column for i, column in enumerate(pack.labels.values())}
    facts = {
        "form": _FORM,
        "labels": list(pack.labels),
        "data_sha256": pack.data_sha256,
        "split_sha256": pack.split_sha256,
        "told": told or {},
    }
    columns[_FACTS] = np.frombuffer(json.dumps(facts).encode(), dtype=np.uint8)
    written = {name: np.ascontiguousarray(column) for name, column in columns.items()}
    save_file(written, path, {_SUMS: json.dumps({name: zlib.crc32(column.data) for name, column in written.items()})})


def open_pack(
    path: Path, opener: tuple[Callable[..., Pack], tuple[Any, ...]] | None = None, *, summed: bool = False
) -> tuple[Pack, dict[str, Any]]:
    """Return the pack that a file holds, mapped into memory, and what is told of it; its crystals are not checked.

    With `summed` all of it is read, and held against the sums in it, which older files do not have.
    Raises `DataError` for a file that is none, is damaged, or whose columns do not fit each other.
    """
    try:
        columns = _mapped(path)
        if summed:
            _require_sums(path, columns)
        facts = json.loads(columns.pop(_FACTS).tobytes())
        if facts["form"] != _FORM:
            raise ValueError(f"it is of the form {str(facts['form'])[:60]!r}, of another version")
        names = [str(name) for name in facts["labels"]]
        labels = {name: columns.pop(f"{_LABEL}{i}") for i, name in enumerate(names)}
        told = dict(facts["told"])
        hashes: dict[str, Any] = {name: str(facts[name]) for name in ("data_sha256", "split_sha256")}
        pack = Pack(**columns, labels=labels, **hashes, opener=opener)
        _require_fitting(pack)
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        reason = " ".join(str(error)[:300].split())[:200]
        raise DataError(f"{path}: not readable as {SUFFIX} ({reason}); copy it again, or import it anew") from error
    return replace(pack, lattice=pack.lattice.reshape(-1, 3, 3), frac=pack.frac.reshape(-1, 3)), told


def _mapped(path: Path) -> dict[str, Any]:
    """Return columns by name. They lie one after another up to the file's end, in the order of their offsets:
    safetensors refuses anything else."""
    with safe_open(path, framework="numpy") as file:
        described = [(name, file.get_slice(name)) for name in file.offset_keys()]
        kinds = [(name, each.get_dtype(), tuple(each.get_shape())) for name, each in described]
    with path.open("rb") as stream:
        mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    columns: dict[str, Any] = {}
    end = len(mapped)
    for name, kind, shape in reversed(kinds):
        allowed = _KINDS.get(name, ("F64",) if name.startswith(_LABEL) else ())
        if kind not in allowed:
            raise ValueError(f"a column {name[:40]!r} of {kind}")
        size = int(np.prod(shape, dtype=np.int64))
        end -= size * np.dtype(_TYPES[kind]).itemsize
        columns[name] = np.frombuffer(mapped, _TYPES[kind], size, end).reshape(shape)
    return columns


def _require_sums(path: Path, columns: Mapping[str, NDArray[Any]]) -> None:
    """Raise `ValueError` where a column is not what was written."""
    with safe_open(path, framework="numpy") as file:
        sums = json.loads((file.metadata() or {}).get(_SUMS, "{}"))
    for name in sums:
        if zlib.crc32(columns[name].data) != sums[name]:
            raise ValueError(f"its column {name[:40]} was damaged since it was written")


def _require_fitting(pack: Pack) -> None:
    """Raise `ValueError` where columns are of different lengths, or rows not within the others."""
    size, atoms = len(pack.start) - 1, len(pack.species)
    shapes = {
        "id_start": (size + 1,),
        "lattice": (size, 3, 3),
        "frac": (atoms, 3),
        "min_edge": (size,),
        "likeness": (size, 16),
        "by_id": (size,),
        "part": (size,),
    }
    columns = {name: getattr(pack, name) for name in shapes} | pack.labels
    for name, column in columns.items():
        if column is not None and column.shape != shapes.get(name, (size,)):
            raise ValueError(f"column {name[:40]} has the shape {column.shape}")
    for start, end in ((pack.start, atoms), (pack.id_start, len(pack.id_text))):
        if start.ndim != 1 or size < 0 or start[0] != 0 or start[-1] != end or (np.diff(start) < 0).any():
            raise ValueError("a column of beginnings does not fit")
    if atoms and not (int(pack.species.min()) >= 0 and int(pack.species.max()) <= N_ELEMENTS):
        raise ValueError("species that are no elements")
    if pack.by_id is not None and len(pack.by_id) and not (pack.by_id.min() >= 0 and pack.by_id.max() < size):
        raise ValueError("an order of rows that are not there")
