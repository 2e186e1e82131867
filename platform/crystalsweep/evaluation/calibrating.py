"""A generator's calibration: fitted on masked crystals of one half of the parents, told on those of the other.

No parent is in both halves, and none should have been trained on. Which crystals are masked and displaced how is the
evaluation's protocol, at the noise levels of use: 0, as CIFs come, among them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import log_softmax
from tqdm import tqdm

from crystalsweep.data.fingerprint import ids_sha256
from crystalsweep.evaluation.decoded import joint_rank
from crystalsweep.evaluation.protocol import evaluation_chunks
from crystalsweep.hyperparameters import EvaluationConfig
from crystalsweep.inference.calibration import (
    COVERAGES,
    GROUPS,
    JOINT_COVERAGES,
    Calibration,
    JointGroup,
    JointOdds,
    MassRule,
    Training,
)
from crystalsweep.inference.completion import JOINTLY, mass_of, probabilities
from crystalsweep.inference.decoding.choosing import choose
from crystalsweep.inference.decoding.filling import Filling, conditionals, fill
from crystalsweep.inference.decoding.network import ask
from crystalsweep.inference.decoding.settings import DecodeConfig
from crystalsweep.metrics.calibration import divided, fit_divided, fit_sharpness, least_mass, mass_scores, masses_before
from crystalsweep.networks.models import Critic, Generator
from crystalsweep.structures.crystal import MASK, N_ELEMENTS, Crystal

TOGETHER = 32
"""Crystals decoded at once."""

FIT, TOLD = "fit", "told"
"""The halves of the parents."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Cases:
    """Masked crystals whose truth is known."""

    originals: list[Crystal]
    partials: list[Crystal]
    table: pd.DataFrame
    """parent, mask_type, sigma_noise, n_masked and half, a row each."""

    def __len__(self) -> int:
        return len(self.partials)

    def of(self, half: str) -> NDArray[np.int64]:
        """Return indices of the cases of one half."""
        return np.flatnonzero(self.table["half"] == half)


@dataclass(frozen=True, kw_only=True, eq=False)
class Choices:
    """What a network says of one of 118 elements, many times."""

    logits: NDArray[np.float64]
    """(M, 118) log-probabilities, index = Z − 1."""
    truth: NDArray[np.int64]
    """(M,) columns of the true elements."""
    case: NDArray[np.int64]
    """(M,) index of the case that each belongs to."""

    def of(self, cases: NDArray[np.int64]) -> Choices:
        """Return those of some cases."""
        kept = np.isin(self.case, cases)
        return Choices(logits=self.logits[kept], truth=self.truth[kept], case=self.case[kept])

    def sharpened(self, sharpness: float) -> NDArray[np.float64]:
        """Return (M, 118) log-probabilities at a sharpness."""
        return np.asarray(log_softmax(self.logits * sharpness, axis=1))


@dataclass(frozen=True, kw_only=True, eq=False)
class Decoded:
    """What a decoder makes of cases."""

    decode: DecodeConfig
    case: NDArray[np.int64]
    """(C,) which ones."""
    fillings: list[list[Filling]]
    """Candidates of each."""
    rank: NDArray[np.int64]
    """(C,) place of the truth among them; 0 where it is not."""
    groups: list[JointGroup | None]
    """What is known of crystals like each; None where probabilities are as the network gives them."""

    @property
    def probabilities(self) -> list[list[float]]:
        """Of the candidates of each case."""
        rule, weight = self.decode.charge == "require", self.decode.critic_weight
        told = zip(self.fillings, self.groups, strict=True)
        return [probabilities(found, rule, weight, group) for found, group in told]

    @property
    def scores(self) -> NDArray[np.float64]:
        """(C, K) by what candidates are ranked, log p + λ · critic; −inf where there are fewer."""
        table = np.full((len(self.fillings), max(map(len, self.fillings), default=0)), -np.inf)
        for row, found in zip(table, self.fillings, strict=True):
            row[: len(found)] = [each.score(self.decode.critic_weight) for each in found]
        return table

    @property
    def of_truth(self) -> NDArray[np.float64]:
        """(C,) probability of the true joint choice; 0 where it is not among the candidates."""
        told = zip(self.probabilities, self.rank, strict=True)
        return np.array([found[place - 1] if place else 0.0 for found, place in told])


@dataclass(frozen=True, kw_only=True, eq=False)
class Fitted:
    """A calibration with what it was fitted to and what tells of it."""

    calibration: Calibration
    cases: Cases
    sites: Choices
    """Of all masked sites, each by itself."""
    chain: Choices
    """Of all masked sites when they were filled, all before them rightly."""
    before: list[Decoded] = field(default_factory=list)
    """By decoder, the half that is told, as the network gives it."""
    after: list[Decoded] = field(default_factory=list)
    """The same, calibrated."""


def calibrate(
    generator: Generator,
    crystals: Sequence[Crystal],
    training: Training,
    weights_sha256: str,
    *,
    protocol: EvaluationConfig,
    decoders: Sequence[DecodeConfig] = (JOINTLY,),
    critic: Critic | None = None,
    critic_sha256: str = "",
) -> Fitted:
    """Return a generator's calibration.

    Args:
        generator: In evaluation mode.
        crystals: Kept from training; two or more.
        training: What the training crystals were like.
        weights_sha256: Of the generator's file.
        protocol: How they are masked and displaced, and how many.
        decoders: Whose candidates get sets.
        critic: Of the generator, where a decoder gives it weight.
        critic_sha256: Of its file.

    Raises:
        ValueError: There are too few crystals for two halves.
    """
    cases = cases_of(crystals, protocol)
    sites = _sites(generator, cases)
    chain = _chain(generator, cases, next((each for each in decoders if each.method != "argmax"), JOINTLY))
    half = cases.of(FIT)
    own, linked = sites.of(half), chain.of(half)
    site, chained = fit_sharpness(own.logits, own.truth), fit_sharpness(linked.logits, linked.truth)
    joint, before, after, n_masked = [], [], [], cases.table["n_masked"].to_numpy()
    candidates = _Candidates(generator, critic, cases)
    for decode in decoders:
        sharpness = site if decode.method == "argmax" else chained
        learned = candidates.of(FIT, decode, sharpness, "to fit")
        joint.append(known := _joint_odds(learned, n_masked[half], protocol.seed))
        before.append(candidates.of(TOLD, decode, 1.0, "before"))
        told = candidates.of(TOLD, decode, sharpness, "after")
        after.append(replace(told, groups=[known.group(n) for n in n_masked[told.case].tolist()]))
    calibration = Calibration(
        weights_sha256=weights_sha256,
        critic_sha256=critic_sha256,
        site_sharpness=site,
        chain_sharpness=chained,
        site_cases=len(own.truth),
        site_sets=_site_rules(np.exp(own.sharpened(site)), own, protocol.seed),
        joint=tuple(joint),
        parents=cases.table.loc[half, "parent"].nunique(),
        parents_sha256=ids_sha256(cases.table.loc[half, "parent"].unique()),
        mask_types=protocol.mask_types,
        sigma_noise=protocol.sigma_noise,
        training=training,
    )
    return Fitted(calibration=calibration, cases=cases, sites=sites, chain=chain, before=before, after=after)


def cases_of(crystals: Sequence[Crystal], protocol: EvaluationConfig) -> Cases:
    """Return the protocol's masked crystals, each parent's in one of two halves, drawn by its seed.

    Raises `ValueError` where there are fewer than two parents.
    """
    originals, partials, keys = [], [], []
    for chunk in evaluation_chunks(crystals, protocol):
        originals += chunk.originals
        partials += chunk.corrupted_crystals()
        keys.append(chunk.keys)
    table = pd.concat(keys, ignore_index=True).drop(columns="draw")
    parents = table["parent"].unique()
    if len(parents) < 2:
        raise ValueError(f"{len(parents)} crystal is too few for two halves; give more, or widen max_atoms")
    drawn = np.random.default_rng(protocol.seed).permutation(parents)
    fitted = table["parent"].isin(drawn[: (len(drawn) + 1) // 2])
    masked = [int((partial.species == MASK).sum()) for partial in partials]
    table = table.assign(n_masked=masked, half=np.where(fitted, FIT, TOLD))
    return Cases(originals=originals, partials=partials, table=table)


def _sites(generator: Generator, cases: Cases) -> Choices:
    logits, truth, of = [], [], []
    for part in _portions(np.arange(len(cases)), "odds of sites"):
        partials = [cases.partials[k] for k in part]
        for k, partial, answer in zip(part, partials, ask(generator, partials, _species(partials)), strict=True):
            masked = partial.species == MASK
            logits.append(answer.log_probabilities[masked])
            truth.append(cases.originals[k].species[masked] - 1)
            of.append(np.full(int(masked.sum()), k))
    return Choices(logits=np.concatenate(logits), truth=np.concatenate(truth), case=np.concatenate(of))


def _chain(generator: Generator, cases: Cases, decode: DecodeConfig) -> Choices:
    logits, truth, of = [np.zeros((0, N_ELEMENTS))], [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
    for part in _portions(np.arange(len(cases)), "odds of chains"):
        found = conditionals(
            generator, [cases.partials[k] for k in part], [cases.originals[k].species for k in part], decode
        )
        logits.append(found.log_probabilities)
        truth.append(found.truth)
        of.append(part[found.crystal])
    return Choices(logits=np.concatenate(logits), truth=np.concatenate(truth), case=np.concatenate(of))


@dataclass(frozen=True, eq=False)
class _Candidates:
    """Candidates of decoders; those that differ in the critic's weight alone rank the same ones, which are found
    once."""

    generator: Generator
    critic: Critic | None
    cases: Cases
    found: dict[tuple[str, DecodeConfig, float], list[list[Filling]]] = field(default_factory=dict)
    """By half, decoder without its critic, and sharpness."""

    def of(self, half: str, decode: DecodeConfig, sharpness: float, why: str) -> Decoded:
        """Return what a decoder makes of one half's cases."""
        chosen, alone = self.cases.of(half), decode.unjudged
        known = self.found.get((half, alone, sharpness), [])
        found: list[list[Filling]] = []
        fillings: list[list[Filling]] = []
        for part in _portions(chosen, f"{decode.method}, {why}{', judged' if decode.critic_weight else ''}"):
            partials = [self.cases.partials[k] for k in part]
            filled = known[len(found) : len(found) + len(part)] or fill(
                self.generator, partials, alone, None, sharpness
            )
            found += filled
            fillings += choose(self.generator, partials, decode, critic=self.critic, filled=filled)
        self.found[half, alone, sharpness] = found
        ranks = [
            joint_rank(self.cases.originals[k], self.cases.partials[k], each)
            for k, each in zip(chosen, fillings, strict=True)
        ]
        rank = np.array(ranks, dtype=np.int64)
        return Decoded(decode=decode, case=chosen, fillings=fillings, rank=rank, groups=[None] * len(chosen))


def _portions(chosen: NDArray[np.int64], title: str) -> Iterator[NDArray[np.int64]]:
    with tqdm(total=len(chosen), desc=title, unit="crystal") as bar:
        for first in range(0, len(chosen), TOGETHER):
            part = chosen[first : first + TOGETHER]
            yield part
            bar.update(len(part))


def _species(partials: Sequence[Crystal]) -> list[NDArray[np.int64]]:
    return [partial.species for partial in partials]


def _site_rules(p: NDArray[np.float64], own: Choices, seed: int) -> tuple[MassRule, ...]:
    """Return what belongs to the sets of single sites, so that they hold in a share of crystals, not of sites: one with
    many easy sites counts once."""
    rows = np.arange(len(own.truth))
    scores = mass_scores(masses_before(p)[rows, own.truth], p[rows, own.truth], seed)
    return tuple(MassRule(coverage=share, mass=least_mass(scores, own.case, share)) for share in COVERAGES)


def _joint_odds(learned: Decoded, n_masked: NDArray[np.int64], seed: int) -> JointOdds:
    """Return what a decoder's candidates are worth, group by group, from cases with (C,) so many masked sites."""
    groups, scores, inside = [], learned.scores, np.array([mass_of(each) for each in learned.fillings])
    for least, next_one in zip(GROUPS, (*GROUPS[1:], np.inf), strict=True):
        rows = (n_masked >= least) & (n_masked < next_one)
        if not rows.any():
            continue
        rank = learned.rank[rows]
        sharpness, beyond = fit_divided(scores[rows], inside[rows], rank)
        p = divided(scores[rows], inside[rows], sharpness, beyond)
        groups.append(
            JointGroup(
                least_masked=least,
                cases=len(rank),
                found=float((rank > 0).mean()),
                sharpness=sharpness,
                beyond=beyond,
                sets=_joint_rules(p, rank, seed),
            )
        )
    return JointOdds(decode=learned.decode, groups=tuple(groups))


def _joint_rules(p: NDArray[np.float64], rank: NDArray[np.int64], seed: int) -> tuple[MassRule, ...]:
    """Return what belongs to the sets of candidates, of (C, K) probabilities, the likeliest first; that none of them is
    right comes after all of them."""
    every = np.hstack([p, 1 - p.sum(axis=1, keepdims=True)])
    place = np.where(rank > 0, rank, every.shape[1]) - 1
    rows = np.arange(len(rank))
    before = np.cumsum(every, axis=1) - every
    scores = mass_scores(before[rows, place], every[rows, place], seed)
    return tuple(MassRule(coverage=share, mass=least_mass(scores, rows, share)) for share in JOINT_COVERAGES)
