"""Which crystals are evaluated, and which ones they are new against."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from crystalsweep.batch import is_stable
from crystalsweep.crystal import Crystal
from crystalsweep.data import Reject, bundled_fingerprint, fingerprint, load, load_bundled, read
from crystalsweep.data.errors import DataError
from crystalsweep.energies.hull import LABEL
from crystalsweep.evaluation.settings import EvaluationSettings

PARTS = ("train", "val", "test", "all")


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Parents and reference."""

    parents: list[Crystal]
    source: str
    part: str
    data_sha256: str
    """Of the parents."""
    reference: list[Crystal]
    """Training crystals; empty where none are known."""
    reference_source: str
    labelled: list[Crystal]
    """Every crystal of source and reference with a formation energy: the hull, of all phases that are known."""
    rejects: tuple[Reject, ...] = ()
    """Rows of the source that could not be read."""

    def record(self) -> dict[str, object]:
        """What identifies the data in a result."""
        return {
            "source": self.source,
            "part": self.part,
            "parents": len(self.parents),
            "data_sha256": self.data_sha256,
            "reference": self.reference_source,
            "reference_crystals": len(self.reference),
            "reference_sha256": fingerprint(self.reference) if self.reference else "",
            "rejected_rows": len(self.rejects),
        }

    def counts(self) -> dict[int, int]:
        """Atoms by atomic number of the reference, or of the parents where there is none."""
        counted: Counter[int] = Counter()
        for crystal in self.reference or self.parents:
            counted.update(crystal.species.tolist())
        return dict(sorted(counted.items()))


def read_inputs(
    source: str, part: str | None, reference: str | None, settings: EvaluationSettings, *, trained_on: str | None = None
) -> Inputs:
    """Parents and reference of an evaluation.

    Args:
        source: `bundled`, a file or folder, or files of the parts joined by commas.
        part: One of `PARTS`; by default `test` where the source has parts, else all of it.
        reference: The crystals to be new against; by default the source's own train part, and the bundled one for a
            model that was trained on the bundled crystals.
        settings: Its filters.
        trained_on: `data_sha256` of the model's checkpoint.

    Raises:
        DataError: Something cannot be read, or no crystal is left.
    """
    parts, rejects = _parts(source)
    chosen = part or ("test" if "test" in parts else "val" if "val" in parts else "all")
    if chosen not in parts:
        raise DataError(f"{source} has no part {chosen!r}; it has {', '.join(parts)}")
    parents = _filtered(parts[chosen], settings, f"{source} ({chosen})")
    known, named = _reference(parts, chosen, reference, source, trained_on)
    return Inputs(
        parents=parents,
        source=source,
        part=chosen,
        data_sha256=fingerprint(parents),
        reference=known,
        reference_source=named,
        labelled=[c for c in {c.id: c for c in [*parts["all"], *known]}.values() if LABEL in c.labels],
        rejects=rejects,
    )


def _parts(source: str) -> tuple[dict[str, list[Crystal]], tuple[Reject, ...]]:
    """Crystals by part; a single file without a split file is one part, `all`."""
    divided = source == "bundled" or ("," in source and not Path(source).exists()) or _split_file(source).exists()
    if not divided:
        reading = read(Path(source), progress=True)
        if not reading.crystals:
            why = f"; the first reject: {reading.rejects[0]}" if reading.rejects else ""
            raise DataError(f"{source}: no usable crystal among {reading.n_rows} rows{why}")
        return {"all": reading.crystals}, tuple(reading.rejects)
    data = load(source, progress=source != "bundled")
    parts = {name: crystals for name in ("train", "val", "test") if (crystals := getattr(data, name))}
    return parts | {"all": [crystal for crystals in parts.values() for crystal in crystals]}, data.rejects


def _split_file(source: str) -> Path:
    return Path(f"{source}.split.json")


def _reference(
    parts: dict[str, list[Crystal]], chosen: str, reference: str | None, source: str, trained_on: str | None
) -> tuple[list[Crystal], str]:
    if reference is not None:
        found, _ = _parts(reference)
        part = "train" if "train" in found else "all"
        return found[part], f"{reference} ({part})"
    if "train" in parts and chosen in ("val", "test"):
        return parts["train"], f"{source} (train)"
    if trained_on == bundled_fingerprint():
        return load_bundled("train"), "bundled (train)"
    return [], ""


def _filtered(crystals: Sequence[Crystal], settings: EvaluationSettings, named: str) -> list[Crystal]:
    kept = [c for c in crystals if settings.max_atoms is None or len(c) <= settings.max_atoms]
    if settings.stable_only:
        kept = [crystal for crystal in kept if is_stable(crystal)]
    if not kept:
        filters = f"max_atoms={settings.max_atoms}, stable_only={settings.stable_only}"
        raise DataError(f"{named}: none of its {len(crystals)} crystals passes {filters}; widen them")
    return kept
