"""The commands and Python blocks of README and the documentation, as a reader meets them.

A block of shell, console or Python is run by `tests/test_documented.py`, unless a comment before it says why not:

    <!-- not run: needs a cluster -->                        the whole block
    <!-- not run, ray job submit: needs a cluster -->        of a shell block, the commands that begin so
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))

_MARK = r"<!-- not run(?:, (?P<start>[^:]+?))?: (?P<why>[^>]*?) -->"
_BLOCK = re.compile(
    r"(?P<marks>(?:^<!-- [^\n]*-->\n)*)^```(?P<language>bash|console|python)\n(?P<text>.*?)^```",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    language: str
    """bash, console or python."""
    text: str
    why_not: str | None
    """Why no line of it is run."""
    left_out: dict[str, str]
    """Beginnings of commands that are not run, with the reason of each."""

    @property
    def commands(self) -> list[str]:
        """Shell commands, continued lines joined, without the comments behind them; of a console what was typed."""
        text = self.text
        if self.language == "console":
            text = "\n".join(line[2:] for line in text.splitlines() if line.startswith("$ "))
        joined = re.sub(r"\\\n\s*|(?<=\|)\n\s*", " ", text)
        lines = (re.sub(r"(^|\s+)#\s.*$", "", line).strip() for line in joined.splitlines())
        return [line for line in lines if line]

    def reason(self, command: str) -> str | None:
        """Return why a command is not run; None where it is."""
        if self.why_not is not None:
            return self.why_not
        return next((why for start, why in self.left_out.items() if command.startswith(start)), None)

    @property
    def to_run(self) -> list[str]:
        """The commands that a test runs."""
        return [command for command in self.commands if self.reason(command) is None]


def blocks_of(page: Path) -> list[Block]:
    """Return a page's blocks of shell, console and Python, in their order."""
    return [_block(page, found) for found in _BLOCK.finditer(page.read_text(encoding="utf-8"))]


def _block(page: Path, found: re.Match[str]) -> Block:
    marks = list(re.finditer(_MARK, found["marks"]))
    whole = [mark["why"] for mark in marks if not mark["start"]]
    parts = {mark["start"]: mark["why"] for mark in marks if mark["start"]}
    return Block(page, found["language"], found["text"], whole[0] if whole else None, parts)
