"""Writing crystals packed, as Parquet, extxyz, CSV with CIFs, or a directory of CIFs, so that `read` gives them back.

A file appears under its name only when it is complete. CIF files hold no labels.
"""

from __future__ import annotations

import csv
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from crystalsweep.data.errors import DataError
from crystalsweep.data.packing import SUFFIX, pack_of, write_pack
from crystalsweep.data.readers import NO_LABELS
from crystalsweep.data.spectra import column_names, folded, spectrum_column
from crystalsweep.structures.crystal import MASK, Crystal
from crystalsweep.structures.elements import element_symbol

_LONGEST_NAME = 255
"""Bytes of a file name, at most."""

_CIF_DIGITS = 8
"""Of fractional coordinates in a CIF, as pymatgen writes it."""

_ESCAPED = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}

FORMS = ".parquet, .crystals, .extxyz, .csv, or no suffix for a directory of CIFs"


def write(crystals: Sequence[Crystal], path: Path) -> None:
    """Write crystals in the form that the suffix names; replaces a file, but never a directory with something in it.

    Raises `DataError` if the folder to write into does not exist, the suffix is unknown, or a crystal has masked
    species and the form needs symbols.
    """
    path = Path(path)
    require_writable(path)
    _require_names(crystals, path)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as folder:
        unfinished = Path(folder) / "data"
        WRITERS[path.suffix.lower()](crystals, unfinished)
        if path.is_dir():
            path.rmdir()
        unfinished.replace(path)


def require_writable(path: Path) -> None:
    """Raise `DataError` if `write` could not write there; asked before a long reading."""
    if not path.parent.is_dir():
        raise DataError(f"{path}: the folder {path.parent} does not exist; create it first")
    if path.is_dir() and any(path.iterdir()):
        raise DataError(f"{path}: this directory is not empty; name a new one")
    if path.suffix.lower() not in WRITERS:
        raise DataError(f"{path}: unknown form {path.suffix!r}; use {FORMS}")


def _require_names(crystals: Sequence[Crystal], path: Path) -> None:
    """Raise `DataError` for labels and ids that would not be read back."""
    if taken := sorted({name for crystal in crystals for name in crystal.labels if name.lower() in NO_LABELS}):
        raise DataError(f"{path}: a label cannot be called {taken[0]!r}, which means something else; rename it")
    if path.suffix:
        return
    for crystal in crystals:
        if len(f"{crystal.id}.cif".encode()) > _LONGEST_NAME or "\0" in crystal.id:
            raise DataError(f"{path}: id {crystal.id[:40]!r} cannot be a file name; write .parquet or .extxyz instead")


def parquet_table(crystals: Sequence[Crystal]) -> pa.Table:
    """Return the columns that the Parquet reader reads; labels null where absent, spectra as lists."""
    cells = [folded(crystal.labels) for crystal in crystals]
    labels = column_names(name for crystal in crystals for name in crystal.labels)
    float_list = pa.list_(pa.float64())
    kinds = {name: float_list if spectrum_column(name) else pa.float64() for name in labels}
    return pa.table(
        {
            "material_id": pa.array([crystal.id for crystal in crystals], pa.string()),
            "atomic_numbers": pa.array([crystal.species for crystal in crystals], pa.list_(pa.int8())),
            "lattice": pa.array([crystal.lattice.reshape(-1) for crystal in crystals], float_list),
            "frac_coords": pa.array([crystal.frac.reshape(-1) for crystal in crystals], float_list),
            **{name: pa.array([row.get(name) for row in cells], kind) for name, kind in kinds.items()},
        }
    )


def _write_parquet(crystals: Sequence[Crystal], path: Path) -> None:
    pq.write_table(parquet_table(crystals), path, compression="zstd", write_page_checksum=True)


def _write_extxyz(crystals: Sequence[Crystal], path: Path) -> None:
    path.write_text("".join(_frame(crystal) for crystal in crystals), encoding="utf-8")


def _frame(crystal: Crystal) -> str:
    lattice = " ".join(f"{x:.10g}" for x in crystal.lattice.reshape(-1))
    pairs = {"material_id": crystal.id} | {name: _numbers(value) for name, value in folded(crystal.labels).items()}
    info = " ".join(f"{_quoted(key)}={_quoted(value)}" for key, value in pairs.items())
    atoms = [
        f"{_symbol(crystal, z)} {x:.10f} {y:.10f} {w:.10f}\n"
        for z, (x, y, w) in zip(crystal.species.tolist(), crystal.cart.tolist(), strict=True)
    ]
    header = f'Lattice="{lattice}" Properties=species:S:1:pos:R:3 pbc="T T T" {info}'
    return f"{len(crystal)}\n{header}\n{''.join(atoms)}"


def _numbers(value: float | list[float]) -> str:
    """Return a number, or several with blanks between, with every digit."""
    return " ".join(map(repr, value)) if isinstance(value, list) else repr(value)


def _quoted(text: str) -> str:
    """Return text as a value or key of extxyz, escaped where it must stand between quotes."""
    if re.fullmatch(r"[\w.+:/@-]+", text):
        return text
    escaped = re.sub(r"[\\\"\n\t\r]", lambda match: _ESCAPED.get(match[0], f"\\{match[0]}"), text)
    return f'"{escaped}"'


def _write_csv(crystals: Sequence[Crystal], path: Path) -> None:
    labels = column_names(name for crystal in crystals for name in crystal.labels)
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, ["material_id", *labels, "cif"])
        table.writeheader()
        for crystal in crystals:
            table.writerow({"material_id": crystal.id, "cif": cif_text(crystal), **folded(crystal.labels)})


def _write_cifs(crystals: Sequence[Crystal], path: Path) -> None:
    path.mkdir()
    for crystal in crystals:
        if Path(crystal.id).name != crystal.id:
            shutil.rmtree(path)
            raise DataError(f"id {crystal.id!r} cannot be a file name; write .parquet, .csv or .extxyz instead")
        (path / f"{crystal.id}.cif").write_text(cif_text(crystal), encoding="utf-8")


def cif_text(crystal: Crystal) -> str:
    """Return a CIF in P1, atoms in their order, the cell as it is or, if that is left-handed, as `right_handed` has it;
    the orientation of the lattice is not part of a CIF."""
    from pymatgen.core import Structure
    from pymatgen.io.cif import CifWriter

    symbols = [_symbol(crystal, z) for z in crystal.species.tolist()]
    lattice, frac = right_handed(crystal)
    return str(CifWriter(Structure(lattice, symbols, _written(frac))))


def cif_with_masks(crystal: Crystal) -> str:
    """Return a CIF in P1 with the cell as `cif_text` has it; masked atoms are of the dummy species `X`, as pymatgen and
    ASE call it."""
    from pymatgen.core import DummySpecies, Structure
    from pymatgen.io.cif import CifWriter

    hidden = DummySpecies("X", 0)
    species = [hidden if z == MASK else element_symbol(z) for z in crystal.species.tolist()]
    lattice, frac = right_handed(crystal)
    return str(CifWriter(Structure(lattice, species, _written(frac))))


def _written(frac: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return coordinates as a CIF has them: what would be written as 1.00000000 is 0."""
    return np.where(np.round(frac, _CIF_DIGITS) >= 1.0, 0.0, frac)


def right_handed(crystal: Crystal) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return lattice, (3, 3) Å, and fractional coordinates, (N, 3), for forms that hold a cell as lengths and angles.

    Those are of a right-handed cell: read from them, L of a negative determinant would be its mirror image, and so
    would a chiral crystal. x = f L = (−f)(−L), so that −L with −f is the same crystal.
    """
    if not np.linalg.det(crystal.lattice) < 0:
        return crystal.lattice, crystal.frac
    return -crystal.lattice, -crystal.frac % 1.0 % 1.0  # −1e-17 % 1 is 1.0


def _symbol(crystal: Crystal, z: int) -> str:
    try:
        return element_symbol(z)
    except ValueError as error:
        raise DataError(f"{crystal.id}: {error}; only Parquet holds such crystals") from error


def _write_packed(crystals: Sequence[Crystal], path: Path) -> None:
    write_pack(pack_of(crystals), path)


WRITERS: dict[str, Callable[[Sequence[Crystal], Path], None]] = {
    ".parquet": _write_parquet,
    SUFFIX: _write_packed,
    ".extxyz": _write_extxyz,
    ".xyz": _write_extxyz,
    ".csv": _write_csv,
    "": _write_cifs,
}
