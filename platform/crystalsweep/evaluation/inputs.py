"""Which crystals are evaluated, and which ones they are new against."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from crystalsweep.data import (
    Reject,
    bundled_fingerprint,
    fingerprint,
    fingerprints,
    load_bundled,
    load_data,
    read,
    told_of,
    used_of,
)
from crystalsweep.data.errors import DataError
from crystalsweep.energies.hull import LABEL
from crystalsweep.evaluation.settings import EvaluationSettings
from crystalsweep.structures.batch import is_stable
from crystalsweep.structures.crystal import Crystal

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
    reference_parts: dict[str, list[Crystal]]
    """The data set that the reference belongs to, by part; empty where none is known."""
    everything: list[Crystal]
    """All crystals of the source."""
    rejects: tuple[Reject, ...] = ()
    """Rows of the source that could not be read."""
    reference_rejects: tuple[Reject, ...] = ()
    """Rows of the reference that could not be read: nothing is compared with them."""
    told: tuple[str, ...] = ()
    """What a reader must know of how source and reference were read, and what the settings left out."""
    reference_is_training_set: bool | None = None
    """Whether the model was trained on the data set that the reference belongs to; None where that is not known."""

    @cached_property
    def labelled(self) -> list[Crystal]:
        """Every crystal of source and reference with a formation energy: the hull, of all phases that are known."""
        every = [crystal for crystal in [*self.everything, *self.reference] if LABEL in crystal.labels]
        return list(dict(zip(fingerprints(every), every, strict=True)).values())  # ids are in the fingerprint

    def record(self) -> dict[str, object]:
        """Return what identifies the data in a result."""
        labelled = self.labelled
        return {
            "source": self.source,
            "part": self.part,
            "parents": len(self.parents),
            "data_sha256": self.data_sha256,
            "reference": self.reference_source,
            "reference_crystals": len(self.reference),
            "reference_sha256": fingerprint(self.reference) if self.reference else "",
            "reference_is_training_set": self.reference_is_training_set,
            "counts_from": "reference" if self.reference else "evaluated crystals",
            "hull_sha256": fingerprint(labelled) if labelled else "",
            "rejected_rows": len(self.rejects),
            "reference_rejected_rows": len(self.reference_rejects),
            "told": list(self.told),
        }

    def for_model(self, trained_on: str) -> Inputs:
        """Return the same for a model whose checkpoint has this `data_sha256`.

        Without a reference, a model that was trained on the bundled crystals is new against those.
        """
        if not self.reference:
            if trained_on != bundled_fingerprint():
                return self
            known = list(load_bundled("train"))
            return replace(self, reference=known, reference_source="bundled (train)", reference_is_training_set=True)
        return replace(self, reference_is_training_set=self._is_training_set(trained_on))

    def _is_training_set(self, trained_on: str) -> bool | None:
        """Warn of crystals that a model may have seen. It may have been trained without the data set's test part; and
        a single file may be one part of the training data, whose other parts are in the source or nowhere."""
        parts = self.reference_parts
        if trained_on in (fingerprint(parts["all"]), fingerprint([*parts.get("train", []), *parts.get("val", [])])):
            return True
        if "train" in parts:
            return False
        united = {crystal.id: crystal for crystal in [*parts["all"], *self.everything]}
        return True if fingerprint(united.values()) == trained_on else None

    def counts(self) -> dict[int, int]:
        """Return atoms by atomic number of the reference, or of the parents where there is none."""
        counted: Counter[int] = Counter()
        for crystal in self.reference or self.parents:
            counted.update(crystal.species.tolist())
        return dict(sorted(counted.items()))


def read_inputs(source: str, part: str | None, reference: str | None, settings: EvaluationSettings) -> Inputs:
    """Return parents and reference of an evaluation.

    Args:
        source: `bundled`, a file or folder, or files of the parts joined by commas.
        part: One of `PARTS`; by default `test` where the source has parts, else `val`, else all of it.
        reference: The crystals to be new against; by default the source's own train part.
        settings: Its filters.

    Raises:
        DataError: Something cannot be read, or no crystal is left.
    """
    source, reference = normalised(source), normalised(reference) if reference is not None else None
    read_source = _parts(source)
    parts = read_source.parts
    chosen = part or ("test" if "test" in parts else "val" if "val" in parts else "all")
    if chosen not in parts:
        raise DataError(f"{source} has no part {chosen!r}; it has {', '.join(parts)}")
    parents, left_out = _filtered(parts[chosen], settings, f"{source} ({chosen})")
    known = _Read(parts={})
    if reference is not None:
        known = read_source if reference == source else _parts(reference)
    elif "train" in parts and chosen in ("val", "test"):
        known = read_source
    found = known.parts
    of = "train" if "train" in found else "all"
    return Inputs(
        parents=parents,
        source=source,
        part=chosen,
        data_sha256=fingerprint(parents),
        reference=found.get(of, []),
        reference_source=f"{reference or source} ({of})" if found else "",
        reference_parts=found,
        everything=parts["all"],
        rejects=read_source.rejects,
        reference_rejects=known.rejects,
        told=tuple(dict.fromkeys((*read_source.told, *known.told, *left_out))),
    )


def normalised(source: str) -> str:
    """Return the same source however its paths were typed: `./a.cif` is `a.cif`; relative paths stay relative."""
    paths = [source] if Path(source).exists() else [path.strip() for path in source.split(",")]
    plain = ",".join(os.path.normpath(path) if path else path for path in paths)
    return plain if plain != "bundled" or source == "bundled" else f"{os.curdir}{os.sep}{plain}"


@dataclass(frozen=True)
class _Read:
    """What a source holds."""

    parts: dict[str, list[Crystal]]
    rejects: tuple[Reject, ...] = ()
    told: tuple[str, ...] = ()


def _parts(source: str) -> _Read:
    """Return crystals by part; a single file without a split file is one part, `all`."""
    divided = source == "bundled" or ("," in source and not Path(source).exists()) or _split_file(source).exists()
    if not divided:
        reading = read(Path(source), progress=True)
        if not reading.crystals:
            why = f"; the first reject: {reading.rejects[0]}" if reading.rejects else ""
            raise DataError(f"{source}: no usable crystal among {reading.n_rows} rows{why}")
        told = told_of(source, reading.crystals, reading.rejects, reading.notes)
        return _Read({"all": list(reading.crystals)}, tuple(reading.rejects), tuple(told))
    data = load_data(source, progress=source != "bundled")
    parts = {name: list(crystals) for name in ("train", "val", "test") if (crystals := getattr(data, name))}
    told = told_of(source, data.crystals, data.rejects, data.notes)
    return _Read(parts | {"all": list(data.crystals)}, data.rejects, tuple(told))


def _split_file(source: str) -> Path:
    return Path(f"{source}.split.json")


def _filtered(crystals: Sequence[Crystal], settings: EvaluationSettings, named: str) -> tuple[list[Crystal], list[str]]:
    """Return the crystals that the settings let through, and in a line what they leave out."""
    fitting = [c for c in crystals if settings.max_atoms is None or len(c) <= settings.max_atoms]
    kept = [crystal for crystal in fitting if is_stable(crystal)] if settings.stable_only else fitting
    left_out = {
        f"over max_atoms={settings.max_atoms}": len(crystals) - len(fitting),
        "not stable (stable_only)": len(fitting) - len(kept),
    }
    most = settings.protocol.max_crystals
    used = len(kept) if most is None else min(len(kept), most)
    left_out[f"beyond a sample of protocol.max_crystals={most}"] = len(kept) - used
    if not kept:
        filters = f"max_atoms={settings.max_atoms}, stable_only={settings.stable_only}"
        raise DataError(f"{named}: none of its {len(crystals)} crystals passes {filters}; widen them")
    told = used_of(f"{named}: {used:,} of {len(crystals):,} crystals evaluated", left_out)
    return kept, [told] if any(left_out.values()) else []
