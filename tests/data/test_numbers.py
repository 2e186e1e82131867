"""A text is read as the number that it is, or refused: in CIF, extended XYZ and CSV alike, and never repaired."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from crystalsweep.data import Reading, read
from crystalsweep.data.checks import Problem
from crystalsweep.data.readers._cif import crystal_from_cif
from crystalsweep.data.readers._numbers import to_cif_number, to_number, words_of
from crystalsweep.structures.crystal import Crystal
from tests.data.test_cif_meaning import NA, cif

MINUS = "\u22120.1"

EVERYWHERE = {
    "0.1": 0.1, "-0.1": -0.1, MINUS: -0.1, "+.5": 0.5, "-.5": -0.5, "5.": 5.0, "1e5": 1e5, "1E+05": 1e5,
    "1.5e-3": 0.0015, "-0": 0.0, "007": 7.0,
}  # fmt: skip
"""Numbers in every form."""

NOWHERE = [
    "\u20130.1", "\u20140.1", "\u20100.1", "\u20110.1", "\ufe630.1", "\uff0d0.1",  # dashes and other minus signs
    "0\u20241", "0\u00b71", "0\uff0e1", "0\u066b1", "0,1", "1,5",  # other points
    "\uff10.\uff11", "\u0661", "1\u0662", "\u00bd", "\u00b2", "\u2460",  # other digits
    "1_000", "2\u00a0000", "2\u2009000", "1'000", "0x10", "1/2", "10%", "1.0(", "1.0()", "1.0(a)", "1.0)", "1.0(2)e3",
    "1.0(\u0662)", "1.0 (2)", "1e", "e5", "1e+", ".", "+", "--1", "+-1", "1.5.2", "1e5e5", "Infinity", "NaN%", "",
]  # fmt: skip
"""No numbers in any form."""


def read_cif(value: str, name: str = "_cell_length_a") -> Crystal | Problem:
    return crystal_from_cif(cif(NA, cell="CELL 9 9 90 90 90").replace(f"{name} CELL", f"{name} '{value}'"), "x", {})


def read_extxyz(tmp_path: Path, label: str = "1", position: str = "1", z: str = "11") -> Reading:
    comment = f'Lattice="900 0 0 0 900 0 0 0 900" Properties=Z:I:1:pos:R:3 energy={label}'
    (tmp_path / "x.extxyz").write_text(f"1\n{comment}\n{z} {position} 2 3\n")
    return read(tmp_path / "x.extxyz")


def read_csv(tmp_path: Path, label: str) -> Reading:
    pd.DataFrame({"material_id": ["a", "b"], "gap": ["1", label], "cif": [cif(NA)] * 2}).to_csv(tmp_path / "x.csv")
    return read(tmp_path / "x.csv")


@pytest.mark.parametrize(("text", "value"), EVERYWHERE.items())
def test_a_number_is_read_as_it_is_in_every_form(tmp_path: Path, text: str, value: float) -> None:
    assert to_number(text) == to_cif_number(text) == value
    (atom,) = read_extxyz(tmp_path, text, text).crystals
    assert atom.labels == {"energy": value}
    assert atom.cart[0, 0] == pytest.approx(value % 900)
    assert read_csv(tmp_path, text).crystals[1].labels == {"gap": value}
    in_cif = crystal_from_cif(cif(f"Na1 Na {text} 0 0"), "x", {})
    if isinstance(in_cif, Crystal):
        assert in_cif.frac[0, 0] == pytest.approx(value % 1)
    else:
        assert (in_cif.reason, value) == ("coordinate far outside the cell", 1e5)


@pytest.mark.parametrize("text", NOWHERE)
def test_what_is_no_number_is_none_in_any_form(tmp_path: Path, text: str) -> None:
    for convert in (to_number, to_cif_number):
        with pytest.raises(ValueError, match="is no number"):
            convert(text)
    assert isinstance(read_cif(text), Problem)
    assert isinstance(crystal_from_cif(cif(f"Na1 Na '{text}' 0 0"), "x", {}), Problem)
    if " " not in text and text:
        assert all(not crystal.labels for crystal in read_extxyz(tmp_path, text).crystals)
        assert [reject.reason for reject in read_extxyz(tmp_path, position=text).rejects] == ["broken frame"]
    if text:
        reading = read_csv(tmp_path, text)
        assert [crystal.labels for crystal in reading.crystals] == [{"gap": 1.0}, {}]
        assert str(reading.notes[0]) == "gap is no number there, and missing (1 row, the first: x.csv row 2)"
        commas = [note.says for note in reading.notes if "with a comma" in note.says]
        said = ["numbers with a comma are read as missing: gap; write 10.5, not 10,5"]
        assert commas == (said if text in ("0,1", "1,5") else [])


@pytest.mark.parametrize(
    ("text", "anywhere", "in_cif"),
    [("1.0(2)", None, 1.0), ("-1.50(12)", None, -1.5), ("1.0e3(2)", None, 1000.0), ("1d5", 1e5, None),
     ("-inf", -float("inf"), None)],
)  # fmt: skip
def test_uncertainties_are_of_cif_alone_and_fortran_of_the_others(
    text: str, anywhere: float | None, in_cif: float | None
) -> None:
    for convert, value in ((to_number, anywhere), (to_cif_number, in_cif)):
        if value is None:
            with pytest.raises(ValueError, match="is no number"):
                convert(text)
        else:
            assert convert(text) == value


@pytest.mark.parametrize("text", ["1e400", "nan", "inf", "1" * 400])
def test_a_cif_has_no_infinite_number(text: str) -> None:
    with pytest.raises(ValueError, match="is no number"):
        to_cif_number(text)


@pytest.mark.parametrize("z", ["1_1", "\uff11\uff11", "\u0661\u0661", "11.0", "1e1"])
def test_an_atomic_number_is_of_ascii_digits(tmp_path: Path, z: str) -> None:
    assert [reject.reason for reject in read_extxyz(tmp_path, z=z).rejects] == ["broken frame"]


def test_only_blanks_and_tabs_part_words() -> None:
    assert words_of(" Na\t1 2\u00a0000  \u2003 3\r") == ["Na", "1", "2\u00a0000", "\u2003", "3"]


@pytest.mark.parametrize("label", ["N\u0430", "N\u0430\u03b2", "C\u03bf1"])
def test_a_label_with_letters_of_another_alphabet_names_no_element(label: str) -> None:
    """A Cyrillic a after an N is no nitrogen."""
    outcome = crystal_from_cif(cif(f"{label} 0 0 0").replace("_atom_site_type_symbol\n", ""), "x", {})
    assert isinstance(outcome, Problem)
    assert outcome.reason == "unknown element"


def test_what_is_refused_is_explained() -> None:
    outcome = crystal_from_cif(cif("Na1 Na \u20130.1 0 0"), "x", {})
    assert isinstance(outcome, Problem)
    assert outcome.detail == "a coordinate of Na is '~0.1', where ~ is a character that CIF does not know"
