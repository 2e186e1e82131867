"""Joint choices for masked sites, best first: found by a decoder, and judged where a critic is asked."""

from __future__ import annotations

from collections.abc import Sequence

from crystalsweep.inference.decoding.constraints import Constraints
from crystalsweep.inference.decoding.filling import Filling, fill
from crystalsweep.inference.decoding.judging import judged
from crystalsweep.inference.decoding.settings import DecodeConfig
from crystalsweep.networks.models import Critic, Generator
from crystalsweep.structures.crystal import Crystal


def choose(
    generator: Generator,
    partials: Sequence[Crystal],
    config: DecodeConfig,
    constraints: Constraints | None = None,
    *,
    sharpness: float = 1.0,
    critic: Critic | None = None,
    filled: list[list[Filling]] | None = None,
) -> list[list[Filling]]:
    """Return joint choices for the masked sites of each crystal, the best first; see `fill`.

    Args:
        generator: In evaluation mode.
        partials: Crystals, masked sites with species `MASK`.
        config: Method, its numbers, and the critic's weight.
        constraints: What candidates must fulfil.
        sharpness: As for `network.ask`.
        critic: Of the generator; needed where `config.critic_weight` is above 0.
        filled: What `fill` gives, where that is known.

    Raises:
        ValueError: As `fill`; or a critic is to be asked, and there is none.
    """
    if filled is None:
        filled = fill(generator, partials, config, constraints, sharpness)
    if not config.critic_weight:
        return filled
    if critic is None:
        raise ValueError(
            "critic_weight is above 0, but the generator has no critic; train one with `crystalsweep train critic "
            "--generator …` and name its run, or set critic_weight=0"
        )
    return judged(generator, critic, partials, filled, config)
