"""Where a result comes from: code, versions, hardware, the user, and the process that made it."""

from __future__ import annotations

import getpass
import hashlib
import os
import platform
import socket
import subprocess
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The checkout or unpacked job folder whose code runs; of an installed wheel, the folder above it."""

_PACKAGES = ("crystalsweep", "ray", "torch", "torch-geometric", "pymatgen", "smact", "optuna", "mlflow", "numpy")


@lru_cache(maxsize=1)
def code_sha256() -> str:
    """Sha256 over the sources that decide what a training run computes: the library and the trainables."""
    library = Path(__file__).resolve().parent
    digest = hashlib.sha256()
    for package in (library, _sibling("trainables")):
        for source in sorted(package.rglob("*.py")):
            digest.update(f"{package.name}/{source.relative_to(package)}".encode())
            digest.update(source.read_bytes())
    return digest.hexdigest()


def _sibling(package: str) -> Path:
    """`trainables` beside `platform/` in a checkout, beside `crystalsweep` in an installation."""
    library = Path(__file__).resolve().parent
    candidates = (library.parent.parent / package, library.parent / package)
    return next((folder for folder in candidates if folder.is_dir()), candidates[0])


def git_revision() -> tuple[str, str]:
    """Commit of the checkout, and `true` or `false` for changes since; `unknown` twice outside one, as in a job."""
    try:
        sha = _git("rev-parse", "HEAD")
        return sha, str(bool(_git("status", "--porcelain"))).lower()
    except (OSError, subprocess.CalledProcessError):
        return "unknown", "unknown"


def _git(*arguments: str) -> str:
    ran = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True)
    return ran.stdout.strip()


def environment() -> dict[str, str]:
    """Flat tags for a tracking server: code, git, versions, hardware."""
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
    """Name of the user; `unknown` in a container that has no names."""
    return getpass.getuser() if "USER" in os.environ or "LOGNAME" in os.environ else "unknown"


def lives(pid: int) -> bool:
    """Whether this host has a process of that id, anybody's."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def is_gone(host: str, pid: str) -> bool:
    """Whether a process that noted its host and id is no more; of another host's, or of what is no id, never."""
    return host == socket.gethostname() and pid.isdigit() and not lives(int(pid))
