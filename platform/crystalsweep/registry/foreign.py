"""Files of a version that a stranger made: what MLflow or a browser would execute of them is refused.

MLflow imports what `MLmodel` names and installs what `requirements.txt` names, and a dossier is a page.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from html.parser import HTMLParser
from pathlib import Path

import yaml

from crystalsweep.artifacts.archive import plain_files
from crystalsweep.inference.serving import CHECKPOINT, LOADER

ALLOWED = (
    *("MLmodel", "requirements.txt", "python_env.yaml", "input_example.json", "serving_input_example.json"),
    *("MODEL_CARD.md", "FILES.json", "registry.json", "registered_model_meta"),
    *("checkpoint/checkpoint.json", "checkpoint/generator.safetensors", "checkpoint/discriminator.safetensors"),
    *("dossier/dossier.json", "dossier/dossier.html", "dossier/suite.json", "dossier/evaluation/metrics.json"),
    *("dossier/evaluation/request.json", "dossier/evaluation/report.html", "dossier/evaluation/structures.parquet"),
    *("dossier/evaluation/references.parquet", "dossier/evaluation/plots/*.png"),
)
"""All that `crystalsweep promote` writes."""

_FLAVOUR = {"loader_module": LOADER, "data": CHECKPOINT, "env": {"virtualenv": "python_env.yaml"}}
_REQUIREMENT = re.compile(r"crystalsweep(==[0-9A-Za-z.+-]+)?\s*")
_ENVIRONMENT = re.compile(r"python: [0-9.]+\nbuild_dependencies: \[pip\]\ndependencies:\n- -r requirements.txt\s*")
_ACTIVE = {"script", "iframe", "object", "embed", "base", "form", "link"}


def require_harmless(folder: Path) -> None:
    """Raise `ValueError`, naming the file, where a version holds what no promotion writes."""
    for name in plain_files(folder):
        if not any(fnmatchcase(name, pattern) for pattern in ALLOWED):
            raise ValueError(f"{name!r} is no file of a promoted version; nothing of this archive is registered")
    _require_flavour(folder / "MLmodel")
    for name, pattern in (("requirements.txt", _REQUIREMENT), ("python_env.yaml", _ENVIRONMENT)):
        if not pattern.fullmatch((folder / name).read_text(encoding="utf-8")):
            raise ValueError(f"{name} asks for more than crystalsweep; nothing of this archive is registered")
    for page in folder.rglob("*.html"):
        _Passive(page.relative_to(folder).as_posix()).feed(page.read_text(encoding="utf-8"))


def _require_flavour(file: Path) -> None:
    try:
        flavours = dict(yaml.safe_load(file.read_text(encoding="utf-8"))["flavors"])
        python = dict(flavours.pop("python_function"))
    except (OSError, KeyError, TypeError, ValueError, yaml.YAMLError) as error:
        raise ValueError(f"MLmodel cannot be read ({type(error).__name__}); export the version again") from None
    python.pop("python_version", None)
    if flavours or python != _FLAVOUR:
        raise ValueError(
            "MLmodel has other code loaded than crystalsweep.inference.serving; nothing of this archive is registered"
        )


class _Passive(HTMLParser):
    """Refuses what a browser would run or fetch."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Look at every element as it opens."""
        for key, value in attrs:
            address = (value or "").strip().lower() if key in ("href", "src", "action", "srcdoc") else ""
            if key.startswith("on") or address.startswith(("javascript:", "data:text", "vbscript:")):
                raise ValueError(f"{self._name}: <{tag} {key}=…> would run code; nothing of this archive is registered")
        if tag in _ACTIVE:
            raise ValueError(f"{self._name}: <{tag}> does not belong there; nothing of this archive is registered")
