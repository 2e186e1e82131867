"""Kinds "denominator", "text is never repaired" and "identity": what is told of data, and what a row is called."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from crystalsweep.cli.data import data
from crystalsweep.cli.train import train
from crystalsweep.data import DataError, load_bundled, load_data, read, told_of, told_of_data, write
from crystalsweep.data.doubtful import doubts_of
from crystalsweep.data.packed import Crystals
from crystalsweep.data.packing import pack_of
from crystalsweep.data.splitting import grouped_split
from crystalsweep.data.target_values import require_labels
from crystalsweep.data.told import copied
from crystalsweep.structures.crystal import Crystal
from crystalsweep.structures.targets import target_of
from crystalsweep.training.catalogue import preset
from crystalsweep.training.stage import used

SALT = Crystal.of("salt", [11, 17], 2.82 * (1 - np.eye(3)), [[0, 0, 0], [0.5, 0.5, 0.5]])
FRAME = '2\nLattice="4 0 0 0 4 0 0 0 4"{pairs}\n{first} 0 0 0\nCl 2 2 2\n'
CIF = (
    "data_x\n_symmetry_space_group_name_H-M 'P 1'\n"
    "_cell_length_a 4\n_cell_length_b 4\n_cell_length_c {c}\n_cell_angle_alpha 90\n_cell_angle_beta 90\n"
    "_cell_angle_gamma 90\nloop_\n_atom_site_label\n_atom_site_type_symbol\n_atom_site_fract_x\n_atom_site_fract_y\n"
    "_atom_site_fract_z\nA1 {symbol} 0 0 0\nB1 Cl 0.5 0.5 0.5\n"
)


def extxyz(path: Path, *pairs: str, first: str = "Na") -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(FRAME.format(pairs=f" {each}" if each else "", first=first) for each in pairs))
    return path


def table(path: Path, **columns: list[str]) -> Path:
    rows = len(next(iter(columns.values())))
    pd.DataFrame(columns | {"cif": [CIF.format(c=4 + i, symbol="Na") for i in range(rows)]}).to_csv(path, index=False)
    return path


def notes(path: Path) -> list[str]:
    return [note.says for note in read(path).notes]


def test_rows_without_ids_are_called_alike_in_no_two_files(tmp_path: Path) -> None:
    one = read(extxyz(tmp_path / "a" / "crystals.extxyz", "", "energy=1")).crystals
    other = read(extxyz(tmp_path / "b" / "crystals.extxyz", "", "energy=2")).crystals
    assert not {crystal.id for crystal in one} & {crystal.id for crystal in other}
    again = read(tmp_path / "a" / "crystals.extxyz").crystals
    assert [crystal.id for crystal in again] == [crystal.id for crystal in one], "nor another when read again"
    assert notes(tmp_path / "a" / "crystals.extxyz") == [
        "no id in the file: rows are numbered, and pair with no other file's"
    ]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_tables_without_ids_too(tmp_path: Path, suffix: str) -> None:
    ids = []
    for folder, crystals in (("a", load_bundled()[:3]), ("b", load_bundled()[3:6])):
        (tmp_path / folder).mkdir()
        path = tmp_path / folder / f"crystals{suffix}"
        write(crystals, path)
        frame = pd.read_csv(path) if suffix == ".csv" else pd.read_parquet(path)
        frame = frame.drop(columns="material_id")
        frame.to_csv(path, index=False) if suffix == ".csv" else frame.to_parquet(path, index=False)
        ids += [crystal.id for crystal in read(path).crystals]
    assert len(set(ids)) == 6


def test_parts_of_one_name_without_ids_share_none(tmp_path: Path) -> None:
    train = extxyz(tmp_path / "train" / "crystals.extxyz", "a=1", "a=2")
    val = extxyz(tmp_path / "val" / "crystals.extxyz", "a=3")
    found = load_data(f"{train},{val}")
    assert (len(found.train), len(found.val)) == (2, 1)


def test_an_empty_id_is_missing_in_extxyz_as_elsewhere(tmp_path: Path) -> None:
    reading = read(extxyz(tmp_path / "x.extxyz", 'material_id=""', "material_id=b"))
    assert [crystal.id for crystal in reading.crystals] == ["b"]
    assert [reject.reason for reject in reading.rejects] == ["missing id"]


def test_a_pandas_index_is_no_label(tmp_path: Path) -> None:
    write(load_bundled()[:4], tmp_path / "x.parquet")
    frame = pd.read_parquet(tmp_path / "x.parquet")
    labels = {name for crystal in load_bundled()[:4] for name in crystal.labels}
    for index in (frame.iloc[::-1], frame.set_index(pd.Index([7, 5, 3, 1], name="row"))):
        index.to_parquet(tmp_path / "y.parquet")
        assert {name for crystal in read(tmp_path / "y.parquet").crystals for name in crystal.labels} == labels
    frame.assign(**{"Unnamed: 0": range(4)}).to_parquet(tmp_path / "z.parquet")  # saved as CSV with its index before
    assert {name for crystal in read(tmp_path / "z.parquet").crystals for name in crystal.labels} == labels


def test_an_index_of_texts_names_the_rows(tmp_path: Path) -> None:
    write(load_bundled()[:2], tmp_path / "x.parquet")
    frame = pd.read_parquet(tmp_path / "x.parquet")
    for name in (None, "mp_id", "material_id"):
        other = frame.drop(columns="material_id").set_index(pd.Index(["first", "second"], name=name))
        other.to_parquet(tmp_path / "y.parquet")
        assert [crystal.id for crystal in read(tmp_path / "y.parquet").crystals] == ["first", "second"]


def test_a_label_is_what_most_of_its_column_is(tmp_path: Path) -> None:
    path = table(
        tmp_path / "x.csv", material_id=list("abcd"), icsd=["12", "[12, 77]", "", "13"], name=["1", "b", "c", "d"]
    )
    reading = read(path)
    assert not reading.rejects, "a column costs no crystal"
    assert [crystal.labels for crystal in reading.crystals] == [{"icsd": 12.0}, {}, {}, {"icsd": 13.0}]
    assert [str(note) for note in reading.notes] == [
        "read as no label, for most of it is no number: name (4 rows, the first: x.csv row 1)",
        "icsd is no number there, and missing (1 row, the first: x.csv row 2)",
    ]


def test_a_column_that_is_no_label_says_why_where_it_is_asked_for(tmp_path: Path) -> None:
    """Decimal commas, truth values and texts: in the note, and in the error of a training that asks for them."""
    path = table(
        tmp_path / "x.csv",
        material_id=list("abcd"),
        k=["1", "2", "3", "4"],
        Kv=["10,00", "-1.210,5", "", "3,1e-2"],
        flag=["True", "false", "", "TRUE"],
        mostly=["true", "no", "true", "true"],
        text=["FM", "AFM", "FM", "10,0"],
    )
    expected = {
        "text": "read as no label, for most of it is no number: mostly, text",
        "Kv": "read as no label, for a number with a comma is none: Kv; write 10.5, not 10,5",
        "flag": "read as no label, for it is true or false: flag; to learn one, rename it class(flag)",
    }
    assert notes(path) == list(expected.values())
    found = read(path)
    remedy = {"text": "; to learn texts as classes, rename it class(text)"}
    for name, says in expected.items():
        told = re.escape(f"the labels there are: k; {says}{remedy.get(name, '')}")
        for target in (name, f"class({name})"):
            with pytest.raises(ValueError, match=f"{told}$"):
                require_labels(found.crystals, [target_of(target)], "train", found.notes)
        config = preset("finetune", "smoke")
        with pytest.raises(ValueError, match=f"{told}$"):
            used(found.crystals, config, split="train", labels=(name,), notes=found.notes)


@pytest.mark.parametrize("targets", [["Kv"], ["k", "Kv"]])
def test_a_training_on_a_column_with_decimal_commas_says_so(targets: list[str], tmp_path: Path) -> None:
    for part in ("train", "val"):
        ids = [f"{part}{i}" for i in range(4)]
        table(tmp_path / f"{part}.csv", material_id=ids, k=list("1234"), Kv=["1,50", "2,50", "10,00", ""])
    source = f"{tmp_path / 'train.csv'},{tmp_path / 'val.csv'}"
    asked = [part for target in targets for part in ("--target", target)]
    command = ["finetune", "--preset", "smoke", *asked, "--data", source, "--out", str(tmp_path / "run")]
    said = CliRunner().invoke(train, command)
    assert said.exit_code == 1
    assert said.output.rstrip().endswith("for a number with a comma is none: Kv; write 10.5, not 10,5"), said.output


def test_a_column_of_truth_values_in_parquet_says_how_to_learn_it(tmp_path: Path) -> None:
    write(load_bundled()[:2], tmp_path / "x.parquet")
    frame = pd.read_parquet(tmp_path / "x.parquet").assign(flag=[True, False], text=["a", "b"])
    frame.to_parquet(tmp_path / "y.parquet")
    assert notes(tmp_path / "y.parquet") == [
        "read as no label, for most of it is no number: text",
        "read as no label, for it is true or false: flag; to learn one, rename it class(flag)",
    ]


def test_a_label_of_extxyz_is_what_most_frames_say(tmp_path: Path) -> None:
    path = extxyz(
        tmp_path / "x.extxyz", "id=a energy=1 source=17", "id=b energy=2 source=mp", "id=c energy=1,5 source=x"
    )
    reading = read(path)
    assert [crystal.labels for crystal in reading.crystals] == [{"energy": 1.0}, {"energy": 2.0}, {}]
    assert notes(path) == [
        "read as no label, for most of it is no number: source",
        "energy is no number there, and missing",
    ]


@pytest.mark.parametrize("symbol", ["D", "T"])
def test_an_isotope_is_hydrogen_with_a_word(tmp_path: Path, symbol: str) -> None:
    (tmp_path / "cifs").mkdir()
    (tmp_path / "cifs" / "a.cif").write_text(CIF.format(c=4, symbol=symbol))
    for path in (tmp_path / "cifs", extxyz(tmp_path / "x.extxyz", "id=a", first=symbol)):
        assert read(path).crystals[0].species.tolist() == [1, 17]
        assert notes(path) == [
            {"D": "deuterium (D) is read as hydrogen", "T": "tritium (T) is read as hydrogen"}[symbol]
        ]
    assert not notes(extxyz(tmp_path / "dy.extxyz", "id=a", first="Dy"))


def test_copies_within_a_set_are_told() -> None:
    shuffled = replace(SALT, id="again", species=SALT.species[::-1], frac=SALT.frac[::-1] + 1e-6)
    other = replace(SALT, id="other", lattice=1.01 * SALT.lattice)
    assert copied([SALT, other, shuffled]) == [("salt", "again")]
    assert told_of("x", [SALT, other, shuffled], [], []) == [
        "x: 1 crystal is a copy of an earlier one, as again of salt"
    ]


def test_atoms_too_close_are_told() -> None:
    close = replace(SALT, id="close", lattice=0.15 * SALT.lattice)
    told = told_of("x", [SALT, close, replace(close, id="other")], [], [])
    assert any("2 crystals have atoms at most 0.5 Å apart, the first close (" in line for line in told), told


@pytest.mark.parametrize(
    ("species", "edge", "thin"),
    [
        ([11, 17], 8.6, True),  # 0.15 g/cm³: of a cell in bohr, say
        ([3, 9], 5.2, False),  # 0.31 g/cm³
        ([92, 92], 6.75, True),  # heavy, and 154 Å³ per atom
        ([55, 55], 6.15, False),  # 116 Å³ per atom, as caesium has
        ([1, 1], 3.4, False),  # 0.085 g/cm³, as solid hydrogen has
        ([2, 2], 4.1, False),  # 0.19 g/cm³, as solid helium has
        ([1, 1], 6.8, True),
        ([0, 17], 6.6, False),  # masked: its density is not known
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_cells_thinner_than_solids_are_told(species: list[int], edge: float, thin: bool, packed: bool) -> None:
    one = Crystal.of("one", species, edge * np.eye(3), SALT.frac)
    crystals = [SALT, one, replace(one, id="other", lattice=1.001 * one.lattice)]
    told = told_of("x", Crystals(pack_of(crystals)) if packed else crystals, [], [])
    assert len(told) == thin, told
    if thin:
        assert told[0].startswith("x: 2 crystals are thinner than solids are (below 0.3 g/cm³, or above 150 Å³ per")
        assert f"the first one ({edge**3 / 2:.3g} Å³ per atom); is the cell in Å" in told[0]


def labelled(**columns: list[float]) -> list[Crystal]:
    """Crystals that differ, with these labels."""
    rows = zip(*columns.values(), strict=True)
    return [
        replace(
            SALT,
            id=f"c{i}",
            lattice=(1 + 0.01 * i) * SALT.lattice,
            labels=dict(zip(columns, map(float, row), strict=True)),
        )
        for i, row in enumerate(rows)
    ]


@pytest.mark.parametrize("packed", [False, True])
def test_numbers_that_stand_for_missing_values_are_told(packed: bool) -> None:
    spectrum = {f"spectrum(dos,0:1:2:THz)[{i}]": [-999.0] * 2 + [1.0] * 28 for i in range(2)}
    crystals = labelled(
        hardness=[3, -999, -999, *range(27)],
        gap=[*range(28), 1e9, 1e9],
        once=[-999, *(0.1 * i for i in range(29))],
        wrong_unit=[*(0.1 * i for i in range(29)), 320],
        far=[*range(29), 2700],  # 2,672 beyond what is 27.44 wide
        rare=[0.0] * 29 + [1.0],
        alone=[999, *range(29)],
        **spectrum,
    )
    told = told_of("x", Crystals(pack_of(crystals)) if packed else crystals, [], [])
    gap, unit = "; if it stands for a missing value, leave the cell empty", "; else look at its unit"
    others = "where most of the others are 0.028 to 2.772"
    assert told == [
        f"x: gap: 2 rows have 1e+09, the greatest there is, the first c28{gap}",
        f"x: hardness: 2 rows have -999, the least there is, the first c1{gap}",
        f"x: once: 1 row has -999, the least there is, {others}, the first c0{gap}{unit}",
        f"x: wrong_unit: 1 row has 320, the greatest there is, {others}, the first c29{gap}{unit}",
    ]


def test_nothing_is_doubtful_in_the_data_that_come_with_the_package() -> None:
    assert doubts_of(load_bundled()) == []


def test_doubts_of_fifty_thousand_packed_crystals_take_no_time() -> None:
    many = Crystals(pack_of(load_bundled()))
    rows = np.resize(np.arange(len(many)), 50_000)
    began = time.monotonic()
    assert doubts_of(many.take(rows)) == []
    assert time.monotonic() - began < 5  # 0.02 s


def test_data_info_tells_what_is_doubtful(tmp_path: Path) -> None:
    path = extxyz(tmp_path / "x.extxyz", *(f"id={i} hardness={i if i > 1 else -999}" for i in range(4)))
    path.write_text(path.read_text().replace('"4 0 0 0 4 0 0 0 4"', '"40 0 0 0 40 0 0 0 40"'))
    said = CliRunner().invoke(data, ["info", str(path)])
    assert said.exit_code == 0, said.output
    assert "hardness: 2 rows have -999, the least there is, the first 0" in said.output
    assert "4 crystals are thinner than solids are" in said.output


def test_what_cannot_be_read_is_counted_by_reason() -> None:
    assert told_of("x", [SALT], [], []) == []


def test_data_info_tells_rejects_notes_and_copies(tmp_path: Path) -> None:
    path = extxyz(tmp_path / "x.extxyz", "id=a", "id=b", "id=a", "", first="D")
    said = CliRunner().invoke(data, ["info", str(path)])
    assert said.exit_code == 0, said.output
    for part in (
        "4 rows = 3 crystals + 1 reject",
        "duplicate id",
        "deuterium (D) is read as hydrogen",
        "no id in the file",
        "2 crystals are copies",
    ):
        assert part in said.output


def test_a_split_with_nothing_readable_names_its_first_reject(tmp_path: Path) -> None:
    (tmp_path / "x.extxyz").write_text("2\nno lattice\nNa 0 0 0\nCl 2 2 2\n")
    with pytest.raises(DataError, match="no usable crystal among 1 rows; the first reject"):
        load_data(str(tmp_path / "x.extxyz"))


def test_crystals_in_no_part_of_a_split_are_told(tmp_path: Path) -> None:
    path = tmp_path / "grown.parquet"
    write(load_bundled()[:40], path)
    split = grouped_split(read(path).crystals)
    Path(f"{path}.split.json").write_text(json.dumps(split.to_json()))
    flat = Crystal.of("flat", [11], np.eye(3), [[0, 0, 0]])
    write([*load_bundled()[:50], flat], path)  # ten crystals and a row that is none were added since
    rows = pq.read_table(path).to_pylist()
    rows[-1]["lattice"] = [0.0] * 9
    pq.write_table(pa.Table.from_pylist(rows, pq.read_schema(path)), path)
    loaded = load_data(str(path))
    assert (len(loaded.crystals), len(loaded.unsplit), len(loaded.rejects)) == (40, 10, 1)
    rejected, left_out = told_of_data("grown.parquet", loaded)
    assert "1 of 51 rows rejected" in rejected
    assert "10 crystals are in no part of its split file and not used, the first" in left_out


def test_a_share_of_the_training_crystals_is_told() -> None:
    """Of all that pass the filters."""
    config = preset("finetune", "smoke").model_copy(update={"train_share": 0.25, "max_crystals": 40})
    crystals, told = used(load_bundled("train"), config, split="train", labels=("e_above_hull",))
    assert len(crystals) == 10
    assert told.startswith("10 of 4,983 train crystals used")
    assert told.endswith("30 beyond train_share=0.25")
    assert "share" not in used(load_bundled("val"), config, split="val")[1]
