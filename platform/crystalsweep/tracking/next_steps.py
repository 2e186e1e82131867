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
    """Return how a registered generator is used, a line each: `target` is its NAME@ALIAS."""
    ours, reference, where = command("crystalsweep"), f"models:/{target}", _where(tracking_uri, storage)
    own = "" if not where or tracking_uri.has_password else f", tracking_uri={str(tracking_uri)!r}"
    use = [
        f"  complete a crystal   {ours} complete FILE.cif --mask Ti --model {reference}{where}",
        f'  in Python            crystalsweep.load("{reference}"{own})',
    ]
    return _commands(use, reference, tracking_uri, where)


def predict_commands(target: str, tracking_uri: Address, storage: Path) -> list[str]:
    """Return how a registered property model is used, a line each: `target` is its NAME@ALIAS."""
    ours, reference, where = command("crystalsweep"), f"models:/{target}", _where(tracking_uri, storage)
    own = "" if not where or tracking_uri.has_password else f", tracking_uri={str(tracking_uri)!r}"
    use = [
        f"  predict crystals     {ours} predict FILE_OR_FOLDER --model {reference} --out predictions.csv{where}",
        f"  rank completions     {ours} complete FILE.cif --mask Ti --rank-by {reference}{where}",
        f'  in Python            crystalsweep.predict([structure], model="{reference}"{own})',
    ]
    return _commands(use, reference, tracking_uri, where)


def _where(tracking_uri: Address, storage: Path) -> str:
    """Return the options that name the store; empty of the usual one."""
    usual = str(tracking_uri) == sqlite_uri(default_storage())
    return "" if usual else f" {store_options(tracking_uri, storage)}"


def _commands(use: list[str], reference: str, tracking_uri: Address, where: str) -> list[str]:
    """Return these commands, and what every registered version has: MLflow's server, whose program it looks for on the
    PATH, so that the environment's programs come first there; and verification."""
    programs = "" if shutil.which("uvicorn") else f"PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH "
    store = "" if tracking_uri.has_password else f"MLFLOW_TRACKING_URI={shlex.quote(str(tracking_uri))} "
    serve = f"{store}{programs}{command('mlflow')} models serve --env-manager local --port 5001"
    return [
        "Use it:",
        *use,
        f"  serve over HTTP      {serve} -m {reference}",
        f"  check it again       {command('crystalsweep')} verify {reference}{where}",
        *([f"  {FROM_ENVIRONMENT}"] if tracking_uri.has_password else []),
    ]
