"""Requirements of a `pyproject.toml`, one a line: images hold the dependencies, never the code.

python dependencies.py pyproject.toml                 all that the library, its stages and sweeps need
python dependencies.py pyproject.toml mlflow[auth]    one of them, in the same versions, with an extra
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path


def name_of(requirement: str) -> str:
    """Return the package that a requirement is about, without extras and versions."""
    return re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0]


def chosen(requirements: list[str], wanted: str) -> str:
    """Return the requirement on the package of `wanted`, with the extras of `wanted`. Raises `ValueError` if there is
    none."""
    for requirement in requirements:
        if name_of(requirement) == name_of(wanted):
            return wanted + re.sub(r"^[^<>=!~;]*", "", requirement)
    raise ValueError(f"pyproject.toml requires no {name_of(wanted)}")


def main(project: str, *wanted: str) -> None:
    """Print them all, or those wanted."""
    required: list[str] = tomllib.loads(Path(project).read_text())["project"]["dependencies"]
    print("\n".join(chosen(required, each) for each in wanted) if wanted else "\n".join(required))


if __name__ == "__main__":
    main(*sys.argv[1:])
