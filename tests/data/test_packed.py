"""Packed crystals are the crystals that were packed; what is read at once is what rows one by one give; the cache."""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file, save_file

from crystalsweep.data import Crystals, DataError, fingerprint, load_bundled, load_data, pick, read, write
from crystalsweep.data import packed as packed_module
from crystalsweep.data.bundled import CRYSTALS
from crystalsweep.data.fingerprint import GRID, OFFSET
from crystalsweep.data.packing import pack_of
from crystalsweep.data.readers import parquet
from crystalsweep.data.splitting import reduced_formulas
from crystalsweep.structures.crystal import Crystal
from crystalsweep.structures.min_edges import min_edges
from crystalsweep.structures.neighbours import shortest_distance


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("CRYSTALSWEEP_CACHE", str(folder))
    return folder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """400 crystals and three rows that are none, one of them for its id."""
    path = tmp_path / "some.parquet"
    write(load_bundled()[:400], path)
    rows = pq.read_table(path).to_pylist()
    broken = [{**rows[5], "material_id": "flat", "lattice": [0.0] * 9}, rows[7]]
    broken += [{**rows[9], "material_id": "doubled", "frac_coords": [0.25] * len(rows[9]["frac_coords"])}]
    pq.write_table(pa.Table.from_pylist([*rows[:200], *broken, *rows[200:]], pq.read_schema(path)), path)
    return path


def same(a: Sequence[Crystal], b: Sequence[Crystal]) -> bool:
    """Whether two sequences hold the same crystals, bit for bit."""
    return len(a) == len(b) and all(
        (x.id, x.labels) == (y.id, y.labels)
        and all(np.array_equal(getattr(x, name), getattr(y, name)) for name in ("species", "lattice", "frac"))
        for x, y in zip(a, b, strict=True)
    )


def mutated() -> list[dict[str, object]]:
    """Rows of real crystals, each wrong in a way of its own, or only strange."""
    crystal = max(load_bundled()[:50], key=len)
    plain = {
        "material_id": "x",
        "atomic_numbers": crystal.species.tolist(),
        "lattice": crystal.lattice.reshape(-1).tolist(),
        "frac_coords": crystal.frac.reshape(-1).tolist(),
        "e_above_hull": 0.1,
    }
    numbers, lattice, frac = plain["atomic_numbers"], plain["lattice"], plain["frac_coords"]
    changes: list[dict[str, object]] = [{}, {"material_id": ""}, {"material_id": None}, {"material_id": "y" * 501}]
    changes += [{"e_above_hull": value} for value in (float("nan"), float("inf"), None, -0.0)]
    changes += [{"atomic_numbers": value} for value in ([], None, [0, *numbers[1:]], [119, *numbers[1:]], numbers[1:])]
    changes += [{"atomic_numbers": [1.5, *numbers[1:]]}, {"atomic_numbers": [1e9, *numbers[1:]]}]
    cells = [None, [], [0.0] * 9, [*lattice[:8], float("nan")], lattice[:6], [1e4 * x for x in lattice]]
    cells += [[0.05 * x for x in lattice], [0.3 * x for x in lattice], [*lattice[:3], *lattice[:3], *lattice[6:]]]
    cells += [[3.0, 0, 0, 2999.0, 3.0, 0, 0, 0, 3.0], [900.0, 0, 0, 0, 0.01, 0, 0, 0, 0.02]]
    changes += [{"lattice": value} for value in cells]
    places = [None, [], frac[:-1], [float("inf"), *frac[1:]], [1e4, *frac[1:]], [*frac[3:6], *frac[3:]]]
    places += [[-1e-17, *frac[1:]], [x - 3 for x in frac], [*(x + 1e-3 for x in frac[3:6]), *frac[3:]]]
    changes += [{"frac_coords": value} for value in places]
    changes += [{"atomic_numbers": [26], "lattice": [2.0, 0, 0, 0, 2.0, 0, 0, 0, 2.0], "frac_coords": [0.5, 0.5, 0.5]}]
    return [{**plain, "material_id": f"x{i}", **change} for i, change in enumerate(changes)]


def test_rows_read_at_once_are_rows_read_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.Table.from_pylist(mutated()), path)
    several = [*parquet.ParquetReader().rows(path), *parquet.ParquetReader().rows(CRYSTALS)]
    assert sum(isinstance(row.outcome, Crystal) for row in several[: len(mutated())]) >= 5
    monkeypatch.setattr(parquet, "_plain", lambda _, ids, __: [None] * len(ids))
    single = [*parquet.ParquetReader().rows(path), *parquet.ParquetReader().rows(CRYSTALS)]
    for a, b in zip(several, single, strict=True):
        assert (a.where, a.id, a.notes) == (b.where, b.id, b.notes)
        if isinstance(b.outcome, Crystal):
            assert isinstance(a.outcome, Crystal)
            assert same([a.outcome], [b.outcome])
        else:
            assert a.outcome == b.outcome


def test_shortest_distances_are_pymatgens() -> None:
    crystals = load_bundled()[::25]
    rng = np.random.default_rng(0)
    skewed = [
        Crystal.of(f"s{i}", [1] * n, rng.normal(size=(3, 3)) * 4, rng.random((n, 3)))
        for i, n in enumerate([1, 2, 5, 9] * 20)
    ]
    every = [Crystal.of(c.id, c.species, c.lattice, c.frac) for c in [*crystals, *skewed]]
    found = min_edges(
        np.array([len(c) for c in every]), np.stack([c.lattice for c in every]), np.concatenate([c.frac for c in every])
    )
    assert found == pytest.approx([shortest_distance(c.lattice, c.frac) for c in every], abs=1e-9)


def test_columns_say_what_crystals_say() -> None:
    whole = load_bundled()
    assert isinstance(whole, Crystals)
    some = whole[10:2000:7]
    crystals = list(some)
    assert isinstance(some, Crystals)
    assert some.counts.tolist() == [len(c) for c in crystals]
    assert some.ids == [c.id for c in crystals]
    assert reduced_formulas(pack_of(some)) == [c.reduced_formula for c in crystals]
    given = {c.id: c.labels["e_above_hull"] for c in crystals if "e_above_hull" in c.labels}
    assert {i: x for i, x in zip(some.ids, some.label("e_above_hull"), strict=True) if x == x} == given
    assert some[-1] is crystals[-1]
    assert same(pick(some, np.array([5, 3])), [crystals[5], crystals[3]])
    with pytest.raises(IndexError):
        some[len(some)]


def test_the_fingerprint_is_that_of_crystals_one_by_one() -> None:
    digest = hashlib.sha256()

    def steps(values: np.ndarray) -> bytes:
        return bytes((np.floor((values + OFFSET) / GRID + 0.5) + 0.0).astype("<f8").tobytes())

    crystals = list(load_bundled()[::3])
    for crystal in sorted(crystals, key=lambda crystal: crystal.id):
        digest.update(steps(crystal.lattice))
        frac = np.floor((crystal.frac + OFFSET) / GRID + 0.5) % round(1 / GRID)
        digest.update((frac + 0.0).astype("<f8").tobytes())
        digest.update(steps(np.array([crystal.labels[name] for name in sorted(crystal.labels)])))
        digest.update(crystal.species.astype("<i8").tobytes())
        digest.update("\0".join([crystal.id, *sorted(crystal.labels)]).encode() + b"\n")
    assert fingerprint(crystals) == fingerprint(load_bundled()[::3]) == digest.hexdigest()


@pytest.mark.usefixtures("cache")
def test_what_the_cache_gives_is_what_was_read(
    source: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first, data = read(source, progress=True), load_data(str(source))
    assert "cache" not in capsys.readouterr().err
    second, again = read(source, progress=True), load_data(str(source))
    assert capsys.readouterr().err.count("read from the cache") == 1
    monkeypatch.setenv("CRYSTALSWEEP_CACHE", "off")
    off, anew = read(source), load_data(str(source))
    assert len(off.rejects) == 3
    for reading in (first, second):
        assert same(reading.crystals, off.crystals)
        assert (reading.rejects, reading.notes, reading.source) == (off.rejects, off.notes, off.source)
    for each in (data, again):
        assert (each.data_sha256, each.split_sha256, each.rejects) == (
            anew.data_sha256,
            anew.split_sha256,
            anew.rejects,
        )
        assert all(same(each.part(part), anew.part(part)) for part in ("train", "val", "test"))
    assert [c.min_edge for c in second.crystals] == [c.min_edge for c in off.crystals]


def test_a_changed_source_or_a_damaged_entry_is_read_anew(source: Path, cache: Path) -> None:
    kept = read(source).crystals
    (entry,) = cache.iterdir()
    content = bytearray(entry.read_bytes())
    content[-1000] ^= 1
    entry.write_bytes(content)
    assert same(read(source).crystals, kept)
    assert [path.name for path in cache.iterdir()] == [entry.name]
    write(kept[:300], source)
    assert len(read(source).crystals) == 300
    assert len(list(cache.iterdir())) == 2


def test_writers_at_once_leave_one_whole_entry(source: Path, cache: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: read(source).crystals, range(4)))
    assert all(same(each, found[0]) for each in found)
    assert len(list(cache.iterdir())) == 1


def test_the_cache_keeps_to_its_size(
    source: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read(source)
    (old,) = cache.iterdir()
    os.utime(old, (1, 1))
    monkeypatch.setenv("CRYSTALSWEEP_CACHE_SIZE", str(int(1.5 * old.stat().st_size)))
    write(load_bundled()[1000:1400], tmp_path / "other.parquet")
    read(tmp_path / "other.parquet")
    assert not old.exists()
    assert len(list(cache.iterdir())) == 1
    monkeypatch.setenv("CRYSTALSWEEP_CACHE_SIZE", "much")
    with pytest.raises(DataError, match="CRYSTALSWEEP_CACHE_SIZE=much"):
        read(source)


def test_a_folder_that_others_may_write_is_not_believed(source: Path, cache: Path) -> None:
    cache.mkdir()
    cache.chmod(0o777)
    read(source)
    assert list(cache.iterdir()) == []


def test_large_packs_travel_by_name(source: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = load_data(str(source))
    whole = pickle.dumps(data)
    monkeypatch.setattr(packed_module, "SMALL", 0)
    small = pickle.dumps(data)
    assert len(small) < len(whole) / 5
    assert same(pickle.loads(small).train, data.train)
    assert same(pickle.loads(whole).train, data.train)
    for entry in cache.iterdir():
        entry.unlink()
    assert same(pickle.loads(small).train, data.train)  # read anew from the source, as on another node
    for entry in cache.iterdir():
        entry.unlink()
    write(load_bundled()[:300], source)
    with pytest.raises(DataError, match="not what it was when the work began"):
        pickle.loads(small)


def test_a_packed_file_comes_back_and_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "x.crystals"
    crystals = load_bundled()[:300]
    write(crystals, path)
    assert same(read(path).crystals, crystals)
    columns = load_file(path)
    columns["frac"] = columns["frac"].copy()
    columns["frac"][: len(crystals[0])] = 0.5
    columns["species"] = columns["species"].copy()
    columns["species"][len(crystals[0])] = 0
    save_file(columns, path)
    assert [reject.reason for reject in read(path).rejects][-1:] == ["unknown element"]
    assert read(path).n_rows == 300


def test_a_packed_file_that_was_damaged_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "x.crystals"
    write(load_bundled()[:20], path)
    content = bytearray(path.read_bytes())
    at = content.index(load_file(path)["frac"].tobytes()) + 40
    content[at] ^= 0x10
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"its column frac was damaged since it was written"):
        read(path)


@pytest.mark.parametrize("damage", ["start", "id_start", "labels", "type", "cut", "text", "nested"])
def test_a_hostile_packed_file_is_one_line(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "x.crystals"
    write(load_bundled()[:20], path)
    columns = {name: column.copy() for name, column in load_file(path).items()}
    if damage in ("start", "id_start"):
        columns[damage][3] = 10**12
    if damage == "labels":
        columns["label.0"] = columns["label.0"][:5]
    if damage == "type":
        columns["lattice"] = columns["lattice"].astype(np.int64)
    if damage == "nested":
        columns["facts"] = np.frombuffer(b"[" * 100_000, dtype=np.uint8)
    save_file(columns, path)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    if damage == "text":
        path.write_bytes(b"no crystals here")
    with pytest.raises(DataError, match=r"x\.crystals: not readable as \.crystals"):
        read(path)
