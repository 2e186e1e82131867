"""The evidence for or against a promotion: every gate's numbers, and how to get them again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import NonNegativeInt, ValidationError

from crystalsweep.config import Config
from crystalsweep.evaluation.outcome import Figure
from crystalsweep.evaluation.properties.asked import PropertyTarget
from crystalsweep.evaluation.properties.outcome import Rows
from crystalsweep.evaluation.suite import Suite
from crystalsweep.registry.gates.gate import Gate
from crystalsweep.wording.mistakes import mistakes

DOSSIER_FILE = "dossier.json"
PAGE = "dossier.html"
DOSSIER_FOLDER = "dossier"
"""Of a registered version: the dossier beside the evaluation it rests on."""
EVALUATION = "evaluation"
"""In that folder: the suite's result folder."""

CANDIDATE = "candidate"
"""Its row in that evaluation."""


class Candidate(Config):
    """What was judged."""

    reference: str
    """As the user named it."""
    run: str | None
    """MLflow run that trained it, where known."""
    stage: str
    epoch: int
    step: int
    backbone: str
    parameters: int
    """Of the network that is promoted."""
    weights_sha256: str
    """Of that network's file."""
    data_sha256: str
    split_sha256: str
    lineage: list[dict[str, str]]
    """Every training that led to it (`checkpoint.lineage`)."""
    config: dict[str, Any]
    """Of its last training."""


class Holder(Config):
    """The champion that it was held against."""

    version: str
    run: str | None
    weights_sha256: str
    evaluated: Literal["by its own dossier", "again"]
    """Where its rows come from: measured with the same code and libraries, or now."""


class Evidence(Config):
    """What a promotion rests on, whatever kind of model it is of.

    The same candidate, champion and crystals on a CPU give the same gates.
    """

    format: Literal[1] = 1
    model: str
    """Name in the registry."""
    alias: str
    """Asked for."""
    candidate: Candidate
    champion: Holder | None
    metrics_lock: str
    gates: list[Gate]
    command: str
    """Evaluates the candidate again."""
    trained_on: list[str] = []
    """Data sets that were looked at for leaks, beside the bundled one."""
    environment: dict[str, str]
    """Code, versions and hardware."""
    decided_at: str
    """ISO 8601, UTC."""
    decided_by: str
    forced: str = ""
    """The reason given where gates were overruled."""

    @property
    def passed(self) -> bool:
        """Whether no required gate refuses."""
        return not any(gate.refuses for gate in self.gates)

    @property
    def reasons(self) -> list[str]:
        """Why it was refused."""
        return [reason for gate in self.gates if gate.refuses for reason in gate.reasons]

    @property
    def verdict(self) -> Literal["promoted", "refused", "forced"]:
        """What follows from it."""
        if self.passed:
            return "promoted"
        return "forced" if self.forced else "refused"


class GeneratorDossier(Evidence):
    """Of a generator, judged on a frozen suite."""

    suite: Suite
    suite_sha256: str
    metric: str
    """Decides the gain."""
    guarded: list[str]
    rows: dict[str, dict[str, Figure]]
    """Means with intervals by row: the candidate, the champion, the ceiling and the baselines."""


class JudgedTarget(Config):
    """One property, as the candidate and every baseline predict it."""

    target: PropertyTarget
    headline: str
    """The figure that decides."""
    n: NonNegativeInt
    """Labelled crystals that were predicted."""
    rows: Rows


class PropertyDossier(Evidence):
    """Of a property model, judged on the held-out part of its own data."""

    kind: Literal["property"] = "property"
    source: str
    """What it was trained on, as it was named."""
    part: str
    """That it is judged by."""
    targets: dict[str, JudgedTarget]
    """By name."""


Dossier = GeneratorDossier | PropertyDossier
"""Both kinds; of the older one no `kind` is told."""


def read_dossier(folder: Path) -> Dossier:
    """Read the dossier among a registered version's files. Raises `ValueError` where there is none, or it is of
    another format."""
    file = folder / DOSSIER_FOLDER / DOSSIER_FILE
    if not file.exists():
        raise ValueError(f"{folder} has no dossier: it was not registered by `crystalsweep promote`")
    content = file.read_text(encoding="utf-8")
    kind = PropertyDossier if _is_of_property(content) else GeneratorDossier
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        raise ValueError(f"{file}: {mistakes(error, kind, content)}") from None


def _is_of_property(content: str) -> bool:
    try:
        told = json.loads(content)
    except (ValueError, RecursionError):  # what is wrong with it is told where it is read
        return False
    return isinstance(told, dict) and told.get("kind") == "property"
