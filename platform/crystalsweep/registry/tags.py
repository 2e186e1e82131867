"""What a version says of itself in the registry, without its dossier: tags that come from it and from nowhere else."""

from __future__ import annotations

from crystalsweep.registry.dossier import Dossier
from crystalsweep.registry.judging import CANDIDATE

CONTENT = "crystalsweep.content_sha256"
"""Tag of a version: sha256 of its data, which is the same wherever it is registered."""

IMPORTED = "crystalsweep.imported"
"""Tag of a version that came in an archive, whose figures its author wrote."""

_LONGEST = 1000
"""Characters of a tag's value."""


def tags_of(dossier: Dossier, run: str) -> dict[str, str]:
    """Return the tags of a version with this dossier, which the attempt `run` registered."""
    figure = dossier.rows.get(CANDIDATE, {}).get(dossier.metric)
    tags = {
        "crystalsweep.verdict": dossier.verdict,
        "crystalsweep.promotion_run": run,
        "crystalsweep.weights_sha256": dossier.candidate.weights_sha256,
        "crystalsweep.suite": dossier.suite.name,
        "crystalsweep.stage": dossier.candidate.stage,
        "crystalsweep.backbone": dossier.candidate.backbone,
        "data_sha256": dossier.candidate.data_sha256,
        "split_sha256": dossier.candidate.split_sha256,
    }
    if figure and None not in (figure.mean, figure.low, figure.high):
        tags[dossier.metric] = f"{figure.mean:.4f} [{figure.low:.4f}, {figure.high:.4f}]"
    if dossier.forced:
        tags["crystalsweep.forced"] = dossier.forced
    return {name: value[:_LONGEST] for name, value in tags.items()}
