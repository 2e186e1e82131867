"""Whether a split leaks, before anything is trained on it: what is held out must be nowhere among what comes before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from crystalsweep.data import Split
from crystalsweep.registry.gates.leakage import Leak, leaks
from crystalsweep.structures.crystal import Crystal


@dataclass(frozen=True, kw_only=True)
class Guarded:
    """A split without leaks."""

    split: Split
    left_out: tuple[str, ...]
    """Ids that are in no part now."""
    told: tuple[str, ...]
    """How many of which part, and why."""


def guarded(split: Split, crystals: Sequence[Crystal], *, leave_out: bool = True) -> Guarded:
    """Return the split without held-out crystals that are also in train, or of test in val: the same structure, or
    its supercell, or one that nothing can tell from it.

    Polymorphs of one composition are other structures and stay.

    Args:
        split: To look at.
        crystals: All that it is of.
        leave_out: Otherwise all stay where they are, as in a benchmark's own folds, and are counted.
    """
    by_id = {crystal.id: crystal for crystal in crystals}
    train, val, test = ([by_id[name] for name in ids] for ids in (split.train, split.val, split.test))
    lost_val, why_val = _lost(train, val, "val", leave_out)
    kept = [crystal for crystal in val if crystal.id not in lost_val]
    lost_test, why_test = _lost([*train, *kept], test, "test", leave_out)
    lost = (lost_val | lost_test) if leave_out else set()
    clean = Split(
        train=split.train,
        val=tuple(name for name in split.val if name not in lost),
        test=tuple(name for name in split.test if name not in lost),
    )
    return Guarded(split=clean, left_out=tuple(sorted(lost)), told=(*why_val, *why_test))


def _lost(
    known: Sequence[Crystal], held_out: Sequence[Crystal], part: str, leave_out: bool
) -> tuple[set[str], list[str]]:
    found = list(leaks(known, held_out, part))
    why = Counter(each.how if isinstance(each, Leak) else "not to be told apart" for each in found)
    fate = "left out of all parts: also" if leave_out else "kept though"
    told = [f"{n:,} of {part} {fate} among training crystals ({how})" for how, n in why.items()]
    return {each.held_out for each in found}, told
