"""A whole evaluation into a folder: part by part, so that a second start goes on where the first one ended."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from crystalsweep.artifacts.atomic import is_abandoned, target_of, to_disk, whole_file, write_whole
from crystalsweep.artifacts.safe_json import read_json
from crystalsweep.evaluation.spread import Tables, Task, Workers
from crystalsweep.evaluation.structures import SCORED
from crystalsweep.evaluation.tables import read_references, read_table

P = TypeVar("P")

REQUEST = "request.json"
"""What was asked for; another request in the same folder is refused."""

_EARLIER = f"{REQUEST}.incomplete"
"""What a request that was being written was called in earlier versions."""

AS_WRITTEN: dict[str, Any] = {"index": False, "compression": "zstd", "write_page_checksum": True}
"""How tables are written: with sums, by which a reader sees that bytes have changed."""

ROWS = "rows"
"""Folder of finished parts; removed once the tables are whole."""

STRUCTURES = "structures.parquet"
"""The model's rows, with crystals."""

REFERENCES_FILE = "references.parquet"
"""Rows of the references, told apart by the column `row`."""


def open_folder(folder: Path, request: dict[str, Any]) -> None:
    """Make `folder` for this request, or find it begun or finished by the same one.

    Raises `ValueError`, naming what differs, where it holds another evaluation, and where its request is damaged.
    """
    file = folder / REQUEST
    if file.exists():
        found = read_json(file)
        if different := sorted(_differences(found, request)):
            raise ValueError(
                f"{folder} holds another evaluation (different: {', '.join(different)}); choose another --out, or "
                "remove that folder"
            )
        return
    begun = list(folder.iterdir()) if folder.exists() else []
    if any(target_of(path.name) != REQUEST and path.name != _EARLIER for path in begun):
        raise ValueError(f"{folder} holds other files; choose another --out")
    for path in begun:  # a process was killed while it wrote the request
        if path.name == _EARLIER or is_abandoned(path):
            path.unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(file, json.dumps(request, indent=2, sort_keys=True) + "\n")


def _differences(found: Any, asked: Any, path: str = "") -> list[str]:
    if isinstance(found, dict) and isinstance(asked, dict):
        return [
            name
            for key in sorted(found.keys() | asked.keys())
            for name in _differences(found.get(key), asked.get(key), f"{path}.{key}" if path else key)
        ]
    return [] if found == asked else [path]


def run_evaluation(task: Task[P], parts: Sequence[P], sizes: Sequence[int], folder: Path, workers: Workers) -> Tables:
    """Return rows of all parts by name, in order, without the columns `SCORED`; parts already in `folder` are not
    computed again.

    Args:
        task: What is done to a part.
        parts: All of them, the same on every start.
        sizes: Crystals in each, for the progress bar.
        folder: An opened folder.
        workers: Where it is done.
    """
    rows = folder / ROWS
    rows.mkdir(exist_ok=True)
    missing = {index: part for index, part in enumerate(parts) if not _is_whole(rows / f"{index:05d}")}
    with tqdm(total=sum(sizes), desc="crystals", unit="", smoothing=0.1) as bar:
        bar.update(sum(size for index, size in enumerate(sizes) if index not in missing))
        for index, tables in workers.over(task, missing.items(), len(missing)):
            _keep(rows / f"{index:05d}", tables)
            bar.update(sizes[index])
    return _read(rows)


def _is_whole(part: Path) -> bool:
    """Return whether a part was kept and its tables can be read: a power failure may have left them empty."""
    files = list(part.glob("*.parquet"))
    try:
        for file in files:
            pq.read_table(file, page_checksum_verification=True)
    except (OSError, ValueError):  # pyarrow's are ValueErrors
        return False
    return bool(files)


def _keep(target: Path, tables: Tables) -> None:
    """Keep a part's tables, all or none, on the disk before they have their name."""
    incomplete = target.with_suffix(".incomplete")
    shutil.rmtree(incomplete, ignore_errors=True)
    incomplete.mkdir()
    for name, table in tables.items():
        file = incomplete / f"{name}.parquet"
        table.to_parquet(file, **AS_WRITTEN)
        to_disk(file)
    shutil.rmtree(target, ignore_errors=True)  # of an earlier start, damaged
    incomplete.rename(target)


def _read(rows: Path) -> Tables:
    return {name: pd.concat([_unscored(file) for file in files], ignore_index=True) for name, files in _kept(rows)}


def _kept(rows: Path) -> list[tuple[str, list[Path]]]:
    """Return the files of each table, part by part."""
    folders = sorted(path for path in rows.iterdir() if path.suffix != ".incomplete")
    names = [path.stem for path in sorted(folders[0].glob("*.parquet"))]
    return [(name, [folder / f"{name}.parquet" for folder in folders]) for name in names]


def _unscored(file: Path) -> pd.DataFrame:
    names = pq.read_schema(file).names
    return pd.read_parquet(file, columns=[name for name in names if name not in SCORED])


def write_results(folder: Path, model: str, added: Mapping[str, pd.DataFrame]) -> None:
    """Write the two result tables from the finished parts, one part in memory at a time.

    Args:
        folder: Of the evaluation.
        model: Name of the model's tables; those of the references are written under their own.
        added: By name of the tables, columns that were added since: a row per row of all parts.
    """
    kept = dict(_kept(folder / ROWS))
    _write_parts(folder / STRUCTURES, [(kept[model], pa.Table.from_pandas(added[model], preserve_index=False))])
    references = [name for name in added if name != model]
    if references:
        more = [added[name].assign(row=name) for name in references]
        whole = [pa.Table.from_pandas(table, preserve_index=False) for table in more]
        _write_parts(folder / REFERENCES_FILE, list(zip((kept[name] for name in references), whole, strict=True)))


def _write_parts(target: Path, tables: Sequence[tuple[Sequence[Path], pa.Table]]) -> None:
    """Write tables one below the other, each read from files, with more columns; what one of them lacks is null."""
    schemas = [[*map(pq.read_schema, files), more.schema] for files, more in tables]
    schema = pa.unify_schemas([each for some in schemas for each in some], promote_options="permissive")
    schema = schema.with_metadata(None)
    with (
        whole_file(target) as partial,
        pq.ParquetWriter(partial, schema, compression="zstd", write_page_checksum=True) as writer,
    ):
        for files, more in tables:
            first = 0
            for part in map(pq.read_table, files):
                beside = more.slice(first, len(part))
                known = dict(zip(part.column_names, part.columns, strict=True))
                known |= dict(zip(beside.column_names, beside.columns, strict=True))
                columns = [
                    known[field.name].cast(field.type) if field.name in known else pa.nulls(len(part), field.type)
                    for field in schema
                ]
                writer.write_table(pa.table(columns, schema=schema))
                first += len(part)


def write_tables(folder: Path, model: pd.DataFrame, references: Mapping[str, pd.DataFrame]) -> None:
    """Write the two result tables, of rows that are all in memory."""
    write_parquet(folder / STRUCTURES, model)
    if references:
        named = [table.assign(row=name) for name, table in references.items()]
        write_parquet(folder / REFERENCES_FILE, pd.concat(named, ignore_index=True))


def read_tables(folder: Path) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    """Return model's table and those of the references.

    Raises `ValueError` where the folder has none, or one holds what no evaluation writes.
    """
    if not (folder / STRUCTURES).exists():
        raise ValueError(f"{folder} holds no {STRUCTURES}: it is no finished evaluation")
    model, file = read_table(folder / STRUCTURES), folder / REFERENCES_FILE
    return model, read_references(file, model) if file.exists() else {}


def write_parquet(path: Path, table: pd.DataFrame) -> None:
    """Write a table whole or not at all."""
    with whole_file(path) as partial:
        table.to_parquet(partial, **AS_WRITTEN)
