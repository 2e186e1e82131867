"""Judges that no training has seen: validity without elements and alloys, and bond valences, in a whole evaluation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

from crystalsweep.data import write
from crystalsweep.evaluation.comparing import compare_evaluations
from crystalsweep.evaluation.outcome import read_outcome
from crystalsweep.evaluation.rescoring import rescore_folder
from crystalsweep.evaluation.run import read_tables
from crystalsweep.metrics.settings import CompositionRules, MetricConfig
from crystalsweep.structures.crystal import Crystal
from tests.html_words import words_of

Evaluate = Callable[..., Result]

CUBE = [[0, 0, 0], [0.5, 0.5, 0.5]]
CSCL = Crystal.of("CsCl", [55, 17], 4.12 * np.eye(3), CUBE)
CSBR = Crystal.of("CsBr", [55, 35], 4.29 * np.eye(3), CUBE)
CUZN = Crystal.of("CuZn", [29, 30], 2.95 * np.eye(3), CUBE)


def evaluated(run_evaluate: Evaluate, folder: Path, made: list[Crystal], *options: object) -> Path:
    """An evaluation of these crystals beside the true ones."""
    folder.mkdir()
    write([CSCL, CSBR, CUZN], folder / "true.parquet")
    write(made, folder / "made.parquet")
    where = ("--structures", folder / "made.parquet", "--reference", folder / "true.parquet")
    ran = run_evaluate(*where, "--out", folder / "evaluation", *options, source=False)
    assert ran.exit_code == 0, ran.output
    return folder / "evaluation"


@pytest.fixture
def judged(run_evaluate: Evaluate, tmp_path: Path) -> Path:
    """CsCl as it is, CsBr whose caesium became barium, which has a charge too many, and CuZn."""
    wrong = Crystal.of("CsBr", [56, 35], CSBR.lattice, CUBE)
    return evaluated(run_evaluate, tmp_path / "judged", [CSCL, wrong, CUZN], "--set", "bond_valence=true")


def test_each_judge_stands_with_its_n_beside_validity(judged: Path) -> None:
    found = read_outcome(judged)
    own, ceiling = found.rows[found.name], found.rows["ceiling"]
    assert (own["compositional_validity"].mean, own["compositional_validity"].n) == (pytest.approx(2 / 3), 3)
    earned = own["compositional_validity_not_exempt"]
    assert (earned.mean, earned.n) == (0.5, 2)
    balanced = own["charges_balance"]
    assert (balanced.mean, balanced.n, balanced.undecided) == (0.5, 2, 1)
    assert own["bond_instability"].n == 1
    assert ceiling["charges_balance"].mean == 1
    assert found.failures["bond_valence_failure"] == {"metals alone": 1}
    table = read_tables(judged)[0].set_index("parent")
    assert table["exempt_composition"].to_dict() == {"CsCl": False, "CsBr": False, "CuZn": True}
    page = words_of((judged / "report.html").read_text())
    assert "Charges balance by bond valences" in page
    assert "Compositional validity, without elements and alloys" in page


def test_they_are_compared(judged: Path, run_evaluate: Evaluate, tmp_path: Path) -> None:
    other = evaluated(run_evaluate, tmp_path / "true", [CSCL, CSBR, CUZN], "--set", "bond_valence=true")
    verdicts, _ = compare_evaluations([str(judged), str(other)], None, tmp_path)
    found = verdicts.set_index("metric")["difference"]
    assert found["charges_balance"] == 0.5
    assert found["compositional_validity_not_exempt"] == 0.5


def test_bond_valences_are_left_out_unless_asked_for(run_evaluate: Evaluate, tmp_path: Path) -> None:
    folder = evaluated(run_evaluate, tmp_path / "plain", [CSCL, CSBR, CUZN])
    found = read_outcome(folder)
    assert "charges_balance" not in found.rows[found.name]
    assert "compositional_validity_not_exempt" in found.rows[found.name]


def test_a_table_of_before_is_told_of_alloys_once_it_is_rescored(judged: Path) -> None:
    rules = MetricConfig(composition=CompositionRules(alloys=False))
    told = rescore_folder(judged, "no_alloys", rules).rescored["no_alloys"].rows
    own = told[read_outcome(judged).name]
    assert own["compositional_validity"].mean == pytest.approx(1 / 3)
    assert (own["compositional_validity_not_exempt"].mean, own["compositional_validity_not_exempt"].n) == (0.5, 2)
