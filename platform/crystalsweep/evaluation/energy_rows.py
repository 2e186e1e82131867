"""Energies for the sampled rows of a table; each process makes its own calculator and hull when it first needs them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crystalsweep.energies import (
    ENERGY_COLUMNS,
    EnergyCalculator,
    Limits,
    ReferenceHull,
    energy_calculator,
    energy_columns,
)
from crystalsweep.energies.completeness import hull_doubts
from crystalsweep.energies.hull import LABEL
from crystalsweep.evaluation.settings import EnergyConfig
from crystalsweep.structures.crystal import Crystal


class Energies:
    """A calculator with the hull of the crystals whose formation energy is known. Picklable: only these travel."""

    def __init__(self, config: EnergyConfig, labelled: Sequence[Crystal], device: str) -> None:
        self.config, self.labelled, self.device = config, labelled, device

    def __reduce__(self) -> tuple[type[Energies], tuple[EnergyConfig, Sequence[Crystal], str]]:
        return Energies, (self.config, self.labelled, self.device)

    @cached_property
    def calculator(self) -> EnergyCalculator:
        """By its name. Raises `ValueError` with the remedy where there is none."""
        limits = Limits(max_atoms=self.config.max_atoms)
        return energy_calculator(self.config.calculator, device=self.device, limits=limits)

    @cached_property
    def hull(self) -> ReferenceHull | None:
        """None where no crystal carries a formation energy."""
        return ReferenceHull(self.labelled) if self.labelled else None

    def columns(
        self,
        originals: Sequence[Crystal],
        generated: Sequence[Crystal],
        sampled: NDArray[np.bool_],
        relative_only: NDArray[np.bool_] | None = None,
    ) -> pd.DataFrame:
        """Return energy columns (n rows), and `energy_sampled`; NaN, without a reason, where none is asked for.

        Args:
            originals: Parents.
            generated: What became of them.
            sampled: (n,) rows with all energies: a fair sample, which hull and S.U.N. are averaged over.
            relative_only: (n,) further rows with the energy relative to the parent and none above the hull.
        """
        table = pd.DataFrame(np.nan, index=range(len(generated)), columns=list(ENERGY_COLUMNS[:-1]), dtype=np.float64)
        table = table.assign(energy_failure="", energy_sampled=sampled)
        further = np.zeros(len(generated), dtype=bool) if relative_only is None else relative_only
        for rows, hull in ((np.flatnonzero(sampled).tolist(), self.hull), (np.flatnonzero(further).tolist(), None)):
            if rows:
                found = energy_columns(
                    [originals[i] for i in rows],
                    [generated[i] for i in rows],
                    self.calculator,
                    hull,
                    relax_steps=self.config.relax_steps,
                )
                table.loc[rows, list(ENERGY_COLUMNS)] = found[list(ENERGY_COLUMNS)].to_numpy()
        return table.astype(dict.fromkeys(ENERGY_COLUMNS[:-1], np.float64))

    def doubts(self, table: pd.DataFrame, true_crystals: Sequence[Crystal]) -> list[str]:
        """Return why the hull is not complete enough for S.U.N.; none where it is, as far as can be told."""
        return hull_doubts(self.hull, table, true_crystals)

    def record(self) -> dict[str, Any]:
        """Return what the figures rest on."""
        n = len(self.labelled)
        relaxed = f"at most {self.config.relax_steps} steps" if self.config.relax_steps else "no"
        return {
            "calculator": self.config.calculator,
            "relaxed": relaxed,
            "hull": f"{n:,} crystals of data and reference with {LABEL}" if n else f"none: no crystal has {LABEL}",
        }
