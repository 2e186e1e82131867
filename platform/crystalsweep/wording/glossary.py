"""The words that reports use, each explained in a sentence: tips on pages, and the glossary of the documentation."""

from __future__ import annotations

from collections.abc import Mapping

GLOSSARY: Mapping[str, str] = {
    "adv/rec gradient": (
        "Length of the adversary's gradient on the generator over that of the reconstruction, mean over audited "
        "steps: 0 means that the adversary teaches nothing, 1 that both push alike."
    ),
    "adversary": (
        "The discriminator as it teaches the generator: a network that tells restored crystals from real ones, and "
        "whose gradient the generator follows."
    ),
    "alias": "A name that a registered version of a model has, as champion; it moves when another version is promoted.",
    "bond valence": (
        "What a bond carries by its length; an atom's bonds add up to about its charge in crystals that are stable."
    ),
    "calibrated": "Of probabilities: of all answers given with 70 %, about 70 % are right.",
    "ceiling": (
        "What the true crystals score: no model can be better. It is below 1 where a rule rejects real crystals."
    ),
    "challenger": "A registered version beside the champion, which is told about and not yet used.",
    "champion": "The registered version that is used where none is named.",
    "compositional similarity": "Share of restored crystals in which every atom has its true species.",
    "compositional validity": (
        "Share of crystals whose composition SMACT accepts: charges balance, or it is an element or an alloy."
    ),
    "conformal set": "The elements of a site among which the true one is in a stated share of such cases, as 90 %.",
    "control arm": "The same training without the adversary, at equal updates: what any effect is measured against.",
    "corrected p": "The probability of a difference so large by chance, multiplied for all comparisons shown (Holm).",
    "cosine of gradients": (
        "Direction of the adversary's gradient against the reconstruction's: 1 the same, 0 unrelated, below 0 "
        "against it."
    ),
    "displacement left": (
        "Distance of the restored atoms from their true places over that of the corrupted ones: 0 is perfect, 1 is "
        "no help."
    ),
    "dossier": "The evidence that a version was promoted on, kept with it: gates, figures, data, settings.",
    "global instability index": (
        "Root mean square of what atoms' bond-valence sums are off by, valence units: the smaller, the less strained."
    ),
    "Holm": "Holm's correction: with many comparisons some differ by chance, so each must be clearer to count.",
    "identity": "The baseline that changes nothing: the corrupted crystal is the answer.",
    "masked accuracy": "Share of masked atoms that get their true element.",
    "most common": "The baseline that puts the most common element of the training crystals on every masked site.",
    "not resolved": "The difference is within what chance gives with so few crystals; it is not shown to be none.",
    "parents": "The original crystals. One parent is corrupted in several ways; intervals are over parents.",
    "positions left": "The same as displacement left.",
    "resolved": "More than chance gives: p below 0.05 after Holm's correction for all comparisons shown.",
    "score": (
        "Mean of four shares: both validities, compositional similarity, and structural similarity that counts "
        "what was not restored as 0."
    ),
    "structural similarity": (
        "1 minus distance left over noise put in, after the best shift, over crystals with restored species."
    ),
    "structural validity": "Share of crystals without two atoms nearer than 0.5 Å.",
    "substitution": (
        "The baseline that replaces an element by the one that takes its place most often in known crystals."
    ),
    "suite": "A frozen set of crystals with their corruptions, by which versions are compared for years.",
    "unique": "Matched by no earlier crystal of the same mask type and noise.",
    "w_pos": "Weight of the displacement's error beside the species' cross-entropy (paper, Eq. 1).",
    "w_W": "Weight of the adversary's loss in the generator's (paper, Eq. 3); 0 is a control arm.",
    "σ_noise": "Standard deviation of the displacements put in, in units of the shortest distance between atoms.",
}
"""In the order of the alphabet, as a sentence has the word."""
