"""Does the adversary pay: as a judge of candidates, or as a teacher?

A discriminator of species, the critic, learns to tell a generator's choices from the true ones. It can judge, ranking
joint candidates by log p + λ · critic, and it can teach: by its choices among candidates (judged), by preferring the
first of them to the last (preference), or by gradient, as the GAN of Liu et al., iScience 27, 110672 (2024) does
(gradient). The control arms make as many updates from the same generator without one: on the data alone (none), on
their own likeliest candidates (likeliest), and by preferring the truth to their own likeliest mistake (self_play). In
every arm a critic learns in turns with the generator, and all are decoded alike; that of none never taught, and is the
discriminator as a plain classifier, used for ranking alone. The first control is decoded at other temperatures too, and
with charge-neutral compositions first: how valid is that without an adversary?

Written down before the runs: arms are compared on the same corrupted crystals, over crystals and training seeds, all
comparisons corrected together (Holm). The judge pays where ranking by it restores more compositions, resolved, and
nothing is resolved worse. A teacher pays where a single pass of its generator is resolved better than every control in
compositional similarity and in compositional validity, and nothing is resolved worse; else no gain is shown. Validity
without elements and alloys, which the rule accepts as they are, is among what must not be worse. Screen
with one seed, confirm what is left with three or more. The validation crystals choose; the test crystals are asked
once, at the end, by `crystalsweep evaluate` and `crystalsweep compare control=A,B,C taught=D,E,F`.

    python sweeps/adversary.py --preset demo                 ten minutes on two cores, bundled crystals
    python sweeps/adversary.py --preset small --lessons judged,preference --seeds 3 --data train.parquet,val.parquet
    python sweeps/adversary.py --preset demo --energies 30   and energies and bond valences of what is restored
    python sweeps/adversary.py --preset small --vary phase   r of the gradient × σ × G:D, as a diagram
    python sweeps/adversary.py --preset small --vary judged --search optuna --num-samples 16 --scheduler asha
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

import click

import sweeps  # noqa: F401  brings the library that lies beside it, before another is imported
from crystalsweep.config import override, suggestion, value_at
from crystalsweep.inference.decoding.settings import DecodeConfig
from crystalsweep.sweeping.command import sweep_command
from crystalsweep.sweeping.options import BACKBONE
from crystalsweep.sweeping.report.named_decoders import BEAM, JUDGED, NEUTRAL
from crystalsweep.sweeping.space.judges import Judges
from crystalsweep.sweeping.space.parameters import Parameter, grid_points
from crystalsweep.sweeping.space.spec import SearchSpace, SweepSpec
from crystalsweep.training.catalogue import preset
from sweeps.axes import require_backbone_of, require_unvaried, sigma_noise
from trainables.teach.config import ASKS_CRITIC, CONTROLS, TeachConfig

LESSON = "lesson"

WARMUP = {"smoke": 4, "demo": 200}
"""Steps in which the critic learns before it teaches; elsewhere a thousand."""

CANDIDATES, LAMBDA = 16, 2.0
"""Of decoding: joint candidates, and the critic's weight."""

DECODERS = {
    BEAM: DecodeConfig(method="beam", candidates=CANDIDATES, passes=4),
    JUDGED: DecodeConfig(method="beam", candidates=CANDIDATES, passes=4, critic_weight=LAMBDA),
}

TILTED = {
    "drawn at T=1": DecodeConfig(method="sampled", candidates=1, passes=4, temperature=1.0),
    "drawn at T=0.5": DecodeConfig(method="sampled", candidates=1, passes=4, temperature=0.5),
    NEUTRAL: DecodeConfig(method="beam", candidates=CANDIDATES, passes=4, charge="prefer"),
}
"""Of the first control arm, which had no critic: what temperature and a rule of validity do without one."""

PHASE_RATIOS, PHASE_NOISE = (0.05, 0.3, 1.0), (0.1, 0.2)
"""Of the phase diagram: r, and the training noise, at both of the paper's values."""

CRITIC_SHARE = "critic_share"

CRITIC_SHARES = (1 / 11, 1 / 2)
"""Ten updates of the generator for each of the critic, the paper's, and one."""

PHASE_TURN = {"smoke": 22, "demo": 22}
"""Steps of a turn of which these shares are whole; elsewhere 110."""


def _lessons(told: Sequence[str]) -> tuple[Parameter, ...]:
    return (Parameter(key=LESSON, title="lesson", values=tuple(told), paper="gradient", brief="{}"),)


def _judged(told: Sequence[str]) -> tuple[Parameter, ...]:
    del told
    return (
        Parameter(key="candidates", title="candidates", values=(4, 8, 16), low=2, high=32, log=True, brief="n={}"),
        Parameter(key="critic_weight", title="λ", values=(0.5, 1.0, 2.0), low=0.1, high=10.0, log=True, brief="λ={}"),
    )


def _turns(told: Sequence[str]) -> tuple[Parameter, ...]:
    del told
    return (
        Parameter(key="turn_steps", title="steps of a turn", values=(20, 100, 400), brief="turn={}"),
        Parameter(key="critic_share", title="critic's share", values=(0.1, 0.2, 0.5), low=0.1, high=0.8),
    )


def _gradient(told: Sequence[str]) -> tuple[Parameter, ...]:
    del told
    ratios = (0.05, 0.1, 0.3, 1.0)
    return (Parameter(key="gradient_ratio", title="r", values=ratios, low=0.01, high=3.0, log=True, brief="r={}"),)


def _phase(told: Sequence[str]) -> tuple[Parameter, ...]:
    ratio = replace(_gradient(told)[0], values=PHASE_RATIOS)
    balance = Parameter(key=CRITIC_SHARE, title="critic's share", values=CRITIC_SHARES, paper=CRITIC_SHARES[0])
    return (ratio, sigma_noise(PHASE_NOISE), balance)


VARY: dict[str, tuple[Callable[[Sequence[str]], tuple[Parameter, ...]], str]] = {
    "lesson": (_lessons, ""),
    "judged": (_judged, "judged"),
    "turns": (_turns, "judged"),
    "gradient": (_gradient, "gradient"),
    "phase": (_phase, "gradient"),
}
"""By what `--vary` says: the axes, and the lesson that all trials have but the control arms."""


def search_space(
    name: str,
    settings: Sequence[str],
    *,
    backbone: str,
    lessons: str,
    vary: str,
    energies: int = 0,
    calculator: str = "chgnet",
) -> SearchSpace:
    """Return pre-training and teaching on one backbone.

    Args:
        name: Of the preset.
        settings: `KEY=VALUE` that change the teaching.
        backbone: The network.
        lessons: What the critic teaches by, an arm each, with commas between them.
        vary: A key of `VARY`.
        energies: Validation crystals whose restored ones independent judges are asked of; 0 asks none.
        calculator: Of energies.
    """
    told = [each.strip() for each in lessons.split(",") if each.strip()]
    for each in told:
        if each not in ASKS_CRITIC:
            known = dict.fromkeys(ASKS_CRITIC)
            raise ValueError(f"--lessons {each}: no lesson of the critic is called that; {suggestion(each, known)}")
    axes, lesson = VARY[vary]
    pretrain, teach = preset("pretrain", name, backbone), preset("teach", name, backbone)
    first = [f"critic_warmup={WARMUP.get(name, 1000)}", *([f"lesson={lesson}"] if lesson else [])]
    first += [f"turn_steps={PHASE_TURN.get(name, 110)}"] if vary == "phase" else []
    config = cast(TeachConfig, override(teach, [*first, *settings]))
    require_backbone_of(pretrain, config, "the teaching")
    parameters = axes(told)
    require_unvaried(config, settings, (*parameters, *_lessons(told)))
    controls: list[dict[str, Any]] = [_of_control(config, parameters, control) for control in CONTROLS]
    if vary == "phase":  # noise and balance reach a control arm too, so that each pair of them has its own
        controls = [{**controls[0], **point} for point in grid_points(parameters[1:])]
    return SearchSpace(
        stages={"pretrain": pretrain, "teach": config},
        parameters=parameters,
        controls=tuple(controls),
        grid=tuple(grid_points(parameters)),
        judges=Judges(parents=energies, calculator=calculator) if energies else None,
    )


def _of_control(config: TeachConfig, parameters: Sequence[Parameter], control: str) -> dict[str, Any]:
    """Return a control arm: what is varied stays as the preset has it, since most of it reaches no control."""
    told = config.model_dump(mode="json")
    return {**{each.key: value_at(told, each.key) for each in parameters}, LESSON: control}


SWEEP = SweepSpec(
    name="adversary",
    question=__doc__,
    search_space=search_space,
    report="crystalsweep.sweeping.report.adversary:adversary_report",
    decoders=DECODERS,
    control_decoders=TILTED,
)

main = sweep_command(
    SWEEP,
    BACKBONE,
    click.option(
        "--lessons",
        default=",".join(ASKS_CRITIC),
        show_default=True,
        metavar="A,B",
        help="What the critic teaches by, an arm each, beside the control arms.",
    ),
    click.option(
        "--vary",
        type=click.Choice(list(VARY)),
        default="lesson",
        show_default=True,
        help="The lesson; or of judged its candidates and λ, or its turns; or the ratio r of gradient; or a phase "
        "diagram of gradient over r, σ and G:D, each σ and G:D with a control arm of its own.",
    ),
    click.option(
        "--energies",
        type=click.IntRange(min=0),
        default=0,
        show_default=True,
        help="Ask judges that no training has seen, of all arms and decoders: energies of what is restored of so many "
        "crystals, and whether charges balance by bond lengths. Takes minutes.",
    ),
    click.option(
        "--calculator",
        default="chgnet",
        show_default=True,
        help="Of --energies: chgnet, sevennet, MODULE:CLASS of an ASE calculator, uma:FILE.",
    ),
    objectives=("compositional_similarity",),
)

if __name__ == "__main__":
    main()
