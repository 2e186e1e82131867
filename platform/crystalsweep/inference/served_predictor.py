"""A property model as MLflow serves it: CIFs in, properties out, each with its interval or its set of answers."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Sequence
from threading import Lock
from typing import TYPE_CHECKING

from crystalsweep.data.checks import Problem
from crystalsweep.data.readers import SourceRow
from crystalsweep.data.reading import Reject
from crystalsweep.inference.inputs import whole_of_row
from crystalsweep.inference.predicting import Predictor, columns_of_targets, prediction_table
from crystalsweep.inference.served_rows import names_of, require_few, rows_of
from crystalsweep.inference.target_records import TargetRecord
from crystalsweep.structures.crystal import Crystal

if TYPE_CHECKING:
    import pandas as pd

_log = logging.getLogger(__name__)


def columns_of(records: Sequence[TargetRecord]) -> dict[str, str]:
    """Return the columns of an answer by name, with MLflow's type: those of `crystalsweep predict`, then `error`."""
    numbers = {name: kind for own in columns_of_targets(records) for name, kind in own.items()}
    return {"id": "string", **numbers, "error": "string"}


class ServedPredictor:
    """What MLflow calls. Requests pass the network one after the other."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self._columns = list(columns_of(predictor.records))
        self._network = Lock()

    def predict(self, model_input: pd.DataFrame) -> pd.DataFrame:
        """Return a row of `columns_of` per row of `model_input`, in order; of one that cannot be predicted, `error`
        alone.

        Args:
            model_input: `cif`, and `id` where rows should keep a name.

        Raises:
            MlflowException: HTTP 400: too many rows for one request.
        """
        import pandas as pd

        require_few(len(model_input))
        names = names_of(model_input)
        read = [_whole(row) for row in rows_of(model_input["cif"].tolist(), names)]
        told = iter(self._rows([each for each in read if isinstance(each, Crystal)]))
        answers = [next(told) if isinstance(each, Crystal) else {"error": each} for each in read]
        blank: dict[str, object] = {**dict.fromkeys(self._columns), "error": ""}
        table = [{**blank, **answer, "id": name} for name, answer in zip(names, answers, strict=True)]
        return pd.DataFrame(table, columns=self._columns, dtype=object)  # None, not NaN, which is no JSON

    def _rows(self, crystals: Sequence[Crystal]) -> list[dict[str, object]]:
        """Return what is said of each crystal; where the network fails on all together, each is asked alone."""
        try:
            return self._predicted(crystals)
        except Exception:
            return [self._alone(crystal) for crystal in crystals]

    def _alone(self, crystal: Crystal) -> dict[str, object]:
        try:
            return self._predicted([crystal])[0]
        except Exception as error:  # one crystal must not cost the others their answer
            _log.exception("%s could not be predicted", crystal.id)
            return {"error": f"id {crystal.id}: cannot be predicted ({type(error).__name__})"}

    def _predicted(self, crystals: Sequence[Crystal]) -> list[dict[str, object]]:
        with self._network:
            found = self._predictor.predict(crystals)
        table = prediction_table([crystal.id for crystal in crystals], found)
        return [{str(name): _plain(value) for name, value in row.items()} for row in table.to_dict("records")]


def _whole(row: SourceRow) -> Crystal | str:
    made = whole_of_row(row)
    return str(Reject(where=row.where, id=row.id, **made._asdict())) if isinstance(made, Problem) else made


def _plain(value: object) -> object:
    """Return a cell as JSON holds it: None where there is no number, a list as its text."""
    if isinstance(value, list):
        return json.dumps(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value
