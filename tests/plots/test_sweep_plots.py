"""Figures of sweeps: where values stand, who is on the front, where a loss stops falling, and that all are drawn."""

from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.image import imread
from matplotlib.patches import Rectangle
from pytest import MonkeyPatch

from crystalsweep.plots.contour import plot_contour
from crystalsweep.plots.curves import NAMED, Panel, plot_curves
from crystalsweep.plots.importance import plot_importance
from crystalsweep.plots.objective_history import best_so_far, plot_objective_history
from crystalsweep.plots.parallel import plot_parallel
from crystalsweep.plots.pareto import non_dominated, plot_pareto
from crystalsweep.plots.phase import PhaseAxis, plot_phase
from crystalsweep.plots.position_weight import plateau, plot_position_weight
from crystalsweep.plots.scales import Ruler, Scale
from crystalsweep.plots.seeds import plot_seeds

W = Scale(column="w", title="w_W", log=True, paper=0.1)
SIGMA = Scale(column="sigma", title="σ_noise", paper=0.2)
NETWORK = Scale(column="network", title="backbone")
SCORE = Scale(column="score", title="Score", direction="maximize")
LOSS = Scale(column="loss", title="Loss", direction="minimize")


def trials() -> pd.DataFrame:
    rows = [
        {
            "number": i,
            "w": w,
            "sigma": sigma,
            "network": "ab"[i % 2],
            "score": 0.5 + 0.1 * np.sin(i),
            "loss": 1 / (i + 1),
        }
        for i, (w, sigma) in enumerate((w, sigma) for w in (0.0, 0.1, 1.0, 10.0) for sigma in (0.1, 0.2))
    ]
    return pd.DataFrame(rows).assign(
        state=["complete"] * 7 + ["pruned"], control=lambda frame: frame["w"] == 0, trial=lambda f: f["number"].map(str)
    )


def trainings() -> pd.DataFrame:
    each = trials().rename(columns={"score": "value"})
    both = pd.concat([each.assign(seed=seed, value=each["value"] + 0.01 * seed) for seed in (0, 1)])
    return both.assign(low=both["value"] - 0.02, high=both["value"] + 0.02)


def shows_something(path: Path) -> bool:
    image = imread(path)
    return min(image.shape[:2]) > 200 and image[..., :3].std() > 0.01


# Where values stand


def test_zero_stands_apart_on_a_logarithmic_axis() -> None:
    ruler = Ruler([0.0, 0.1, 1.0, 10.0], log=True)
    zero, *others = ruler.at([0.0, 0.1, 1.0, 10.0])
    assert others == pytest.approx([-1, 0, 1])
    assert zero == pytest.approx(-1.5)
    assert [label for _, label in ruler.ticks()] == ["0", "0.1", "1", "10"]


def test_names_stand_in_the_order_they_come_and_what_is_missing_nowhere() -> None:
    ruler = Ruler(["painn", "escn_md", "painn"])
    assert ruler.at(["escn_md", "painn", None]) == pytest.approx([1, 0, np.nan], nan_ok=True)
    assert ruler.ticks() == [(0.0, "painn"), (1.0, "escn_md")]


def test_ticks_do_not_cover_each_other() -> None:
    values = np.r_[np.geomspace(0.011, 90, 40), 0.0]
    for log in (True, False):
        ticks = Ruler(values, log=log).ticks()
        places = [place for place, _ in ticks]
        assert 2 <= len(ticks) <= 8
        assert min(np.diff(places)) >= 0.06 * (places[-1] - places[0]) - 1e-9


# Fronts


@pytest.mark.parametrize("directions", [("maximize", "minimize"), ("maximize", "maximize", "minimize")])
def test_front_is_optunas(directions: tuple[str, ...]) -> None:
    values = np.random.default_rng(0).normal(size=(60, len(directions))).round(1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(directions=directions)
    study.add_trials([optuna.trial.create_trial(values=row) for row in values.tolist()])
    best = {trial.number for trial in study.best_trials}
    assert set(np.flatnonzero(non_dominated(values, directions)).tolist()) == best
    assert 1 < len(best) < 60


def test_what_has_no_value_is_on_no_front_and_beats_nobody() -> None:
    values = [[np.nan, 9.0], [1.0, np.nan], [0.5, 0.5], [0.4, 0.4]]
    assert non_dominated(values, ("maximize", "maximize")).tolist() == [False, False, True, False]


# Plateaus and the best so far


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([1.0, 0.5, 0.49, 0.48], 2.0),
        ([1.0, 0.97, 0.5, 0.49], 4.0),  # a lull before it falls again is no plateau
        ([1.0, 0.8, 0.6, 0.4], None),
        ([1.0, 1.2, 1.4, 1.6], 1.0),
    ],
)
def test_plateau_is_where_no_later_doubling_falls(losses: list[float], expected: float | None) -> None:
    assert plateau([1.0, 2.0, 4.0, 8.0], losses) == expected


def test_plateau_does_not_depend_on_how_far_weights_are_apart() -> None:
    """The loss of w^-0.2 up to 16 and w^-0.05 beyond falls by 13 %, then by 3.4 % per doubling."""
    weights = np.array([1, 2, 4, 8, 16, 32, 64, 128, 256], dtype=float)
    losses = np.where(weights < 16, weights**-0.2, 16**-0.15 * weights**-0.05)
    for kept in (slice(None), [0, 4, 8], [0, 2, 4, 5, 8]):
        assert plateau(weights[kept].tolist(), losses[kept].tolist()) == 16


def test_one_weight_has_no_plateau() -> None:
    assert plateau([1.0], [0.5]) is None


def test_best_so_far_goes_by_the_mean_over_seeds() -> None:
    rows = pd.DataFrame({"number": [0, 0, 1, 1, 2, 2], "value": [0.5, 0.5, 0.9, 0.0, 0.6, 0.6]})
    assert best_so_far(rows, "maximize").tolist() == [0.5, 0.5, 0.6]
    assert best_so_far(rows, "minimize").tolist() == [0.5, 0.45, 0.45]


# Every figure is drawn, and says when there is nothing to draw


def test_parallel(tmp_path: Path) -> None:
    assert shows_something(plot_parallel(trials(), [W, SIGMA, NETWORK], [SCORE, LOSS], tmp_path / "a.png"))
    assert shows_something(plot_parallel(trials().iloc[:1], [W], [SCORE], tmp_path / "one.png"))
    with pytest.raises(ValueError, match="No trial is complete"):
        plot_parallel(trials().assign(state="failed"), [W], [SCORE], tmp_path / "b.png")


def test_objective_history(tmp_path: Path) -> None:
    assert shows_something(plot_objective_history(trainings(), SCORE, tmp_path / "a.png"))
    assert shows_something(
        plot_objective_history(trainings().assign(low=np.nan, high=np.nan), SCORE, tmp_path / "b.png")
    )
    with pytest.raises(ValueError, match="No training has a value"):
        plot_objective_history(trainings().assign(value=np.nan), SCORE, tmp_path / "c.png")


def test_importance(tmp_path: Path) -> None:
    assert shows_something(plot_importance({"w_W": 0.7, "σ_noise": 0.3}, SCORE, tmp_path / "a.png"))
    with pytest.raises(ValueError, match="fewer than two"):
        plot_importance({"w_W": 1.0}, SCORE, tmp_path / "b.png")


def test_contour_draws_a_surface_between_enough_points_only(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    surfaces, stars = [], []
    filled, scattered = Axes.tricontourf, Axes.scatter

    def fill(axis: Axes, *args: object, **kwargs: object) -> object:
        surfaces.append(args[0])
        return filled(axis, *args, **kwargs)  # type: ignore[arg-type]

    def scatter(axis: Axes, *args: object, **kwargs: object) -> object:
        if kwargs.get("marker") == "*":
            stars.append([float(np.ravel(arg)[0]) for arg in args])  # type: ignore[call-overload]
        return scattered(axis, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(Axes, "tricontourf", fill)
    monkeypatch.setattr(Axes, "scatter", scatter)
    enough = pd.concat([trials(), trials().query("w > 0").assign(w=0.3, number=9)])
    assert shows_something(plot_contour(enough, W, SIGMA, SCORE, tmp_path / "a.png"))
    assert len(surfaces) == 1
    assert stars == [pytest.approx([-1, 0.2])]
    assert shows_something(plot_contour(trials(), W, SIGMA, SCORE, tmp_path / "few.png"))  # five arms, two controls
    line = enough.assign(sigma=0.1 + 0.001 * np.log10(enough["w"] + 1e-3), w=enough["w"] + 1e-3)
    assert shows_something(plot_contour(line, W, SIGMA, SCORE, tmp_path / "line.png"))
    assert len(surfaces) == 1
    with pytest.raises(ValueError, match="No trial is complete"):
        plot_contour(trials().assign(state="pruned"), W, SIGMA, SCORE, tmp_path / "none.png")


def test_pareto(tmp_path: Path) -> None:
    assert shows_something(plot_pareto(trials(), [SCORE, LOSS], tmp_path / "a.png"))
    with pytest.raises(ValueError, match="two objectives or more"):
        plot_pareto(trials(), [SCORE], tmp_path / "b.png")
    with pytest.raises(ValueError, match="has all objectives"):
        plot_pareto(trials().assign(loss=np.nan), [SCORE, LOSS], tmp_path / "c.png")


@pytest.mark.parametrize("n", [3, NAMED + 2])
def test_curves_of_few_and_of_many(tmp_path: Path, n: int) -> None:
    history = pd.DataFrame(
        [
            {"trial": f"t{i}", "epoch": epoch, "score": 0.1 * i + 0.05 * epoch, "ratio": float(i), "value": 0.1 * i}
            for i in range(n)
            for epoch in range(1, 2 if i == 1 else 5)
        ]
    )
    history = history.assign(
        control=history["trial"] == "t0", state=np.where(history["trial"] == "t1", "pruned", "complete")
    )
    shown = [
        Panel(column="score", title="Score"),
        Panel(column="ratio", title="Ratio", log=True),
        Panel(column="x", title="x"),
    ]
    assert shows_something(plot_curves(history, shown, tmp_path / "a.png", value="Score"))
    with pytest.raises(ValueError, match="No training reported x"):
        plot_curves(history, shown[2:], tmp_path / "b.png", value="Score")


def test_seeds(tmp_path: Path) -> None:
    assert shows_something(plot_seeds(trainings(), SCORE, tmp_path / "a.png"))
    with pytest.raises(ValueError, match="how much the seed matters is unknown"):
        plot_seeds(trainings().query("seed == 0"), SCORE, tmp_path / "b.png")


def test_position_weight(tmp_path: Path) -> None:
    weights = [w for w in (2.0, 20.0, 200.0, 1000.0) for _ in range(2)]
    position = [1 / w + 0.1 for w in weights]
    rows = pd.DataFrame({"w_pos": weights, "seed": [0, 1] * 4, "species": 1.0, "position": position})
    scale = Scale(column="w_pos", title="w_pos", log=True, paper=200)
    assert shows_something(plot_position_weight(rows, scale, tmp_path / "a.png", plateau_at=200.0))
    with pytest.raises(ValueError, match="Fewer than two"):
        plot_position_weight(rows.iloc[:2], scale, tmp_path / "b.png")


# The phase diagram


def phase_cells(tried: list[tuple[str, str, str]]) -> pd.DataFrame:
    rows = [
        {"x": x, "y": y, "across": across, "title": title, "difference": 0.1 * i - 0.2, "better": 1}
        for i, (x, y, across) in enumerate(tried)
        for title in ("Compositional similarity", "Compositional validity")
    ]
    return pd.DataFrame(rows).assign(resolved=lambda frame: frame["difference"] > 0, trials=1)


def phase_axes(paper: tuple[str, ...] | None) -> tuple[PhaseAxis, PhaseAxis, PhaseAxis]:
    return (
        PhaseAxis(title="σ_noise", places=("0.1", "0.2"), paper=("0.1", "0.2")),
        PhaseAxis(title="r", places=("0.05", "0.3", "1"), paper=paper),
        PhaseAxis(title="G:D", places=("10:1", "1:1"), paper=("10:1",)),
    )


def test_a_phase_diagram_draws_no_cell_that_was_not_tried(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    drawn: list[str] = []
    original = Axes.text

    def text(self: Axes, x: float, y: float, s: str, **named: object) -> object:
        drawn.append(s)
        return original(self, x, y, s, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Axes, "text", text)
    tried = [("0.1", "0.05", "10:1"), ("0.2", "0.3", "10:1"), ("0.2", "1", "1:1")]
    plot_phase(phase_cells(tried), *phase_axes(None), tmp_path / "phase.png")
    assert sorted(drawn) == sorted(2 * ["-0.200", "-0.100", "+0.000"])
    assert shows_something(tmp_path / "phase.png")


@pytest.mark.parametrize(("paper", "frames"), [(None, 2), (("0.3",), 2), (("0.05", "0.3"), 4)])
def test_the_papers_cells_are_framed(
    tmp_path: Path, monkeypatch: MonkeyPatch, paper: tuple[str, ...] | None, frames: int
) -> None:
    styles: list[str] = []
    original = Axes.add_patch

    def add_patch(self: Axes, patch: Rectangle) -> object:
        if not patch.get_fill():
            styles.append(str(patch.get_linestyle()))
        return original(self, patch)

    monkeypatch.setattr(Axes, "add_patch", add_patch)
    plot_phase(phase_cells([("0.1", "0.05", "10:1")]), *phase_axes(paper), tmp_path / "phase.png")
    assert styles == 2 * frames * [("--" if paper is None else "-")]  # a row of panels for each metric


def test_a_phase_diagram_without_a_cell_says_why(tmp_path: Path) -> None:
    nothing = phase_cells([("0.1", "0.05", "10:1")]).iloc[:0]
    with pytest.raises(ValueError, match="No trial and control arm"):
        plot_phase(nothing, *phase_axes(None), tmp_path / "no.png")
