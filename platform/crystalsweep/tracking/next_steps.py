"""Commands to type next on a store, as this shell finds them. No password stands in one."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

from crystalsweep.artifacts.addresses import HIDDEN, Address
from crystalsweep.artifacts.places import default_storage
from crystalsweep.tracking.tracker import sqlite_uri

FROM_ENVIRONMENT = f"{HIDDEN} is a password, which is not shown: these commands take it from MLFLOW_TRACKING_URI"


def command(name: str) -> str:
    """Return the command as this shell finds it: by name with the environment activated, else by path."""
    if shutil.which(name):
        return name
    path = Path(sys.executable).parent / name
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def store_options(tracking_uri: Address, storage: Path | str) -> str:
    """Return the options that name a store to our commands; `storage` may be an `s3://` address."""
    own = "://" not in str(storage) and str(tracking_uri) == sqlite_uri(Path(storage))
    return f"--storage {shlex.quote(str(storage))}" if own else f"--tracking-uri {shlex.quote(str(tracking_uri))}"


def use_commands(target: str, tracking_uri: Address, storage: Path) -> list[str]:
    """Return how a registered version is used, a line each: `target` is its NAME@ALIAS.

    MLflow looks for its server's program on the PATH, so the environment's programs come first there.
    """
    usual = str(tracking_uri) == sqlite_uri(default_storage())
    where = "" if usual else f" {store_options(tracking_uri, storage)}"
    from_python = "" if usual or tracking_uri.has_password else f", tracking_uri={str(tracking_uri)!r}"
    programs = "" if shutil.which("uvicorn") else f"PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH "
    store = "" if tracking_uri.has_password else f"MLFLOW_TRACKING_URI={shlex.quote(str(tracking_uri))} "
    serve = f"{store}{programs}{command('mlflow')} models serve --env-manager local --port 5001"
    ours, reference = command("crystalsweep"), f"models:/{target}"
    return [
        "Use it:",
        f"  complete a crystal   {ours} complete FILE.cif --mask Ti --model {reference}{where}",
        f'  in Python            crystalsweep.load("{reference}"{from_python})',
        f"  serve over HTTP      {serve} -m {reference}",
        f"  check it again       {ours} verify {reference}{where}",
        *([f"  {FROM_ENVIRONMENT}"] if tracking_uri.has_password else []),
    ]
