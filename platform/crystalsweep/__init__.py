"""crystalsweep: self-supervised generative models of crystal structures, after Liu et al., iScience 27, 110672 (2024).

    import crystalsweep

    crystals = crystalsweep.read("my_cifs/").crystals
    restorer = crystalsweep.load()   # the champion; or a run folder, a run id, models:/NAME@ALIAS, an exported .zip
    done = restorer.complete(crystals[0])

What a user imports is here: `Crystal`, `read`, `load`, `complete`, `predict`, `evaluate`, `compare`. The rooms, lowest
first:

`artifacts`    files that last        `pages`        HTML pages, figures as text   `tracking`     runs in MLflow
`structures`   crystals and graphs    `data`         readers, the bundled set      `networks`     backbones, models
`metrics`      validity, similarity   `losses`       Eqs. 1–3, the audit           `energies`     potentials, hulls
`inference`    a generator in use     `plots`        every figure                  `evaluation`   protocol of Fig. 4
`training`     loop, stages           `gallery`      crystals in 3D                `leaderboard`  runs in order
`registry`     promotion by evidence  `sweeping`     the machine of every sweep    `cli`          the command line
`app`          the page that completes crystals
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from crystalsweep.wording.notices import silence_known_warnings

if TYPE_CHECKING:
    from crystalsweep.data import read
    from crystalsweep.evaluation.interface import compare, evaluate
    from crystalsweep.inference.interface import complete, predict
    from crystalsweep.inference.restorer import load
    from crystalsweep.structures.crystal import Crystal

__all__ = ["Crystal", "compare", "complete", "evaluate", "load", "predict", "read"]

_EXPORTS = {
    "Crystal": "crystalsweep.structures.crystal",
    "compare": "crystalsweep.evaluation.interface",
    "complete": "crystalsweep.inference.interface",
    "evaluate": "crystalsweep.evaluation.interface",
    "load": "crystalsweep.inference.restorer",
    "predict": "crystalsweep.inference.interface",
    "read": "crystalsweep.data",
}
"""Where each lies; torch and pymatgen are imported when one that needs them is first asked for."""

for _name, _value in {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "5",  # after 0, 2, 4, 8 and 16 s: half a minute, not four
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
}.items():
    os.environ.setdefault(_name, _value)  # MLflow reads them when it is imported, whoever imports it first

silence_known_warnings()


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        return getattr(import_module(_EXPORTS[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_EXPORTS])
