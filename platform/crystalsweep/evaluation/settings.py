"""What an evaluation can be told, and the lock that says whether two evaluations measured the same thing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

from pydantic import Field

from crystalsweep.config import Config, leaves
from crystalsweep.hyperparameters import EvaluationConfig
from crystalsweep.inference.decoding.settings import ARGMAX, DecodeConfig
from crystalsweep.metrics.settings import MetricConfig
from crystalsweep.provenance import sources_sha256

MEASURING = ("pymatgen", "pymatgen-core", "smact", "spglib", "chgnet", "ase", "torch", "scipy", "numpy")
"""Libraries whose version can change a metric."""

_SOURCES = (
    *("metrics", "energies", "hyperparameters.py"),
    *("evaluation/protocol.py", "evaluation/scoring.py", "evaluation/submitted.py", "evaluation/results.py"),
    *("evaluation/energy_rows.py", "evaluation/inputs.py"),
    *(f"evaluation/properties/{name}.py" for name in ("inputs", "scoring", "tables")),
    *(f"structures/{name}.py" for name in ("neighbours", "corruption", "crystal", "batch")),
    "seeding.py",
)
"""Of this library, what decides the figures of a given set of generated crystals and how inputs are corrupted."""


_MEANING = ("metrics", "energies", "nominal_sigma", "decode")
"""Of the settings, those that decide what a figure means; the others decide which crystals it is of."""


class EnergyConfig(Config):
    """Energies of generated crystals, which are computed for a sample: they take longest."""

    calculator: str = "chgnet"
    """`none`, `chgnet`, the import path of an ASE calculator (`module:Class`), or `uma:FILE`."""
    max_parents: Annotated[int, Field(gt=0)] = 40
    """Parents whose crystals get energies, a seeded sample; one draw of each mask type and sigma."""
    relax_steps: Annotated[int, Field(gt=0)] | None = None
    """Also relax cell and positions, for at most so many steps; none leaves it at single points."""
    max_atoms: Annotated[int, Field(gt=0)] = 200
    """Crystals with more atoms get a reason instead of an energy."""

    @property
    def runs_code(self) -> bool:
        """Whether its calculator is what a module or a file of that name does: `none` and `chgnet` alone are ours."""
        return self.calculator not in ("none", "chgnet")


class EvaluationSettings(Config):
    """Everything that decides the numbers of an evaluation, apart from model and data."""

    protocol: EvaluationConfig = EvaluationConfig()
    """Which corrupted inputs: crystals × mask types × sigmas × draws."""
    metrics: MetricConfig = MetricConfig()
    """Thresholds and switches of the scores."""
    energies: EnergyConfig = EnergyConfig()
    """Energies of generated crystals."""
    bond_valence: bool = False
    """Also judge crystals by their bond-valence sums: do charges balance, and the global instability index. About
    5 ms a crystal."""
    decode: DecodeConfig = ARGMAX
    """How a generator's elements are chosen; the default is the paper's, each site by itself."""
    max_atoms: Annotated[int, Field(gt=0)] | None = None
    """Leave out parents with more atoms per cell."""
    stable_only: bool = False
    """Leave out parents that are not labelled e_above_hull ≤ 0 eV/atom."""
    nominal_sigma: Annotated[float, Field(gt=0, le=2)] = 0.1
    """Crystals given as a file come without their inputs: their distances are divided by the mean displacement that
    noise of this sigma (in units of min_edge) makes."""


def changed_settings(settings: EvaluationSettings) -> list[str]:
    """Return the paths of settings that are not as they are by default."""
    usual = {leaf.path: leaf.value for leaf in leaves(EvaluationSettings())}
    return [each.path for each in leaves(settings) if each.path not in usual or each.value != usual[each.path]]


def versions(beside: Sequence[str] = ()) -> dict[str, str]:
    """Return versions of the libraries that measure, and of others beside them, and a hash of our own measuring
    code."""
    return {name: _version(name) for name in (*MEASURING, *beside)} | {"measuring_code": _measuring_code()}


def metrics_lock(settings: EvaluationSettings | MetricConfig, measured_with: dict[str, str]) -> str:
    """Return sha256 of versions and of the settings that decide what a figure means: figures under different locks
    need not agree. Of an evaluation these are the settings of metrics, energies and decoding and `nominal_sigma`."""
    whole = isinstance(settings, EvaluationSettings)
    told = settings.model_dump(mode="json", include=set(_MEANING) if whole else None)
    text = json.dumps({"settings": told, "versions": measured_with}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def _measuring_code() -> str:
    library = Path(__file__).resolve().parents[1]
    return sources_sha256(library / name for name in _SOURCES)[:16]
