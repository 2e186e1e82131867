"""How generated crystals are scored: every threshold and switch by name, and presets for the field's conventions.

Imports without torch. The defaults are this project's; `METRIC_PRESETS` holds what other papers used, for `rescore`.
Thresholds: CDVAE (doi:10.48550/arXiv.2110.06197), SMACT (doi:10.21105/joss.01361), Liu et al.
(doi:10.1016/j.isci.2024.110672), MatterGen (doi:10.1038/s41586-025-08628-5).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from crystalsweep.config import Config


class StructureRules(Config):
    """Settings of the structural validity."""

    min_distance: Annotated[float, Field(gt=0, le=5)] = 0.5
    """Å; every interatomic distance of a valid crystal is greater."""
    min_volume: Annotated[float, Field(ge=0, le=1000)] = 0.1
    """Å³; the cell of a valid crystal is at least this large."""
    own_images: bool = True
    """Count an atom's distance to its own periodic images; CDVAE's check does not."""


class CompositionRules(Config):
    """Settings of the compositional validity. Real crystals score 73–92 % depending on them: report them with it."""

    oxidation_states: Literal["smact14", "icsd24"] = "smact14"
    """`smact14`: SMACT's 2014 list (CDVAE parity). `icsd24`: SMACT 4's default, states reported three times or more."""
    pauling: bool = True
    """Ask that every cation be less electronegative than every anion."""
    alloys: bool = True
    """Accept every composition of metals only."""
    missing_electronegativity: Literal["invalid", "passes"] = "invalid"
    """What the Pauling test says of an element without electronegativity: SMACT 4 rejects it, CDVAE does not."""


class MatcherTolerances(Config):
    """Tolerances of pymatgen's StructureMatcher."""

    ltol: Annotated[float, Field(gt=0, le=1)]
    """Fractional tolerance of lattice lengths."""
    stol: Annotated[float, Field(gt=0, le=1)]
    """Site tolerance in units of (V/N)^(1/3)."""
    angle_tol: Annotated[float, Field(gt=0, le=45)]
    """Tolerance of lattice angles, degrees."""


class MetricConfig(Config):
    """All of it; its fingerprint is part of an evaluation's `metrics_lock`."""

    structure: StructureRules = StructureRules()
    """Structural validity."""
    composition: CompositionRules = CompositionRules()
    """Compositional validity."""
    match: MatcherTolerances = MatcherTolerances(ltol=0.3, stol=0.5, angle_tol=10)
    """Match rate and RMSD against the parent: the field's setting for reconstruction."""
    duplicate: MatcherTolerances = MatcherTolerances(ltol=0.2, stol=0.3, angle_tol=5)
    """Uniqueness and novelty: pymatgen's defaults."""
    stable_below: Annotated[float, Field(ge=-1, le=1)] = 0.1
    """eV/atom above the hull up to which a crystal counts as stable in S.U.N.: MatterGen's."""


DEFAULT_RULES = CompositionRules()

METRIC_PRESETS: dict[str, MetricConfig] = {
    "default": MetricConfig(),
    "cdvae2022": MetricConfig(
        structure=StructureRules(own_images=False),
        composition=CompositionRules(oxidation_states="smact14", missing_electronegativity="passes"),
    ),
    "smact4": MetricConfig(composition=CompositionRules(oxidation_states="icsd24")),
    "paper": MetricConfig(composition=CompositionRules(oxidation_states="smact14", pauling=False)),
}
"""`cdvae2022`: CDVAE's published checks. `smact4`: SMACT 4's defaults. `paper`: Liu et al.'s text, which asks for
shortest distance > 0.5 Å and charge neutrality, and names no further setting."""
