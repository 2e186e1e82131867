"""What the generator says of crystals on several sets of positions: as they are given, and as it restores them itself.

Displacements blur what an element's neighbours tell of it. On positions that the generator has restored it names more
elements rightly, and the mean over both is surer than either.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from crystalsweep.inference.decoding.network import Answer, ask
from crystalsweep.inference.decoding.positions import place
from crystalsweep.networks.models import Generator
from crystalsweep.structures.crystal import Crystal

Views = list[Sequence[Crystal]]
"""The same crystals on one set of positions after the other."""


def views_of(generator: Generator, partials: Sequence[Crystal], count: int) -> Views:
    """Return crystals as they are given, then as restored from the view before, `count` views in all.

    They are restored before any masked species is known, so that positions tell nothing of a choice.

    Args:
        generator: In evaluation mode.
        partials: Masked sites with species `MASK`.
        count: At least 1.
    """
    views: Views = [partials]
    while len(views) < count:
        views.append([placed.crystal for placed in place(generator, views[-1], passes=1)])
    return views


def ask_views(
    generator: Generator,
    views: Views,
    which: Sequence[int],
    species: Sequence[NDArray[np.int64]],
    sharpness: float = 1.0,
) -> list[Answer]:
    """Return what the generator says of crystals with these species: of log p the mean over views, normalised again,
    and P̃ of the first view.

    Args:
        generator: In evaluation mode.
        views: Of all crystals.
        which: Crystals that are asked about, by index; one may be asked about many times.
        species: (N,) of each, `MASK` where unknown.
        sharpness: As for `ask`.
    """
    told = [ask(generator, [view[index] for index in which], species, sharpness) for view in views]
    return told[0] if len(told) == 1 else [_mean(answers) for answers in zip(*told, strict=True)]


def _mean(answers: Sequence[Answer]) -> Answer:
    logs = np.mean([answer.log_probabilities for answer in answers], axis=0)
    return Answer(logs - np.logaddexp.reduce(logs, axis=1, keepdims=True), answers[0].perturbation)
