"""Figures of a property by row and stratum: what is resolved, what is undefined, and what is left out and counted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from crystalsweep.evaluation.properties.asked import PropertyTarget
from crystalsweep.evaluation.properties.outcome import PropertyEvaluation
from crystalsweep.evaluation.properties.pictures import draw_pictures
from crystalsweep.evaluation.properties.report import write_property_report
from crystalsweep.evaluation.properties.scoring import Predicted, score
from crystalsweep.evaluation.properties.text import property_text

N = 200


def bins(n: int = N) -> pd.DataFrame:
    systems = np.array(["cubic", "triclinic"])[np.arange(n) % 2]
    return pd.DataFrame({"crystal_system": systems, "n_elements": "2", "rare_element": "no rare element"})


def numbers(log10: bool = False, seed: int = 0) -> Predicted:
    """A model that is right to 0.1, and a baseline to 1, of triclinic crystals; both to 1 of cubic ones."""
    generator = np.random.default_rng(seed)
    truth, noise = 10 + generator.normal(size=N), generator.normal(size=(2, N))
    own = truth + noise[0] * np.where(np.arange(N) % 2, 0.1, 1.0)
    own[4], truth[[6, 8]] = np.nan, np.nan
    rows = {"model": own, "training mean": np.full(N, 10.0), "composition only": truth + noise[1]}
    target = PropertyTarget(name="gap", label="gap", kind="regression", log10=log10, unit="eV")
    return Predicted(target=target, truth=truth, rows=rows, trained_on=50)


def classes() -> Predicted:
    generator = np.random.default_rng(1)
    truth = (generator.random(N) < 0.4).astype(float)
    truth[bins()["crystal_system"] == "cubic"] = 1.0
    odds = np.clip(0.5 + 0.3 * (truth - 0.5) + 0.2 * generator.normal(size=N), 0.01, 0.99)
    rows = {"model": np.stack([1 - odds, odds], axis=1), "majority class": np.tile([0.6, 0.4], (N, 1))}
    target = PropertyTarget(
        name="hull<=0", label="hull", kind="classification", threshold=0.0, classes=("unstable", "stable")
    )
    return Predicted(target=target, truth=truth, rows=rows, trained_on=50)


def spectra() -> Predicted:
    generator = np.random.default_rng(2)
    grid = np.linspace(0, 10, 21)
    truth = np.exp(-((grid - generator.uniform(3, 7, (N, 1))) ** 2))
    rows = {
        "model": truth + 0.05 * generator.normal(size=truth.shape),
        "training mean": np.tile(truth.mean(axis=0), (N, 1)),
        "composition only": truth + 0.2 * generator.normal(size=truth.shape),
    }
    target = PropertyTarget(name="dos", label="dos", kind="spectrum", grid=tuple(grid))
    return Predicted(target=target, truth=truth, rows=rows, trained_on=50)


def test_what_has_no_label_or_no_number_is_counted() -> None:
    found = score(numbers(), bins(), seed=0)
    assert (found.n, found.unlabelled, found.unpredicted) == (N - 2, 2, 1)
    assert {figure.n for row in found.rows.values() for figure in row.values()} == {N - 3}


def test_a_difference_is_resolved_where_it_is_and_nowhere_else() -> None:
    found = score(numbers(), bins(), seed=0)
    (against,) = [v for v in found.verdicts if (v.metric, v.against) == ("mae", "composition only")]
    assert against.verdict == "better"
    assert against.p_adjusted >= against.p  # type: ignore[operator]
    by_system = {each.bin: each.verdicts for each in found.strata["crystal_system"]}
    assert [each.bin for each in found.strata["crystal_system"]] == ["triclinic", "cubic"]
    verdicts = {name: {v.against: v.verdict for v in each} for name, each in by_system.items()}
    assert verdicts["triclinic"] == {"training mean": "better", "composition only": "better"}
    assert verdicts["cubic"]["composition only"] == "not resolved"


def test_what_is_undefined_says_why() -> None:
    found = score(numbers(), bins(), seed=0)
    assert found.rows["training mean"]["spearman"].mean is None
    assert found.undefined == {"training mean": {"spearman": "all labels, or all predictions, are equal"}}
    spearman = [v for v in found.verdicts if (v.metric, v.against) == ("spearman", "training mean")]
    assert [(v.difference, v.p_adjusted, v.verdict) for v in spearman] == [(None, None, "not resolved")]


def test_of_a_logarithm_the_verdict_is_on_the_logarithm() -> None:
    found = score(numbers(True), bins(), seed=0)
    assert found.verdicts[0].metric == "mae@log10"
    truth, own = numbers().truth, numbers().rows["model"]
    known = np.isfinite(truth) & np.isfinite(own)
    expected = np.abs(np.log10(truth[known]) - np.log10(own[known])).mean()
    assert found.rows["model"]["mae@log10"].mean == pytest.approx(expected)
    assert found.rows["model"]["mae"].mean == pytest.approx(np.abs(truth - own)[known].mean())


def test_confusion_by_crystal_system_adds_up() -> None:
    found = score(classes(), bins(), seed=0)
    parts = [np.array(each.confusion) for each in found.strata["crystal_system"]]
    assert (sum(parts) == np.array(found.confusion["model"])).all()
    for row, whole in found.confusion.items():
        beside = [np.array(each.beside[row]) for each in found.strata["crystal_system"] if row != "model"]
        assert row == "model" or (sum(beside) == np.array(whole)).all()
    cubic = found.strata["crystal_system"][1].rows["model"]
    assert cubic["roc_auc"].mean is None  # all of them are stable
    assert cubic["accuracy"].mean is not None


@pytest.mark.parametrize(
    "made", [numbers, lambda: numbers(True), classes, spectra], ids=["number", "log", "class", "spectrum"]
)
def test_page_plots_and_text(made: Callable[[], Predicted], tmp_path: Path) -> None:
    predicted = made()
    found = score(predicted, bins(), seed=0)
    outcome = PropertyEvaluation(
        name="model",
        model={},
        data={"crystals": N, "source": "x", "part": "test", "training_crystals": 50, "trained_on": "y", "told": []},
        settings={},
        versions={},
        metrics_lock="0" * 64,
        targets={predicted.target.name: found},
    )
    again = PropertyEvaluation.model_validate_json(outcome.model_dump_json())
    assert again == outcome
    pictures = draw_pictures(outcome, [predicted], tmp_path / "plots")
    page = write_property_report(outcome, pictures, tmp_path).read_text()
    assert page.count("<img") == len(pictures[predicted.target.name])
    assert "knows more than the formula" in page
    assert "model minus training mean" in property_text(outcome) or "majority class" in property_text(outcome)
