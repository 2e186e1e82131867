"""What a run was begun with, kept in its folder, so that `--resume` asks for none of it again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from crystalsweep.artifacts.atomic import file_sha256, write_whole
from crystalsweep.artifacts.places import checkpoint_folder
from crystalsweep.artifacts.safe_json import read_json
from crystalsweep.config import Config
from crystalsweep.networks.checkpoint import read_info
from crystalsweep.training.config import StageConfig
from crystalsweep.training.records import METRICS_FILE
from crystalsweep.wording.mistakes import mistakes

ORIGIN_FILE = "origin.json"
CONFIG_FILE = "config.json"


class Input(Config):
    """A checkpoint that a run started from."""

    path: str
    """Folder, or a file of fairchem's."""
    weights: dict[str, str]
    """sha256 of its files of weights, by name."""


class Origin(Config):
    """What a run was begun with, beside its settings."""

    stage: str
    data: str
    """As `load_data` takes it, with absolute paths."""
    inputs: dict[str, Input]
    """By what left them, as `generator`."""


def origin_of(stage: str, data: str, inputs: Mapping[str, Path]) -> Origin:
    """Return what a run begins with."""
    return Origin(
        stage=stage,
        data=data,
        inputs={name: Input(path=str(path), weights=_weights(path)) for name, path in inputs.items()},
    )


def write_origin(folder: Path, origin: Origin, config: StageConfig) -> None:
    """Write it and the settings into the run's folder, which is made if there is none."""
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / CONFIG_FILE, config.model_dump_json(indent=2) + "\n")
    write_whole(folder / ORIGIN_FILE, origin.model_dump_json(indent=2) + "\n")


def read_origin(folder: Path) -> Origin | None:
    """Return what the run in a folder was begun with; None of an older run. Raises `ValueError` for a damaged file."""
    path = folder / ORIGIN_FILE
    if not path.exists():
        return None
    content = read_json(path)
    try:
        return Origin.model_validate(content)
    except ValidationError as error:
        why = mistakes(error, Origin, content)
        raise ValueError(f"{path} does not say what the run was begun with ({why}); name it all again") from None


def inputs_to_resume(origin: Origin, given: Mapping[str, Path], *, trained: bool) -> tuple[dict[str, Path], list[str]]:
    """Return the checkpoints that a run was begun with, and what to know of them.

    Args:
        origin: Of the run.
        given: Those that are named now, by what left them; all others are taken from where they were.
        trained: Whether the run has an epoch, whose checkpoint holds all weights that it goes on with.

    Raises:
        ValueError: One is gone, or another is named than it was, or there is no epoch and it has changed.
    """
    if unasked := sorted(given.keys() - origin.inputs.keys()):
        raise ValueError(
            f"the run was begun without {_option(unasked[0])}; leave it out to resume, or choose another --out"
        )
    found, notes = {}, []
    for name, known in origin.inputs.items():
        path, option = given.get(name, Path(known.path)), _option(name)
        if not path.exists():
            raise ValueError(f"the run started from {path}, which is gone; say with {option} where it is now")
        if _weights(path) != known.weights:
            if name in given or not trained:
                remedy = f"leave {option} out to resume" if name in given else f"say with {option} where they are"
                raise ValueError(
                    f"the run started from {known.path}, and the weights in {path} are not those; {remedy}, or choose "
                    "another --out"
                )
            notes.append(f"{path}, which the run started from, has other weights by now; it goes on with its own")
        found[name] = path
    return found, notes


def _option(name: str) -> str:
    return "--init-backbone" if name == "backbone" else f"--{name}"


def settings_to_resume(folder: Path, stage: str, unset: StageConfig) -> StageConfig:
    """Return the settings of the run in a folder; `unset` where it left none, having ended within its first epoch.

    Raises `ValueError` where it is a run of another stage.
    """
    kept = folder / CONFIG_FILE
    try:
        info = read_info(checkpoint_folder(folder))
    except ValueError:
        recorded = read_json(kept) if kept.exists() else None
    else:
        require_stage(folder, info.stage, stage)
        recorded = info.config
    if recorded is None:
        return unset
    try:
        return type(unset).model_validate(recorded)
    except ValidationError as error:
        raise ValueError(f"{folder}: {mistakes(error, type(unset), recorded)}") from None


def require_stage(folder: Path, trained: str, asked: str) -> None:
    """Raise `ValueError` where the run in a folder is of another stage than the one that is to resume it."""
    if trained != asked:
        raise ValueError(f"{folder} is a run of {trained}: resume it with `crystalsweep train {trained} --resume`")


def has_run(folder: Path) -> bool:
    """Return whether a run was begun in a folder."""
    return has_epochs(folder) or (folder / ORIGIN_FILE).exists() or (folder / CONFIG_FILE).exists()


def has_epochs(folder: Path) -> bool:
    """Return whether a run in a folder has ended an epoch."""
    kept = [*folder.glob("checkpoint"), *folder.glob("previous"), *folder.glob("epoch_*")]
    return bool(kept) or (folder / METRICS_FILE).exists()


def require_no_run(folder: Path) -> None:
    """Raise `ValueError` where a run is, whose epochs another would replace."""
    if has_epochs(folder):
        raise ValueError(f"{folder} already holds a run; pass --resume to continue it, or another --out")


def _weights(path: Path) -> dict[str, str]:
    files = [path] if path.is_file() else sorted(path.glob("*.safetensors"))
    return {file.name: file_sha256(file) for file in files}
