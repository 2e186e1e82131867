"""What the adversary's sweep and its report call ways of decoding; a comma would end the name of an arm."""

from __future__ import annotations

ONE_PASS, BEAM, JUDGED = "one pass", "beam", "beam + critic"
"""Each site by itself; the likeliest joint choice; the first by log p + λ · critic."""

NEUTRAL = "beam + neutral first"
"""The likeliest joint choice that is charge-neutral, where there is one: the rule by which validity is told."""
