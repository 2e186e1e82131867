"""Stages by name: what each takes and leaves, how it steps, and what names its trainings. Imports without torch.

A stage is a package with a `config.py`, which declares it here when it is imported, and a `train.py`, whose `build`
makes it ready to train. Packages that hold stages name themselves as entry points of `crystalsweep.stages`. A job
carries the package's name, since on the workers of a submitted job nothing is installed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from crystalsweep.config import suggestion
from crystalsweep.networks.architectures import size
from crystalsweep.training.config import StageConfig
from crystalsweep.training.records import Scored

ENTRY_POINTS = "crystalsweep.stages"
"""Group of entry points that name packages whose import declares stages."""

PACE = {"painn": 1.0, "equiformer_v2": 0.3, "escn_md": 0.3}
"""Learning rate of each backbone over that of PaiNN, for which the presets were tuned; `paper` keeps the paper's."""

StepKinds = Sequence[tuple[int, float]]
"""The number of a step of each kind, and the share of all steps that are of its kind."""


def _none(config: StageConfig) -> tuple[str, ...]:
    del config
    return ()


def _all_alike(config: StageConfig) -> StepKinds:
    del config
    return [(0, 1.0)]


@dataclass(frozen=True, kw_only=True)
class StageSpec:
    """What a stage says of itself."""

    name: str
    """As commands, checkpoints and runs have it."""
    package: str
    """Holds its `config.py` and `train.py`, as `trainables.gan`."""
    summary: str
    """One line for `--help`."""
    presets: Mapping[str, StageConfig]
    """Configs by name, before their backbone; all of one class."""
    inputs: tuple[str, ...] = ()
    """Checkpoints that it can start from, by what left them."""
    leaves: str = ""
    """What its checkpoint is to a later stage: `generator`, `discriminator`; empty where none starts from it."""
    labels: Callable[[Any], tuple[str, ...]] = _none
    """From its config, labels of which a crystal must have one to teach it anything; none where all teach."""
    scores: Scored = "restorations"
    """What its validation scores, and a sweep over it reports."""
    published: bool = False
    """Whether it can start from a published backbone, which is then its input `backbone`."""
    named: Mapping[str, str] = field(default_factory=dict)
    """Settings that the name of every training says: by dotted path, a text in which `{}` is the value."""
    step_kinds: Callable[[Any], StepKinds] = _all_alike
    """From its config, the kinds of its steps, which take different times."""

    @property
    def config(self) -> type[StageConfig]:
        """Class of its configs."""
        return type(next(iter(self.presets.values())))


_declared: dict[str, StageSpec] = {}


def declare(spec: StageSpec) -> StageSpec:
    """Make a stage known by its name; called by its `config.py`.

    Raises:
        ValueError: Another package has declared a stage of this name.
    """
    known = _declared.get(spec.name)
    if known is not None and known.package != spec.package:
        raise ValueError(f"two stages are called {spec.name!r}: {known.package} and {spec.package}; rename one")
    _declared[spec.name] = spec
    return spec


def declared_by(package: str) -> StageSpec:
    """Import a stage's `config.py` and return what it declares.

    Raises:
        ValueError: There is no such package, or it declares no stage.
    """
    try:
        import_module(f"{package}.config")
    except ModuleNotFoundError as error:
        if error.name is None or not f"{package}.config".startswith(error.name):
            raise
        raise ValueError(f"there is no stage {package!r}: {error}; it needs a config.py that declares it") from error
    for spec in _declared.values():
        if spec.package == package:
            return spec
    raise ValueError(f"{package}.config declares no stage: it ends with declare(StageSpec(package={package!r}, …))")


def stages() -> dict[str, StageSpec]:
    """Return all stages that are imported or installed, by name."""
    for package in entry_points(group=ENTRY_POINTS):
        package.load()
    return dict(_declared)


def stage_spec(name: str) -> StageSpec:
    """Return the stage of this name, or of the package where `name` is a dotted path such as `mylab.denoise`.

    Raises:
        ValueError: There is none; it names the nearest.
    """
    if name in _declared:
        return _declared[name]
    if "." in name:
        return declared_by(name)
    known = stages()
    if name not in known:
        raise ValueError(f"there is no stage {name!r}; {suggestion(name, known)}")
    return known[name]


def preset(stage: str, name: str, backbone: str = "painn") -> StageConfig:
    """Return the preset of a stage on a backbone. Raises `ValueError` naming the nearest for an unknown name."""
    presets = stage_spec(stage).presets
    if name not in presets:
        raise ValueError(f"{stage} has no preset {name!r}; {suggestion(name, presets)}")
    chosen, pace = presets[name], 1.0 if name == "paper" else PACE[backbone]
    sized = {"backbone": size(backbone, name), "learning_rate": chosen.learning_rate * pace}
    return chosen.model_copy(update=sized)


def config_from(stage: str, content: dict[str, Any]) -> StageConfig:
    """Return a stage's config from its JSON form."""
    return stage_spec(stage).config.model_validate(content)


def stage_builder(stage: str) -> Callable[..., Any]:
    """Return `build(config, data, session, inputs) -> Stage` of a stage."""
    builder: Callable[..., Any] = import_module(f"{stage_spec(stage).package}.train").build
    return builder
