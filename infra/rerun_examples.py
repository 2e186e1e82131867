"""Run the examples of `crystalsweep complete` of the pages again, and write what they print.

    python infra/rerun_examples.py                  with the champion in use
    python infra/rerun_examples.py --model runs/gan

An example is a block ```console that begins with `$ crystalsweep complete …`. Those with --rank-by stay as they are:
their property model is in no package.
"""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

from click.testing import CliRunner

from crystalsweep.cli.complete import complete

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("README.md", "docs/complete.md", "docs/tutorial_complete.md")
_EXAMPLE = re.compile(r"```console\n\$ crystalsweep complete (?P<arguments>[^\n]*)\n.*?```", re.DOTALL)


def rerun(text: str, more: list[str]) -> str:
    """Return a page whose examples show what they print now, with `more` options that are not shown."""

    def shown(found: re.Match[str]) -> str:
        if "--rank-by" in found["arguments"]:
            return found[0]
        arguments = [_from_root(word) for word in shlex.split(found["arguments"], comments=True)]
        ran = CliRunner().invoke(complete, [*arguments, *more])
        if ran.exception and not isinstance(ran.exception, SystemExit):
            raise ran.exception
        printed = (ran.stdout or ran.stderr).replace(f"{ROOT}/", "").strip()
        return f"```console\n$ crystalsweep complete {found['arguments']}\n{printed}\n```"

    return _EXAMPLE.sub(shown, text)


def _from_root(word: str) -> str:
    return str(ROOT / word) if (ROOT / word).exists() else word


if __name__ == "__main__":
    for page in PAGES:
        path = ROOT / page
        path.write_text(rerun(path.read_text(encoding="utf-8"), sys.argv[1:]), encoding="utf-8")
