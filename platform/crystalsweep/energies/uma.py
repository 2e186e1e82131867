"""fairchem's UMA and eSEN potentials from a checkpoint file (Wood et al., doi:10.48550/arXiv.2506.23971).

The file is the user's; nothing is downloaded. fairchem unpickles it and builds what it names, which can run any code,
so both are read without executing anything first, and a file that names what is not fairchem's or torch's is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from crystalsweep.energies.ase_calculator import AseCalculator
from crystalsweep.energies.limits import DEFAULT_LIMITS, Limits
from crystalsweep.networks.pretrained import INORGANIC, unpickled
from crystalsweep.wording.notices import without_known_lines

HELP = (
    "uma:FILE or uma:FILE#TASK takes a checkpoint file of fairchem-core 2 on this machine. fairchem unpickles it: only "
    "the class names in it are checked before. Name no file whose source you do not trust."
)
"""For the help text of a command."""

_TRUSTED = ("fairchem.core.", "torch.nn.")


def load_uma(name: str, *, device: str = "cpu", limits: Limits = DEFAULT_LIMITS) -> AseCalculator:
    """Return the calculator of `uma:FILE[#TASK]`, unmerged and uncompiled, so that no crystal's energy depends on
    another's.

    Raises `ValueError` for a file that is missing, that names other classes than fairchem's, or has no such task.
    """
    path, _, task = name.removeprefix("uma:").partition("#")
    file = Path(path).expanduser()
    if not file.is_file():
        raise ValueError(
            f"{name}: there is no file {path!r}; give the path of a checkpoint file, nothing is downloaded"
        )
    _require_trusted(file)

    with without_known_lines():
        from fairchem.core import FAIRChemCalculator
        from fairchem.core.units.mlip_unit import load_predict_unit

    try:
        unit = load_predict_unit(file, inference_settings="batch", device=device)
        known = sorted(unit.dataset_to_tasks)
        chosen = task or (INORGANIC if INORGANIC in known else known[0] if len(known) == 1 else "")
        calculator = FAIRChemCalculator(unit, task_name=chosen) if chosen in known else None
    except Exception as error:
        raise ValueError(f"{name}: fairchem cannot load it: {type(error).__name__}: {error}") from error
    if calculator is None:
        raise ValueError(f"{name}: it has no task {task or INORGANIC}; write #TASK with one of {', '.join(known)}")
    rows = int(unit.model.module.backbone.max_num_elements)  # of the embedding; row 0 is no element
    return AseCalculator(calculator, name, heaviest=rows - 1, limits=limits)


def _require_trusted(file: Path) -> None:
    fields = unpickled(file)  # refuses every class that fairchem's own files do not name
    strange = sorted({name for name in _targets(fields) if not name.startswith(_TRUSTED)})
    if strange:
        raise ValueError(f"{file} would call {', '.join(strange)}; nothing of it was executed")


def _targets(value: Any) -> Iterator[str]:
    """Yield every callable that hydra would call for these settings."""
    if isinstance(value, dict):
        if "_target_" in value:
            yield str(value["_target_"])
        for each in value.values():
            yield from _targets(each)
    elif isinstance(value, list):
        for each in value:
            yield from _targets(each)
