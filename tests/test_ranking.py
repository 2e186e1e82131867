"""Completions in the order of a predicted property: on the terminal, as files, and in Python."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

import crystalsweep
from crystalsweep.cli.complete import complete
from crystalsweep.inference.calibration import CandidateSet
from crystalsweep.inference.completion import Completion
from crystalsweep.inference.ranking import Ranking, ranking_of
from crystalsweep.inference.target_records import TargetRecord
from tests.checkpoints import random_checkpoint, random_property_model
from tests.html_words import words_of

EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"
PEROVSKITE = EXAMPLES / "BaTiO3.cif"
CHECKED = {"coverage": 0.9, "margin": 0.5, "calibrated_on": 50, "covered": 0.92, "checked_on": 50}
STIFFNESS = TargetRecord(name="k_vrh", mean=100.0, std=50.0, trained_on=900, **CHECKED)
ENERGY = TargetRecord(name="formation_energy_per_atom", mean=-1.0, std=1.0, trained_on=900, **CHECKED)
STABLE = TargetRecord(name="e_above_hull<=0.1", mean=0.0, std=1.0, trained_on=900, **{**CHECKED, "margin": 0.6})


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_checkpoint(tmp_path_factory.mktemp("models") / "generator", seed=11)


@pytest.fixture(scope="module")
def stiffness(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_property_model(tmp_path_factory.mktemp("models") / "k", 3, STIFFNESS)


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_property_model(tmp_path_factory.mktemp("models") / "three", 4, STIFFNESS, ENERGY, STABLE)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(complete, list(map(str, arguments)))


def answer_to(*arguments: object) -> dict[str, Any]:
    ran = run(*arguments, "--json")
    assert ran.exit_code == 0, ran.output
    return dict(json.loads(ran.stdout.splitlines()[-1]))


def test_the_same_candidates_in_another_order_with_their_intervals(generator: Path, stiffness: Path) -> None:
    asked = (PEROVSKITE, "--mask", "Ti", "--model", generator)
    plain, ranked = answer_to(*asked), answer_to(*asked, "--rank-by", stiffness)
    by_formula = {each["formula"]: each["probability"] for each in plain["candidates"]}
    assert {each["formula"]: each["probability"] for each in ranked["candidates"]} == by_formula
    values = [each["predicted"]["value"] for each in ranked["candidates"]]
    assert values == sorted(values, reverse=True)
    assert [each["rank"] for each in ranked["candidates"]] == list(range(1, 11))
    for each in ranked["candidates"]:
        told = each["predicted"]
        assert told["high"] - told["low"] == pytest.approx(2 * 0.5 * 50, rel=1e-4)
        alone = crystalsweep.predict([each["cif"]], model=stiffness)
        assert alone["k_vrh"][0] == pytest.approx(told["value"], rel=1e-3)  # a CIF rounds its coordinates
    assert ranked["ranked_by"]["unit"] == "GPa"
    assert plain["ranked_by"] is None
    assert all(each["predicted"] is None for each in plain["candidates"])


def test_the_order_is_told_and_can_be_turned(generator: Path, stiffness: Path, several: Path) -> None:
    asked = (PEROVSKITE, "--mask", "Ti", "--top", 5, "--model", generator)
    told = run(*asked, "--rank-by", stiffness).output
    assert "k_vrh GPa" in told
    assert "ranked by k_vrh, highest first, of the 5 likeliest candidates, each as it stands" in told
    assert "k_vrh: the interval is for 90% of cases; it held 92.0% of 50 validation crystals" in told
    turned = answer_to(*asked, "--rank-by", stiffness, "--rank-order", "ascending")
    values = [each["predicted"]["value"] for each in turned["candidates"]]
    assert values == sorted(values)
    energies = answer_to(*asked, "--rank-by", f"{several}:formation_energy_per_atom")
    assert energies["ranked_by"]["order"] == "ascending"


def test_a_question_ranks_by_its_probability(generator: Path, several: Path) -> None:
    asked = (PEROVSKITE, "--mask", "Ti", "--top", 5, "--model", generator, "--rank-by", f"{several}:e_above_hull<=0.1")
    found = answer_to(*asked)
    values = [each["predicted"]["value"] for each in found["candidates"]]
    assert values == sorted(values, reverse=True)
    assert all(0 <= value <= 1 for value in values)
    assert {each["predicted"]["set"] for each in found["candidates"]} <= {"yes", "no", "yes|no"}
    assert "(yes" in run(*asked).output or "(no" in run(*asked).output


def test_the_files_and_the_page_have_the_column(generator: Path, stiffness: Path, tmp_path: Path) -> None:
    asked = (PEROVSKITE, EXAMPLES / "NaCl.cif", "--mask", "Ti,Cl", "--top", 3, "--model", generator)
    out = tmp_path / "answers"
    ran = run(*asked, "--rank-by", stiffness, "--out", out)
    assert ran.exit_code == 0, ran.output
    rows = list(csv.DictReader((out / "candidates.csv").open()))
    assert len(rows) == 6
    for row in rows:
        assert row["property"] == "k_vrh"
        assert float(row["predicted_low"]) < float(row["predicted"]) < float(row["predicted_high"])
    page = words_of((out / "candidates.html").read_text())
    assert "k_vrh GPa" in page
    assert "ranked by k_vrh, highest first" in page
    again = run(*asked, "--rank-by", stiffness, "--rank-order", "ascending", "--out", out)
    assert "holds answers to another question" in again.output
    plain = run(*asked, "--out", tmp_path / "plain")
    assert plain.exit_code == 0
    assert {row["predicted"] for row in csv.DictReader((tmp_path / "plain" / "candidates.csv").open())} == {""}


def test_python_does_the_same(generator: Path, stiffness: Path) -> None:
    done = crystalsweep.complete(PEROVSKITE, mask="Ti", top=4, model=generator, rank_by=stiffness)
    values = [each.predicted.value for each in done.candidates if each.predicted]
    assert len(values) == 4
    assert values == sorted(values, reverse=True)
    with pytest.raises(ValueError, match="rank_order goes with rank_by"):
        crystalsweep.complete(PEROVSKITE, mask="Ti", model=generator, rank_order="ascending")
    with pytest.raises(ValueError, match="give ascending or descending"):
        crystalsweep.complete(PEROVSKITE, mask="Ti", model=generator, rank_by=stiffness, rank_order="up")  # type: ignore[arg-type]


def test_sets_tell_the_same_candidates_at_their_new_places(generator: Path, stiffness: Path) -> None:
    plain = crystalsweep.complete(PEROVSKITE, mask="Ti", top=6, model=generator)
    sets = (CandidateSet(0.5, (0,)), CandidateSet(0.9, (0, 1, 3)))
    given = Completion(**{**vars(plain), "joint_sets": sets})
    ranked = ranking_of(str(stiffness)).ranked(given)
    for before, after in zip(sets, ranked.joint_sets, strict=True):
        formulas = {given.candidates[index].structure.formula for index in before.candidates}
        assert {ranked.candidates[index].structure.formula for index in after.candidates} == formulas
        assert list(after.candidates) == sorted(after.candidates)


def test_what_has_no_number_comes_last(generator: Path, stiffness: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = crystalsweep.complete(PEROVSKITE, mask="Ti", top=3, model=generator)
    ranking = ranking_of(str(stiffness))
    whole = Ranking._values

    def first_unknown(self: Ranking, crystals: Any) -> Any:
        values = whole(self, crystals)
        return [values[0]._replace(value=np.nan), *values[1:]]

    monkeypatch.setattr(Ranking, "_values", first_unknown)
    assert ranking.ranked(plain).candidates[-1].crystal is plain.candidates[0].crystal


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--rank-by", "{several}"), "say by which, as {several}:k_vrh"),
        (("--rank-by", "{several}:band_gap"), "does not predict band_gap; it predicts k_vrh, formation_energy"),
        (("--rank-by", "{generator}"), "it is no property model"),
        (("--rank-by", "nowhere"), "'nowhere' is not there"),
        (("--rank-order", "ascending"), "--rank-order goes with --rank-by"),
    ],
)
def test_a_mistake_is_one_line(options: tuple[str, str], says: str, generator: Path, several: Path) -> None:
    places = {"several": several, "generator": generator}
    asked = [each.format(**places) for each in options]
    ran = run(PEROVSKITE, "--mask", "Ti", "--model", generator, *asked)
    assert ran.exit_code == 1
    assert says.format(**places) in ran.output
    assert len(ran.output.splitlines()) == 1
