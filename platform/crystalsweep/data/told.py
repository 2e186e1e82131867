"""What a user is told of data that a command read: rows it could not use, how others were read, and copies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from crystalsweep.data.copies import copied
from crystalsweep.data.doubtful import doubts_of
from crystalsweep.data.loading import DataSet
from crystalsweep.data.reading import Note, Reject
from crystalsweep.structures.crystal import Crystal
from crystalsweep.wording.stranger import in_a_line

CLOSE = 0.5
"""Å: no two atoms of a crystal lie so near; the metrics call it structurally invalid."""


def told_of_data(source: str, data: DataSet) -> list[str]:
    """Return the lines of `told_of` on a data set, and one for crystals that its split leaves out."""
    lines = told_of(source, data.crystals, data.rejects, data.notes, len(data.unsplit))
    if data.unsplit:
        some = "crystal is" if len(data.unsplit) == 1 else "crystals are"
        lines.append(
            in_a_line(
                f"{source}: {len(data.unsplit):,} {some} in no part of its split file and not used, the first "
                f"{data.unsplit[0]}; where that is not meant, write the split again with `crystalsweep data split`"
            )
        )
    return lines


def told_of(
    source: str, crystals: Sequence[Crystal], rejects: Sequence[Reject], notes: Sequence[Note], unsplit: int = 0
) -> list[str]:
    """Return a line for all rejects, one for each note, one for crystals that stand twice, one for those whose atoms
    are too close, and those of `doubts_of`; none where all is well.

    Args:
        source: What was read, as the user named it.
        crystals: Those that were read.
        rejects: Rows that were not.
        notes: How some were read.
        unsplit: Further crystals that were read and are not used.
    """
    lines = []
    if rejects:
        rows = len(rejects) + len(crystals) + unsplit
        reasons = Counter(reject.reason for reject in rejects).most_common()
        counted = ", ".join(f"{reason} ({n:,})" for reason, n in reasons)
        lines.append(
            f"{source}: {len(rejects):,} of {rows:,} rows rejected: {counted}; the first: "
            f"{rejects[0]}. `crystalsweep data info` lists them"
        )
    lines += [f"{source}: {note}" for note in notes]
    if copies := copied(crystals):
        some = "crystal is a copy" if len(copies) == 1 else "crystals are copies"
        lines.append(f"{source}: {len(copies):,} {some} of an earlier one, as {copies[0][1]} of {copies[0][0]}")
    if close := [crystal for crystal in crystals if crystal.min_edge <= CLOSE]:
        have = "crystal has" if len(close) == 1 else "crystals have"
        lines.append(
            f"{source}: {len(close):,} {have} atoms at most {CLOSE:g} Å apart, the first {close[0].id} "
            f"({close[0].min_edge:.2f} Å); is its cell, and the origin of its space group, right?"
        )
    lines += [f"{source}: {line}" for line in doubts_of(crystals)]
    return [in_a_line(line) for line in lines]


def used_of(told: str, left_out: Mapping[str, int]) -> str:
    """Return a line on how many crystals are used, with how many are not for which reason.

    Args:
        told: E.g. `10 of 12 train crystals used`.
        left_out: Crystals by reason, as `over max_atoms=20`; those without any are not said.
    """
    why = ", ".join(f"{n:,} {reason}" for reason, n in left_out.items() if n)
    return f"{told}: {why}" if why else told
