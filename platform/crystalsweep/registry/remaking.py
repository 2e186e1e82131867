"""The files of a foreign version put together anew: its data as it is, and all that is shown or run as written here."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from crystalsweep.artifacts.safe_json import read_json
from crystalsweep.artifacts.seal import seal
from crystalsweep.evaluation.redrawing import redraw
from crystalsweep.evaluation.report import REPORT_FILE
from crystalsweep.evaluation.suite import Suite
from crystalsweep.inference.serving import write_pyfunc
from crystalsweep.registry.dossier import DOSSIER_FOLDER, EVALUATION, PAGE, Dossier
from crystalsweep.registry.foreign import KEPT
from crystalsweep.registry.gates.gain import judged
from crystalsweep.registry.judging import COMMAND, SUITE_FILE
from crystalsweep.registry.page import CARD, write_card, write_dossier_page

NOTE = (
    "Written from dossier.json when the version was imported: pages of an archive are not kept. The plot of "
    "differences is left out, since the tables of the champion of then do not travel."
)

_NAME = re.compile(r"\w[\w. -]{0,199}")


def require_plain(dossier: Dossier) -> None:
    """Raise `ValueError` where a dossier has names, a command or a suite that somebody who copies or runs them would
    not expect."""
    for what, name in (("model", dossier.model), ("alias", dossier.alias)):
        require_name(name, f"dossier.json names a {what}")
    energies = dossier.suite.settings.energies
    if energies.runs_code:
        raise ValueError(
            f"dossier.json has energies computed by {energies.calculator[:100]!r}, which would run as code where it is "
            "verified; nothing of this archive is registered"
        )
    if dossier.command != COMMAND:
        raise ValueError(
            f"dossier.json has another command than `{COMMAND}`, which readers would copy: {dossier.command[:100]!r}; "
            "nothing of this archive is registered"
        )
    if not (dossier.gates and all(gate.checks for gate in dossier.gates)):  # and so it would read as passed
        raise ValueError("dossier.json has gates without checks, or none; nothing of this archive is registered")
    judged(dossier.metric)


def require_same_suite(dossier: Dossier, folder: Path) -> None:
    """Raise `ValueError` where the suite that the dossier's command runs is not the one that it speaks of."""
    try:
        beside = Suite.model_validate(read_json(folder / DOSSIER_FOLDER / SUITE_FILE))
        same = beside.sha256() == dossier.suite.sha256()
    except (FileNotFoundError, ValueError):  # of pydantic too
        same = False
    if not same:
        raise ValueError(f"{SUITE_FILE} is not the suite of dossier.json; nothing of this archive is registered")


def require_name(name: str, what: str) -> None:
    """Raise `ValueError` for a name that is more than letters, digits, '.', '_', '-' and spaces, or a lease's."""
    if not _NAME.fullmatch(name) or ".lock-" in name:
        raise ValueError(f"{what} {name[:100]!r}, which is no plain name; nothing of this archive is registered")


def remake(foreign: Path, dossier: Dossier, into: Path) -> list[str]:
    """Write the version that is registered instead of a stranger's; returns what became of pages, in sentences.

    Args:
        foreign: The archive's files, which `require_harmless` let through.
        dossier: Theirs.
        into: A folder that is not there yet.

    Raises:
        ValueError: The dossier cannot be shown.
    """
    for name in KEPT:
        if (foreign / name).exists():
            (into / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(foreign / name, into / name)
    write_pyfunc(into)
    folder = into / DOSSIER_FOLDER
    _shown(lambda: write_dossier_page(dossier, pd.DataFrame(), folder / PAGE, NOTE))
    _shown(lambda: write_card(dossier, into))
    lacking = redraw(folder / EVALUATION)
    seal(into)
    told = [f"{PAGE}, {CARD} and {REPORT_FILE} are written anew from the archive's data; its own pages are not kept"]
    return [*told, f"of the evaluation there is {lacking}"] if lacking else told


def _shown(write: Callable[[], None]) -> None:
    try:
        write()
    except Exception as error:  # a stranger's dossier may lack what pages show, in every way
        raise ValueError(
            f"dossier.json cannot be shown ({type(error).__name__}: {str(error)[:200]}); nothing of this archive is "
            "registered"
        ) from None
