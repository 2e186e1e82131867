"""`crystalsweep complete` and `crystalsweep.complete`: from files and objects to ranked candidates, also as files."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.io import read as ase_read
from ase.io import write as ase_write
from click.testing import CliRunner, Result
from pymatgen.core import Lattice, Structure
from pymatgen.io.cif import CifWriter

import crystalsweep
from crystalsweep.cli.complete import complete
from crystalsweep.data import load_bundled, read
from crystalsweep.data.partial_cif import partial_from_cif
from crystalsweep.data.reading import Reject
from crystalsweep.gallery.completions import CRYSTALS_SHOWN, completions_page
from crystalsweep.inference.answers import Measured, answer_of
from crystalsweep.inference.asking import Answered, Question, answers, decoder_of
from crystalsweep.inference.calibration import CandidateSet, ElementSet
from crystalsweep.inference.completion import JOINTLY
from crystalsweep.inference.decoding.constraints import Constraints
from crystalsweep.inference.decoding.symmetry import symmetry_of
from crystalsweep.inference.inputs import Partial, masking_of, partial_of
from crystalsweep.inference.known import Known
from crystalsweep.inference.restorer import Restorer, load
from crystalsweep.inference.told import told
from crystalsweep.structures.crystal import MASK, Crystal
from crystalsweep.structures.elements import formula_of
from tests.browser import needs_browser, opened
from tests.checkpoints import random_checkpoint

CUBE = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
PEROVSKITE = Structure(Lattice.cubic(4.0), ["Ba", "Ti", "O", "O", "O"], CUBE)
SALT = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_checkpoint(tmp_path_factory.mktemp("models") / "random", seed=11)


@pytest.fixture(scope="module")
def restorer(model: Path) -> Restorer:
    return load(model)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of two good files, one that is masked already, and two bad ones."""
    here = tmp_path / "in"
    here.mkdir()
    (here / "a.cif").write_text(str(CifWriter(PEROVSKITE)))
    (here / "b.cif").write_text("nonsense")
    (here / "c.extxyz").write_text('2\nLattice="4 0 0 0 4 0 0 0 4" id=cs\nCs 0 0 0\nX 2 2 2\n')
    (here / "d.cif").write_text(str(CifWriter(SALT)))
    (here / "e.cif").write_text(str(CifWriter(Structure(Lattice.cubic(3), ["Fe"], [[0, 0, 0]]))))
    (here / "notes.txt").write_text("these are crystals")
    return here


def run(model: Path, *arguments: object) -> Result:
    return CliRunner().invoke(complete, [*map(str, arguments), "--model", str(model), "--known", "none"])


def lines(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def cif(tmp_path: Path, structure: Structure = PEROVSKITE) -> Path:
    (tmp_path / "x.cif").write_text(str(CifWriter(structure)))
    return tmp_path / "x.cif"


# On the terminal


def test_a_ranked_table(model: Path, tmp_path: Path) -> None:
    ran = run(model, cif(tmp_path), "--mask", "Ti", "--top", 4)
    assert ran.exit_code == 0, ran.output
    assert "1 of 5 sites masked" in ran.stdout
    rows = [line.split() for line in ran.stdout.splitlines() if line[:1].isdigit()]
    assert [row[0] for row in rows] == ["1", "2", "3", "4"]
    probabilities = [float(row[3]) for row in rows]
    assert probabilities == sorted(probabilities, reverse=True)
    assert "not calibrated" in ran.stdout


def test_help_teaches_by_examples_and_settings_are_listed(model: Path) -> None:
    text = CliRunner().invoke(complete, ["--help"]).output
    for example in (
        "--mask Ti",
        "--mask-sites 3,5",
        "--formula LiFePO4",
        "--allowed F-Cl-Br-I",
        "crystalsweep.complete(",
    ):
        assert example in text
    listed = CliRunner().invoke(complete, ["--settings"])
    assert listed.exit_code == 0
    assert "temperature = 0.7" in listed.output
    changed = run(model, "x.cif", "--set", "passes=0")
    assert changed.exit_code == 1
    assert len(changed.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--mask", "Qx"], "no element"),
        (["--mask-sites", "one"], "no number of a site"),
        (["--allowed", "Li-Qx"], "no element"),
        (["--formula", "Li0.5"], "parts of atoms"),
        (["--allowed", "Li", "--exclude", "Li"], "no element is left"),
        (["--set", "pases=3"], "passes"),
    ],
)
def test_a_mistake_is_one_line(model: Path, tmp_path: Path, options: list[str], says: str) -> None:
    ran = run(model, cif(tmp_path), *options)
    assert ran.exit_code == 1
    assert len(ran.stderr.strip().splitlines()) == 1
    assert says in ran.stderr


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--mask", "Na"], "nothing to mask (no Na in it"),
        (["--mask-sites", "9"], "no such site (site 9; the file has 5)"),
        (["--mask", "Ti", "--formula", "SrTiO3"], "cannot be completed (1 visible Ba"),
        (["--keep-positions"], "nothing to do"),
    ],
)
def test_what_cannot_be_completed_is_one_line_and_exit_code_1(
    model: Path, tmp_path: Path, options: list[str], says: str
) -> None:
    ran = run(model, cif(tmp_path), *options)
    assert ran.exit_code == 1
    assert ran.stdout == ""
    (line,) = ran.stderr.strip().splitlines()
    assert line.startswith("rejected: x.cif, id x: ")
    assert says in line
    assert "; " in line


def test_constraints_are_kept(model: Path, tmp_path: Path) -> None:
    file = cif(tmp_path)
    (allowed,) = lines(run(model, file, "--mask", "Ti", "--allowed", "Ti-Zr", "--json"))
    assert {each["filled"] for each in allowed["candidates"]} == {"Ti", "Zr"}
    assert allowed["renormalised"] is False
    (neutral,) = lines(run(model, file, "--mask", "Ba,Ti", "--charge", "neutral", "--json", "--top", 3))
    assert len(neutral["candidates"]) == 3
    assert all(each["charge_balanced"] for each in neutral["candidates"])
    (formula,) = lines(run(model, file, "--mask", "Ba,Ti", "--formula", "CaTiO3", "--json"))
    assert {each["formula"] for each in formula["candidates"]} == {"CaTiO3"}
    assert sum(each["probability"] for each in formula["candidates"]) == pytest.approx(1, abs=1e-5)
    (excluded,) = lines(run(model, file, "--mask", "Ti", "--exclude", allowed["candidates"][0]["filled"], "--json"))
    assert allowed["candidates"][0]["filled"] not in {each["filled"] for each in excluded["candidates"]}


def test_ties_positions_and_seeds(model: Path, tmp_path: Path) -> None:
    file = cif(tmp_path)
    (tied,) = lines(run(model, file, "--mask", "O", "--tie", "all", "--json"))
    assert all(len(set(each["elements"].values())) == 1 for each in tied["candidates"])
    (kept,) = lines(run(model, file, "--mask-sites", "2", "--keep-positions", "--json"))
    assert all(each["largest_move"] == 0 for each in kept["candidates"])
    drawn = [
        run(model, file, "--mask", "O", "--tie", "none", "--decoder", "sampled", "--json", "--seed", 3) for _ in "12"
    ]
    assert drawn[0].stdout == drawn[1].stdout
    (one,) = lines(run(model, file, "--mask", "O", "--decoder", "argmax", "--json"))
    assert len(one["candidates"]) == 1


def test_shared_sites_are_ordered(model: Path, tmp_path: Path) -> None:
    mixed = Structure(Lattice.cubic(4.0), [{"Ba": 0.5, "Sr": 0.5}, "Ti", "O", "O", "O"], CUBE)
    (answer,) = lines(run(model, cif(tmp_path, mixed), "--json"))
    assert {each["filled"] for each in answer["candidates"]} == {"1 Sr, 1 Ba"}
    assert any("shared sites are ordered in 2 × 1 × 1 cells" in note for note in answer["notes"])
    vacant = Structure(Lattice.cubic(4.0), [{"Ba": 0.5}, "Ti", "O", "O", "O"], CUBE)
    ran = run(model, cif(tmp_path, vacant))
    assert ran.exit_code == 1
    assert "the rest is vacant" in ran.stderr
    assert "remove it" in ran.stderr


def test_many_crystals_are_a_line_each_after_the_first_tables(model: Path, tmp_path: Path) -> None:
    frame = '2\nLattice="4 0 0 0 4 0 0 0 4" id={}\nCs 0 0 0\nX 2 2 2\n'
    (tmp_path / "many.extxyz").write_text("".join(frame.format(f"n{n}") for n in range(13)))
    ran = run(model, tmp_path / "many.extxyz")
    assert ran.exit_code == 0
    assert ran.stdout.count("on masked sites") == 10
    assert [line.split(":")[0] for line in ran.stdout.splitlines()[-3:]] == [
        f"many.extxyz frame {n}" for n in (11, 12, 13)
    ]


def test_strangers_text_moves_nothing(model: Path, tmp_path: Path) -> None:
    evil = "\x1b[2J=cmd()<script>alert(1)</script>"
    frame = f'2\nLattice="4 0 0 0 4 0 0 0 4" id="{evil}"\nCs 0 0 0\n{{}} 2 2 2\n'
    file = tmp_path / "\x1b[31mevil.extxyz"
    file.write_text(frame.format("X") + frame.format("\x1b[2JQ"))
    ran = run(model, file, "--out", tmp_path / "out")
    assert "\x1b" not in ran.output
    assert "\\u001b" in ran.output
    page = (tmp_path / "out" / "candidates.html").read_text()
    assert "\x1b" not in page
    assert "<script>alert" not in page
    assert "\x1b" not in (tmp_path / "out" / "rejects.txt").read_text()
    assert all(path.name.isascii() and path.name.isprintable() for path in (tmp_path / "out").rglob("*"))


# As files


def rows_of(out: Path) -> list[dict[str, str]]:
    with (out / "candidates.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_folder_of_answers(model: Path, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ran = run(model, folder, "--mask", "Ti,Cl", "--top", 3, "--out", out)
    assert ran.exit_code == 0, ran.output
    assert "3 completed, 2 rejected" in ran.stderr
    assert [line.split(",")[0] for line in (out / "rejects.txt").read_text().splitlines()] == ["b.cif", "e.cif"]
    rows = rows_of(out)
    assert [(row["number"], row["rank"]) for row in rows] == [(n, r) for n in "134" for r in "123"]
    for row in rows:
        completed = partial_from_cif((out / row["cif"]).read_text(), "x")
        assert isinstance(completed, Crystal)
        assert (completed.species != MASK).all()
        assert float(row["shortest_distance"]) == pytest.approx(completed.min_edge, abs=1e-3)
    given = partial_from_cif((out / "cif" / "000001-a" / "input.cif").read_text(), "x")
    assert isinstance(given, Crystal)
    assert sorted(given.species.tolist()) == [MASK, 8, 8, 8, 56]
    answer = json.loads((out / "answers" / "000001-a.json").read_text())
    assert answer["candidates"][0]["formula"] == rows[0]["formula"]
    assert read(out / "cif" / "000004-d").n_rows == 4


def test_the_same_command_goes_on_where_it_was_stopped(model: Path, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    asked = (folder, "--mask", "Ti,Cl", "--top", 2, "--out", out)
    run(model, *asked)
    whole, page = (out / "candidates.csv").read_text(), (out / "candidates.html").read_text()
    before = (out / "answers" / "000001-a.json").stat().st_mtime_ns
    (out / "answers" / "000003-cs.json").unlink()
    (out / "candidates.csv").write_text(whole[: len(whole) // 2])
    again = run(model, *asked)
    assert again.exit_code == 0
    assert "1 completed, 2 rejected; 2 were there already" in again.stderr
    assert (out / "answers" / "000001-a.json").stat().st_mtime_ns == before
    assert (out / "candidates.csv").read_text() == whole
    assert (out / "candidates.html").read_text() == page
    assert len((out / "rejects.txt").read_text().splitlines()) == 2
    done = run(model, *asked)
    assert done.exit_code == 0
    assert (out / "candidates.csv").read_text() == whole


def test_answers_to_another_question_are_not_mixed(model: Path, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(model, folder / "a.cif", "--mask", "Ti", "--out", out)
    other = run(model, folder / "a.cif", "--mask", "Ba", "--out", out)
    assert other.exit_code == 1
    assert "answers to another question" in other.stderr
    (folder / "a.cif").write_text(str(CifWriter(SALT)))
    changed = run(model, folder / "a.cif", "--mask", "Ti", "--out", out)
    assert changed.exit_code == 1
    assert "answers to another question" in changed.stderr
    taken = run(model, folder / "a.cif", "--mask", "Ti", "--out", folder)
    assert taken.exit_code == 1
    assert "not empty" in taken.stderr


def test_what_is_known_is_written_before_all_is_known(restorer: Restorer) -> None:
    """Some crystals at a time are read and completed: not all are in memory, and nothing is lost with what follows."""
    taken = 0

    def many() -> Iterator[Partial | Reject]:
        nonlocal taken
        for n in range(1000):
            taken += 1
            yield partial_of(Crystal.of(f"n{n}", [55, MASK], np.eye(3) * 4, [[0, 0, 0], [0.5, 0.5, 0.5]]))

    outcomes = answers(restorer, many(), Question(decode=decoder_of(method="argmax")))
    first = next(outcomes)
    assert isinstance(first, Answered)
    assert first.partial.crystal.id == "n0"
    assert taken < 300


def test_one_that_fails_costs_the_others_nothing(restorer: Restorer) -> None:
    good = partial_of(PEROVSKITE, masking_of("Ti"))
    other = partial_of(SALT, masking_of("Cl"))
    question = Question(constraints=Constraints.of(formula="CaTiO3"), decode=decoder_of())
    fits = partial_of(PEROVSKITE, masking_of("Ba,Ti"))
    outcomes = list(answers(restorer, [good, fits, other], question))
    assert [isinstance(each, Answered) for each in outcomes] == [False, True, False]
    assert "1 visible Ba" in str(outcomes[0])


@needs_browser
def test_the_page_draws_every_candidate_beside_the_input(model: Path, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(model, folder / "a.cif", "--mask", "Ti", "--top", 2, "--out", out)
    document = opened(out / "candidates.html", tmp_path)
    assert "1 of 5 sites masked" in document
    assert "<canvas" in document or "has no WebGL" in document
    assert 'http-equiv="Content-Security-Policy"' in document


def test_a_page_shows_some_and_says_how_many_it_leaves_out(restorer: Restorer) -> None:
    (outcome,) = answers(restorer, [partial_of(PEROVSKITE, masking_of("Ti"))], Question())
    assert isinstance(outcome, Answered)
    answer = answer_of(outcome.completion, partial=outcome.partial)
    page = completions_page([answer] * (CRYSTALS_SHOWN + 3))
    assert page.count('class="grid"') == CRYSTALS_SHOWN
    assert "3 more crystals" in page
    assert completions_page([])


# In Python


@pytest.mark.parametrize(
    "given", [PEROVSKITE, Atoms("BaTiO3", scaled_positions=CUBE, cell=np.eye(3) * 4, pbc=True)], ids=["pymatgen", "ASE"]
)
def test_objects_of_other_libraries(given: object, restorer: Restorer, model: Path) -> None:
    done = crystalsweep.complete(given, mask="Ti", model=restorer, top=3)
    assert len(done.candidates) == 3
    assert done.best.structure.composition.get_atomic_fraction("O") == pytest.approx(0.6)
    assert done.best.structure.lattice.a == pytest.approx(4.0)
    by_path = crystalsweep.complete(given, mask="Ti", model=model, top=3)
    assert [each.cif for each in by_path.candidates] == [each.cif for each in done.candidates]


def test_python_takes_the_options_of_the_command(restorer: Restorer, model: Path, tmp_path: Path) -> None:
    done = crystalsweep.complete(
        cif(tmp_path), "Ba,Ti", formula="CaTiO3", charge="neutral", tie="none", decoder="beam", model=restorer, passes=2
    )
    (answer,) = lines(
        run(
            model, tmp_path / "x.cif", "--mask", "Ba,Ti", "--formula", "CaTiO3", "--charge", "neutral", "--tie", "none",
            "--passes", 2, "--json",
        )
    )  # fmt: skip
    told_cifs = [each["cif"] for each in answer["candidates"]]
    assert [each.cif for each in done.candidates] == told_cifs
    with pytest.raises(ValueError, match="no such file"):
        crystalsweep.complete("gone.cif", model=restorer)


# What is told


def test_the_nearest_known_crystal() -> None:
    known = Known([crystal for crystal in load_bundled() if len(crystal) <= 8])
    salt = Crystal.of(
        "x", [11, 17], np.array([[0, 2.85, 2.85], [2.85, 0, 2.85], [2.85, 2.85, 0]]), [[0, 0, 0], [0.5] * 3]
    )
    found = known.nearest(salt)
    assert found is not None
    assert (found.id, found.formula, found.relation) == ("mp-22862", "NaCl", "same")
    other = known.nearest(Crystal.of("y", [11, 17], np.eye(3) * 3.5, [[0, 0, 0], [0.5] * 3]))
    assert other is not None
    assert (other.formula, other.relation) == ("NaCl", "same composition")
    unknown = known.nearest(Crystal.of("z", [22, 17, 17, 17, 9], np.eye(3) * 5, CUBE))
    assert unknown is not None
    assert unknown.relation == "near"
    assert str(unknown).startswith("none; near ")
    assert Known([]).nearest(salt) is None
    assert known.nearest(Crystal.of("broken", [11, 17], np.eye(3) * 4, [[0, 0, 0], [0, 0, 0.001]])) is None


def test_energies_are_told_or_why_there_is_none(restorer: Restorer) -> None:
    done = crystalsweep.complete(PEROVSKITE, mask="Ti", model=restorer, top=2)
    text = told(answer_of(done, energies=[Measured(-7.5), Measured(float("nan"), "generated: too close")]))
    assert "energy eV/atom" in text
    assert "-7.500" in text
    assert "no energy: generated: too close" in text
    assert "energy" not in told(answer_of(done))


def test_chgnet_energies(model: Path, tmp_path: Path) -> None:
    (answer,) = lines(
        run(model, cif(tmp_path), "--mask", "Ti", "--allowed", "Ti", "--keep-positions", "--energies", "--json")
    )
    assert answer["candidates"][0]["energy_per_atom"] == pytest.approx(-8.4, abs=0.3)


def test_no_candidate_is_told_with_the_reason(restorer: Restorer) -> None:
    done = crystalsweep.complete(PEROVSKITE, mask="O", allowed="He-Ne", charge="neutral", model=restorer)
    assert done.candidates == ()
    text = told(answer_of(done))
    assert "no candidate was found" in text
    assert "on masked sites" not in text.splitlines()[0]


def test_elements_that_become_equal_when_masked_are_told(restorer: Restorer, model: Path, tmp_path: Path) -> None:
    assert not partial_of(SALT, masking_of("Cl")).tied
    (note,) = partial_of(SALT, masking_of("Na,Cl")).tied
    assert note.startswith("the sites of Na and Cl are equal by symmetry once they are masked") and "--tie none" in note
    asked = (cif(tmp_path, SALT), "--mask", "Na,Cl", "--formula", "NaCl", "--out", tmp_path / "out")
    result = run(model, *asked)
    assert result.exit_code == 1, result.output
    assert "0 completed, 1 without a candidate, 0 rejected" in result.stderr
    (line,) = (tmp_path / "out" / "rejects.txt").read_text().splitlines()
    assert "no candidate was found" in line and "tie no sites" in line
    free = crystalsweep.complete(SALT, mask="Na,Cl", formula="NaCl", tie="none", model=restorer)
    assert {formula_of(candidate.crystal.species) for candidate in free.candidates} == {"NaCl"}


def test_what_does_nothing_is_said(restorer: Restorer) -> None:
    def warned(**asked: Any) -> str:
        return " ".join(crystalsweep.complete(PEROVSKITE, model=restorer, **asked).warnings)

    assert "charge neutrality was not asked of anything" in warned(charge="neutral")
    assert "no supercell was made" in " ".join(partial_of(PEROVSKITE, masking_of("Ti"), (2, 2, 2)).notes)
    shared = Structure(Lattice.cubic(4.0), [{"Ba": 0.5, "Sr": 0.5}, "Ti", "O", "O", "O"], CUBE)
    done = partial_of(shared)
    found = restorer.complete(done.crystal, constraints=done.constrained(Constraints.of(excluded="Sr")))
    assert any("keep these" in warning for warning in found.warnings)


def test_orders_are_searched_for_widely_and_no_critic_ranks_them() -> None:
    asked = decoder_of(critic_weight=2.0)
    assert partial_of(PEROVSKITE, masking_of("Ti")).decoded_by(asked) == asked
    shared = Structure(Lattice.cubic(4.0), [{"Ba": 0.5, "Sr": 0.5}, "Ti", "O", "O", "O"], CUBE)
    orders = partial_of(shared, supercell=(2, 2, 2))
    assert (orders.decoded_by(asked).critic_weight, orders.decoded_by(asked).candidates) == (0.0, 64)


def test_an_element_of_a_shared_site_can_be_masked() -> None:
    shared = Structure(Lattice.cubic(4.0), [{"Ba": 0.5, "Sr": 0.5}, "Ti", "O", "O", "O"], CUBE)
    partial = partial_of(shared, masking_of("Ba"))
    assert partial.sublattices == ()
    assert int((partial.crystal.species == MASK).sum()) == 1


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"charge": "balanced"}, "charge is 'balanced'; write neutral, prefer, any"),
        ({"top": 0}, "top is 0; give 1 or more"),
        ({"passes": 0}, "passes is 0; give 1 or more"),
    ],
)
def test_python_refuses_what_the_command_refuses(asked: dict[str, Any], says: str, restorer: Restorer) -> None:
    with pytest.raises(ValueError, match=says):
        crystalsweep.complete(PEROVSKITE, mask="Ti", model=restorer, **asked)


def test_a_site_may_be_a_number() -> None:
    assert masking_of(sites=2) == masking_of(sites="2") == masking_of(sites=[2])


def test_answers_beside_other_known_crystals_are_another_question(model: Path, tmp_path: Path) -> None:
    known = tmp_path / "known.cif"
    asked = [str(cif(tmp_path)), "--mask", "Ti", "--out", str(tmp_path / "out"), "--model", str(model)]
    known.write_text(str(CifWriter(PEROVSKITE)))
    assert CliRunner().invoke(complete, [*asked, "--known", str(known)]).exit_code == 0
    known.write_text(str(CifWriter(SALT)))
    again = CliRunner().invoke(complete, [*asked, "--known", str(known)])
    assert again.exit_code == 1
    assert "answers to another question" in again.stderr


def test_only_odds_that_were_held_against_crystals_are_called_calibrated(restorer: Restorer) -> None:
    done = replace(crystalsweep.complete(PEROVSKITE, mask="Ti", model=restorer), calibrated=True)
    assert "of all choices there are, made of calibrated odds" in told(answer_of(done))


def test_help_imports_nothing_heavy() -> None:
    code = "from click.testing import CliRunner\nfrom crystalsweep.cli.complete import complete\n"
    code += "assert CliRunner().invoke(complete, ['--help']).exit_code == 0\n"
    code += "import sys\nprint(sorted({'torch', 'ray', 'mlflow', 'pymatgen', 'pandas'} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=os.environ)
    assert ran.stdout.strip().splitlines()[-1] == "[]", ran.stderr


def test_no_server_is_asked_and_neither_ray_nor_mlflow_imported(model: Path, tmp_path: Path) -> None:
    file = cif(tmp_path)
    shutil.copytree(model, tmp_path / "model")
    code = (
        "import sys\nfrom click.testing import CliRunner\nfrom crystalsweep.cli.complete import complete\n"
        f"ran = CliRunner().invoke(complete, [{str(file)!r}, '--mask', 'Ti', '--model', {str(tmp_path / 'model')!r}])\n"
        "assert ran.exit_code == 0, ran.output\n"
        "print(sorted({'ray', 'mlflow', 'chgnet', 'optuna', 'fairchem'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=os.environ)
    assert ran.stdout.strip().splitlines()[-1] == "[]", ran.stderr


def test_sets_and_calibration_are_told(restorer: Restorer) -> None:
    done = crystalsweep.complete(PEROVSKITE, mask="Ti", model=restorer, top=3)
    sets = (CandidateSet(0.8, (0,)), CandidateSet(0.9, (0, 2)), CandidateSet(0.95, (0, 2, 7)))
    worth = replace(
        done, calibrated=True, held=True, joint_sets=sets, site_sets=((ElementSet(0.9, ("Ti", "Zr")),),)
    ).first(3)
    answer = answer_of(worth)
    assert [each["ranks"] for each in answer["sets"]] == [[1], [1, 3]]
    assert answer["masked"][0]["sets"] == [{"coverage": 0.9, "elements": ["Ti", "Zr"]}]
    text = told(answer)
    formulas = [each["formula"] for each in answer["candidates"]]
    assert f"in 90 % of such cases the right one is among: 1 {formulas[0]}, 3 {formulas[2]}" in text
    assert "calibrated on crystals kept from training" in text
    assert "not calibrated" not in text


@pytest.mark.parametrize(
    ("species", "formula"),
    [
        ([56, MASK, 8, 8, 8], "BaXO3"),
        ([MASK, MASK], "X"),
        ([11, 11, MASK, MASK], "NaX"),
        ([32, 51, 52, 14, 33, MASK], "SiGeSbTeAsX"),
        ([11, 17], "NaCl"),
        ([], ""),
    ],
)
def test_formulas_show_what_is_masked(species: list[int], formula: str) -> None:
    assert formula_of(species) == formula
    assert formula_of(range(119))


def test_probabilities_under_constraints_are_of_what_these_leave(restorer: Restorer) -> None:
    def worth(**asked: Any) -> str:
        return told(answer_of(crystalsweep.complete(PEROVSKITE, mask="Ti", model=restorer, **asked)))

    assert "of all choices there are" in worth()
    assert "of all choices that these constraints leave" in worth(allowed="Ti-Zr")
    assert "of all choices that these constraints leave" in worth(exclude="Ti")


def test_what_a_mask_does_beside_is_said() -> None:
    shared = Structure(Lattice.cubic(4.0), [{"Ba": 0.5, "Sr": 0.5}, "Ti", "O", "O", "O"], CUBE)
    (note,) = partial_of(shared, masking_of("Ba")).notes
    assert note == "sites that Ba shares with Sr are masked as a whole: no share is kept"
    assert partial_of(PEROVSKITE, masking_of("Ti,Zr")).notes == ("nothing of Zr is there to mask",)


def test_a_supercell_that_is_too_large_is_called_so() -> None:
    shared = Structure(Lattice.cubic(4.0), [{"Ba": 0.5, "Sr": 0.5}, "Ti", "O", "O", "O"], CUBE)
    with pytest.raises(ValueError, match=r"too many atoms to order \(320 of at most 200\); give a smaller"):
        partial_of(shared, supercell=(4, 4, 4))
    with pytest.raises(ValueError, match="give another --supercell"):
        partial_of(shared, supercell=(1, 1, 1))


def test_one_element_in_two_oxidation_states_is_a_whole_atom(tmp_path: Path) -> None:
    mixed = Structure(Lattice.cubic(4.3), [{"Fe2+": 0.5, "Fe3+": 0.5}, "O2-"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    partial = partial_of(mixed, masking_of("O"))
    assert partial.crystal.species.tolist() == [26, MASK]
    assert not partial.sublattices
    (tmp_path / "mixed.cif").write_text(str(CifWriter(mixed)))
    (crystal,) = read(tmp_path / "mixed.cif").crystals
    assert sorted(crystal.species.tolist()) == [8, 26]
    again = partial_of(tmp_path / "mixed.cif", masking_of("O"))
    assert (sorted(again.crystal.species.tolist()), again.sublattices) == ([MASK, 26], ())


def test_a_model_completes_as_the_command_unless_told_otherwise(restorer: Restorer) -> None:
    crystal = partial_of(PEROVSKITE, masking_of("Ti")).crystal
    ours, theirs = restorer.complete(crystal), crystalsweep.complete(PEROVSKITE, mask="Ti", model=restorer)
    assert [each.probability for each in ours.candidates] == [each.probability for each in theirs.candidates]


def test_the_command_restores_positions_as_python_does_unless_told_otherwise() -> None:
    assert next(each.default for each in complete.params if each.name == "passes") == JOINTLY.position_passes


# What Python gives is what the command does


def test_python_tells_what_the_command_tells(restorer: Restorer) -> None:
    tied = crystalsweep.complete(SALT, mask="Na,Cl", model=restorer)
    assert "none of the candidates is the crystal as it was" in tied.warnings[0]
    assert tied.joint_sets == ()
    (note,) = crystalsweep.complete(PEROVSKITE, mask="Ti,Zr", model=restorer).notes
    assert note == "nothing of Zr is there to mask"


def test_shared_sites_of_ase_are_ordered_or_refused(tmp_path: Path, restorer: Restorer) -> None:
    half = PEROVSKITE.copy()
    half.replace(0, {"Ba": 0.5, "Sr": 0.5})
    file = tmp_path / "half.cif"
    file.write_text(str(CifWriter(half)))
    atoms = ase_read(file)
    assert len(set(atoms.get_chemical_symbols())) == 3, "ASE names one of the two"
    done = crystalsweep.complete(atoms, model=restorer)
    assert {formula_of(each.crystal.species) for each in done.candidates} == {"BaSrTi2O6"}
    masked = atoms.copy()
    masked.numbers[[0, 1]] = [0, 0]
    (ba, ti), kept = masked.get_chemical_symbols()[:2], crystalsweep.complete(masked, model=restorer)
    assert (ba, ti) == ("X", "X")
    assert len(kept.partial) == 5, "what was masked since it was read is masked, and shared no more"
    ase_write(tmp_path / "half.extxyz", atoms)
    (rejected,) = read(tmp_path / "half.extxyz").rejects
    assert "partial occupancy" in str(rejected)
    whole = ase_read(cif(tmp_path))
    ase_write(tmp_path / "whole.extxyz", whole)
    assert len(read(tmp_path / "whole.extxyz").crystals) == 1
    whole.numbers[:] = [56, 40, 8, 8, 8]
    assert crystalsweep.complete(whole, mask="O", model=restorer).partial.species.tolist() == [56, 40, 0, 0, 0]
    del atoms.arrays["spacegroup_kinds"]
    with pytest.raises(ValueError, match=r"partial occupancy.*without spacegroup_kinds"):
        crystalsweep.complete(atoms, model=restorer)


def test_a_slab_is_no_crystal(restorer: Restorer) -> None:
    lattice = Lattice(PEROVSKITE.lattice.matrix, pbc=(True, True, False))
    slab = Structure(lattice, PEROVSKITE.species, PEROVSKITE.frac_coords)
    with pytest.raises(ValueError, match=r"not periodic \(pbc=\[True, True, False\]\)"):
        crystalsweep.complete(slab, mask="Ti", model=restorer)


def test_arguments_of_python_are_taken_as_people_write_them(restorer: Restorer) -> None:
    half = PEROVSKITE.copy()
    half.replace(0, {"Ba": 0.5, "Sr": 0.5})
    assert len(crystalsweep.complete(half, supercell=(2, 1, 1), model=restorer).partial) == 10
    assert len(crystalsweep.complete(PEROVSKITE, mask=None, mask_sites=None, model=restorer).masked) == 0
    arrays = crystalsweep.complete(PEROVSKITE, mask=np.array(["Ti"]), mask_sites=np.array([3]), model=restorer)
    assert len(arrays.masked) >= 2
    with pytest.raises(ValueError, match="no such site"):
        crystalsweep.complete(PEROVSKITE, mask_sites=0, model=restorer)
    third = Structure(PEROVSKITE.lattice, [{"Fe": 0.33, "Co": 0.33, "Ni": 0.33}], [[0, 0, 0]])
    assert len(crystalsweep.complete(third, model=restorer).partial) == 3
    with pytest.raises(ValueError, match=r"'2\.0' is no number of a site"):
        crystalsweep.complete(PEROVSKITE, mask_sites=2.0, model=restorer)  # type: ignore[arg-type]


def test_what_a_folder_holds_beside_is_told(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    cif(folder)
    (folder / "b.cif.gz").write_bytes(b"")
    (folder / "a.json").write_text("{}")
    ran = run(model, str(folder), "--mask", "Ti")
    assert f"{folder}: 2 other entries are not read, as a.json" in ran.stderr
    packed = run(model, str(folder / "b.cif.gz"), "--mask", "Ti")
    assert packed.exit_code == 1
    assert "(a packed file); unpack it first" in " ".join(packed.stderr.split())


def test_a_left_handed_cell_has_its_masked_site_where_its_cif_has_it(restorer: Restorer) -> None:
    left = Structure(-PEROVSKITE.lattice.matrix, PEROVSKITE.species, PEROVSKITE.frac_coords + np.array([0.1, 0.2, 0.3]))
    answer = answer_of(crystalsweep.complete(left, mask="Ti", model=restorer))
    given = partial_from_cif(answer["given_cif"], "x")
    (at,) = np.flatnonzero(given.species == MASK)
    assert answer["masked"][0]["frac"] == pytest.approx(given.frac[at].tolist(), abs=1e-6)


def test_no_coordinate_is_written_as_one(restorer: Restorer) -> None:
    nudged = Structure(PEROVSKITE.lattice, PEROVSKITE.species, PEROVSKITE.frac_coords - 1e-10)
    for each in crystalsweep.complete(nudged, mask="Ti", model=restorer, keep_positions=True).candidates:
        assert "1.00000000" not in each.cif.partition("_atom_site_occupancy")[2].replace("  1.0\n", "\n")


def test_one_crystal_of_a_large_cell_is_one_candidate(restorer: Restorer) -> None:
    """One La among 27 equal sites: 135 atoms under 1,296 operations."""
    dilute = PEROVSKITE.copy()
    dilute.replace(0, {"Ba": 26 / 27, "La": 1 / 27})
    (one,) = crystalsweep.complete(dilute, supercell="3x3x3", model=restorer).candidates
    assert formula_of(one.crystal.species) == "Ba26LaTi27O81"
    assert one.probability == pytest.approx(1)


def test_every_operation_of_a_large_cell_moves_atoms_onto_atoms() -> None:
    cell = partial_of(PEROVSKITE * (3, 3, 3), masking_of("Ti")).crystal
    permutations = symmetry_of(cell).permutations
    assert permutations.shape == (48 * 27, 135)
    assert (np.sort(permutations, axis=1) == np.arange(135)).all()
    assert (cell.species[permutations] == cell.species).all()
    apart = cell.frac[:, None] - cell.frac[None]
    distances = np.linalg.norm((apart - np.rint(apart)) @ cell.lattice, axis=-1)
    for onto in permutations[::100]:
        assert distances[np.ix_(onto, onto)] == pytest.approx(distances, abs=1e-6)
