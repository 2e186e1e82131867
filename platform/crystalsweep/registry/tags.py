"""What a version says of itself in the registry, without its dossier: tags that come from it and from nowhere else."""

from __future__ import annotations

from crystalsweep.evaluation.outcome import Figure
from crystalsweep.registry.dossier import CANDIDATE, Dossier, GeneratorDossier, PropertyDossier
from crystalsweep.tracking.tags import plain_key

CONTENT = "crystalsweep.content_sha256"
"""Tag of a version: sha256 of its data, which is the same wherever it is registered."""

IMPORTED = "crystalsweep.imported"
"""Tag of a version that came in an archive, whose figures its author wrote."""

TARGETS = "crystalsweep.targets"
"""Tag of a version that predicts properties: which."""

_LONGEST = 1000
"""Characters of a tag's value."""


def tags_of(dossier: Dossier, run: str) -> dict[str, str]:
    """Return the tags of a version with this dossier, which the attempt `run` registered."""
    tags = {
        "crystalsweep.verdict": dossier.verdict,
        "crystalsweep.promotion_run": run,
        "crystalsweep.weights_sha256": dossier.candidate.weights_sha256,
        "crystalsweep.stage": dossier.candidate.stage,
        "crystalsweep.backbone": dossier.candidate.backbone,
        "data_sha256": dossier.candidate.data_sha256,
        "split_sha256": dossier.candidate.split_sha256,
    }
    tags |= _of_property(dossier) if isinstance(dossier, PropertyDossier) else _of_generator(dossier)
    if dossier.forced:
        tags["crystalsweep.forced"] = dossier.forced
    return {name: value[:_LONGEST] for name, value in tags.items()}


def _of_generator(dossier: GeneratorDossier) -> dict[str, str]:
    figure = dossier.rows.get(CANDIDATE, {}).get(dossier.metric)
    return {"crystalsweep.suite": dossier.suite.name} | _shown(dossier.metric, figure)


def _of_property(dossier: PropertyDossier) -> dict[str, str]:
    tags = {TARGETS: ", ".join(dossier.targets)}
    for name, each in dossier.targets.items():
        tags |= _shown(plain_key(f"{name}/{each.headline}"), each.rows.get(CANDIDATE, {}).get(each.headline))
    return tags


def _shown(name: str, figure: Figure | None) -> dict[str, str]:
    if figure is None or None in (figure.mean, figure.low, figure.high):
        return {}
    return {name: f"{figure.mean:.4f} [{figure.low:.4f}, {figure.high:.4f}]"}
