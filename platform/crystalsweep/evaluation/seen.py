"""Whether evaluated crystals are among those that a model was trained on, as far as the data at hand can tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from crystalsweep.data import bundled_fingerprint, bundled_split, fingerprint, load_bundled
from crystalsweep.data.packed import ids_of, joined
from crystalsweep.data.selection import sampled_rows
from crystalsweep.data.splitting import PARTS, Part, Split
from crystalsweep.networks.checkpoint import PUBLISHED, UNKNOWN, CheckpointInfo
from crystalsweep.structures.batch import is_stable
from crystalsweep.structures.crystal import Crystal


@dataclass(frozen=True, kw_only=True)
class Division:
    """Crystals at hand as a training may have used them: all of them, and those of its train part."""

    data_sha256: str
    split_sha256: str
    train: Sequence[Crystal]


def divisions(parts: Mapping[Part, Sequence[Crystal]], data_sha256: str = "", split_sha256: str = "") -> list[Division]:
    """Return a data set's division, and the one of a training without its test part; none without a train part.

    Args:
        parts: Crystals of `train`, `val` and `test`, as far as there are any.
        data_sha256: Of the whole, if it is known.
        split_sha256: Of the whole; by default that of the ids in the parts.
    """
    if "train" not in parts:
        return []
    train, val, test = (parts.get(name, ()) for name in PARTS)
    ids = {name: tuple(sorted(ids_of(parts.get(name, ())))) for name in PARTS}
    whole = Division(
        data_sha256=data_sha256 or fingerprint(joined([train, val, test])),
        split_sha256=split_sha256 or Split(**ids).sha256,
        train=train,
    )
    if not (val and test):
        return [whole]
    without = Split(train=ids["train"], val=ids["val"]).sha256
    return [whole, Division(data_sha256=fingerprint(joined([train, val])), split_sha256=without, train=train)]


def bundled_division() -> Division:
    """Return the division of the bundled crystals."""
    return Division(data_sha256=bundled_fingerprint(), split_sha256=bundled_split().sha256, train=load_bundled("train"))


def learned_from(train: Sequence[Crystal], info: CheckpointInfo) -> list[Crystal]:
    """Return those of the crystals of a train part that a checkpoint's settings let through."""
    config = info.config
    most, stable = config.get("max_atoms"), bool(config.get("stable_only"))
    small = [crystal for crystal in train if most is None or len(crystal) <= most]
    fitting = [crystal for crystal in small if is_stable(crystal)] if stable else small
    return [fitting[i] for i in sampled_rows(len(fitting), config.get("max_crystals"), config.get("seed", 0))]


def seen(trainings: Sequence[Mapping[str, str]], known: Sequence[Division], parents: Sequence[Crystal]) -> list[str]:
    """Return a line for each training of a model that used, or may have used, evaluated crystals; none where no
    evaluated crystal is in the train part of any.

    Args:
        trainings: As `checkpoint.trainings` has them.
        known: Data at hand, as it may have been divided.
        parents: Evaluated crystals; they are looked up by id.
    """
    told, unknown = [], []
    for training in trainings:
        stage = training["stage"]
        if stage == UNKNOWN:
            unknown.append("what it was started from")
            continue
        if stage == PUBLISHED:
            unknown.append(f"{training['file']}, which it was started from")
            continue
        same = [each for each in known if each.data_sha256 == training["data_sha256"]]
        exact = [each for each in same if each.split_sha256 == training["split_sha256"]]
        if exact:
            ids = set(ids_of(exact[0].train))
            if common := sum(crystal.id in ids for crystal in parents):
                told.append(
                    f"{common:,} of {len(parents):,} evaluated crystals are, by id, in the train part of the data that "
                    f"the model's stage {stage} learned from: figures on them say little about new crystals."
                )
        elif same:
            told.append(
                f"The model's stage {stage} learned from these data under another split "
                f"({training['split_sha256'][:12]}): which of the evaluated crystals it learned from is not known. "
                "Put that split beside the data, as FILE.split.json, or name the parts in the order of the training."
            )
        else:
            unknown.append(f"its stage {stage} (data {training['data_sha256'][:12]}; --reference can name it)")
    if unknown:
        told.append(
            "Not known, for the data is not at hand: whether evaluated crystals are among those of "
            f"{', '.join(dict.fromkeys(unknown))}."
        )
    return list(dict.fromkeys(told))
