"""The data set that comes with the package: see `bundled/DATA_CARD.md`. Checked against its manifest on every load."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from crystalsweep.data.errors import DataError
from crystalsweep.data.packed import ids_of, pick
from crystalsweep.data.reading import read
from crystalsweep.data.splitting import Part, Split
from crystalsweep.structures.crystal import Crystal

BUNDLED = Path(__file__).parent / "bundled"
CRYSTALS = BUNDLED / "crystals.parquet"
SPLIT_MANIFEST = BUNDLED / "split.json"
REPAIR = "install crystalsweep again, or rebuild it with infra/build_bundled.py"


def load_bundled(split: Part | None = None) -> Sequence[Crystal]:
    """Return one part of the frozen split, or all crystals, sorted by id. `DataError` if the files were changed."""
    sha256 = hashlib.sha256(_content(CRYSTALS)).hexdigest()
    if sha256 != _manifest()["crystals_sha256"]:
        raise DataError(f"{CRYSTALS}: its sha256 is not the one in {SPLIT_MANIFEST.name}; {REPAIR}")
    crystals = _crystals(CRYSTALS, sha256)
    if split is None:
        return crystals
    wanted = set(bundled_split().ids(split))
    return pick(crystals, np.flatnonzero([name in wanted for name in ids_of(crystals)]))


@cache
def _crystals(path: Path, sha256: str) -> Sequence[Crystal]:  # noqa: ARG001 (the content is part of the key)
    return read(path).require_clean().crystals


def bundled_split() -> Split:
    """Return the frozen 80/10/10 split by composition."""
    _content(SPLIT_MANIFEST)
    return Split.from_json(SPLIT_MANIFEST)


def bundled_fingerprint() -> str:
    """Return `fingerprint` of all bundled crystals, from the manifest; nothing is loaded."""
    return str(_manifest()["fingerprint"])


def _manifest() -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads(_content(SPLIT_MANIFEST))
    return manifest


def _content(path: Path) -> bytes:
    if not path.is_file():
        raise DataError(f"{path}: this bundled file is missing; {REPAIR}")
    return path.read_bytes()
