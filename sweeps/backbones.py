"""Which network learns most from one budget?

Every trial pre-trains a generator on the same crystals, with the same corruptions and losses, for the same minutes;
only the backbone differs, each at the preset's size and with its own learning rate. What they make of it is scored on
the same corrupted crystals and compared pair by pair.

The minutes are wall-clock from the first step on. They include validation, which is kept to a small share of every
network's time, larger for a fast one; the table tells the minutes of training apart. A trial ends after the epoch in
which the budget is exceeded, so epochs are kept short, and no learning rate decays, since that would have to know their
number. Trials run one after the other: side by side (--max-concurrent) they compare only where each has cores or a GPU
to itself.

    python sweeps/backbones.py --preset demo                 ten minutes on two cores, bundled crystals
    python sweeps/backbones.py --preset demo --seeds 3 --backbones painn,escn_md
    python sweeps/backbones.py --preset base --data train.parquet,val.parquet --minutes 600 --gpus-per-worker 1
"""

from __future__ import annotations

from collections.abc import Sequence

import click

import sweeps  # noqa: F401  brings the library that lies beside it, before another is imported
from crystalsweep.config import override
from crystalsweep.networks.architectures import SIZES
from crystalsweep.sweeping.command import sweep_command
from crystalsweep.sweeping.space.parameters import Parameter
from crystalsweep.sweeping.space.spec import SearchSpace, SweepSpec
from crystalsweep.training.catalogue import preset

ENDED_BY_MINUTES = ("schedule=constant", "epochs=99999")

BUDGETS = {
    "smoke": ("max_minutes=0.05",),
    "demo": ("max_minutes=2.5", "max_crystals=1600", "evaluation.max_crystals=50"),
    "small": ("max_minutes=30", "max_crystals=5000"),
    "base": ("max_minutes=240",),
}
"""By preset: the minutes, and what keeps an epoch to a small share of them."""


def search_space(name: str, settings: Sequence[str], *, backbones: Sequence[str], minutes: float | None) -> SearchSpace:
    """Return pre-training at a preset's size on any of the backbones, until the budget is spent."""
    given = () if minutes is None else (f"max_minutes={minutes}",)
    told = [*ENDED_BY_MINUTES, *BUDGETS.get(name, ()), *given, *settings]
    configs = {backbone: override(preset("pretrain", name, backbone), told) for backbone in backbones}
    base = configs[backbones[0]]
    if base.max_minutes is None:
        raise ValueError(f"the preset {name!r} has no budget of its own: give --minutes")
    if base.seed:
        raise ValueError("seeds are 0, 1, …: choose their number with --seeds instead of --set seed")
    networks = {
        backbone: {"backbone": config.backbone.model_dump(mode="json"), "learning_rate": config.learning_rate}
        for backbone, config in configs.items()
    }
    compared = Parameter(key="backbone", title="backbone", values=tuple(backbones), brief="{}")
    return SearchSpace(stages={"pretrain": base}, parameters=(compared,), choices={"backbone": networks})


def known(context: click.Context, parameter: click.Parameter, text: str) -> list[str]:
    """Return the backbones named in an option, each once."""
    names = list(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        if name not in SIZES:
            raise click.BadParameter(f"{name!r} is none of {', '.join(SIZES)}", context, parameter)
    return names


SWEEP = SweepSpec(
    name="backbones",
    question=__doc__,
    search_space=search_space,
    report="crystalsweep.sweeping.report.backbones:backbones_report",
)

main = sweep_command(
    SWEEP,
    click.option(
        "--backbones", default=",".join(SIZES), show_default=True, callback=known, help="Networks to compare."
    ),
    click.option(
        "--minutes",
        type=click.FloatRange(min=0, min_open=True),
        help="Wall-clock budget of a training.  [default: 2.5 for demo, 30 for small, 240 for base]",
    ),
    max_concurrent=1,
    presets="smoke, demo, small or base.",
)

if __name__ == "__main__":
    main()
