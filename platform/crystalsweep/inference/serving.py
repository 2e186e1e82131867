"""A checkpoint as an MLflow pyfunc, over HTTP by `mlflow models serve` or in batch by `load_model(...).predict`: a
generator completes CIFs, a property model predicts (`served_predictor.py`).

MLflow finds this module by the name in `MLmodel` and calls `_load_pyfunc` with the checkpoint's folder, so that
nothing of the model is pickled. A row that cannot be completed says why in `error`; the others are completed.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import yaml

from crystalsweep.artifacts.addresses import Address, without_password
from crystalsweep.artifacts.seal import META, SEAL, BrokenSealError, require_sealed
from crystalsweep.data.masking import Masking
from crystalsweep.data.reading import Reject
from crystalsweep.data.writing import right_handed
from crystalsweep.inference.answers import answer_of
from crystalsweep.inference.asking import CHARGES, Answered, Question, answers, decoder_of
from crystalsweep.inference.completion import Completion
from crystalsweep.inference.decoding.constraints import Constraints
from crystalsweep.inference.inputs import Partial, masking_of, partial_of_row
from crystalsweep.inference.predicting import load_predictor
from crystalsweep.inference.restorer import Restorer, load
from crystalsweep.inference.served_predictor import ServedPredictor, columns_of
from crystalsweep.inference.served_rows import names_of, require_few, rows_of
from crystalsweep.inference.target_records import is_property_model, read_targets
from crystalsweep.structures.crystal import N_ELEMENTS

if TYPE_CHECKING:
    import pandas as pd

CHECKPOINT = "checkpoint"
"""Where in a registered version its checkpoint lies."""

LOADER = "crystalsweep.serving"
"""The module that a registered version names for MLflow to load it with; it leads here."""

ANSWER_COLUMNS = ("id", "cif", "odds", "warnings", "error", "candidates")
"""Of the answer: text each, empty where there is none. `cif` is the first candidate's; `candidates` is what
`crystalsweep complete --json` prints."""

NO_ANSWER = dict.fromkeys(ANSWER_COLUMNS[1:], "")
"""Of a row that has none, but for why."""

PARAMS: Mapping[str, tuple[str, Any]] = {
    "top_k": ("long", 5),
    "keep_positions": ("boolean", False),
    "top": ("long", 10),
    "mask": ("string", ""),
    "allowed": ("string", ""),
    "required": ("string", ""),
    "exclude": ("string", ""),
    "formula": ("string", ""),
    "charge": ("string", "any"),
    "tie": ("string", "symmetry"),
}
"""Of a request, by name: MLflow's type and the default. All but `top_k`, elements whose odds are told of each site,
are those of `crystalsweep complete`; a text that is empty asks for nothing."""

MAX_TOP = 100
"""Candidates of a crystal."""

EXAMPLE = """data_NaX
_cell_length_a 5.64
_cell_length_b 5.64
_cell_length_c 5.64
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'F m -3 m'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
Na1 Na 0 0 0
X1 X 0.5 0.5 0.5
"""
"""Rock salt whose anion is masked."""

WHOLE = EXAMPLE.replace("X1 X ", "Cl1 Cl ").replace("NaX", "NaCl")
"""Rock salt."""

_log = logging.getLogger(__name__)


def write_pyfunc(folder: Path) -> None:
    """Make `folder`, which holds `checkpoint/`, an MLflow model: `MLmodel`, requirements and an input example.

    Raises `ValueError` where there is neither generator nor property model to serve.
    """
    predicts = is_property_model(folder / CHECKPOINT)
    if not predicts and not (folder / CHECKPOINT / "generator.safetensors").exists():
        raise ValueError(f"{folder} holds no {CHECKPOINT}/generator.safetensors to serve, nor a property model")
    import mlflow.pyfunc
    from mlflow.models import Model

    requirement = _requirement()
    (folder / "requirements.txt").write_text(f"{requirement}\n")
    python = ".".join(map(str, sys.version_info[:3]))
    build = "build_dependencies: [pip]\ndependencies:\n- -r requirements.txt\n"
    (folder / "python_env.yaml").write_text(f"python: {python}\n{build}")
    if predicts:
        signature, example = _signature(columns_of(read_targets(folder / CHECKPOINT))), _write_example(folder, WHOLE)
    else:
        signature, example = (
            _signature(dict.fromkeys(ANSWER_COLUMNS, "string"), PARAMS),
            _write_example(folder, EXAMPLE, PARAMS),
        )
    model = Model(signature=signature, saved_input_example_info=example)
    mlflow.pyfunc.add_to_model(model, loader_module=LOADER, data=CHECKPOINT, python_env="python_env.yaml")
    model.save(str(folder / "MLmodel"))


def _requirement() -> str:
    """Return this version as a requirement; where the code runs from a checkout that is not installed, any."""
    try:
        return f"crystalsweep=={version('crystalsweep')}"
    except PackageNotFoundError:
        return "crystalsweep"


_NO_PARAMS: Mapping[str, tuple[str, Any]] = {}


def _signature(columns: Mapping[str, str], params: Mapping[str, tuple[str, Any]] = _NO_PARAMS) -> Any:
    """Return what MLflow knows a model's requests and answers by: CIFs in, `columns` by name and type out."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

    return ModelSignature(
        inputs=Schema([ColSpec("string", "cif"), ColSpec("string", "id", required=False)]),
        outputs=Schema([ColSpec(kind, name) for name, kind in columns.items()]),
        params=ParamSchema([ParamSpec(name, *spec) for name, spec in params.items()]) if params else None,
    )


def _write_example(folder: Path, cif: str, params: Mapping[str, tuple[str, Any]] = _NO_PARAMS) -> dict[str, str]:
    """Return what MLflow's page of the model and `Model.load_input_example` show, as MLflow lays it out."""
    example, request = "input_example.json", "serving_input_example.json"
    table = {"columns": ["cif", "id"], "data": [[cif, "rock-salt"]]}
    (folder / example).write_text(json.dumps(table) + "\n")
    defaults = {name: default for name, (_, default) in params.items()}
    asked = {"dataframe_split": table} | ({"params": defaults} if defaults else {})
    (folder / request).write_text(json.dumps(asked, indent=1) + "\n")
    return {
        "artifact_path": example,
        "pandas_orient": "split",
        "serving_input_path": request,
        "type": "dataframe",
    }


class ServedRestorer:
    """What MLflow calls. Requests pass the network one after the other."""

    def __init__(self, restorer: Restorer) -> None:
        self._restorer = restorer
        self._network = Lock()

    def predict(self, model_input: pd.DataFrame, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Return a row of `ANSWER_COLUMNS` per row of `model_input`, in order.

        Args:
            model_input: `cif`, and `id` where rows should keep a name.
            params: As `PARAMS` names them.

        Raises:
            MlflowException: HTTP 400: too many rows for one request, or a parameter is out of range.
        """
        import pandas as pd

        options = {name: default for name, (_, default) in PARAMS.items()} | dict(params or {})
        _require_request(len(model_input), options)
        masking, question = _asked(options, self._restorer.critic_weight)
        names = names_of(model_input)
        rows = [
            partial_of_row(row, masking, keep_positions=question.keep_positions)
            for row in rows_of(model_input["cif"].tolist(), names)
        ]
        completed = iter(self._complete([row for row in rows if isinstance(row, Partial)], question))
        answers = [_answer(next(completed) if isinstance(row, Partial) else str(row)) for row in rows]
        table = [{**answer, "id": name} for name, answer in zip(names, answers, strict=True)]
        return pd.DataFrame(table, columns=list(ANSWER_COLUMNS))

    def _complete(self, partials: Sequence[Partial], question: Question) -> list[Answered | str]:
        with self._network:
            return [each if isinstance(each, Answered) else str(each) for each in self._answers(partials, question)]

    def _answers(self, partials: Sequence[Partial], question: Question) -> Iterator[Answered | Reject]:
        for outcome in answers(self._restorer, partials, question):
            if isinstance(outcome, Reject):
                _log.error("%s", outcome)
            yield outcome


def _load_pyfunc(path: str) -> ServedRestorer | ServedPredictor:
    """Return what `MLmodel` names: the model of a checkpoint's folder, if its version is as it was sealed."""
    require_as_promoted(Path(path).parent)
    if is_property_model(Path(path)):
        return ServedPredictor(load_predictor(Path(path)))
    return ServedRestorer(load(path))


def require_as_promoted(version: Path) -> None:
    """Raise `BrokenSealError` with the remedy where a version's files are not those that were promoted.

    The folder is held to its own seal, and that to the registry's where MLflow downloaded the folder from there: who
    can change files can change the seal beside them.
    """
    try:
        require_sealed(version, _registered_seal(version))
    except BrokenSealError as error:
        raise BrokenSealError(
            f"{error}. Nothing was loaded: download the version again; where that gives the same, its files in the "
            "store were changed, and `crystalsweep promote` makes a new version of the checkpoint"
        ) from None


def _registered_seal(version: Path) -> str | None:
    """Return the seal that the registry has of a downloaded version; None where it cannot be asked: of a folder that no
    registry gave, and where no server or store is named, as in a container."""
    import mlflow
    from mlflow.exceptions import MlflowException

    file = version / META
    if file.is_symlink() or not file.is_file() or not mlflow.is_tracking_uri_set():
        return None
    try:
        told = yaml.safe_load(file.read_text(encoding="utf-8"))
        name, number = told["model_name"], told["model_version"]
    except (OSError, KeyError, TypeError, ValueError, yaml.YAMLError):
        raise BrokenSealError(f"{file} does not say which version this is") from None
    if name is None:  # a logged model, before it was registered
        return None
    try:
        tags = mlflow.MlflowClient().get_model_version(str(name), str(number)).tags
    except MlflowException as error:
        reason = without_password(" ".join(str(error).split())[:200])
        raise ValueError(
            f"{version} is {name}, version {number}, and whether it is as promoted cannot be asked of "
            f"{Address(mlflow.get_registry_uri())} ({reason}); let MLFLOW_TRACKING_URI name the server it is from"
        ) from None
    if SEAL not in tags:
        raise BrokenSealError(f"{name}, version {number}, has no seal: it was not registered by `crystalsweep promote`")
    return str(tags[SEAL])


def _require_request(rows: int, options: Mapping[str, Any]) -> None:
    from mlflow.exceptions import MlflowException

    for name, most in (("top_k", N_ELEMENTS), ("top", MAX_TOP)):
        if not 1 <= options[name] <= most:
            raise MlflowException.invalid_parameter_value(f"{name} is {options[name]}; give 1 to {most}")
    require_few(rows)


def _asked(options: Mapping[str, Any], critic_weight: float) -> tuple[Masking, Question]:
    """Return what a request asks. Raises `MlflowException`, HTTP 400, where it cannot be asked."""
    from mlflow.exceptions import MlflowException

    try:
        if options["charge"] not in CHARGES:
            raise ValueError(f"charge is {options['charge']!r}; give {', '.join(CHARGES)}")
        question = Question(
            decode=decoder_of(
                top=options["top"], charge=options["charge"], tie=options["tie"], critic_weight=critic_weight
            ),
            constraints=Constraints.of(
                allowed=options["allowed"] or None,
                required=options["required"],
                excluded=options["exclude"],
                formula=options["formula"] or None,
            ),
            top=options["top"],
            top_k=options["top_k"],
            keep_positions=options["keep_positions"],
        )
        return masking_of(options["mask"]), question
    except ValueError as error:
        raise MlflowException.invalid_parameter_value(" ".join(str(error).split())) from None


def _answer(row: Answered | str) -> dict[str, str]:
    if isinstance(row, str):
        return NO_ANSWER | {"error": row}
    completion = row.completion
    warnings = "; ".join(completion.warnings)
    if not completion.candidates:
        return NO_ANSWER | {
            "warnings": warnings,
            "error": f"id {completion.partial.id}: {warnings}",
        }
    try:
        told = json.dumps(answer_of(completion, partial=row.partial))
        text = completion.cif
    except Exception as error:
        _log.exception("%s could not be written", completion.crystal.id)
        return _answer(f"id {completion.crystal.id}: the completed crystal cannot be written as a CIF ({error})")
    return {"cif": text, "odds": odds_json(completion), "warnings": warnings, "error": "", "candidates": told}


_PROBABILITY = {False: "uncalibrated_probability", True: "probability"}


def odds_json(completion: Completion) -> str:
    """Return odds per masked site and the length of every P̃; atoms count from 1, as the rows of the completed CIF."""
    _, frac = right_handed(completion.crystal)
    sites = [
        {
            "atom": int(atom) + 1,
            "frac": [round(float(x), 6) for x in frac[atom]],
            _PROBABILITY[completion.calibrated]: {each.element: round(each.probability, 6) for each in odds},
        }
        for atom, odds in zip(completion.masked, completion.odds, strict=True)
    ]
    return json.dumps({"masked": sites, "perturbation_angstrom": [round(float(x), 4) for x in completion.best.moved]})
