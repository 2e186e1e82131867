"""Text as terminals, tables and model cards show it: a mean with its interval, words that are no markup."""

from __future__ import annotations

import math
import re

from crystalsweep.wording.stranger import in_a_line


def with_interval(
    mean: float | None,
    low: float | None,
    high: float | None,
    *,
    n: int | None = None,
    undecided: int = 0,
    signed: bool = False,
    undefined: str = "n = 0",
) -> str:
    """Write `0.611 [0.590, 0.633] n 480`, or signed `+0.032 [+0.007, +0.057]`; without bounds the mean alone.

    Args:
        mean: The figure; None or NaN where nothing defines it.
        low: Lower bound; None or NaN where there is no interval.
        high: Upper bound, likewise.
        n: Values that the mean rests on; left out where None.
        undecided: Values that nothing could decide, which are in neither mean nor n; said where there are any.
        signed: Write the sign of positive numbers too, as of differences.
        undefined: What stands where there is no mean.
    """
    beside = "" if n is None else f" n {n:,}"
    if undecided:
        beside = f"{beside}{',' if beside else ''} {undecided:,} undecided"
    if mean is None or math.isnan(mean):
        return f"{undefined}, {undecided:,} undecided" if undecided else undefined
    form = "+.3f" if signed else ".3f"
    if low is None or high is None or math.isnan(low) or math.isnan(high):
        return f"{mean:{form}}{beside}"
    return f"{mean:{form}} [{low:{form}}, {high:{form}}]{beside}"


def three_digits(value: float) -> str:
    """Return the number to three digits, with an exponent only where it is very large or small: `1000`, not `1e+03`."""
    return f"{float(f'{value:.3g}'):g}"


def plain_markdown(text: object) -> str:
    """Return text in one line that Markdown shows as it is: no HTML, no picture that a browser would fetch, no link.

    Brackets around an interval stay as they are. Nor does it begin a list, a quotation, a heading or a block of code,
    in which the text after it would lose its meaning, and a link be defined.
    """
    line = in_a_line(_ANYWHERE.sub(r"\\\g<0>", " ".join(str(text).split()))).replace("<", "&lt;")
    line = _BLOCK.sub(lambda found: f"{found[2] or ''}\\", line, count=1)
    return _OPENING.sub(r"\\[", _FOLLOWED.sub(r"]\1\\\2", line))


_ANYWHERE = re.compile(r"[\\`|]")
"""What makes code, a cell of a table, or of an escape none."""
_BLOCK = re.compile(r"^(?=[>#=~]|[-+*](?: |$)|([-*])(?:\1|$))|^(\d{1,9})(?=[.)](?: |$))")
"""What Markdown takes for the beginning of a block, up to the character that must be escaped."""
_OPENING = re.compile(r"^\[|(?<=!)\[|\[(?![-+\u2212\d., ]*\])")
"""A bracket that may begin a picture, a link or the address of one."""
_FOLLOWED = re.compile(r"\](\s*)([(\[])")
"""What makes a link of the bracket before it."""
