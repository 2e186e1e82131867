"""The figures of an evaluation show the numbers of its tables, hide what rests on too little, say what is missing."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib._pylab_helpers import Gcf
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.container import BarContainer, ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.image import imread

from crystalsweep.metrics.bootstrap import clustered_median
from crystalsweep.metrics.distributions import CRYSTAL_SYSTEMS
from crystalsweep.metrics.strata import STRATA, strata_table
from crystalsweep.metrics.summary import METRICS, summarise
from crystalsweep.plots.distributions import plot_distributions
from crystalsweep.plots.energies import plot_energies
from crystalsweep.plots.extrapolation import plot_extrapolation
from crystalsweep.plots.grids import mask_order, plot_similarity, plot_validity
from crystalsweep.plots.strata import FEWEST, plot_strata
from crystalsweep.structures.elements import element_symbol

Tables = dict[str, pd.DataFrame]
SIGMAS = (0.1, 0.2, 0.4)
PLOTS = (plot_validity, plot_similarity, plot_energies, plot_strata, plot_extrapolation, plot_distributions)


def scores(seed: int, skill: float, parents: int = 12, sigmas: tuple[float, ...] = SIGMAS) -> pd.DataFrame:
    """A table of scores as an evaluation makes it, drawn at random: less is restored with less skill."""
    generator = np.random.default_rng(seed)
    keys = [
        {"parent": f"p{i}", "mask_type": mask, "sigma_noise": sigma, "draw": draw}
        for i in range(parents)
        for mask in ("species", "random50")
        for sigma in sigmas
        for draw in range(3)
    ]
    table = pd.DataFrame(keys)
    n = len(table)
    size = table["parent"].map({f"p{i}": 3 * i + 1 for i in range(parents)})
    restored = generator.random(n) < skill
    energy = np.where(restored, generator.lognormal(-2, 1.5, n) - 0.05, np.nan)
    by_species = table["mask_type"] == "species"
    z = generator.choice([8, 26, 89], n, p=[0.6, 0.35, 0.05])
    return table.assign(
        n_atoms=size,
        n_masked=1,
        masked_correct=restored.astype(int),
        structural_validity=generator.random(n) < 0.95,
        compositional_validity=generator.random(n) < 0.8,
        compositional_similarity=restored,
        given_composition=False,
        structural_similarity=np.where(restored, generator.normal(0.7 - table["sigma_noise"], 0.1), np.nan),
        delta_energy=energy,
        delta_energy_relaxed=energy / 5,
        compositional_similarity_permuted=True,
        energy_failure=generator.choice(["generated: atoms 0.3 Å apart", "hull: no Xe", ""], n, p=[0.1, 0.1, 0.8]),
        crystal_system=[CRYSTAL_SYSTEMS[int(parent[1:]) % 7] for parent in table["parent"]],
        masked_element=np.where(by_species, [element_symbol(int(number)) for number in z], ""),
        masked_frequency=np.where(by_species, np.select([z == 8, z == 26], [0.3, 0.02], 5e-5), np.nan),
        density=generator.normal(5, 1, n),
        n_elements=generator.integers(1, 10, n),
        space_group=generator.choice([0, 1, 62, 225], n),
        species_after=[np.array([8, 8, number]) for number in z],
    )


@pytest.fixture(scope="module")
def tables() -> Tables:
    ceiling = scores(9, 1.0).assign(structural_similarity=1.0, delta_energy=0.0)
    identity = scores(8, 0.0).assign(structural_similarity=0.0, given_composition=True)
    models = {"pretrained": scores(0, 0.5), "gan 0.1": scores(1, 0.7), "gan 1.0": scores(2, 0.1)}
    return models | {"ceiling": ceiling, "identity": identity}


@pytest.fixture(autouse=True)
def _coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half the resolution: writing the files is what takes time."""
    monkeypatch.setattr("crystalsweep.plots.style.DPI", 75)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are written, in order."""
    figures: list[Figure] = []
    write = Figure.savefig

    def spy(figure: Figure, *args: object, **options: object) -> None:
        figures.append(figure)
        write(figure, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Figure, "savefig", spy)
    return figures


def some(tables: Tables, *names: str) -> Tables:
    return {name: tables[name] for name in (*names, "ceiling", "identity")}


def points(axis: Axes, label: str) -> pd.DataFrame:
    """mean, low, high that an error bar series shows, without those that are hidden."""
    (bars,) = [b for b in axis.containers if isinstance(b, ErrorbarContainer) and b.get_label() == label]
    line, _, (lengths,) = bars.lines
    assert isinstance(lengths, LineCollection)
    segments = np.array([segment[:, 1] for segment in lengths.get_segments() if len(segment)]).reshape(-1, 2)
    shown = np.asarray(line.get_ydata(), dtype=float)
    return pd.DataFrame({"mean": shown[np.isfinite(shown)], "low": segments[:, 0], "high": segments[:, 1]})


def conditions(table: pd.DataFrame, metric: str, mask: str) -> pd.DataFrame:
    means = summarise(table, metrics=[known for known in METRICS if known.name == metric])
    return means[means["mask_type"] == mask]


def texts(figure: Figure) -> str:
    legends = [*figure.legends, *(axis.get_legend() for axis in figure.axes if axis.get_legend())]
    labels = [text.get_text() for axis in figure.axes for text in (*axis.texts, *axis.get_xticklabels())]
    titles = [axis.get_title(loc="left") for axis in figure.axes]
    return "\n".join([*labels, *titles, *(text.get_text() for legend in legends for text in legend.get_texts())])


def shows_something(path: Path) -> bool:
    image = imread(path)
    return min(image.shape[:2]) > 200 and image[..., :3].std() > 0.01


@pytest.mark.parametrize("plot", PLOTS)
def test_a_figure_is_written_and_no_global_state_is_made(
    tables: Tables, tmp_path: Path, plot: Callable[..., Path]
) -> None:
    assert shows_something(plot(tables, tmp_path / "made" / "plot.png"))
    assert not Gcf.figs


@pytest.mark.parametrize("plot", PLOTS)
def test_a_model_with_rows_is_needed(tables: Tables, tmp_path: Path, plot: Callable[..., Path]) -> None:
    with pytest.raises(ValueError, match="at least one model"):
        plot(some(tables), tmp_path / "x.png")
    with pytest.raises(ValueError, match="No row to draw for gan: evaluate at least one crystal"):
        plot({"gan": tables["pretrained"].iloc[:0]}, tmp_path / "x.png")


@pytest.mark.parametrize("plot", PLOTS)
def test_one_noise_level_and_values_that_are_missing_are_drawn(
    tables: Tables, tmp_path: Path, plot: Callable[..., Path]
) -> None:
    table = tables["gan 1.0"].query("sigma_noise == 0.2").reset_index(drop=True)
    numbers = ["structural_similarity", "delta_energy", "delta_energy_relaxed", "density", "space_group"]
    holes = table.astype(dict.fromkeys(numbers, float))
    holes.loc[:40, numbers] = np.nan
    holes.loc[41:43, ["delta_energy", "structural_similarity"]] = np.inf
    never = table.assign(structural_similarity=np.nan, compositional_similarity=False)
    assert shows_something(plot({"holes": holes, "never": never, "identity": tables["identity"]}, tmp_path / "x.png"))


@pytest.mark.parametrize(
    ("plot", "metrics"),
    [
        (plot_validity, ("structural_validity", "compositional_validity")),
        (plot_similarity, ("compositional_similarity", "structural_similarity")),
    ],
)
def test_grids_show_the_means_and_intervals_of_summarise(
    tables: Tables, tmp_path: Path, drawn: list[Figure], plot: Callable[..., Path], metrics: tuple[str, str]
) -> None:
    plot(some(tables, "pretrained", "gan 0.1"), tmp_path / "grid.png")
    masks = mask_order(tables)
    panels = iter(drawn[0].axes)
    for metric in metrics:
        for mask in masks:
            axis = next(panels)
            for name in ("pretrained", "gan 0.1"):
                means = conditions(tables[name], metric, mask)
                shown = points(axis, name)
                assert shown.to_numpy() == pytest.approx(means[["mean", "low", "high"]].to_numpy())
                low, high = axis.get_ylim()
                assert low <= shown["low"].min() and shown["high"].max() <= high


def test_mask_types_come_in_the_papers_order_and_then_by_name() -> None:
    names = ["random50", "random30", "species", "random05", "random15"]
    expected = ["species", "random15", "random30", "random05", "random50"]
    assert mask_order({"model": pd.DataFrame({"mask_type": names})}) == expected


def test_a_reference_far_off_is_written_instead_of_drawn(tables: Tables, tmp_path: Path, drawn: list[Figure]) -> None:
    floor = tables["identity"].assign(structural_validity=False)
    plot_validity({"gan": tables["pretrained"], "identity": floor}, tmp_path / "grid.png")
    assert "off scale: identity 0.00" in texts(drawn[0])
    assert drawn[0].axes[0].get_ylim()[0] > 0.4


def test_small_numbers_are_printed_beside_their_means(tables: Tables, tmp_path: Path, drawn: list[Figure]) -> None:
    table = tables["gan 1.0"]
    plot_similarity({"gan": table}, tmp_path / "grid.png")
    restored = table.query("mask_type == 'species' and sigma_noise == 0.1")["structural_similarity"].notna().sum()
    assert 0 < restored < 30
    assert f"n={restored}" in [text.get_text() for text in drawn[0].axes[2].texts]


def test_one_parent_gives_open_markers_that_the_legend_explains(tmp_path: Path, drawn: list[Figure]) -> None:
    alone = scores(4, 0.5, parents=1)
    plot_validity({"gan": alone}, tmp_path / "grid.png")
    axis = drawn[0].axes[0]
    (open_marks,) = [line for line in axis.lines if line.get_markerfacecolor() == "white" and len(line.get_xdata())]
    means = conditions(alone, "structural_validity", "species")["mean"]
    assert np.asarray(open_marks.get_ydata()) == pytest.approx(means.to_numpy())
    assert "one parent: no interval" in texts(drawn[0])


def test_energies_show_medians_numbers_and_failures(tables: Tables, tmp_path: Path, drawn: list[Figure]) -> None:
    plot_energies(some(tables, "pretrained", "gan 0.1"), tmp_path / "energies.png")
    for axis, sigma in zip(drawn[0].axes, SIGMAS, strict=True):
        bars = iter([b for b in axis.containers if isinstance(b, ErrorbarContainer)])
        labels = iter(label.get_text() for label in axis.get_xticklabels())
        for name in ("pretrained", "gan 0.1"):
            rows = tables[name][tables[name]["sigma_noise"] == sigma]
            for column in ("delta_energy", "delta_energy_relaxed"):
                median = clustered_median(rows[column], rows["parent"])
                line, _, (lengths,) = next(bars).lines
                assert np.asarray(line.get_ydata()) == pytest.approx([median.mean])
                assert isinstance(lengths, LineCollection)
                assert lengths.get_segments()[0][:, 1] == pytest.approx([median.low, median.high])
                assert f"n = {median.n}" in (label := next(labels))
                failed = rows["energy_failure"].str.startswith("generated").sum()
                assert (f"{failed} failed" in label) == (column == "delta_energy")


def test_no_energy_is_clipped(tables: Tables, tmp_path: Path, drawn: list[Figure]) -> None:
    table = tables["pretrained"].copy()
    table.loc[table["delta_energy"].first_valid_index(), "delta_energy"] = 4321.0
    plot_energies({"gan": table}, tmp_path / "energies.png")
    low, high = drawn[0].axes[0].get_ylim()
    assert low <= table["delta_energy"].min() and high >= 4321.0


def test_relaxed_energies_are_left_out_where_there_are_none(
    tables: Tables, tmp_path: Path, drawn: list[Figure]
) -> None:
    plot_energies({"gan": tables["pretrained"].assign(delta_energy_relaxed=np.nan)}, tmp_path / "energies.png")
    assert "relaxed" not in texts(drawn[0])


def test_no_energies_at_all_is_an_error(tables: Tables, tmp_path: Path) -> None:
    columns = ["delta_energy", "delta_energy_relaxed"]
    for table in (tables["pretrained"].drop(columns=columns), tables["pretrained"].assign(delta_energy=np.nan)):
        with pytest.raises(ValueError, match="No model has a relative energy"):
            plot_energies({"gan": table.drop(columns="delta_energy_relaxed", errors="ignore")}, tmp_path / "x.png")


@pytest.mark.parametrize("by", list(STRATA))
def test_strata_show_the_means_of_enough_crystals_only(
    tables: Tables, tmp_path: Path, drawn: list[Figure], by: str
) -> None:
    plot_strata(some(tables, "gan 1.0", "gan 0.1"), tmp_path / "strata.png", by=by)
    hidden = 0
    for axis, metric in zip(drawn[0].axes, ("compositional_similarity", "structural_similarity"), strict=False):
        for name in ("gan 1.0", "gan 0.1"):
            rows = strata_table(tables[name], by)
            rows = rows[rows["metric"] == metric]
            enough = rows[(rows["n"] >= FEWEST) & rows["low"].notna()]
            assert points(axis, name).to_numpy() == pytest.approx(enough[["mean", "low", "high"]].to_numpy())
            hidden += len(rows) - len(enough)
    assert hidden > 0
    ticks = [label.get_text() for label in drawn[0].axes[2].get_xticklabels()]
    total = strata_table(tables["gan 0.1"], by).query("metric == 'compositional_similarity'")
    (grey, *_) = [bars for bars in drawn[0].axes[2].containers if isinstance(bars, BarContainer)]
    n = dict(zip(total["bin"], total["n"], strict=True))
    assert all(bar.get_height() >= n[tick] for bar, tick in zip(grey, ticks, strict=True))


def test_strata_without_enough_crystals_or_with_an_unknown_name_are_errors(tables: Tables, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="No bin of n_atoms has 10 crystals"):
        plot_strata({"gan": tables["pretrained"].head(5)}, tmp_path / "x.png")
    with pytest.raises(ValueError, match="no stratum 'colour'"):
        plot_strata({"gan": tables["pretrained"]}, tmp_path / "x.png", by="colour")


def test_extrapolation_shows_means_areas_and_training_noise(
    tables: Tables, tmp_path: Path, drawn: list[Figure]
) -> None:
    plot_extrapolation(some(tables, "pretrained"), tmp_path / "x.png", trained_at={"pretrained": (0.1, 0.3)})
    for axis, metric in zip(drawn[0].axes, METRICS, strict=True):
        label = f"pretrained: area {metric.area_over_sigma(tables['pretrained'])}"
        (line,) = [line for line in axis.lines if line.get_label() == label]
        means = summarise(tables["pretrained"], by=("sigma_noise",), metrics=(metric,))
        assert np.asarray(line.get_ydata()) == pytest.approx(means["mean"].to_numpy())
        assert {0.1, 0.3} <= {float(np.ravel(other.get_xdata())[0]) for other in axis.lines if len(other.get_xdata())}
        assert label in [text.get_text() for text in axis.get_legend().get_texts()]


def test_distributions_show_the_shares_of_the_table(tables: Tables, tmp_path: Path, drawn: list[Figure]) -> None:
    table = tables["pretrained"]
    distances = {"density": {"pretrained": 0.125}}
    plot_distributions(some(tables, "pretrained"), tmp_path / "x.png", distances)
    density, numbers, systems, elements = drawn[0].axes
    assert "Density; distance pretrained 0.125" in texts(drawn[0])
    curve = next(line for line in density.lines if line.get_label() == "pretrained")
    at, share = (np.asarray(values, dtype=float) for values in curve.get_data())
    assert share == pytest.approx([(table["density"] <= edge).mean() for edge in at])
    expected = table["n_elements"].clip(upper=8).value_counts(normalize=True).sort_index()
    assert points(numbers, "pretrained")["mean"].to_numpy() == pytest.approx(expected.to_numpy())
    groups = table["space_group"].value_counts(normalize=True)
    shown = points(systems, "pretrained")["mean"]
    assert shown.iloc[[0, 2, 6, 7]].to_list() == pytest.approx([groups[1], groups[62], groups[225], groups[0]])
    assert [label.get_text() for label in elements.get_xticklabels()] == ["O", "Fe", "Ac"]
    atoms = pd.Series(np.concatenate(table["species_after"].to_list())).value_counts(normalize=True)
    assert points(elements, "pretrained")["mean"].to_list() == pytest.approx([atoms[8], atoms[26], atoms[89]])


def test_distributions_leave_out_columns_that_are_not_there(
    tables: Tables, tmp_path: Path, drawn: list[Figure]
) -> None:
    columns = ["density", "n_elements", "space_group", "species_after"]
    plot_distributions({"gan": tables["pretrained"].drop(columns=columns[1:])}, tmp_path / "x.png")
    assert len(drawn[0].axes) == 1
    with pytest.raises(ValueError, match="none of density, n_elements, space_group, species_after"):
        plot_distributions({"gan": tables["pretrained"].drop(columns=columns)}, tmp_path / "x.png")
