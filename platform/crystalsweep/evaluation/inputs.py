"""Which crystals are evaluated, and which ones they are new against."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from crystalsweep.data import (
    DataSet,
    Reject,
    bundled_fingerprint,
    fingerprint,
    fingerprints,
    load_data,
    read,
    told_of,
    told_of_data,
    used_of,
)
from crystalsweep.data.errors import DataError
from crystalsweep.data.splitting import PARTS as SPLIT
from crystalsweep.energies.hull import LABEL
from crystalsweep.evaluation.seen import Division, bundled_division, divisions, seen
from crystalsweep.evaluation.settings import EvaluationSettings
from crystalsweep.structures.batch import is_stable
from crystalsweep.structures.crystal import Crystal

PARTS = (*SPLIT, "all")


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
    seen: tuple[str, ...] = ()
    """What is known of evaluated crystals that the model learned from."""

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
            "seen": list(self.seen),
            "rejected_rows": len(self.rejects),
            "reference_rejected_rows": len(self.reference_rejects),
            "told": list(self.told),
        }

    def counts(self) -> dict[int, int]:
        """Return atoms by atomic number of the reference, or of the parents where there is none."""
        counted: Counter[int] = Counter()
        for crystal in self.reference or self.parents:
            counted.update(crystal.species.tolist())
        return dict(sorted(counted.items()))


def read_inputs(
    source: str,
    part: str | None,
    reference: str | None,
    settings: EvaluationSettings,
    trainings: Sequence[Mapping[str, str]] = (),
) -> Inputs:
    """Return parents and reference of an evaluation.

    Args:
        source: `bundled`, a file or folder, or files of the parts joined by commas.
        part: One of `PARTS`; by default `test` where the source has parts, else `val`, else all of it. A file without
            a split has parts where the model was trained on it, which divided it.
        reference: The crystals to be new against; by default the source's own train part, or the bundled one where
            the model was trained on that.
        settings: Its filters.
        trainings: Of the model, as `checkpoint.trainings` has them; none for crystals from a file.

    Raises:
        DataError: Something cannot be read, or no crystal is left.
    """
    source, reference = normalised(source), normalised(reference) if reference is not None else None
    read_source = _parts(source, trainings)
    parts = read_source.parts
    chosen = part or ("test" if "test" in parts else "val" if "val" in parts else "all")
    if chosen not in parts:
        raise DataError(f"{source} has no part {chosen!r}; it has {', '.join(parts)}")
    parents, left_out = _filtered(parts[chosen], settings, f"{source} ({chosen})")
    known, named = _Read(parts={}), reference or source
    if reference is not None:
        known = read_source if reference == source else _parts(reference, trainings)
    elif "train" in parts and chosen in ("val", "test"):
        known = read_source
    elif trainings and trainings[-1]["data_sha256"] == bundled_fingerprint():
        known, named = _parts("bundled"), "bundled"
    found = known.parts
    of = "train" if "train" in found else "all"
    return Inputs(
        parents=parents,
        source=source,
        part=chosen,
        data_sha256=fingerprint(parents),
        reference=found.get(of, []),
        reference_source=f"{named} ({of})" if found else "",
        reference_parts=found,
        everything=parts["all"],
        rejects=read_source.rejects,
        reference_rejects=known.rejects,
        told=tuple(dict.fromkeys((*read_source.told, *known.told, *left_out))),
        reference_is_training_set=_is_training_set(read_source, known, trainings[-1]) if trainings and found else None,
        seen=tuple(seen(trainings, _divisions(read_source, known), parents)) if trainings else (),
    )


def _is_training_set(source: _Read, reference: _Read, training: Mapping[str, str]) -> bool | None:
    """Return whether the reference is what a model learned from, as far as that can be told. A single file may be one
    part of the training data, whose other parts are in the source or nowhere."""
    belongs = [*reference.divisions, *_united(source, reference)]
    same = [each for each in belongs if each.data_sha256 == training["data_sha256"]]
    if any(each.split_sha256 == training["split_sha256"] for each in same):
        return True
    return None if same or "train" not in reference.parts else False


def _divisions(source: _Read, reference: _Read) -> list[Division]:
    """Return every way in which the crystals at hand may have been divided for a training."""
    return [*source.divisions, *reference.divisions, *_united(source, reference), bundled_division()]


def _united(source: _Read, reference: _Read) -> list[Division]:
    """Return reference and source as the two parts of a training, where both are single files of different crystals."""
    known, asked = reference.parts, source.parts
    if not known or "train" in known or "train" in asked:
        return []
    ids = {crystal.id for crystal in known["all"]}
    if any(crystal.id in ids for crystal in asked["all"]):
        return []
    return divisions({"train": known["all"], "val": asked["all"]})


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
    divisions: Sequence[Division] = ()


def _parts(source: str, trainings: Sequence[Mapping[str, str]] = ()) -> _Read:
    """Return crystals by part; a single file without a split file is one part, `all`, unless one of the trainings
    divided it as `load_data` does."""
    if source == "bundled" or ("," in source and not Path(source).exists()) or _split_file(source).exists():
        return _divided(source, load_data(source, progress=source != "bundled"))
    reading = read(Path(source), progress=True)
    if not reading.crystals:
        why = f"; the first reject: {reading.rejects[0]}" if reading.rejects else ""
        raise DataError(f"{source}: no usable crystal among {reading.n_rows} rows{why}")
    sha256 = fingerprint(reading.crystals) if trainings else ""
    splits = {each["split_sha256"] for each in trainings if each.get("data_sha256") == sha256}
    if splits:
        data = load_data(source)
        if data.split_sha256 in splits:
            return _divided(source, data)
    told = told_of(source, reading.crystals, reading.rejects, reading.notes)
    alone = [Division(data_sha256=sha256, split_sha256="", train=())] if splits else []
    return _Read({"all": list(reading.crystals)}, tuple(reading.rejects), tuple(told), alone)


def _divided(source: str, data: DataSet) -> _Read:
    parts = {name: crystals for name in SPLIT if len(crystals := data.part(name))}
    told = told_of_data(source, data)
    found = divisions(parts, data.data_sha256, data.split_sha256)
    made: dict[str, list[Crystal]] = {name: list(crystals) for name, crystals in parts.items()}
    return _Read(made | {"all": list(data.crystals)}, data.rejects, tuple(told), found)


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
