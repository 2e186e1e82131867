"""Which generator is used where nobody names one: the champion of the registry in use, else the one that comes with
the package.

That one is a registered version's files as `crystalsweep promote` made them: checkpoint, dossier and seal.
"""

from __future__ import annotations

from pathlib import Path

from crystalsweep.artifacts.addresses import without_password
from crystalsweep.artifacts.places import default_storage
from crystalsweep.artifacts.seal import BrokenSealError, require_sealed
from crystalsweep.tracking.holders import MODEL, holder_of
from crystalsweep.tracking.opening import open_tracker

SHIPPED = "shipped"
"""Names it, wherever a generator is named."""

CHAMPION = "mp2018-painn"
"""Its folder's name."""

_CHAMPIONS = Path(__file__).resolve().parents[1] / "champions"


def shipped_champion() -> Path:
    """Return the folder of its files. Raises `BrokenSealError` where these are not as they were shipped."""
    root = _CHAMPIONS / CHAMPION
    try:
        require_sealed(root)
    except BrokenSealError as error:
        raise BrokenSealError(f"{error}; install crystalsweep again, or name another generator") from None
    return root


def champion_in_use(tracking_uri: str | None, storage: Path | None) -> str:
    """Return what names the champion of the registry in use, and `SHIPPED` where that has none or there is none yet.

    Args:
        tracking_uri: MLflow server or database, by default MLFLOW_TRACKING_URI's, else that of the storage.
        storage: Folder of the local store.

    Raises:
        ValueError: The server does not answer.
    """
    tracker = open_tracker(tracking_uri, storage or default_storage())
    if tracker is None:
        return SHIPPED
    from mlflow.exceptions import MlflowException

    try:
        held = holder_of(tracker, MODEL, "champion")
    except MlflowException as error:
        why = without_password(f"{tracker.uri} does not tell its champion ({error})")
        raise ValueError(f"{why}; name a generator, as {SHIPPED!r}, which needs no server") from error
    return SHIPPED if held is None else f"models:/{MODEL}@champion"
