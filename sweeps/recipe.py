"""Which recipe makes the best generator in a given time?

Every trial pre-trains one generator for the same minutes and differs from the preset in one thing: a wider or deeper
network, more neighbours of an atom, the learning rate, the noise (a number or a range), the masks, whether visible
atoms count in L_species, w_pos (the weight of positions in the loss), and averaged weights. Judged is the share of
masked atoms that are named right, at a test noise of 0.1. With --search optuna all of them vary together.

The minutes are wall-clock from the first step on, and a trial ends after the epoch in which they are exceeded. The
learning rate is constant, since a cosine would have to know the number of epochs: train the best recipe with one. Which
crystals are trained on is no axis, since it is also which ones are validated: compare such trainings with `evaluate`.

    python sweeps/recipe.py --preset demo                    half an hour on two cores, bundled crystals
    python sweeps/recipe.py --preset small --data train.parquet,val.parquet --minutes 30
    python sweeps/recipe.py --preset small --search optuna --num-samples 32 --seeds 2
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import click

import sweeps  # noqa: F401  brings the library that lies beside it, before another is imported
from crystalsweep.config import override
from crystalsweep.sweeping.command import sweep_command
from crystalsweep.sweeping.options import BACKBONE
from crystalsweep.sweeping.space.parameters import Parameter
from crystalsweep.sweeping.space.spec import SearchSpace, SweepSpec
from crystalsweep.training.catalogue import preset
from crystalsweep.training.config import RestorationConfig
from sweeps.axes import SIGMA, require_unvaried

UNTIL_THE_BUDGET = ("schedule=constant", "epochs=99999", "evaluation.sigma_noise=[0.1]")

MINUTES = {"smoke": 0.05, "demo": 2.5, "small": 30.0, "base": 240.0}

NOISE = {"0.1": 0.1, "0.2": 0.2, "0…0.4": {"low": 0.0, "high": 0.4}}
"""In units of min_edge; the paper's two, and its own suggestion of a range."""

MASKS = {
    "species, 15 %": {"species": 0.5, "random15": 0.5},
    "up to 60 %": {"species": 0.4, "random15": 0.35, "random30": 0.15, "random60": 0.1},
}

AVERAGED = {"off": None, "0.999": 0.999}

RATES, RATE_RANGE = (1.0, 1 / 3, 3.0), (0.1, 10.0)
"""Times the preset's learning rate."""

W_POS, W_POS_RANGE = (1.0, 0.25), (0.05, 5.0)
"""Times the preset's w_pos."""


def search_space(name: str, settings: Sequence[str], *, backbone: str, minutes: float | None) -> SearchSpace:
    """Return pre-training at a preset's size until the budget is spent; the grid changes one thing at a time."""
    budget = MINUTES.get(name) if minutes is None else minutes
    if budget is None:
        raise ValueError(f"the preset {name!r} has no budget of its own: give --minutes")
    told = (*UNTIL_THE_BUDGET, f"max_minutes={budget}", *settings)
    config = cast(RestorationConfig, override(preset("pretrain", name, backbone), told))
    width, layers, rate = config.backbone.width, config.backbone.layers, config.learning_rate
    neighbours, w_pos = config.backbone.max_neighbours, config.reconstruction.w_pos
    networks = {f"{width} × {layers}": (width, layers), f"{2 * width} × {layers}": (2 * width, layers)}
    networks |= {f"{width} × {layers + 1}": (width, layers + 1)}
    choices: dict[str, dict[str, dict[str, Any]]] = {
        "backbone.width": {n: {"backbone.width": w, "backbone.layers": d} for n, (w, d) in networks.items()},
        SIGMA: {n: {SIGMA: value} for n, value in NOISE.items()},
        "corruption.mask_types": {n: {"corruption.mask_types": value} for n, value in MASKS.items()},
        "ema_decay": {n: {"ema_decay": value} for n, value in AVERAGED.items()},
    }
    parameters = (
        _named("backbone.width", "width × layers", choices, brief="{}"),
        Parameter(
            key="backbone.max_neighbours", title="neighbours", values=(neighbours, 2 * neighbours), paper=neighbours
        ),
        _times("learning_rate", "lr", rate, RATES, RATE_RANGE),
        _named(SIGMA, "σ_noise", choices, paper="0.2", brief="σ={}"),
        _named("corruption.mask_types", "masks", choices, brief="masks {}"),
        Parameter(key="reconstruction.masked_only", title="masked only", values=(False, True), paper=False),
        _times("reconstruction.w_pos", "w_pos", w_pos, W_POS, W_POS_RANGE),
        _named("ema_decay", "averaged", choices, brief="EMA {}"),
    )
    require_unvaried(config, settings, parameters)
    return SearchSpace(
        stages={"pretrain": config}, parameters=parameters, grid=_one_by_one(parameters), choices=choices
    )


def _named(key: str, title: str, choices: dict[str, Any], *, brief: str, paper: str = "") -> Parameter:
    """Return a parameter whose values are names; the first is the paper's unless another is."""
    values = tuple(choices[key])
    return Parameter(key=key, title=title, values=values, paper=paper or values[0], brief=brief)


def _times(key: str, short: str, preset: float, factors: tuple[float, ...], bounds: tuple[float, float]) -> Parameter:
    """Return a positive parameter in units of the preset's value, searched on a logarithmic scale."""
    return Parameter(
        key=key,
        title=f"{short} / preset's",
        values=tuple(factor * preset for factor in factors),
        low=bounds[0] * preset,
        high=bounds[1] * preset,
        log=True,
        paper=preset,
        unit=preset,
        brief=f"{short}×{{}}",
    )


def _one_by_one(parameters: Sequence[Parameter]) -> tuple[dict[str, Any], ...]:
    """Return the point of all first values, and every point that differs from it in one."""
    first = {parameter.key: parameter.values[0] for parameter in parameters}
    return (first, *({**first, p.key: value} for p in parameters for value in p.values[1:]))


SWEEP = SweepSpec(
    name="recipe",
    question=__doc__,
    search_space=search_space,
    report="crystalsweep.sweeping.report.recipe:recipe_report",
)

main = sweep_command(
    SWEEP,
    BACKBONE,
    click.option(
        "--minutes",
        type=click.FloatRange(min=0, min_open=True),
        help="Wall-clock budget of a training.  [default: 2.5 for demo, 30 for small, 240 for base]",
    ),
    objectives=("masked_accuracy",),
    max_concurrent=1,
)

if __name__ == "__main__":
    main()
