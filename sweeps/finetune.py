"""How much data does pre-training save?

Fine-tuning learns a property from more and more labelled crystals, in three arms: from the pre-trained generator,
likewise with the head alone updated, and from scratch, which is the control. All arms learn from the same crystals, the
smaller sets within the larger, and make as many steps whatever their number, so that an arm is never better for having
trained longer. The report draws error against number of crystals (Fig. S4 of Liu et al., iScience 27, 110672 (2024))
beside what the composition alone tells, and says with how many labels the pre-trained arm does what the other does with
all of them.

Pre-training sees the structures of all training crystals and no label. By default it is the registry's champion where
that fits, else trained first; `--start-from shipped` takes the generator that comes with crystalsweep, whose own
training crystals may be among these. Give `--seeds 3`, or the spread between trainings is in no interval.

    python sweeps/finetune.py --preset demo                  some minutes on two cores, bundled crystals
    python sweeps/finetune.py --preset demo --target "log10(k_vrh)" --seeds 3
    python sweeps/finetune.py --preset demo --data mine.csv --target hardness
    python sweeps/finetune.py --preset small --data train.parquet,val.parquet --target band_gap --learning-rates 0.3,1,3
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import cast

import click

import sweeps  # noqa: F401  brings the library that lies beside it, before another is imported
from crystalsweep.config import override
from crystalsweep.sweeping.command import sweep_command
from crystalsweep.sweeping.options import BACKBONE
from crystalsweep.sweeping.space.parameters import Parameter, grid_points
from crystalsweep.sweeping.space.spec import SearchSpace, SweepSpec
from crystalsweep.training.catalogue import preset
from sweeps.axes import require_unvaried
from trainables.finetune.config import FinetuneConfig

SHARES = "1/16,1/8,1/4,1/2,1"

ARMS = {
    "pre-trained": {"from_scratch": False, "trainable": "all"},
    "pre-trained, head alone": {"from_scratch": False, "trainable": "head"},
    "from scratch": {"from_scratch": True, "trainable": "all"},
}
"""What each starts from and updates; the last is the control, and the paper updates everything."""

SCRATCH = list(ARMS)[-1]


def search_space(
    name: str,
    settings: Sequence[str],
    *,
    backbone: str,
    target: str,
    shares: Sequence[float],
    learning_rates: Sequence[float],
) -> SearchSpace:
    """Return pre-training, and after it fine-tuning of every arm on every share of the labelled training crystals.

    Args:
        name: Of the preset.
        settings: `--set` assignments, of fine-tuning.
        backbone: The network.
        target: What is learnt.
        shares: Of the labelled training crystals.
        learning_rates: Multiples of the preset's.
    """
    config = cast(FinetuneConfig, override(preset("finetune", name, backbone), settings))
    config = config.model_copy(update={"targets": FinetuneConfig(targets=(target,)).targets})
    rate = config.learning_rate
    parameters = (
        Parameter(key="train_share", title="share of crystals", values=tuple(shares), paper=1.0, brief="share {}"),
        Parameter(key="arm", title="arm", values=tuple(ARMS), paper=next(iter(ARMS)), brief="{}"),
        Parameter(
            key="learning_rate",
            title="lr / preset's",
            values=tuple(times * rate for times in learning_rates),
            log=True,
            paper=rate,
            unit=rate,
            brief="lr×{}",
        ),
    )
    fixed = [Parameter(key=key, title=key, values=()) for key in ("targets", *ARMS[SCRATCH])]
    require_unvaried(config, settings, [*parameters, *fixed])
    points = grid_points(parameters)
    return SearchSpace(
        stages={"pretrain": override(preset("pretrain", name, backbone), ["stable_only=false"]), "finetune": config},
        parameters=parameters,
        controls=tuple(point for point in points if point["arm"] == SCRATCH),
        grid=tuple(point for point in points if point["arm"] != SCRATCH),
        choices={"arm": ARMS},
    )


def fractions(context: click.Context, parameter: click.Parameter, text: str) -> list[float]:
    """Return the shares in an option, each once, ascending."""
    try:
        found = sorted({float(Fraction(each.strip())) for each in text.split(",")})
    except (ValueError, ZeroDivisionError):
        raise click.BadParameter(f"{text!r} is no list such as 1/8,1/2,1", context, parameter) from None
    if found[0] <= 0 or found[-1] > 1:
        raise click.BadParameter(f"{text!r}: a share is greater than 0 and at most 1", context, parameter)
    return found


def factors(context: click.Context, parameter: click.Parameter, text: str) -> list[float]:
    """Return the multiples in an option, each once, ascending."""
    try:
        found = sorted({float(each) for each in text.split(",")})
    except ValueError:
        raise click.BadParameter(f"{text!r} is no list of numbers such as 0.3,1,3", context, parameter) from None
    if not 0 < found[0] <= found[-1] < float("inf"):
        raise click.BadParameter(f"{text!r}: a multiple is greater than 0", context, parameter)
    return found


SWEEP = SweepSpec(
    name="finetune",
    question=__doc__,
    search_space=search_space,
    report="crystalsweep.sweeping.report.finetune:finetune_report",
)

main = sweep_command(
    SWEEP,
    BACKBONE,
    click.option(
        "--target",
        default="formation_energy_per_atom",
        show_default=True,
        metavar="LABEL",
        help="What is learnt: a label, log10(LABEL), LABEL<=NUMBER, class(LABEL), or spectrum(LABEL).",
    ),
    click.option(
        "--shares",
        default=SHARES,
        show_default=True,
        callback=fractions,
        help="Shares of the labelled training crystals to learn from.",
    ),
    click.option(
        "--learning-rates",
        default="1",
        show_default=True,
        callback=factors,
        help="Multiples of the preset's learning rate; each arm is shown at its best.",
    ),
    objectives=("error",),
)

if __name__ == "__main__":
    main()
