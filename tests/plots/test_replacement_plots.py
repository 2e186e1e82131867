"""The replacement figures are written, hide what rests on few crystals, and say so when there is too little."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.image import imread
from pytest import MonkeyPatch

from crystalsweep.metrics.replacement import replacement_matrix
from crystalsweep.metrics.substitution import mined_matrix
from crystalsweep.plots.periodic import (
    chosen_elements,
    plot_replacement_table,
    position,
    top_replacements,
)
from crystalsweep.plots.replacement import plot_mined_correlation, plot_replacement_matrix
from crystalsweep.plots.replacement_rates import plot_replacement_rates
from crystalsweep.structures.elements import atomic_number, element_symbol

OXYGEN = 8
PLOTS = [plot_replacement_matrix, plot_replacement_table, plot_mined_correlation]


def table(n: int, seed: int = 0) -> pd.DataFrame:
    """n novel oxides whose metal was replaced as the mined table has it."""
    generator, mined = np.random.default_rng(seed), mined_matrix()
    rows = []
    for i in range(n):
        a = ["Na", "Ca", "Fe", "Al", "Si", "La", "Cl", "S"][i % 8]
        b = generator.choice(mined.columns, p=mined.loc[a])
        rows.append(([atomic_number(a), OXYGEN], [0, OXYGEN], [atomic_number(b), OXYGEN]))
    frame = pd.DataFrame(rows, columns=["species_before", "species_corrupted", "species_after"])
    masks = np.array(["species", "random15", "random30"])[np.arange(n) % 3]
    return frame.assign(parent=[f"p{i % 50}" for i in range(n)], mask_type=masks, novel_vs_input=1.0)


def shows_something(path: Path) -> bool:
    image = imread(path)
    return min(image.shape[:2]) > 300 and image[..., :3].std() > 0.01


@pytest.mark.parametrize(("plot", "n"), [*((plot, 2000) for plot in PLOTS), (plot_replacement_matrix, 200)])
def test_figures_of_few_and_many_crystals(tmp_path: Path, plot: object, n: int) -> None:
    assert callable(plot)
    assert shows_something(plot(table(n), tmp_path / "made" / "figure.png"))


def test_rates_of_two_tables_beside_one_without_novelty(tmp_path: Path) -> None:
    tables = {"a": table(600), "b": table(300, seed=1), "ceiling": table(60).assign(novel_vs_input=0.0)}
    assert shows_something(plot_replacement_rates(tables, tmp_path / "rates.png"))


@pytest.mark.parametrize("rows", [table(9), table(50).assign(novel_vs_input=0.0), table(8).head(0)])
def test_too_few_novel_crystals_are_a_plain_error(tmp_path: Path, rows: pd.DataFrame) -> None:
    for plot in PLOTS:
        with pytest.raises(ValueError, match=r"No (replacement|element).* 10 or more .*novel crystals"):
            plot(rows, tmp_path / "figure.png")
    with pytest.raises(ValueError, match="10 or more novel crystals"):
        plot_replacement_rates({"model": rows}, tmp_path / "figure.png")
    assert not list(tmp_path.iterdir())


def test_cells_of_fewer_than_ten_crystals_are_hidden(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    drawn: list[np.ndarray] = []
    draw = Axes.imshow

    def record(axis: Axes, values: np.ndarray, **style: object) -> object:
        drawn.append(np.asarray(values))
        return draw(axis, values, **style)  # type: ignore[arg-type]

    monkeypatch.setattr(Axes, "imshow", record)
    rows = table(2000)
    plot_replacement_matrix(rows, tmp_path / "matrix.png")
    found = replacement_matrix(rows)
    rare, shown = drawn
    assert np.isfinite(shown).sum() == (found.n >= 10).to_numpy().sum() > 0
    assert np.isfinite(shown).any(axis=0).all() and np.isfinite(shown).any(axis=1).all()
    assert not (np.isfinite(rare) & np.isfinite(shown)).any()
    assert np.isfinite(rare).any()


def test_chosen_elements_are_of_different_families_and_have_replacements() -> None:
    found = replacement_matrix(table(2000))
    names = chosen_elements(found)
    assert len(names) == 6
    for name in names:
        top = top_replacements(found, name)
        assert 1 <= len(top) <= 3
        assert (found.n.loc[name, top.index] >= 10).all()
        assert top.is_monotonic_decreasing


def test_choosing_an_element_without_data_names_it(tmp_path: Path) -> None:
    rows = table(2000)
    assert shows_something(plot_replacement_table(rows, tmp_path / "table.png", chosen=["Na", "Cl"]))
    with pytest.raises(ValueError, match="Xe: no replacement in 10 or more"):
        plot_replacement_table(rows, tmp_path / "other.png", chosen=["Na", "Xe"])
    with pytest.raises(ValueError, match="at most 6"):
        plot_replacement_table(rows, tmp_path / "other.png", chosen=["Na", "Ca", "Fe", "Al", "Si", "La", "Cl"])


def test_every_element_has_its_own_place() -> None:
    places = {position(z) for z in range(1, 119)}
    assert len(places) == 118
    assert {element_symbol(z): position(z) for z in (1, 2, 40, 72)} == {
        "H": (1, 1),
        "He": (18, 1),
        "Zr": (4, 5),
        "Hf": (4, 6),
    }
