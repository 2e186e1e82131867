"""Reading a table of scores that anyone may have written: what it holds is checked before a figure rests on it.

A share of 7, a count below zero or a species of 300 gives a mean like any other, and so does a truth value written as
text. What no evaluation writes is refused by the file, the column and the row; other columns than ours are left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from crystalsweep.data.checks import MAX_COORDINATE, MAX_EDGE, MIN_VOLUME, RawStructure
from crystalsweep.data.readers._limits import size_problem
from crystalsweep.data.readers.parquet import require_readable
from crystalsweep.metrics.scoring import KEYS
from crystalsweep.structures.crystal import N_ELEMENTS

_NEEDED = (*KEYS, "n_atoms", "n_masked", "failure")
"""Columns without which a table is none of scores."""

_NEVER_EMPTY = (*KEYS, "n_atoms", "n_masked", "given_composition")
"""Columns that every row fills, where a table has them."""

_NEVER_EMPTY_OF_MODEL = (*_NEVER_EMPTY, "energy_sampled")
"""The same of a model's table; of the references only the ceiling has energies."""

_SHARE, _COUNT, _AT_MOST_ONE, _ANY = (0.0, 1.0), (0.0, np.inf), (-np.inf, 1.0), (-np.inf, np.inf)

_BOUNDS = {
    **dict.fromkeys(("structural_validity", "compositional_validity", "similarity_undefined"), _SHARE),
    **dict.fromkeys(("exempt_composition", "charges_balance"), _SHARE),
    "bond_instability": _COUNT,
    **dict.fromkeys(("compositional_similarity", "compositional_similarity_permuted"), _SHARE),
    **dict.fromkeys(("given_composition", "matched", "unique", "sun", "energy_sampled"), _SHARE),
    **dict.fromkeys(("novel_vs_input", "novel_vs_reference"), _SHARE),
    **dict.fromkeys(("structural_similarity", "structural_similarity_unaligned"), _AT_MOST_ONE),
    **dict.fromkeys(("sigma_noise", "draw", "n_atoms", "n_masked", "masked_correct", "visible_correct"), _COUNT),
    **dict.fromkeys(("distance", "distance_aligned", "noise", "noise_aligned", "paper_eq5_term", "rmsd"), _COUNT),
    **dict.fromkeys(("site_top1", "site_top3", "site_top5", "site_log_loss", "site_brier"), _COUNT),
    **dict.fromkeys(("joint_rank", "joint_candidates"), _COUNT),
    "joint_probability": _SHARE,
    **dict.fromkeys(("delta_energy", "delta_energy_relaxed", "e_above_hull", "e_above_hull_relaxed"), _ANY),
    **dict.fromkeys(("energy_dft", "energy_before_dft", "delta_energy_dft"), _ANY),
}
"""Columns of numbers with the least and the greatest; those of variants, as `matched@paper`, alike."""

_ROUNDING = 1e-9

_PLAIN_WIDTH = 0.5
"""Å; cells that are nowhere thinner are searched quickly, and others are looked at one by one."""

MAX_TEXTS, GROWTH = 256 << 20, 100
"""Bytes that all texts may have whatever the size of the file, and more for each byte of it."""

_TEXTS = ("parent", "mask_type", "failure", "energy_failure")
_ALSO_TEXTS = ("_failure", "_undecided")
"""Ends of the names of columns that hold reasons."""

_ODDS = ("site_confidence", "site_rank")
"""Columns of lists with a number for each masked site: a probability, and a place among the elements."""

_SITES = {"species_": 0, "lattice_": 9, "frac_": 0}
"""Beginnings of the names of columns of lists, with the length of a list; 0 where it is that of the crystal."""


def read_table(file: Path, *, also: str = "") -> pd.DataFrame:
    """Return a table of scores.

    Args:
        file: Parquet.
        also: Column of texts that tells rows apart beside `KEYS`.

    Raises:
        ValueError: It is no Parquet, would grow beyond what is read, or holds what no evaluation writes; with the
            file's name.
    """
    schema = require_readable(file)
    _require_columns(file, schema, [*_NEEDED, *([also] if also else [])])
    for field in schema:
        _require_kind(file, field, also)
    texts = [field.name for field in schema if _is_text(field.type)]
    try:
        with pq.ParquetFile(file, read_dictionary=texts, page_checksum_verification=True) as opened:
            columns = opened.read()
        columns.validate(full=True)  # text that is none fails later and elsewhere
        columns = _written_out(file, columns, texts)
        table = columns.to_pandas(ignore_metadata=True)  # a pandas index is a column like any other
    except (OSError, ValueError, MemoryError, pa.ArrowException) as error:
        raise ValueError(f"{file} cannot be read ({' '.join(str(error).split())[:200]}); copy it again") from error
    _require_keys(file, table, also)
    for why, wrong in _mistakes(table):
        if wrong.any():
            raise ValueError(f"{file}: {why} ({_where(table, wrong)}); evaluate again")
    return table


def _written_out(file: Path, columns: pa.Table, texts: list[str]) -> pa.Table:
    """Return columns with each row's text as its own, no longer as the number of a text that many rows may share.

    Raises `ValueError` where that would take more than is read.
    """
    most, size = MAX_TEXTS + GROWTH * file.stat().st_size, 0
    for name in texts:
        column = columns.column(name)
        size += sum(_bytes_of(chunk) for chunk in column.chunks)
        if size > most:
            raise ValueError(
                f"up to column {name} texts of {size:,} bytes, of which many rows share one; at most {most:,} are read"
            )
        columns = columns.set_column(columns.schema.get_field_index(name), name, column.cast(pa.large_string()))
    return columns


def _bytes_of(column: pa.DictionaryArray) -> int:
    """Return how many bytes the texts of all rows have."""
    lengths = pc.cast(pc.binary_length(column.dictionary), pa.int64())
    return pc.sum(pc.take(lengths, column.indices)).as_py() or 0


def read_references(file: Path, model: pd.DataFrame | None = None) -> dict[str, pd.DataFrame]:
    """Return tables of the reference rows by name.

    Raises `ValueError` as `read_table`, and where one has a row whose keys `model` has not.
    """
    named = read_table(file, also="row")
    if model is not None:
        both = pd.MultiIndex.from_frame(named[list(KEYS)]).isin(pd.MultiIndex.from_frame(model[list(KEYS)]))
        if not both.all():
            raise ValueError(f"{file}: rows that the model's table has not ({_where(named, ~both)}); evaluate again")
    return {
        str(name): table.drop(columns="row").reset_index(drop=True) for name, table in named.groupby("row", sort=False)
    }


def _where(table: pd.DataFrame, wrong: NDArray[np.bool_]) -> str:
    first = int(np.flatnonzero(wrong)[0])
    rows = "1 row" if wrong.sum() == 1 else f"{int(wrong.sum()):,} rows"
    return f"{rows}, the first is row {first + 1}, of {str(table['parent'].iloc[first])[:100]}"


def _require_columns(file: Path, schema: pa.Schema, needed: list[str]) -> None:
    if missing := [name for name in needed if name not in schema.names]:
        raise ValueError(f"{file} has no column {', '.join(missing)}: it is no table of scores; evaluate again")


def _require_kind(file: Path, field: pa.Field, also: str) -> None:
    """Raise `ValueError` where a column holds another kind of value than its name says."""
    plain, kind = field.name.partition("@")[0], field.type
    if plain in (*_TEXTS, also) or plain.endswith(_ALSO_TEXTS):
        fits, wanted = _is_text(kind), "text"
    elif plain in _BOUNDS:
        fits, wanted = _is_number(kind), "numbers"
    elif plain.startswith((*_SITES, *_ODDS)):
        fits, wanted = _is_list(kind, whole=plain.startswith(("species_", "site_rank"))), "lists of numbers"
    else:
        fits, wanted = _is_plain(kind), "numbers, text or lists of numbers"
    if not (fits or pa.types.is_null(kind)):
        raise ValueError(f"{file}: column {field.name} holds {str(kind)[:100]}, not {wanted}; evaluate again")


def _is_text(kind: pa.DataType) -> bool:
    held = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(held) or pa.types.is_large_string(held))


def _is_plain(kind: pa.DataType) -> bool:
    """Return whether a column of which nothing is known holds nothing that shares its bytes with other rows."""
    return bool(_is_text(kind) or _is_list(kind, whole=False) or pa.types.is_primitive(kind))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _is_list(kind: pa.DataType, *, whole: bool) -> bool:
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
        return False
    held = kind.value_type
    return bool(pa.types.is_integer(held) or pa.types.is_null(held) or (pa.types.is_floating(held) and not whole))


def _require_keys(file: Path, table: pd.DataFrame, also: str) -> None:
    """Raise `ValueError` where rows cannot be told apart."""
    keys, filled = ([also, *KEYS], _NEVER_EMPTY) if also else ([*KEYS], _NEVER_EMPTY_OF_MODEL)
    for name in dict.fromkeys([*keys, *(each for each in filled if each in table)]):
        if (empty := table[name].isna().to_numpy(bool)).any():
            raise ValueError(f"{file}: column {name} is empty ({_where(table, empty)}); evaluate again")
    if (repeated := table.duplicated(keys).to_numpy(bool)).any():
        told = ", ".join(keys)
        raise ValueError(f"{file}: {told} repeat those of an earlier row ({_where(table, repeated)}); evaluate again")


def _mistakes(table: pd.DataFrame) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Yield what no evaluation writes, with (n,) the rows where it stands; a score may be NaN."""
    for name in table.columns:
        if (bounds := _BOUNDS.get(name.partition("@")[0])) is not None:
            yield from _beyond(name, _numbers(table[name]), bounds)
    masked, atoms = _numbers(table["n_masked"]), _numbers(table["n_atoms"])
    yield "n_masked is more than n_atoms", masked > atoms
    for name in table.columns:
        for begins, most in (("masked_correct", masked), ("visible_correct", atoms - masked)):
            if name.partition("@")[0] == begins:
                yield f"{name} is more than there are such atoms", _numbers(table[name]) > most
    yield from _misshapen(table)
    for name, (low, high) in zip(_ODDS, ((0.0, 1.0), (1.0, float(N_ELEMENTS))), strict=True):
        if name in table:
            held = np.array([-1 if row is None else len(row) for row in table[name]], dtype=np.int64)
            yield f"{name} is not of n_masked", held != masked
            yield (
                f"{name} is not within {low:g} and {high:g}",
                _rows_with(table[name], partial(_outside, low, high), held),
            )


def _beyond(name: str, values: NDArray[np.float64], bounds: tuple[float, float]) -> Iterator[tuple[str, Any]]:
    low, high = bounds
    yield f"{name} is below {low:g}", values < low - _ROUNDING
    yield f"{name} is above {high:g}", values > high + _ROUNDING


def _numbers(column: pd.Series) -> NDArray[np.float64]:
    return np.asarray(column.astype("Float64").to_numpy(dtype=np.float64, na_value=np.nan))


def _misshapen(table: pd.DataFrame) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Yield columns of lists that hold no crystal of their row."""
    lengths: Mapping[str, NDArray[np.int64]] = {
        str(name): np.array([-1 if row is None else len(row) for row in table[name]], dtype=np.int64)
        for name in table.columns
        if name.startswith(tuple(_SITES))
    }
    atoms = np.max([held for name, held in lengths.items() if name.startswith("species_")], axis=0, initial=0)
    failed = (table["failure"].fillna("") != "").to_numpy(bool)
    for name, held in lengths.items():
        yield f"{name} is empty", held < 0
        allowed = failed if name.endswith("_after") else np.zeros(len(table), dtype=bool)
        if name.startswith("lattice_"):
            atomless = lengths.get(name.replace("lattice_", "species_"), held) == 0  # a crystal without an original
            yield f"{name} is not of 9 numbers", (held != 9) & ~((held == 0) & atomless)
            yield f"{name} is no cell of atoms", _no_cells(table[name], held, atoms) & ~allowed
        if name.startswith("species_"):
            yield f"{name} has species that are none", _rows_with(table[name], _no_species, held)
        else:
            yield f"{name} is not finite", _rows_with(table[name], _not_finite, held) & ~allowed
        if name.startswith("frac_"):
            yield f"{name} is far outside the cell", _rows_with(table[name], _far, held) & ~allowed
        state = name.removeprefix("frac_")
        if name.startswith("frac_") and f"species_{state}" in lengths:
            yield f"{name} is not of 3 numbers for each of species_{state}", held != 3 * lengths[f"species_{state}"]
    if "species_before" in lengths:
        true = lengths["species_before"]
        yield "species_before is not of n_atoms", (true > 0) & (true != _numbers(table["n_atoms"]))


def _rows_with(
    column: pd.Series, wrong: Callable[[NDArray[np.float64]], NDArray[np.bool_]], lengths: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Return (n,) whether any number of a row's list, of `lengths` (n,), is `wrong`."""
    numbers = np.concatenate([np.zeros(0), *(row for row in column if row is not None)]).astype(np.float64)
    rows = np.repeat(np.arange(len(lengths)), np.maximum(lengths, 0))
    found = np.zeros(len(lengths), dtype=bool)
    found[rows[wrong(numbers)]] = True
    return found


def _outside(low: float, high: float, numbers: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which numbers are not within bounds; none that is no number is."""
    return ~((numbers >= low - _ROUNDING) & (numbers <= high + _ROUNDING))


def _no_cells(column: pd.Series, held: NDArray[np.int64], atoms: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return (n,) which lattices, of `held` (n,) numbers around `atoms` (n,), are none that a reader lets through."""
    rows, found = np.flatnonzero(held == 9), np.zeros(len(held), dtype=bool)
    cells = np.array([column.iloc[row] for row in rows], dtype=np.float64).reshape(-1, 3, 3)
    with np.errstate(all="ignore"):
        volumes, edges = np.abs(np.linalg.det(cells)), np.linalg.norm(cells, axis=2).max(axis=1, initial=0.0)
        thin = volumes < _PLAIN_WIDTH * edges**2
    wrong = ~((volumes >= MIN_VOLUME) & (edges <= MAX_EDGE))
    for i in np.flatnonzero(thin & ~wrong):
        n = int(atoms[rows[i]])
        wrong[i] = size_problem(RawStructure(np.zeros(n, dtype=np.int64), cells[i], np.zeros((n, 3)))) is not None
    found[rows] = wrong
    return found


def _far(numbers: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.abs(numbers) > MAX_COORDINATE


def _not_finite(numbers: NDArray[np.float64]) -> NDArray[np.bool_]:
    return ~np.isfinite(numbers)


def _no_species(numbers: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which numbers are neither an element nor the mask."""
    return ~((numbers >= 0) & (numbers <= N_ELEMENTS))
