"""What a generator's odds were found to be worth on crystals it was not trained on: `calibration.json` of a checkpoint.

A temperature for sites by themselves and one for chains of conditionals, from which on an element or a joint choice
belongs to a set of stated coverage, and what the training crystals were like. `crystalsweep model calibrate` writes it;
where a checkpoint has none, odds are told as the network gives them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from crystalsweep.artifacts.atomic import file_sha256, write_whole
from crystalsweep.artifacts.safe_json import read_json
from crystalsweep.artifacts.sums import SUMS, renew_sum, require_sum
from crystalsweep.config import Config
from crystalsweep.hyperparameters import MaskType, Noise
from crystalsweep.inference.decoding.settings import DecodeConfig
from crystalsweep.inference.familiarity import Count, Training
from crystalsweep.metrics.calibration import LOWEST, SHARPEST, sets_by_mass, sets_of
from crystalsweep.structures.elements import element_symbol
from crystalsweep.wording.mistakes import mistakes

CALIBRATION = "calibration.json"
"""File of a checkpoint."""

WEIGHTS = "generator.safetensors"
"""File of the weights that it is of."""

CRITIC = "critic.safetensors"
"""File of the critic that ranks its candidates, where there is one."""

COVERAGES = (0.8, 0.9, 0.95)
"""Shares of cases of which sets of elements are told."""

JOINT_COVERAGES = (0.5, *COVERAGES)
"""The same of joint candidates, among which the truth is less often."""

GROUPS = (1, 2, 5, 10)
"""Least number of masked sites of each group of crystals whose candidates have sets of their own: the more sites, the
less a candidate's probability."""

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Sharpness = Annotated[float, Field(ge=1 / SHARPEST - 1e-9, le=SHARPEST + 1e-9, allow_inf_nan=False)]
Sum = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class SetRule(Config):
    """What belongs to a set that holds the truth in a stated share of cases (split conformal, LAC)."""

    coverage: Share
    """Share of such cases."""
    least: Share
    """Probability from which on an element, or a joint choice, belongs to it; 0 where no set of those told reaches the
    coverage."""


class MassRule(Config):
    """What belongs to such a set where hard cases are to have larger ones (split conformal, APS)."""

    coverage: Share
    """Share of such cases."""
    mass: Share
    """Elements belong to it, the likeliest first, until their probabilities sum to this; 1 where nothing promises the
    coverage."""


class JointGroup(Config):
    """Of the candidates for crystals with about as many masked sites (conformal sets group by group are Mondrian)."""

    least_masked: Annotated[int, Field(ge=1, lt=1 << 53)]
    """Masked sites, up to the next group's."""
    cases: Count
    """Crystals that it rests on."""
    found: Share
    """Share of them whose true elements were among the candidates: no set can hold the truth more often."""
    sharpness: Sharpness = 1.0
    """By which the logarithms of their probabilities are multiplied: below 1, since sites that are filled in one pass
    are taken as independent and are not."""
    elsewhere: Annotated[float, Field(ge=-LOWEST, le=LOWEST, allow_inf_nan=False)] | None = None
    """Logarithm of the weight beside them that the truth is none of them; none leaves probabilities as they are."""
    beyond: Annotated[float, Field(ge=-LOWEST, le=LOWEST, allow_inf_nan=False)] | None = None
    """Logarithm of a factor of the network's odds that the truth is none of them; takes the place of `elsewhere`, which
    older calibrations have."""
    sets: Annotated[tuple[MassRule | SetRule, ...], Field(max_length=16)]
    """By coverage, ascending; of older calibrations by least probability."""


class JointOdds(Config):
    """Of the candidates that a decoder finds."""

    decode: DecodeConfig
    """The decoder."""
    groups: Annotated[tuple[JointGroup, ...], Field(max_length=16)]
    """By least number of masked sites, ascending."""

    def group(self, n_masked: int) -> JointGroup | None:
        """Return what is known of crystals with so many masked sites; None where there were no such."""
        least = max((each for each in GROUPS if each <= n_masked), default=0)
        return next((group for group in self.groups if group.least_masked == least), None)


class Calibration(Config):
    """What a generator's odds are worth, and on what that rests."""

    format: Literal[1] = 1
    weights_sha256: Sum
    """Of the generator that it is of."""
    critic_sha256: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")] = ""
    """Of the critic that ranked candidates of decoders with one; empty where there was none."""
    site_sharpness: Sharpness
    """1 / temperature of the odds of sites by themselves."""
    chain_sharpness: Sharpness
    """1 / temperature of the conditionals of a chain, in which each choice sees those before it."""
    site_cases: Count
    """Masked sites that they rest on."""
    site_sets: Annotated[tuple[MassRule | SetRule, ...], Field(max_length=16)]
    """By coverage, ascending; of older calibrations by least probability."""
    joint: Annotated[tuple[JointOdds, ...], Field(max_length=16)]
    """By decoder."""
    parents: Count
    """Crystals that were masked."""
    parents_sha256: Sum
    """Of their ids."""
    mask_types: Annotated[tuple[MaskType, ...], Field(max_length=16)]
    """How."""
    sigma_noise: Annotated[tuple[Noise, ...], Field(max_length=16)]
    """And how far they were displaced, in units of min_edge."""
    training: Training
    """What the network has seen."""

    def sharpness(self, decode: DecodeConfig) -> float:
        """Return what the logits of a decoder are multiplied by."""
        return self.site_sharpness if decode.method == "argmax" else self.chain_sharpness

    def group(self, decode: DecodeConfig, n_masked: int) -> JointGroup | None:
        """Return what is known of a decoder's candidates for a crystal with so many masked sites; None where nobody
        looked at such."""
        known = (each for each in self.joint if _candidates_of(each.decode) == _candidates_of(decode))
        return next((each.group(n_masked) for each in known), None)


def _candidates_of(decode: DecodeConfig) -> dict[str, object]:
    """Return what decides a decoder's candidates."""
    return decode.model_dump(exclude={"position_passes", "position_tolerance", "seed"})


def read_calibration(folder: Path) -> Calibration | None:
    """Return the calibration of a checkpoint; None where it has none.

    Raises:
        ValueError: The file is damaged or hostile, not the one of which the checkpoint has a sum, or of other weights.
    """
    path = folder / CALIBRATION
    if not path.exists():
        return None
    content = read_json(path)
    require_sum(folder, CALIBRATION)
    try:
        found = Calibration.model_validate(content)
    except ValidationError as error:
        raise ValueError(f"{path} is no calibration ({mistakes(error, Calibration, content)}); {_REMEDY}") from None
    if (folder / WEIGHTS).exists() and found.weights_sha256 != file_sha256(folder / WEIGHTS):
        raise ValueError(f"{path} is of other weights than {WEIGHTS} beside it; {_REMEDY}")
    critic = file_sha256(folder / CRITIC) if (folder / CRITIC).exists() else ""
    if any(each.decode.critic_weight for each in found.joint) and found.critic_sha256 != critic:
        raise ValueError(f"{path} is of another critic than {CRITIC} beside it; {_REMEDY}")
    return found


_REMEDY = "run `crystalsweep model calibrate`, or remove the file"


def write_calibration(folder: Path, calibration: Calibration) -> Path:
    """Write a checkpoint's calibration, with its sum where the checkpoint has sums; returns the file."""
    path = folder / CALIBRATION
    write_whole(path, calibration.model_dump_json(indent=1) + "\n")
    if (folder / SUMS).exists():
        renew_sum(folder, CALIBRATION)
    return path


class ElementSet(NamedTuple):
    """Elements of which one is right in a stated share of cases."""

    coverage: float
    """Share of such cases."""
    elements: tuple[str, ...]
    """Symbols, the likeliest first."""


class CandidateSet(NamedTuple):
    """Candidates of which one is right in a stated share of cases."""

    coverage: float
    """Share of such cases."""
    candidates: tuple[int, ...]
    """Their indices among a completion's, ascending."""


def element_sets(log_probabilities: NDArray[np.float64], rules: Sequence[MassRule | SetRule]) -> tuple[ElementSet, ...]:
    """Return a site's sets, by coverage; `log_probabilities` are (118,), calibrated."""
    order = np.argsort(-log_probabilities, kind="stable")
    ranked = np.exp(log_probabilities[order])[None]
    return tuple(
        ElementSet(rule.coverage, tuple(element_symbol(int(z) + 1) for z in order[inside[0]]))
        for rule in rules
        if (inside := in_sets(ranked, rule)) is not None
    )


def in_sets(probabilities: NDArray[np.float64], rule: MassRule | SetRule) -> NDArray[np.bool_] | None:
    """Return (M, K) which classes belong to the sets of a rule, of (M, K) probabilities; None where it promises
    nothing."""
    if isinstance(rule, MassRule):
        return sets_by_mass(probabilities, rule.mass) if rule.mass < 1 else None
    return sets_of(probabilities, rule.least) if rule.least > 0 else None


def candidate_sets(probabilities: Sequence[float], rules: Sequence[MassRule | SetRule]) -> tuple[CandidateSet, ...]:
    """Return the sets of a completion's candidates, by coverage; of coverages alone that these candidates reach."""
    if not probabilities:
        return ()
    p = np.array(probabilities)[None]
    return tuple(
        CandidateSet(rule.coverage, tuple(np.flatnonzero(inside[0]).tolist()))
        for rule in rules
        if (inside := in_candidates(p, rule)) is not None
    )


def in_candidates(probabilities: NDArray[np.float64], rule: MassRule | SetRule) -> NDArray[np.bool_] | None:
    """Return (1, K) which candidates of one crystal belong to the set of a rule, of (1, K) probabilities; None where
    the set would have to hold that none of them is right."""
    if isinstance(rule, MassRule) and probabilities.sum() < rule.mass:
        return None
    return in_sets(probabilities, rule)
