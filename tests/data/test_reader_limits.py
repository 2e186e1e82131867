"""Small files that would grow to gigabytes or take all day: each is one reject, or one line for the file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from crystalsweep.data import DataError, read
from crystalsweep.data.readers import _parquet_footer, _parquet_limits

GIGABYTE = 1 << 30
SECONDS = 60

_READ = """
import json, resource, sys
from pathlib import Path
import gemmi, numpy as np, pyarrow.compute, pyarrow.parquet, pymatgen.core
from pymatgen.optimization import neighbors
from crystalsweep.data import DataError, read

used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv[2]), used + int(sys.argv[2])))
try:
    reading = read(Path(sys.argv[1]))
    print(json.dumps([len(reading.crystals), [str(reject) for reject in reading.rejects[:3]]]))
except DataError as error:
    print(json.dumps([0, [str(error)]]))
"""


def outcome(file: Path) -> tuple[int, list[str]]:
    """Return how many crystals a file has and what is told of the others, read in a gigabyte and a minute."""
    command = [sys.executable, "-W", "ignore", "-c", _READ, str(file), str(GIGABYTE)]
    env = {**os.environ, "ARROW_DEFAULT_MEMORY_POOL": "system"}  # others reserve more than they use
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False, env=env)
    assert done.returncode == 0, done.stderr[-1500:]
    crystals, told = json.loads(done.stdout)
    assert all("\n" not in line and len(line) < 1500 for line in told)
    return crystals, told


# Parquet


def table(**columns: pa.Array) -> pa.Table:
    """Return one good row, or what takes its place."""
    plain = {
        "material_id": pa.array(["a"]),
        "atomic_numbers": pa.array([[11]]),
        "lattice": pa.array([[3.0, 0, 0, 0, 3, 0, 0, 0, 3]]),
        "frac_coords": pa.array([[0.0, 0, 0]]),
    }
    return pa.table(plain | columns)


def one_list(values: pa.Array) -> pa.Array:
    return pa.ListArray.from_arrays(pa.array([0, len(values)], pa.int32()), values)


def long_list() -> pa.Table:
    return table(atomic_numbers=one_list(pa.array(np.ones(100_000_000, np.int8))))


def rather_long_list() -> pa.Table:
    return table(frac_coords=one_list(pa.array(np.zeros(4_000_000))))


def long_inner_list() -> pa.Table:
    return table(frac_coords=one_list(one_list(pa.array(np.zeros(4_000_000)))))


def empty_lists() -> pa.Table:
    inner = pa.ListArray.from_arrays(pa.array(np.zeros(20_000_001, np.int32)), pa.array([], pa.int64()))
    return table(atomic_numbers=one_list(inner))


def null_lists() -> pa.Table:
    return table(frac_coords=one_list(pa.nulls(20_000_000, pa.list_(pa.float64()))))


def deep_lists() -> pa.Table:
    deep = pa.array([1])
    for _ in range(60):
        deep = one_list(deep)
    return table(atomic_numbers=deep)


def long_text() -> pa.Table:
    return table(material_id=pa.array(["x" * 200_000_000]))


def repeated_text() -> pa.Table:
    """Ids of a megabyte, kept once in the file."""
    rows = 3000
    ids = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array(["y" * 1_000_000]))
    one = table()
    lists = {name: pa.concat_arrays([one[name].chunk(0)] * rows) for name in _parquet_names()}
    return pa.table({"material_id": ids, **lists})


def _parquet_names() -> tuple[str, ...]:
    return ("atomic_numbers", "lattice", "frac_coords")


def empty_rows() -> pa.Table:
    rows = 20_000_000
    lists = {name: pa.nulls(rows, pa.list_(pa.float64())) for name in _parquet_names()}
    return pa.table({"material_id": pa.nulls(rows, pa.string()), **lists})


def wide_schema() -> pa.Table:
    return table(**{f"c{i}": pa.array([1.0]) for i in range(12_000)})


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (long_list, "atomic_numbers has 100,000,000 values in"),
        (rather_long_list, "row 1, id a: too large (a list of 4,000,000, at most 30,000 are read)"),
        (long_inner_list, "row 1, id a: too large (a list of 4,000,000, at most 30,000 are read)"),
        (empty_lists, "atomic_numbers has 20,000,000 values in"),
        (null_lists, "frac_coords has 20,000,000 values in"),
        (deep_lists, "atomic_numbers has lists 60 deep, at most 2 are read"),
        (long_text, "material_id grows from"),
        (repeated_text, "id too long (more than 500 characters)"),
        (empty_rows, "20,000,000 rows in"),
        (wide_schema, "12,004 columns, at most 10,000 are read"),
    ],
)
def test_a_parquet_file_that_grows_is_refused_before_it_does(
    tmp_path: Path, make: Callable[[], pa.Table], words: str
) -> None:
    file = tmp_path / "x.parquet"
    pq.write_table(make(), file, compression="zstd", row_group_size=1 << 25)
    crystals, told = outcome(file)
    assert crystals == 0
    assert words in told[0]
    assert "; " in told[0]


def lying(file: Path, said: int, instead: int) -> None:
    """Give a footer another number of values."""
    content = file.read_bytes()
    footer = content[-8 - int.from_bytes(content[-8:-4], "little") : -8]
    assert footer.count(varint(said)) == 2  # of the column and in its statistics
    forged = footer.replace(varint(said), varint(instead))
    file.write_bytes(content[: -8 - len(footer)] + forged + len(forged).to_bytes(4, "little") + b"PAR1")


def varint(number: int) -> bytes:
    """Return a whole number as Thrift's compact protocol has it."""
    left, written = 2 * number, b""
    while left > 127:
        written, left = written + bytes([left & 127 | 128]), left >> 7
    return written + bytes([left])


@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_a_footer_that_lies_is_not_believed(tmp_path: Path, version: str) -> None:
    file = tmp_path / "x.parquet"
    long = table(atomic_numbers=one_list(pa.array(np.ones(20_000_000, np.int8))))
    pq.write_table(long, file, compression="zstd", data_page_version=version)
    lying(file, 20_000_000, 1)
    assert "atomic_numbers has 20,000,000 values in" in outcome(file)[1][0]


@pytest.mark.parametrize("compression", ["none", "snappy", "zstd"])
@pytest.mark.parametrize("pages", [{}, {"data_page_version": "2.0", "use_dictionary": False, "data_page_size": 100}])
def test_honest_pages_hold_what_the_footer_says(tmp_path: Path, compression: str, pages: dict[str, Any]) -> None:
    file = tmp_path / "x.parquet"
    rows = pa.concat_tables([table(material_id=pa.array([f"a{i}"])) for i in range(300)])
    pq.write_table(rows, file, compression=compression, row_group_size=70, write_batch_size=10, **pages)
    chunks = list(_parquet_footer.chunks_of(file))
    assert sum(chunk.values for chunk in chunks) == 300 * (1 + 1 + 9 + 3)
    assert list(_parquet_footer.as_paged(file, chunks)) == chunks
    assert len(read(file).crystals) == 300


def test_pages_that_are_none_are_one_line(tmp_path: Path) -> None:
    file = tmp_path / "x.parquet"
    pq.write_table(table(), file)
    content = file.read_bytes()
    file.write_bytes(content[:4] + b"\xff" * 40 + content[44:])
    with pytest.raises(DataError, match=r"the pages of material_id are damaged\); copy or export it again"):
        read(file)


def test_one_long_list_costs_no_other_row(tmp_path: Path) -> None:
    good = table()
    bad = table(material_id=pa.array(["b"]), atomic_numbers=one_list(pa.array(np.ones(40_000, np.int64))))
    last = table(material_id=pa.array(["c"]))
    pq.write_table(pa.concat_tables([good, bad, last]), tmp_path / "x.parquet")
    reading = read(tmp_path / "x.parquet")
    assert [crystal.id for crystal in reading.crystals] == ["a", "c"]
    assert [reject.where for reject in reading.rejects] == ["x.parquet row 2"]


def test_rows_within_lists_of_slices_are_told_rightly(tmp_path: Path) -> None:
    """In batches, whose columns are slices of the row group's."""
    rows = 5000
    frac: list[object] = [[[0.0, 0, 0]] for _ in range(rows)]
    frac[4500] = [[0.0] * 12]
    one = table()
    columns = {name: pa.concat_arrays([one[name].chunk(0)] * rows) for name in ("atomic_numbers", "lattice")}
    ids = pa.array([str(i) for i in range(rows)])
    pq.write_table(pa.table({"material_id": ids, "frac_coords": pa.array(frac), **columns}), tmp_path / "x.parquet")
    reading = read(tmp_path / "x.parquet")
    assert [reject.where for reject in reading.rejects] == ["x.parquet row 4501"]
    assert len(reading.crystals) == rows - 1


def test_a_damaged_page_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "x.parquet"
    pq.write_table(table(frac_coords=pa.array([np.random.default_rng(0).random(3).tolist()])), file)
    content = bytearray(file.read_bytes())
    outcomes = set()
    for at in range(4, len(content) - 8, 7):
        changed = bytearray(content)
        changed[at] ^= 0x55
        file.write_bytes(changed)
        try:
            outcomes.add(len(read(file).crystals))
        except DataError as error:
            assert "\n" not in str(error)
            outcomes.add("refused")
    assert "refused" in outcomes


def test_a_million_crystals_are_within_the_limits() -> None:
    """Of 30 atoms, in row groups as pyarrow writes them: coordinates take a byte each, at the least."""
    values = 1_000_000 * 30 * 3
    assert values < min(
        _parquet_limits.MAX_VALUES, _parquet_limits.FREE_VALUES + _parquet_limits.VALUES_PER_BYTE * values
    )


# Text


ATOM = "Na 0 0 0\n"
COMMENT = 'Lattice="3 0 0 0 3 0 0 0 3" Properties=species:S:1:pos:R:3'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"{'1' * 5000}\n{COMMENT}\n{ATOM}", "expected a number of atoms"),
        (f"{'0' * 5000}1\n{COMMENT}\n{ATOM}", "expected a number of atoms"),
        (f"999999999\n{COMMENT}\n{ATOM}", "999999999 atoms promised, 1 there"),
        (f"1\n{COMMENT.replace('R:3', 'R:' + '3' * 5000)}\n{ATOM}", "broken frame"),
        (f"1\n{COMMENT.replace('species:S', 'Z:I')}\n{'9' * 5000} 0 0 0\n", "broken frame"),
        (f"1\n{COMMENT}\nNa {'9' * 5000} 0 0\n", "coordinates are not finite"),
        (f"1\n{'a' * 1_000_000}\n{ATOM}", "no lattice"),
        (f"1\n{chr(34)}{chr(92)}" * 300_000 + f"\n{ATOM}", "broken frame"),
        ("1\n" + '"\\' * 300_000 + f"\n{ATOM}", "broken frame"),
        ("1\n" + '"' * 300_001 + f"\n{ATOM}", "broken frame"),
        ("1\n" + "a={ " * 200_000 + f"\n{ATOM}", "no lattice"),
        ("1\n" + "a=[ " * 200_000 + f"\n{ATOM}", "no lattice"),
        ("1\n" + 'a="\\" ' * 200_000 + f"\n{ATOM}", "broken frame"),
        ("1\n" + "a" + " " * 1_000_000 + f"b\n{ATOM}", "no lattice"),
        (f"1\n{COMMENT}\nNa {'1' * 200_000}x 0 0\n", "broken frame"),
        (f"1\na={'1' * 200_000}x\n{ATOM}", "no lattice"),
    ],
    ids=["digits", "zeros", "promise", "width", "z", "coordinate", "word", "frames", "quotes", "only quotes", "braces",
         "brackets", "open", "blanks", "no number", "no label"],
)  # fmt: skip
def test_no_line_of_an_extxyz_takes_all_day(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "x.extxyz").write_text(text)
    crystals, told = outcome(tmp_path / "x.extxyz")
    assert crystals == 0
    assert words in told[0]


@pytest.mark.parametrize("form", ["closed", "open"])
def test_a_cell_of_a_csv_that_is_no_cif_is_one_line(tmp_path: Path, form: str) -> None:
    cell = '"' + "x,y\n" * (25 << 20) + ('"\n' if form == "closed" else "")
    (tmp_path / "x.csv").write_text(f"material_id,cif\na,{cell}")
    crystals, told = outcome(tmp_path / "x.csv")
    assert crystals == 0
    assert "field larger than field limit" in told[0]


def test_cells_and_columns_of_a_csv_take_no_day(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(f"material_id,cif,e\na,b,{'1' * 200_000}x\nc,d,1\n")
    assert "unparsable CIF" in outcome(tmp_path / "x.csv")[1][0]
    names = ",".join(f"c{i}" for i in range(150_000))
    (tmp_path / "x.csv").write_text(f"material_id,cif,{names}\na,b,{'1,' * 150_000}\n")
    assert "more cells than columns" in outcome(tmp_path / "x.csv")[1][0]


def test_a_loop_of_a_million_is_one_reject(tmp_path: Path) -> None:
    (tmp_path / "x.cif").write_text("data_x\nloop_\n_a\n" + "1\n" * 1_000_000)
    assert "1,000,000 values, at most 250,000 are read" in outcome(tmp_path / "x.cif")[1][0]


def test_two_atoms_in_an_empty_cell_are_read(tmp_path: Path) -> None:
    """The search for their distance took 4 GB."""
    (tmp_path / "x.extxyz").write_text(
        f"2\n{COMMENT.replace('3 0 0 0 3 0 0 0 3', '999 0 0 0 999 0 0 0 999')}\n{ATOM}Na 990 990 990\n"
    )
    assert outcome(tmp_path / "x.extxyz") == (1, [])


@pytest.mark.parametrize("name", ["x.cif.gz", "x.csv.gz", "x.parquet.gz", "x.extxyz.gz"])
def test_what_is_compressed_is_not_read(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x1f\x8b" + bytes(100))
    with pytest.raises(DataError, match="a packed file; unpack it first"):
        read(tmp_path / name)
