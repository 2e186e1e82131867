"""Where a result comes from: code, versions, hardware, the user, and the process that made it."""

from __future__ import annotations

import getpass
import hashlib
import os
import platform
import socket
import subprocess
from collections.abc import Iterable
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The checkout or unpacked job folder whose code runs; of an installed wheel, the folder above it."""

_LIBRARY = Path(__file__).resolve().parent

_PACKAGES = ("crystalsweep", "ray", "torch", "torch-geometric", "pymatgen", "smact", "optuna", "mlflow", "numpy")


DECIDES_TRAINING = (
    *("structures", "networks", "losses", "data", "training"),
    *("config.py", "hyperparameters.py", "seeding.py"),
)
"""Of the library, what decides what a training computes; beside it the stage's own package does."""


@lru_cache
def code_sha256(package: str = "trainables") -> str:
    """Return the sha256 over all sources of the library and of the stage in `package`: which code runs."""
    return sources_sha256([_LIBRARY, *_top_package(package)])


@lru_cache
def training_sha256(package: str) -> str:
    """Return the sha256 over the sources that decide what a training of the stage in `package` computes.

    Code that only shows or stores what was computed is left out, so that a changed plot retrains nothing.
    """
    return sources_sha256([*(_LIBRARY / name for name in DECIDES_TRAINING), *_top_package(package)])


def sources_sha256(places: Iterable[Path]) -> str:
    """Return the sha256 over these Python files, and those in these folders at any depth, with their names."""
    digest = hashlib.sha256()
    for place in places:
        for source in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            digest.update(f"{place.name}/{source.relative_to(place)}".encode())
            digest.update(source.read_bytes())
    return digest.hexdigest()


def _top_package(package: str) -> list[Path]:
    """Return the folder of the package that `package` is in, imported or not; none where it cannot be found."""
    found = find_spec(package.partition(".")[0])
    return [Path(place) for place in (found.submodule_search_locations or ())] if found else []


def git_revision() -> tuple[str, str]:
    """Return commit of the checkout, and `true` or `false` for changes since; `unknown` twice outside one, as in a
    job."""
    try:
        sha = _git("rev-parse", "HEAD")
        return sha, str(bool(_git("status", "--porcelain"))).lower()
    except (OSError, subprocess.CalledProcessError):
        return "unknown", "unknown"


def _git(*arguments: str) -> str:
    ran = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True)
    return ran.stdout.strip()


def environment() -> dict[str, str]:
    """Return flat tags for a tracking server: code, git, versions, hardware."""
    sha, dirty = git_revision()
    tags = {
        "code_sha256": code_sha256(),
        "git_sha": sha,
        "git_dirty": dirty,
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "gpu": _gpu(),
    }
    return tags | {f"version.{name}": _version(name) for name in _PACKAGES}


def _gpu() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "none"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def user() -> str:
    """Return the user's name, of the environment or of the machine; `uid-1000` in a container that has no names."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid-{os.getuid()}"


def lives(pid: int) -> bool:
    """Return whether this host has a process of that id, anybody's."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def is_gone(host: str, pid: str) -> bool:
    """Return whether a process that noted its host and id is no more; of another host's, or of what is no id, never."""
    return host == socket.gethostname() and pid.isdigit() and not lives(int(pid))
