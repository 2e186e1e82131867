"""Settings and presets of the stage in which the critic teaches. Imports without torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from crystalsweep.hyperparameters import NonNegative, Positive, Weight
from crystalsweep.training.catalogue import StageSpec, StepKinds, declare
from crystalsweep.training.config import RestorationConfig
from trainables.pretrain.config import BASE_EVALUATION, DEMO_EVALUATION, SMALL_EVALUATION, SMOKE_EVALUATION

Lesson = Literal["none", "likeliest", "self_play", "judged", "preference", "gradient"]

ASKS_CRITIC = ("judged", "preference", "gradient")
"""Lessons that come from the critic."""

CONTROLS = ("none", "likeliest", "self_play")
"""Lessons that need none: what they teach, no critic did."""

PREFERS = ("self_play", "preference")
"""Lessons that are a preference of one choice over another."""


class TeachConfig(RestorationConfig):
    """Turns in which the generator learns from what the critic says, then the critic from what the generator makes."""

    lesson: Lesson = "judged"
    """What the generator learns besides the data. judged: the candidate that is first by log p + λ · critic.
    preference: the first rather than the last of them. gradient: what raises the critic's answer, as in a GAN, through
    the species. The control arms have no critic: none, the data alone; likeliest, its own likeliest candidate;
    self_play, the true choice rather than its own likeliest wrong one (doi:10.48550/arXiv.2401.01335)."""
    lesson_weight: NonNegative = 1.0
    """Weight of the lesson's loss; of gradient, see gradient_ratio."""
    truth_weight: NonNegative = 1.0
    """Weight of L_species, which the true species teach; the lesson may take its place in part."""
    candidates: Annotated[int, Field(ge=2, le=64)] = 8
    """Joint choices that a lesson picks from: the likeliest chain, and draws."""
    passes: Annotated[int, Field(ge=1, le=64)] = 2
    """In which the masked sites of a candidate are filled, the surest first."""
    temperature: Weight = 1.0
    """Of drawing candidates."""
    critic_weight: NonNegative = 1.0
    """λ: candidates are ranked by log p + λ · critic."""
    preference_strength: Positive = 0.1
    """β of preference and self_play: how soon a pair counts as learnt whose odds have moved."""
    gradient_ratio: Positive = 0.1
    """r of gradient: its norm on the generator's weights over that of the reconstruction."""
    turn_steps: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    """Steps of a turn: those of the generator, then those of the critic."""
    critic_share: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Share of a turn in which the critic learns against the generator as it is by then; also where the lesson is none
    of its own, so that every arm has a judge of its generator, and all generators make as many updates."""
    critic_warmup: Annotated[int, Field(ge=0, le=1_000_000_000)] = 0
    """First steps of the run in which the critic alone learns: what it needs where there was none before."""
    critic_learning_rate: Positive = 3e-4
    """Of the critic."""
    argmax_share: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of the critic's crystals whose species are the likeliest; the others are drawn."""
    site_weight: NonNegative = 1.0
    """Weight of the critic's answers per masked site beside those per crystal."""
    audit_every: Annotated[int, Field(gt=0, le=1_000_000)] = 20
    """Generator steps between audits of the lesson's gradient."""

    @model_validator(mode="after")
    def _has_two_parts(self) -> TeachConfig:
        """Refuse a turn in which nobody or only the critic learns."""
        if self.critic_share and not 1 <= self.critic_steps < self.turn_steps:
            own = self.turn_steps - self.critic_steps
            raise ValueError(
                f"critic_share={self.critic_share:g} of turn_steps={self.turn_steps} leaves {self.critic_steps} steps "
                f"to the critic and {own} to the generator; make turns longer, or set critic_share=0 for a critic that "
                "stays as it is"
            )
        return self

    @property
    def critic_steps(self) -> int:
        """Steps at the end of each turn in which the critic learns."""
        return round(self.critic_share * self.turn_steps)

    def critic_learns_at(self, step: int) -> bool:
        """Return whether a step, counted from 0, is the critic's."""
        return step < self.critic_warmup or self._in_turn(step) >= self.turn_steps - self.critic_steps

    def audited_at(self, step: int) -> bool:
        """Return whether a step of the generator is audited."""
        return self._in_turn(step) % self.audit_every == 0

    def _in_turn(self, step: int) -> int:
        return (step - self.critic_warmup) % self.turn_steps


PRESETS = {
    "smoke": TeachConfig(
        epochs=2, max_atoms=12, max_crystals=64, turn_steps=2, critic_share=0.5, evaluation=SMOKE_EVALUATION
    ),
    "demo": TeachConfig(
        epochs=8,
        learning_rate=1e-3,
        critic_learning_rate=1e-3,
        schedule="cosine",
        max_atoms=20,
        turn_steps=20,
        candidates=4,
        evaluation=DEMO_EVALUATION,
    ),
    "small": TeachConfig(epochs=2, learning_rate=3e-4, schedule="cosine", max_atoms=60, evaluation=SMALL_EVALUATION),
    "base": TeachConfig(epochs=10, learning_rate=1e-4, schedule="cosine", max_atoms=120, evaluation=BASE_EVALUATION),
    "paper": TeachConfig(epochs=10, learning_rate=1e-4, lesson="gradient", evaluation=BASE_EVALUATION),
}
"""`smoke`: seconds. `demo`: minutes on two cores. `small`: half an hour with tens of thousands of crystals. `base`:
hours on a GPU. `paper`: at the size of the paper's networks, by gradient, as its GAN teaches."""


def step_kinds(config: TeachConfig) -> StepKinds:
    """Return a step of each kind and its share of a turn: the generator's, audited or not, and the critic's."""
    own, first = config.turn_steps - config.critic_steps, config.critic_warmup
    audited = len(range(0, own, config.audit_every))
    kinds = [(first, audited / config.turn_steps)]
    if own > audited:
        kinds.append((first + 1, (own - audited) / config.turn_steps))
    if config.critic_steps:
        kinds.append((first + own, config.critic_steps / config.turn_steps))
    return kinds


STAGE = declare(
    StageSpec(
        name="teach",
        package="trainables.teach",
        summary="Let the critic teach the generator, by its choices among candidates or by gradient.",
        presets=PRESETS,
        inputs=("generator",),
        leaves="generator",
        named={"lesson": "{}"},
        step_kinds=step_kinds,
    )
)
"""Of a checkpoint of `critic`, generator and critic go on in turns; of a generator alone, the critic first learns for
`critic_warmup` steps."""
