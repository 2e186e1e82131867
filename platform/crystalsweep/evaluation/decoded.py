"""What a generator makes of corrupted crystals by any decoder, and what its odds are worth where the truth is known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from crystalsweep.evaluation.judges import IndependentJudges
from crystalsweep.evaluation.protocol import Chunk, restore_chunk
from crystalsweep.evaluation.settings import EvaluationSettings
from crystalsweep.inference.calibration import Calibration
from crystalsweep.inference.completion import place_fillings, probabilities
from crystalsweep.inference.decoding.choosing import choose
from crystalsweep.inference.decoding.constraints import Constraints
from crystalsweep.inference.decoding.filling import Filling, fill
from crystalsweep.inference.decoding.network import Answer, ask
from crystalsweep.inference.decoding.settings import DecodeConfig
from crystalsweep.inference.decoding.symmetry import same_by_symmetry, symmetry_of
from crystalsweep.metrics import score_table
from crystalsweep.metrics.odds import site_columns
from crystalsweep.networks.models import Critic, Generator
from crystalsweep.structures.crystal import MASK, Crystal

NO_CANDIDATE = "no choice of elements was found that is charge-neutral"


class Made(NamedTuple):
    """Crystals that a model made, with a row of odds each."""

    generated: list[Crystal]
    """Under the config's reading."""
    predicted: list[Crystal]
    """The same with visible species predicted too; empty where that is the only reading."""
    odds: pd.DataFrame
    """Columns `site_…`, and `joint_…` of decoders with several candidates; none of a model without odds."""


def without_odds(generated: list[Crystal]) -> Made:
    """Return what a baseline made."""
    return Made(generated, [], pd.DataFrame(index=range(len(generated))))


def decoded(
    generator: Generator,
    chunk: Chunk,
    corrupted: Sequence[Crystal],
    settings: EvaluationSettings,
    device: str = "cpu",
    calibration: Calibration | None = None,
    critic: Critic | None = None,
    filled: list[list[Filling]] | None = None,
) -> Made:
    """Return what a generator makes of a chunk, in both readings.

    Args:
        generator: In evaluation mode, on `device`.
        chunk: What was corrupted.
        corrupted: The same as crystals.
        settings: Its decoder; charge neutrality is by the rules of its compositional validity.
        device: Where the network runs.
        calibration: Of the generator; without one its odds are as the network gives them.
        critic: Of the generator; needed where the decoder gives it weight.
        filled: Candidates that the decoder has found already, to be ranked.
    """
    sharpness = calibration.site_sharpness if calibration else 1.0
    if settings.decode.per_site:
        return _site_by_site(generator, chunk, corrupted, device, sharpness)
    decode, rules = settings.decode, Constraints(rules=settings.metrics.composition)
    alone = ask(generator, corrupted, [crystal.species for crystal in corrupted], sharpness)
    chained = calibration.sharpness(decode) if calibration else 1.0
    fillings = choose(generator, corrupted, decode, rules, sharpness=chained, critic=critic, filled=filled)
    first = [found[:1] for found in fillings]
    placed = iter(place_fillings(generator, corrupted, alone, first, decode.position_passes, decode))
    generated = [
        next(placed).crystal if found else _unfilled(partial) for partial, found in zip(corrupted, first, strict=True)
    ]
    predicted = [_visible_too(*each) for each in zip(generated, corrupted, alone, strict=True)]
    odds = site_columns(chunk.originals, corrupted, [answer.log_probabilities for answer in alone])
    if decode.fillings > 1:
        odds = odds.join(_joint_columns(chunk.originals, corrupted, fillings, decode, calibration))
    if decode.charge == "require":
        odds = odds.assign(decode_failure=["" if found else NO_CANDIDATE for found in fillings])
    return Made(generated, predicted, odds)


def decoded_tables(
    generator: Generator,
    chunks: Iterable[Chunk],
    decoders: Mapping[str, DecodeConfig],
    critic: Critic | None = None,
    *,
    keep_known: bool = True,
    judges: IndependentJudges | None = None,
) -> dict[str, pd.DataFrame]:
    """Return by name of a decoder a row of metrics per crystal, as `protocol.evaluate_chunks` gives them.

    Decoders that differ in the critic's weight alone rank the same candidates, which are found once.

    Args:
        generator: In evaluation mode, on the CPU.
        chunks: The protocol's inputs.
        decoders: How masked species are chosen.
        critic: Of the generator; needed where a decoder gives it weight.
        keep_known: Whether visible species are kept as given.
        judges: Whose columns the tables have too.
    """
    tables: dict[str, list[pd.DataFrame]] = {name: [] for name in decoders}
    for chunk in chunks:
        corrupted = chunk.corrupted_crystals()
        filled: dict[DecodeConfig, list[list[Filling]]] = {}
        for name, decode in decoders.items():
            settings, plain = EvaluationSettings(decode=decode), decode.unjudged
            if not decode.per_site and plain not in filled:
                filled[plain] = fill(generator, corrupted, plain, Constraints(rules=settings.metrics.composition))
            made = decoded(generator, chunk, corrupted, settings, critic=critic, filled=filled.get(plain))
            generated = made.generated if keep_known else made.predicted
            table = score_table(chunk.originals, corrupted, generated, chunk.keys)
            tables[name].append(table.join(judges.columns(chunk, generated)) if judges else table)
    return {name: pd.concat(parts, ignore_index=True) for name, parts in tables.items()}


def _site_by_site(
    generator: Generator, chunk: Chunk, corrupted: Sequence[Crystal], device: str, sharpness: float
) -> Made:
    """Return the paper's decoding: each site's likeliest element and all positions, from one pass."""
    restored = restore_chunk(generator, chunk, device)
    logs = (restored.logits.double() * sharpness).log_softmax(dim=-1).cpu().numpy()
    parts = np.split(logs, np.cumsum([len(crystal) for crystal in corrupted])[:-1])
    return Made(restored.completed, restored.predicted, site_columns(chunk.originals, corrupted, parts))


def _unfilled(partial: Crystal) -> Crystal:
    """Return a crystal that no score counts as restored or valid: its positions are not finite."""
    return Crystal(
        id=partial.id, species=partial.species, lattice=partial.lattice, frac=np.full_like(partial.frac, np.nan)
    )


def _visible_too(crystal: Crystal, partial: Crystal, answer: Answer) -> Crystal:
    """Return a completed crystal whose visible species are what the network says of them by themselves."""
    likeliest = answer.log_probabilities.argmax(axis=1) + 1
    species = np.where(partial.species == MASK, crystal.species, likeliest)
    return Crystal(id=crystal.id, species=species, lattice=crystal.lattice, frac=crystal.frac)


def _joint_columns(
    originals: Sequence[Crystal],
    corrupted: Sequence[Crystal],
    fillings: Sequence[Sequence[Filling]],
    decode: DecodeConfig,
    calibration: Calibration | None,
) -> pd.DataFrame:
    """Return place of the true joint choice among the candidates (0: not among them), their number, and the first
    one's probability."""
    masked = [int((partial.species == MASK).sum()) for partial in corrupted]
    groups = [calibration.group(decode, n) if calibration else None for n in masked]
    renormalised, weight = decode.charge == "require", decode.critic_weight
    told = [probabilities(found, renormalised, weight, group) for found, group in zip(fillings, groups, strict=True)]
    return pd.DataFrame(
        {
            "joint_rank": [joint_rank(*each) for each in zip(originals, corrupted, fillings, strict=True)],
            "joint_candidates": [len(found) for found in fillings],
            "joint_probability": [found[0] if found else 0.0 for found in told],
        }
    )


def joint_rank(original: Crystal, partial: Crystal, fillings: Sequence[Filling]) -> int:
    """Return the place of the true joint choice among candidates, 1 for the first, 0 where it is not among them.

    Arrangements that the symmetry of the partial crystal makes equal are one.
    """
    permutations = symmetry_of(partial).permutations
    for place, filling in enumerate(fillings, start=1):
        if same_by_symmetry(original.species, filling.species, permutations):
            return place
    return 0
