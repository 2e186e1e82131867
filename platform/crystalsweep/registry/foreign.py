"""Files of a version that a stranger made: what may be among them, and what of them is data that is kept.

MLflow imports what `MLmodel` names and installs what `requirements.txt` names, and browsers run pages and Markdown in
ways that no filter foresees. So of an archive only weights, JSON and tables are kept; whatever is shown or run is
written anew by `remaking.py`.
"""

from __future__ import annotations

import hashlib
import json
import re
from fnmatch import fnmatchcase
from pathlib import Path

import pyarrow.parquet as pq
import yaml

from crystalsweep.artifacts.archive import manifest, plain_files
from crystalsweep.artifacts.safe_json import read_json
from crystalsweep.artifacts.safe_load import described_tensors
from crystalsweep.inference.serving import CHECKPOINT, LOADER
from crystalsweep.inference.target_records import TARGETS_FILE

KEPT = (
    *("checkpoint/checkpoint.json", "checkpoint/generator.safetensors", "checkpoint/discriminator.safetensors"),
    *("checkpoint/critic.safetensors", "checkpoint/classifier.safetensors"),
    *("checkpoint/targets.json", "checkpoint/calibration.json"),
    *("dossier/dossier.json", "dossier/suite.json", "dossier/evaluation/metrics.json"),
    *("dossier/evaluation/request.json", "dossier/evaluation/structures.parquet"),
    "dossier/evaluation/references.parquet",
)
"""Data of a version: numbers and text, which no program runs."""

WRITTEN_ANEW = (
    *("MLmodel", "requirements.txt", "python_env.yaml", "input_example.json", "serving_input_example.json"),
    *("MODEL_CARD.md", "FILES.json", "dossier/dossier.html", "dossier/evaluation/report.html"),
    "dossier/evaluation/plots/*.png",
)
"""What follows from the data, and from this library."""

NOT_TAKEN = ("registry.json", "registered_model_meta")
"""What registries say of a version."""

OF_PROPERTY = ("dossier/evaluation/predictions.csv", "dossier/evaluation/plots/*/*.png")
"""What a property model has beside that, which is not taken either: spreadsheets might compute the table, and no figure
here is read from it."""

MAX_ROWS = 2_000_000
"""Of a table."""

MAX_TABLE = 4 << 30
"""Bytes of a table, by its own account, when it is unpacked."""

_FLAVOUR = {"loader_module": LOADER, "data": CHECKPOINT, "env": {"virtualenv": "python_env.yaml"}}
_REQUIREMENT = re.compile(r"crystalsweep(==[0-9A-Za-z.+-]+)?\s*")
_ENVIRONMENT = re.compile(r"python: [0-9.]+\nbuild_dependencies: \[pip\]\ndependencies:\n- -r requirements.txt\s*")
_SMALL = 64 << 10
_REFUSED = "nothing of this archive is registered"


def require_harmless(folder: Path) -> None:
    """Raise `ValueError`, naming the file, where a version holds what no promotion writes, or a file that is not what
    its name says."""
    files = plain_files(folder)
    known = (*_KNOWN, *OF_PROPERTY) if f"{CHECKPOINT}/{TARGETS_FILE}" in files else _KNOWN
    for name in files:
        if not any(fnmatchcase(name, pattern) and name.count("/") == pattern.count("/") for pattern in known):
            raise ValueError(f"{name!r} is no file of a promoted version; {_REFUSED}")
    _require_flavour(folder / "MLmodel")
    for name, pattern in (("requirements.txt", _REQUIREMENT), ("python_env.yaml", _ENVIRONMENT)):
        if not pattern.fullmatch(_text(folder / name)):
            raise ValueError(f"{name} asks for more than crystalsweep; {_REFUSED}")
    for name in KEPT:
        if name in files:
            _require_data(files[name], name)


_KNOWN = (*KEPT, *WRITTEN_ANEW, *NOT_TAKEN)


def content_sha256(folder: Path) -> str:
    """Return sha256 of what a version is, whoever registered it: its data, without what is written anew from it."""
    found = {name: record["sha256"] for name, record in manifest(folder).items() if name in KEPT}
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()


def _require_data(file: Path, name: str) -> None:
    """Raise `ValueError` where a file of data is of another kind than its name says, or too large to be read."""
    if name.endswith(".json"):
        read_json(file)
    elif name.endswith(".safetensors"):
        described_tensors(file)
    else:
        _require_table(file, name)


def _require_table(file: Path, name: str) -> None:
    try:
        told = pq.read_metadata(file)
        size = sum(told.row_group(i).total_byte_size for i in range(told.num_row_groups))
    except (OSError, ValueError) as error:
        raise ValueError(f"{name} is no Parquet file ({type(error).__name__}); {_REFUSED}") from None
    if told.num_rows > MAX_ROWS or size > MAX_TABLE:
        raise ValueError(f"{name} would have {told.num_rows:,} rows of {size:,} bytes; {_REFUSED}")


def _text(file: Path) -> str:
    """Return a small file's text, empty where there is none or it is large."""
    try:
        return file.read_text(encoding="utf-8") if file.stat().st_size <= _SMALL else ""
    except FileNotFoundError:
        return ""


def _require_flavour(file: Path) -> None:
    try:
        flavours = dict(yaml.safe_load(_text(file))["flavors"])
        python = dict(flavours.pop("python_function"))
    except (OSError, KeyError, TypeError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise ValueError(f"MLmodel cannot be read ({type(error).__name__}); export the version again") from None
    python.pop("python_version", None)
    if flavours or python != _FLAVOUR:
        raise ValueError(f"MLmodel has other code loaded than crystalsweep.inference.serving; {_REFUSED}")
