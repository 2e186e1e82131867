"""The files of a foreign version put together anew: its data as it is, and all that is shown or run as written here."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from crystalsweep.artifacts.safe_json import read_json
from crystalsweep.artifacts.seal import seal
from crystalsweep.evaluation.properties.outcome import PREDICTIONS_FILE, read_property_outcome
from crystalsweep.evaluation.properties.report import write_property_report
from crystalsweep.evaluation.redrawing import redraw
from crystalsweep.evaluation.report import REPORT_FILE
from crystalsweep.evaluation.suite import Suite
from crystalsweep.inference.predicting import load_predictor
from crystalsweep.inference.serving import CHECKPOINT, write_pyfunc
from crystalsweep.inference.target_records import is_property_model
from crystalsweep.networks.checkpoint import load_generator
from crystalsweep.registry.dossier import (
    DOSSIER_FOLDER,
    EVALUATION,
    PAGE,
    Dossier,
    GeneratorDossier,
    PropertyDossier,
)
from crystalsweep.registry.foreign import KEPT
from crystalsweep.registry.gates.gain import judged
from crystalsweep.registry.judging import COMMAND, SUITE_FILE
from crystalsweep.registry.page import CARD, write_card, write_dossier_page
from crystalsweep.registry.property_judging import command_of as property_command
from crystalsweep.registry.property_page import write_property_card, write_property_dossier_page

NOTE = (
    "Written from dossier.json when the version was imported: pages of an archive are not kept. The plot of "
    "differences is left out, since the tables of the champion of then do not travel."
)

PROPERTY_NOTE = "Written from dossier.json when the version was imported: pages of an archive are not kept."

_NAME = re.compile(r"\w[\w. -]{0,199}")


def require_plain(dossier: Dossier) -> None:
    """Raise `ValueError` where a dossier has names, a command or a suite that somebody who copies or runs them would
    not expect."""
    for what, name in (("model", dossier.model), ("alias", dossier.alias)):
        require_name(name, f"dossier.json names a {what}")
    expected = property_command(dossier.source) if isinstance(dossier, PropertyDossier) else COMMAND
    if isinstance(dossier, GeneratorDossier):
        _require_no_code(dossier)
    if dossier.command != expected:
        raise ValueError(
            f"dossier.json has another command than `{expected[:300]}`, which readers would copy: "
            f"{dossier.command[:100]!r}; nothing of this archive is registered"
        )
    if not (dossier.gates and all(gate.checks for gate in dossier.gates)):  # and so it would read as passed
        raise ValueError("dossier.json has gates without checks, or none; nothing of this archive is registered")
    if isinstance(dossier, GeneratorDossier):
        judged(dossier.metric)


def _require_no_code(dossier: GeneratorDossier) -> None:
    energies = dossier.suite.settings.energies
    if energies.runs_code:
        raise ValueError(
            f"dossier.json has energies computed by {energies.calculator[:100]!r}, which would run as code where it is "
            "verified; nothing of this archive is registered"
        )


def require_about(dossier: Dossier, folder: Path) -> None:
    """Raise `ValueError` where a dossier speaks of another model or suite than are beside it, or the model cannot be
    loaded."""
    checkpoint = folder / CHECKPOINT
    if is_property_model(checkpoint) != isinstance(dossier, PropertyDossier):
        raise ValueError(
            "dossier.json is of another kind of model than the checkpoint; nothing of this archive is registered"
        )
    if isinstance(dossier, PropertyDossier):
        names = [each.name for each in load_predictor(checkpoint).records]
        if names != list(dossier.targets):
            raise ValueError(
                f"dossier.json is of {', '.join(dossier.targets)[:200]}, and the checkpoint predicts "
                f"{', '.join(names)[:200]}; nothing of this archive is registered"
            )
        return
    _require_same_suite(dossier, folder)
    load_generator(checkpoint)


def _require_same_suite(dossier: GeneratorDossier, folder: Path) -> None:
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
    told = f"{PAGE}, {CARD} and {REPORT_FILE} are written anew from the archive's data; its own pages are not kept"
    lacking = _property_pages(dossier, into) if isinstance(dossier, PropertyDossier) else _pages(dossier, into)
    seal(into)
    return [told, f"of the evaluation there is {lacking}"] if lacking else [told]


def _pages(dossier: GeneratorDossier, into: Path) -> str:
    """Write a generator's pages; returns what its report lacks."""
    folder = into / DOSSIER_FOLDER
    _shown(lambda: write_dossier_page(dossier, pd.DataFrame(), folder / PAGE, NOTE))
    _shown(lambda: write_card(dossier, into))
    return redraw(folder / EVALUATION)


def _property_pages(dossier: PropertyDossier, into: Path) -> str:
    """Write a property model's pages; returns what its report lacks."""
    folder = into / DOSSIER_FOLDER
    _shown(lambda: write_property_dossier_page(dossier, folder / PAGE, PROPERTY_NOTE))
    _shown(lambda: write_property_card(dossier, into))
    outcome = read_property_outcome(folder / EVALUATION)
    _shown(lambda: write_property_report(outcome, {}, folder / EVALUATION))
    return f"a report without plots: {PREDICTIONS_FILE} is not kept"


def _shown(write: Callable[[], object]) -> None:
    try:
        write()
    except Exception as error:  # a stranger's dossier may lack what pages show, in every way
        raise ValueError(
            f"dossier.json cannot be shown ({type(error).__name__}: {str(error)[:200]}); nothing of this archive is "
            "registered"
        ) from None
