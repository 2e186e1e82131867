"""What a sweep can optimise: metrics of the last epoch, by short name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from crystalsweep.config import suggestion
from crystalsweep.training.records import SCORE, Scored


@dataclass(frozen=True, kw_only=True)
class Objective:
    """One number to maximise or minimise."""

    name: str
    """As `--objective` has it."""
    metric: str
    """As epochs report it; its interval, where there is one, is under `/low` and `/high`."""
    title: str
    direction: Literal["maximize", "minimize"] = "maximize"
    of: Scored = "restorations"
    """What stages must score to report it."""
    undefined: float | None = 0.0
    """What counts in the search where no crystal defines it: 0, the worst of a share. None: such a trial has failed."""

    @property
    def mode(self) -> Literal["max", "min"]:
        """As Ray Tune and checkpoints have the direction."""
        return "max" if self.direction == "maximize" else "min"


OBJECTIVES = {
    objective.name: objective
    for objective in (
        Objective(name="score", metric=SCORE, title="Score"),
        Objective(name="structural_validity", metric="val/structural_validity", title="Structural validity"),
        Objective(
            name="structural_validity_high_noise",
            metric="val/high_noise/structural_validity",
            title="Structural validity, highest σ",
        ),
        Objective(name="compositional_validity", metric="val/compositional_validity", title="Compositional validity"),
        Objective(
            name="compositional_similarity", metric="val/compositional_similarity", title="Compositional similarity"
        ),
        Objective(name="structural_similarity", metric="val/structural_similarity", title="Structural similarity"),
        Objective(name="masked_accuracy", metric="val/masked_accuracy", title="Masked accuracy"),
        Objective(
            name="error",
            metric="val/error",
            title="Validation error",
            of="predictions",
            direction="minimize",
            undefined=None,
        ),
        Objective(name="novelty", metric="val/novel_vs_input", title="Novel against input"),
        Objective(name="loss_species", metric="loss/species", title="L_species", direction="minimize", undefined=None),
        Objective(
            name="loss_position", metric="loss/position", title="L_position", direction="minimize", undefined=None
        ),
    )
}


def objectives(names: tuple[str, ...]) -> tuple[Objective, ...]:
    """Return the objectives of these names. Raises `ValueError` naming the nearest for an unknown one."""
    for name in names:
        if name not in OBJECTIVES:
            raise ValueError(f"there is no objective {name!r}; {suggestion(name, OBJECTIVES)}")
    return tuple(OBJECTIVES[name] for name in dict.fromkeys(names))
