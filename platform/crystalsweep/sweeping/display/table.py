"""The table of a running sweep: a line per training that fits the terminal, with what all of them came to around it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.table import Table
from rich.text import Text

from crystalsweep.sweeping.display.snapshot import OVER, Snapshot, Status, TrainingRow
from crystalsweep.sweeping.display.text import (
    behind,
    best,
    counts,
    number,
    one_line,
    per_hour,
    rate,
    time_left,
    value_with_interval,
    way,
)
from crystalsweep.sweeping.display.text import duration as lasted

STYLES: Mapping[Status, str] = {
    "waiting": "dim",
    "running": "cyan",
    "complete": "green",
    "pruned": "yellow",
    "failed": "bold red",
    "stopped": "magenta",
}
RANKS: Mapping[Status, int] = {"running": 0, "failed": 1, "complete": 3, "pruned": 3, "stopped": 4, "waiting": 5}
"""In which order trainings get a line where not all fit; the best one comes after those that failed."""


def chosen(picture: Snapshot, room: int, ended: Mapping[str, int]) -> list[TrainingRow]:
    """Return the rows that get a line of `room`, in the picture's order.

    Running ones first, then failed, the best, and the newest that ended, which have the greatest number in `ended`.
    """
    if len(picture.rows) <= room:
        return picture.rows

    def rank(row: TrainingRow) -> tuple[int, int]:
        best = picture.best is not None and row.key == picture.best.key
        place = RANKS[row.status]
        return (min(place, 2) if best else place, -ended.get(row.key, -1))

    keys = {row.key for row in sorted(picture.rows, key=rank)[: max(0, room)]}
    return [row for row in picture.rows if row.key in keys]


def bar(share: float, width: int, *, ascii_only: bool = False) -> Text:
    """Return a line of `width` characters, filled as far as `share`, 0 to 1; told by its characters, not by colour
    alone."""
    full, empty = "=-" if ascii_only else "━─"
    filled = min(width, round(share * width))
    return Text.assemble((full * filled, "green" if share >= 1 else "cyan"), (empty * (width - filled), "dim"))


@dataclass(frozen=True, kw_only=True)
class Frame:
    """What stands on the terminal at a moment; as wide and at most as high as that is."""

    picture: Snapshot
    ended: Mapping[str, int] = field(default_factory=dict)
    """Place in which a training ended, by key."""
    hourly: float = 0.0
    """Trainings that end in an hour."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width, height, plain = options.max_width, options.size.height, options.ascii_only
        head, foot = self._head(width, plain), self._foot(plain)
        room = max(1, height - 2 - 1 - len(foot))
        whole = max(self.picture.planned, len(self.picture.rows))
        rows = chosen(self.picture, room if whole <= room else max(1, room - 1), self.ended)
        more = self._more(rows, plain)
        yield Group(head, self._table(rows, width, plain), *([more] if more else []), *foot)

    def _head(self, width: int, plain: bool) -> Text:
        picture = self.picture
        title = f"{picture.title} {'-' if plain else '·'} {picture.stage}"
        times = f"{picture.share:4.0%}  {lasted(picture.elapsed)}, {time_left(picture)}"
        length = max(8, min(40, width - len(title) - len(times) - 3))
        parts = Text.assemble((title, "bold"), "  ", bar(picture.share, length, ascii_only=plain), " ", times)
        return _fitted(parts)

    def _table(self, rows: Sequence[TrainingRow], width: int, plain: bool) -> Table:
        gap = 1 if width < 100 else 2
        table = Table(box=None, expand=True, pad_edge=False, padding=(0, gap, 0, 0), header_style="dim")
        top = self.picture.best.key if self.picture.best else None
        wide, rated = width >= 72, width >= 64
        length = 0 if width < 64 else 6 if width < 100 else 8
        table.add_column(Text("  trial"), no_wrap=True)
        table.add_column("settings", no_wrap=True, ratio=1)
        table.add_column("epoch", no_wrap=True)
        table.add_column(Text(self.picture.objective, overflow="ellipsis"), no_wrap=True, max_width=max(20, width // 4))
        if rated:
            table.add_column("rate", no_wrap=True, justify="right")
        table.add_column("status", no_wrap=True)
        for row in rows:
            mark = ("*" if plain else "★") if row.key == top else " "
            found = (
                one_line(row.note)
                if row.status == "failed"
                else value_with_interval(row)
                if wide
                else number(row.value)
            )
            cells = [
                Text(f"{mark} {row.key}", style="bold" if row.key == top else ""),
                Text(row.shown),
                Text.assemble(bar(row.trained, length, ascii_only=plain), " " if length else "", way(row)),
                Text(found, style="red" if row.status == "failed" else ""),
                *([Text(rate(row.rate) if row.status == "running" else "")] if rated else []),
                Text(row.status, style=STYLES[row.status]),
            ]
            table.add_row(*cells, style="dim" if row.status == "waiting" else "")
        return table

    def _more(self, rows: Sequence[TrainingRow], plain: bool) -> Text | None:
        hidden = self.picture.counts - Counter(row.status for row in rows)
        if not hidden.total():
            return None
        statuses = ", ".join(f"{hidden[status]} {status}" for status in STYLES if hidden[status])
        return _fitted(Text(f"  {'...' if plain else '…'} and {hidden.total()} more: {statuses}", style="dim"))

    def _foot(self, plain: bool) -> list[Text]:
        picture = self.picture
        speed = per_hour(self.hourly) if any(row.status in OVER for row in picture.rows) else ""
        used = [f"used {picture.used}" if picture.used else "", behind(picture)]
        lines = [
            Text("; ".join(part for part in (counts(picture), speed) if part)),
            Text(f"{'*' if plain else '★'} {best(picture)}", style="bold") if picture.best else None,
            Text("; ".join(filter(None, used)), style="yellow" if picture.behind > 0 else "") if any(used) else None,
        ]
        return [_fitted(line) for line in lines if line is not None]


def _fitted(line: Text) -> Text:
    """Return the line, cut where the terminal ends."""
    line.no_wrap, line.overflow = True, "ellipsis"
    return line
