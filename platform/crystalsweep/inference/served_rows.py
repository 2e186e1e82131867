"""Rows of CIFs as a served model is sent them: how many may come in one request, and what each is called."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from crystalsweep.data.checks import Problem
from crystalsweep.data.readers import SourceRow
from crystalsweep.inference.inputs import text_row
from crystalsweep.tracking.private import is_serving

if TYPE_CHECKING:
    import pandas as pd

MAX_ROWS = 256
"""Of one HTTP request; in batch there is no limit."""

NO_CIF = Problem("no CIF", remedy="give the text of a CIF")
EXPORT_AGAIN = "export the CIF again and check that it is complete"

_log = logging.getLogger(__name__)


def require_few(rows: int) -> None:
    """Raise `MlflowException`, HTTP 400, for more rows than one request may have."""
    from mlflow.exceptions import MlflowException

    if rows > MAX_ROWS and is_serving():
        raise MlflowException.invalid_parameter_value(
            f"{rows} rows in one request; send at most {MAX_ROWS}, or score in batch with mlflow.pyfunc.load_model"
        )


def names_of(table: pd.DataFrame) -> list[str]:
    """Return what each row is called: its `id`, or where it has none its number, from 1."""
    ids = table["id"].tolist() if "id" in table else [None] * len(table)
    return [given if isinstance(given, str) and given else str(n) for n, given in enumerate(ids, start=1)]


def rows_of(texts: Sequence[object], names: Sequence[str]) -> list[SourceRow]:
    """Return the row of each text, read as a CIF; one that cannot be read has a `Problem` and costs the others nothing.

    Args:
        texts: Of CIFs; anything else is none.
        names: What each is called.
    """
    return [_row(text, name, f"row {n}") for n, (text, name) in enumerate(zip(texts, names, strict=True), start=1)]


def _row(text: object, name: str, where: str) -> SourceRow:
    if not isinstance(text, str):
        return SourceRow(where, name, NO_CIF)
    try:
        return text_row(text, name)._replace(where=where)
    except Exception as error:  # one row's text must not cost the others their answer
        _log.exception("%s could not be read", name)
        return SourceRow(where, name, Problem("unparsable CIF", type(error).__name__, EXPORT_AGAIN))
