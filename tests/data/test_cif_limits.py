"""Hostile and broken CIFs: each is read or refused with a message, in bounded work, and none raises or prints."""

from __future__ import annotations

import os
import random
import re
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import gemmi
import numpy as np
import pandas as pd
import pytest
from pymatgen.io.cif import CifWriter

from crystalsweep.data import DataError, read
from crystalsweep.data.bundled import load_bundled
from crystalsweep.data.checks import Problem
from crystalsweep.data.readers import _cif_limits, _limits
from crystalsweep.data.readers._cif import crystal_from_cif
from crystalsweep.structures.crystal import Crystal
from crystalsweep.structures.elements import element_symbol

WATCHDOG_S = 20
"""A file that takes this long hangs."""

CELL = """data_x
_cell_length_a 40
_cell_length_b 40
_cell_length_c 40
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
"""
SITES = """loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
"""
ONE = f"{SITES}Na1 Na 0.1 0.2 0.3\n"
OPERATIONS = "loop_\n_symmetry_equiv_pos_as_xyz\n"
MAGNETIC = "_space_group_magn.name_BNS 'P1'\n_space_group_magn.transform_BNS_Pp_abc "


@contextmanager
def watchdog(text: str) -> Iterator[None]:
    """Fails, by what no `except Exception` catches, where the block hangs."""

    def bark(*_: object) -> None:
        pytest.fail(f"still at it after {WATCHDOG_S} s: {text[:2000]!r}")

    before = signal.signal(signal.SIGALRM, bark)
    signal.alarm(WATCHDOG_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def outcome_of(text: str) -> Crystal | Problem:
    """Read or refused, within `WATCHDOG_S`, and as a crystal or a problem should be."""
    with watchdog(text):
        outcome = crystal_from_cif(text, "x", {})
    if isinstance(outcome, Problem):
        assert outcome.reason.strip()
        assert all(isinstance(part, str) for part in outcome)
        assert len(outcome.detail) < 1000
    else:
        assert 0 < len(outcome) <= _limits.MAX_ATOMS_READ
        assert ((outcome.species >= 1) & (outcome.species <= 118)).all()
        assert np.isfinite(outcome.lattice).all()
        assert np.isfinite(outcome.frac).all()
        assert outcome.volume > 0
    return outcome


# Work that grows beyond seconds is refused before it begins


def sites(n: int) -> str:
    rows = np.random.default_rng(0).random((n, 3))
    return SITES + "".join(f"Na{i} Na {x:.5f} {y:.5f} {z:.5f}\n" for i, (x, y, z) in enumerate(rows))


def operations(n: int) -> str:
    """Those of F m -3 m, over and over."""
    triplets = [each.triplet() for each in gemmi.find_spacegroup_by_name("F m -3 m").operations()]
    return OPERATIONS + "".join(f"'{triplets[i % len(triplets)]}'\n" for i in range(n))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (CELL + "# " + "x" * (4 << 20), "characters, at most 4,194,304 are read"),
        ("data_x\n" * 300_000, "300,000 data blocks, at most 20"),
        (CELL + "loop_\n_a\n" + "x " * 300_000, "300,000 values, at most 250,000"),
        (CELL + sites(5_001), "5,001 rows of sites, at most 5,000"),
        (CELL + operations(193) + ONE, "193 symmetry operations, at most 192"),
        (CELL + operations(192) + sites(60), "11,520 sites × symmetry operations, at most 10,000"),
        (CELL + "_symmetry_space_group_name_H-M 'F m -3 m'\n" + sites(60), "11,520 sites × symmetry operations"),
        (CELL + "_space_group_IT_number 225\n" + sites(60), "11,520 sites × symmetry operations"),
        (CELL + OPERATIONS + "'" + "1" * 5_000 + "'\n" + ONE, "5,000 characters in a component of a symmetry op"),
        (CELL + "_symmetry_equiv_pos_as_xyz " + "1" * 5_000 + "\n" + ONE, "5,000 characters in a component"),
        (
            CELL + "".join(f"loop_\n_space_group_symop_magn_{k}.xyz\n" + "x,y,z,+1\n" * 900 for k in
                           ("operation", "centering")) + ONE,
            "810,000 symmetry operations",
        ),
    ],
    ids=lambda value: value[:30] if len(value) < 60 else "",
)  # fmt: skip
def test_what_is_too_large_is_refused_with_its_limit(text: str, words: str) -> None:
    outcome = outcome_of(text)
    assert isinstance(outcome, Problem)
    assert (outcome.reason, outcome.remedy.split(":")[0]) == ("too large", "give the structure alone")
    assert words in outcome.detail


@pytest.mark.parametrize("text", ["'" * 20_000 + "x\n", "'\u2028" * 20_000 + "x\n", "\n;" + "';" * 500_000])
def test_what_only_looks_like_quotes_is_refused_at_once(text: str) -> None:
    outcome = outcome_of(CELL + text + ONE)
    assert isinstance(outcome, Problem)
    assert outcome.reason == "unparsable CIF"


DIGITS = "1" * 100_000


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (CELL.replace("_cell_length_a ", f"_cell_length_a {DIGITS}x"), "unparsable CIF"),
        (CELL + ONE.replace("Na", f"Na{DIGITS}x"), "unknown element"),
        (CELL + f"_space_group_name_H-M_alt 'P{' ' * 300_000}x'\n" + ONE, "symmetry not understood"),
        (CELL + f"_space_group_name_H-M_alt 'P{' x' * 300_000}'\n" + ONE, "symmetry not understood"),
    ],
    ids=["number", "charge", "blanks", "letters"],
)
def test_no_word_of_a_cif_takes_all_day(text: str, reason: str) -> None:
    outcome = outcome_of(text)
    assert isinstance(outcome, Problem)
    assert outcome.reason == reason
    assert len(outcome.detail) < 300


@pytest.mark.parametrize(
    "setting", ["'9**9**9**9**9,b,c;0,0,0'", "'a,b,c;1e999999999,0,0'", "'((((((((((a))))))))))),b,c;0,0,0'"]
)
def test_a_magnetic_group_without_operations_is_not_taken_as_p1(setting: str) -> None:
    outcome = outcome_of(CELL + MAGNETIC + setting + "\n" + ONE)
    assert isinstance(outcome, Problem)
    assert (outcome.reason, "magnetic" in outcome.detail) == ("symmetry not understood", True)


def test_a_magnetic_cif_is_still_read() -> None:
    moments = "loop_\n_space_group_symop_magn_operation.xyz\nx,y,z,+1\n-x,-y,-z,+1\n"
    setting = "_space_group_magn.transform_BNS_Pp_abc 'a,b,c;0,0,0'\n"
    outcome = outcome_of(CELL + setting + moments + ONE)
    assert isinstance(outcome, Crystal)
    assert len(outcome) == 2


@pytest.mark.parametrize(
    "text",
    [
        CELL + "\n" * 1_000_000 + ONE,
        CELL + " " * 1_000_000 + "\n" + ONE,
        CELL + " #" * 500_000 + "\n" + ONE,
        CELL + "# " + "x" * 3_000_000 + "\n" + ONE,
        CELL + "_publ_section_comment\n;\n" + "it's a 'quoted' text\n" * 10_000 + ";\n" + ONE,
        "\ufeff" + CELL + ONE,
        (CELL + ONE).replace("\n", "\r\n"),
        (CELL + ONE).replace("\n", "\r"),
    ],
    ids=["blank lines", "spaces", "hashes", "comment", "text", "byte order mark", "Windows", "Macintosh"],
)
def test_what_is_only_long_or_odd_is_read(text: str) -> None:
    outcome = outcome_of(text)
    assert isinstance(outcome, Crystal), outcome
    assert outcome.species.tolist() == [11]


def test_cells_at_the_limits_are_read() -> None:
    outcome = outcome_of(CELL.replace("40", "900") + operations(192) + sites(52))
    assert isinstance(outcome, Crystal), outcome
    assert len(outcome) == 192 * 52


# Cells whose neighbours would fill the memory, in every form


@pytest.mark.parametrize(
    ("lattice", "atoms", "reason"),
    [
        (np.eye(3), 3_000, "too many atoms for the cell"),
        (np.eye(3) * 40, 10_001, "too large"),
        ([[1000, 0, 0], [999.99, 1, 0], [0, 999.9, 0.001]], 400, "too many atoms for the cell"),
        ([[900, 0, 0], [899.9, 0.02, 0], [0, 0, 900]], 50, "cell too skewed"),
    ],
)
def test_absurd_cells_are_refused_in_every_form(tmp_path: Path, lattice: np.ndarray, atoms: int, reason: str) -> None:
    cell, frac = np.asarray(lattice, dtype=float), np.random.default_rng(0).random((atoms, 3))
    table = {"atomic_numbers": [[11] * atoms], "lattice": [cell.ravel()], "frac_coords": [frac.ravel()]}
    pd.DataFrame(table).to_parquet(tmp_path / "x.parquet")
    rows = "".join(f"Na {x} {y} {z}\n" for x, y, z in frac @ cell)
    (tmp_path / "x.extxyz").write_text(f'{atoms}\nLattice="{" ".join(map(str, cell.ravel()))}"\n{rows}')
    for name in ("x.parquet", "x.extxyz"):
        with watchdog(name):
            (reject,) = read(tmp_path / name).rejects
        assert (reject.reason, bool(reject.detail), bool(reject.remedy)) == (reason, True, True)


def test_skewed_and_thin_cells_are_still_read(tmp_path: Path) -> None:
    for i, lattice in enumerate(([[4, 0, 0], [396, 4, 0], [0, 0, 4]], [[2, 0, 0], [0, 900, 0], [0, 0, 2]])):
        table = {"atomic_numbers": [[11]], "lattice": [np.ravel(lattice)], "frac_coords": [[0.0, 0, 0]]}
        pd.DataFrame(table).to_parquet(tmp_path / f"{i}.parquet")
        assert len(read(tmp_path / f"{i}.parquet").crystals) == 1


def test_limits_hold_for_cifs_in_files_and_in_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_cif_limits, "MAX_CHARACTERS", 500)
    (tmp_path / "cifs").mkdir()
    (tmp_path / "cifs" / "large.cif").write_text(CELL + ONE + "#" * 500)
    (tmp_path / "cifs" / "small.cif").write_text(CELL + ONE)
    pd.DataFrame({"material_id": ["large", "small"], "cif": [CELL + ONE + "#" * 500, CELL + ONE]}).to_csv(
        tmp_path / "x.csv"
    )
    for path in (tmp_path / "cifs", tmp_path / "x.csv"):
        reading = read(path)
        assert [crystal.id for crystal in reading.crystals] == ["small"]
        assert [(reject.id, reject.reason) for reject in reading.rejects] == [("large", "too large")]
        assert "at most 500 are read" in reading.rejects[0].detail


def test_a_pipe_among_cifs_is_passed_over(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.cif")
    (tmp_path / "x.cif").write_text(CELL + ONE)
    assert [crystal.id for crystal in read(tmp_path).crystals] == ["x"]
    with pytest.raises(DataError, match="not a form that can be read"):
        read(tmp_path / "pipe.cif")


# Thousands of mutated files


def cif_of(crystal: Crystal, symprec: float | None) -> str:
    from pymatgen.core import Structure

    structure = Structure(crystal.lattice, [element_symbol(int(z)) for z in crystal.species], crystal.frac)
    return str(CifWriter(structure, symprec=symprec))


@pytest.fixture(scope="module")
def originals() -> list[str]:
    """CIFs of bundled crystals, with and without symmetry."""
    small = [crystal for crystal in load_bundled("train") if len(crystal) <= 12][:2000:100]
    return [cif_of(crystal, symprec) for crystal in small for symprec in (None, 0.01)]


Mutation = Callable[[str, random.Random], str]
ODD = ["1e400", "-1e308", "nan", "inf", "?", ".", "''", "\0", "\u0661", "loop_", "data_y", "_", ";", "#", "0x10"]
ODD += ["9" * 400]
ODD += ["1(", "(1)", "1e-320", "x,y,z", "-", "+", "'", '"', "$ref", "save_", "Zz", "Xx9+", "D", "Wat", "OH", "1/0"]


def lines_of(text: str) -> list[str]:
    return text.split("\n")


def flip(text: str, draw: random.Random) -> str:
    raw = bytearray(text.encode())
    for _ in range(draw.choice([1, 3, 30])):
        raw[draw.randrange(len(raw))] = draw.randrange(256)
    return raw.decode("utf-8", "replace")


def truncate(text: str, draw: random.Random) -> str:
    return text[: draw.randrange(len(text))]


def behead(text: str, draw: random.Random) -> str:
    return text[draw.randrange(len(text)) :]


def repeat_lines(text: str, draw: random.Random) -> str:
    lines = lines_of(text)
    at = draw.randrange(len(lines))
    return "\n".join(lines[:at] + lines[at : at + draw.randint(1, 5)] * draw.choice([2, 3, 50]) + lines[at:])


def drop_lines(text: str, draw: random.Random) -> str:
    lines = lines_of(text)
    return "\n".join(line for line in lines if draw.random() > 0.1)


def shuffle_lines(text: str, draw: random.Random) -> str:
    lines = lines_of(text)
    at = draw.randrange(len(lines))
    part = lines[at : at + draw.randint(2, 12)]
    draw.shuffle(part)
    return "\n".join(lines[:at] + part + lines[at + len(part) :])


def inflate(text: str, draw: random.Random) -> str:
    def other(match: re.Match[str]) -> str:
        if draw.random() > 0.1:
            return match[0]
        number = match[0]
        exponent = f"{number}e{draw.randint(-400, 400)}"
        return draw.choice([number * 20, exponent, f"-{number}", f"{number}.{number}", "0"])

    return re.sub(r"\d+(\.\d+)?", other, text)


def swap_tokens(text: str, draw: random.Random) -> str:
    tokens = re.split(r"(\s+)", text)
    for _ in range(draw.randint(1, 5)):
        i, j = draw.randrange(len(tokens)), draw.randrange(len(tokens))
        tokens[i], tokens[j] = tokens[j], tokens[i]
    return "".join(tokens)


def odd_tokens(text: str, draw: random.Random) -> str:
    tokens = re.split(r"(\s+)", text)
    for _ in range(draw.randint(1, 4)):
        tokens[draw.randrange(len(tokens))] = draw.choice(ODD)
    return "".join(tokens)


def inject_symmetry(text: str, draw: random.Random) -> str:
    parts = ["x", "-x", "y", "z", "x+1/2", "x-y", "2x", "1/0x", "x+1e9", "x.y", "", "1111/3", "z+.5", "xx", "-"]
    rows = [",".join(draw.choices(parts, k=draw.choice([2, 3, 3, 3, 4]))) for _ in range(draw.choice([1, 8, 200]))]
    at = (
        text.index("_symmetry_equiv_pos_as_xyz") + len("_symmetry_equiv_pos_as_xyz")
        if draw.random() < 0.7
        else len(text)
    )
    return text[:at] + "\n" + "\n".join(f"  {i}  '{row}'" for i, row in enumerate(rows)) + text[at:]


def group_name(text: str, draw: random.Random) -> str:
    name = draw.choice(["F m -3 m", "I a -3 d", "P 1", "R -3 m", "R -3 m:R", "zzz", "P" * 500, "", "229", "F d -3 m:2"])
    text = re.sub(r"loop_\n _symmetry_equiv.*?\n(?=loop_)", "", text, flags=re.DOTALL)
    return re.sub(r"(_symmetry_space_group_name_H-M\s+).*", lambda match: f"{match[1]}'{name}'", text)


def unicode_and_control(text: str, draw: random.Random) -> str:
    at = draw.randrange(len(text))
    odd = draw.choice(["\0", "\u2028", "\x0b", "\x1c", "\ud7ff", "\U0001f48e", "\u00c5", "\ufeff", "\x85", "\r", "\t"])
    return text[:at] + odd * draw.choice([1, 5, 500]) + text[at:]


def quotes(text: str, draw: random.Random) -> str:
    for _ in range(draw.randint(1, 6)):
        at = draw.randrange(len(text))
        text = text[:at] + draw.choice(["'", '"', "\n;", "''", "\" '"]) * draw.choice([1, 1, 300]) + text[at:]
    return text


def drop_column(text: str, draw: random.Random) -> str:
    lines = lines_of(text)
    columns = [i for i, line in enumerate(lines) if line.strip().startswith("_")]
    del lines[draw.choice(columns)]
    return "\n".join(lines)


def drop_values(text: str, draw: random.Random) -> str:
    return "\n".join(
        line.rsplit(maxsplit=1)[0] if draw.random() < 0.1 and len(line.split()) > 1 else line for line in lines_of(text)
    )


def splice(text: str, draw: random.Random) -> str:
    return text[: draw.randrange(len(text))] + text[draw.randrange(len(text)) :]


def elements(text: str, draw: random.Random) -> str:
    others = ["Og", "Uue", "Q", "?", "D", "Va", "Wat1", "O-H", "X", "1", "Fe3+", "Fe+++", "A + B", "0.5A + 0.5B", "é"]
    return re.sub(r"^(  )([A-Z][a-z]?)", lambda m: m[1] + draw.choice([m[2], draw.choice(others)]), text, flags=re.M)


def magnetic(text: str, draw: random.Random) -> str:
    names = ["P1", "P-1", "Pm'", "P_a1", "P4/nmm", "zzz", ""]
    settings = ["a,b,c;0,0,0", "2a,b,c;0,0,0", "9**9**9**9,b,c;0,0,0", "a,b;0", "-b,a,c;1/2,0,1/0", ";"]
    tags = [f"_space_group_magn.name_BNS '{draw.choice(names)}'"]
    tags += [f"_space_group_magn{draw.choice('._')}transform_BNS_Pp_abc '{draw.choice(settings)}'"]
    tags += ["loop_\n_atom_site_moment_label\n_atom_site_moment_crystalaxis_x\nA 1"]
    at = text.index("\n", text.index("data_"))
    return text[:at] + "\n" + "\n".join(draw.sample(tags, draw.randint(1, 3))) + text[at:]


MUTATIONS: tuple[Mutation, ...] = (
    flip, truncate, behead, repeat_lines, drop_lines, shuffle_lines, inflate, swap_tokens, odd_tokens, inject_symmetry,
    group_name, unicode_and_control, quotes, drop_column, drop_values, splice, elements, magnetic,
)  # fmt: skip


def mutated(originals: list[str], seed: int) -> str:
    """One or two mutations of one CIF; seed and text decide all."""
    draw = random.Random(seed)
    text = draw.choice(originals)
    for mutation in [MUTATIONS[seed % len(MUTATIONS)], *draw.choices(MUTATIONS, k=draw.choice([0, 0, 0, 1]))]:
        try:
            text = mutation(text, draw)
        except (ValueError, IndexError):  # an earlier one took away what this one changes
            continue
    return text


def outcomes(originals: list[str], seeds: range) -> Counter[str]:
    counted: Counter[str] = Counter()
    for seed in seeds:
        try:
            outcome = outcome_of(mutated(originals, seed))
        except Exception as error:
            raise AssertionError(f"mutation {seed} ended in {type(error).__name__}: {error}") from error
        counted["read" if isinstance(outcome, Crystal) else outcome.reason] += 1
    return counted


def require_calm(counted: Counter[str], capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder) -> None:
    """Nothing on the terminal, and neither all read nor all refused."""
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list
    assert 0.1 < counted["read"] / counted.total() < 0.9, counted
    assert len(counted) > 8, counted


def test_unmutated_they_are_read(originals: list[str]) -> None:
    assert all(isinstance(outcome_of(text), Crystal) for text in originals)


def test_mutated_cifs_are_read_or_refused(
    originals: list[str], capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    require_calm(outcomes(originals, range(600)), capfd, recwarn)


@pytest.mark.long
def test_many_more_mutated_cifs_are_read_or_refused(
    originals: list[str], capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    require_calm(outcomes(originals, range(10_000, 30_000)), capfd, recwarn)
