"""Published eSEN and UMA backbones, read from fairchem's checkpoint files without executing what is pickled in them.

A file is a pickled `MLIPInferenceCheckpoint` of weights and omegaconf nodes. Whatever class it names becomes an inert
record of its state, tensors are read as such, and a file that asks for anything else is refused.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, NamedTuple

import torch
from pydantic import ValidationError
from torch import Tensor
from torch.nn import functional
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from crystalsweep.networks.architectures import ESCN_MD_TABLES, EscnMdConfig
from crystalsweep.networks.backbones import Backbone
from crystalsweep.wording.mistakes import mistakes
from crystalsweep.wording.notices import without_known_lines

SETTING_NAMES = {
    "sphere_channels": "width",
    "num_layers": "layers",
    "cutoff": "cutoff",
    "max_neighbors": "max_neighbours",
    "lmax": "lmax",
    "mmax": "mmax",
    "edge_channels": "edge_channels",
    "num_distance_basis": "radial_functions",
    "hidden_channels": "hidden",
    "act_type": "activation",
    "ff_type": "feed_forward",
}
"""fairchem's name of a setting to that of `EscnMdConfig`."""

REQUIRED = {
    "distance_function": "gaussian",
    "norm_type": "rms_norm_sh",
    "grid_resolution": None,
    "charge_balanced_channels": None,
    "spin_balanced_channels": None,
}
"""Settings that `EscnMdConfig` does not have, at the one value that it stands for."""

INORGANIC = "omat"
"""fairchem's name for inorganic crystals among the data sets that UMA was trained on."""


_PREFIX = "backbone."
_CONSTANT = ("mix_csd.", "charge_embedding.", "spin_embedding.")
_CONDITIONAL = ("dataset_embedding.", "routing_mlp.", "composition_embedding.")
_UNREAD = ("average_degree", "network.charge_embedding.", "network.spin_embedding.")


class PublishedBackbone(NamedTuple):
    """The backbone of a file."""

    config: EscnMdConfig
    """Its architecture; `max_neighbours` as the file has it."""
    weights: dict[str, Tensor]
    """By the names of `EscnMd`, float32; the tables of species end where the file's end."""
    dropped: list[str]
    """Tensors of the file that `EscnMd` has no place for."""


def read_escn_md(path: Path) -> PublishedBackbone:
    """Return the EMA weights, where the file has them, and the architecture of an eSEN or UMA checkpoint.

    What the file's embeddings of charge 0, spin 0 and data set add to every atom is folded into one bias, exactly; of
    several data sets it is that of inorganic crystals. UMA's experts are mixed in equal parts, as by an undecided
    router: a start to train from and not UMA's prediction, which weighs them by composition.
    Raises `ValueError` for another file, for one that asks for other classes, and for settings we do not have.
    """
    checkpoint = unpickled(path)
    settings = _settings(checkpoint["model_config"], path)
    config = _config(settings, path)
    stored = checkpoint["ema_state_dict"] or checkpoint["model_state_dict"]
    if not isinstance(stored, dict) or not all(isinstance(value, Tensor) for value in stored.values()):
        raise ValueError(f"{path} holds something other than tensors in place of weights")
    found = {re.sub(r"^(module\.)+", "", name): value.float() for name, value in stored.items() if name != "n_averaged"}
    theirs = {name.removeprefix(_PREFIX): value for name, value in found.items() if name.startswith(_PREFIX)}
    ours, used = {}, {name for name in theirs if name.startswith(_CONSTANT)}
    try:
        ours["mix_csd.bias"], data_set = _constant(theirs, settings)
    except KeyError as missing:
        raise ValueError(f"{path} has no tensor {_PREFIX}{missing.args[0]}") from None
    ours["mix_csd.weight"] = torch.zeros(config.width, 2 * config.width)
    for name, value in theirs.items():
        if name.endswith(".weights"):
            ours[name.removesuffix("s")] = value.sum(dim=0) * _expert_share(len(value), settings)
        elif not name.startswith((*_CONSTANT, *_CONDITIONAL)):
            ours[name] = value
        else:
            continue
        used.add(name)
    dropped = sorted(set(found) - {_PREFIX + name for name in used | data_set})
    return PublishedBackbone(config, {f"network.{name}": value for name, value in ours.items()}, dropped)


def load_pretrained(backbone: Backbone, path: Path) -> list[str]:
    """Fill `backbone` from a file; the mask token and elements unknown there keep theirs. Returns what was dropped.

    Raises `ValueError` as `read_escn_md` does, and where the backbone has another architecture.
    """
    found = read_escn_md(path)
    if backbone.config.name != found.config.name:
        raise ValueError(f"{path} holds the weights of {found.config.name}, not of {backbone.config.name}")
    for name in (*SETTING_NAMES.values(), "symmetry"):
        here, there = getattr(backbone.config, name), getattr(found.config, name)
        if name != "max_neighbours" and here != there:
            raise ValueError(f"backbone.{name} is {there} in {path}, not {here}")
    own = {name: value for name, value in backbone.state_dict().items() if not name.startswith(_UNREAD)}
    for name, value in own.items():
        there = found.weights.get(name)
        if there is None or there.shape[1:] != value.shape[1:] or (len(there) != len(value) and not _is_table(name)):
            raise ValueError(f"{path} does not hold the weights of its own settings: {name} does not fit")
    for name, value in own.items():
        first = 1 if _is_table(name) else 0  # row 0 belongs to no atom in fairchem, and to the mask token here
        last = len(found.weights[name])
        value[first:last] = found.weights[name][first : len(value)]
    return found.dropped + sorted(set(found.weights) - set(own))


def _is_table(name: str) -> bool:
    return name in {f"network.{table}.weight" for table in ESCN_MD_TABLES}


def _config(settings: dict[str, Any], path: Path) -> EscnMdConfig:
    given = {ours: settings[theirs] for theirs, ours in SETTING_NAMES.items()}
    try:
        return EscnMdConfig(symmetry="SO3", **given)
    except ValidationError as error:
        why = mistakes(error, EscnMdConfig, given)
        for theirs, ours in SETTING_NAMES.items():
            why = re.sub(rf"\b{ours}:", f"{theirs}:", why)
        raise ValueError(f"{path} has a setting that escn_md cannot have: {why}") from None


def _settings(model: Any, path: Path) -> dict[str, Any]:
    """Return all settings of the backbone, with fairchem's defaults for those that the file leaves out."""
    with without_known_lines():
        from fairchem.core.models.uma.escn_md import eSCNMDBackbone
        from fairchem.core.models.uma.escn_moe import eSCNMDMoeBackbone

    given = dict(model["backbone"]) if isinstance(model, dict) and isinstance(model.get("backbone"), dict) else {}
    kind = str(given.pop("model", None))
    if not re.search(r"(eSCNMD(Moe)?Backbone|^escnmd(_moe)?_backbone)$", kind):
        raise ValueError(f"{path} has the backbone {kind}; only eSCNMDBackbone and eSCNMDMoeBackbone can be read")
    known = {
        name: parameter.default
        for init in (eSCNMDMoeBackbone.__init__, eSCNMDBackbone.__init__)
        for name, parameter in inspect.signature(init).parameters.items()
    }
    if unknown := sorted(set(given) - set(known)):
        raise ValueError(f"{path} has the setting {unknown[0]}, which this version of fairchem-core does not know")
    settings = {**known, **given}
    for name, value in REQUIRED.items():
        if (settings[name] or None) != value:
            raise ValueError(f"{path} has {name}={settings[name]}; escn_md has {value} only")
    return settings


def _constant(weights: dict[str, Tensor], settings: dict[str, Any]) -> tuple[Tensor, set[str]]:
    """Return (width,) what charge 0, spin 0 and the data set put into every atom's SiLU, and the data set's name
    there."""
    half = settings["sphere_channels"] // 2
    match settings["chg_spin_emb_type"]:
        case "pos_emb":
            parts = [torch.cat([torch.zeros(half), torch.ones(half)]), torch.zeros(2 * half)]
        case "rand_emb":  # charges from −100, spins from 0
            parts = [weights["charge_embedding.rand_emb.weight"][100], weights["spin_embedding.rand_emb.weight"][0]]
        case _:  # fairchem reads spin 0 as −100
            slope, offset = weights["spin_embedding.lin_emb.weight"], weights["spin_embedding.lin_emb.bias"]
            parts = [weights["charge_embedding.lin_emb.bias"], offset - 100 * slope[:, 0]]
    data_set = set()
    if settings["use_dataset_embedding"]:
        mapping = settings["dataset_mapping"] or {name: name for name in settings["dataset_list"] or ("",)}
        name = f"dataset_embedding.dataset_emb_dict.{mapping.get(INORGANIC, min(mapping.values()))}.weight"
        parts.append(weights[name][0])
        data_set.add(name)
    return functional.linear(torch.cat(parts), weights["mix_csd.weight"], weights["mix_csd.bias"]), data_set


def _expert_share(experts: int, settings: dict[str, Any]) -> float:
    """Return what fairchem's router gives each expert when it prefers none."""
    return 1 / experts + (0.005 if settings["moe_expert_coefficient_norm"] == "softmax" else 0.0)


class _Inert:
    """Stands in for an object of any class: it keeps the state that was pickled, and can do nothing."""

    state: Any = None

    def __init__(self, *arguments: Any) -> None:
        del arguments

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Checkpoint(_Inert):
    """Stands in for fairchem's `MLIPInferenceCheckpoint`."""


_STAND_INS: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    (_Checkpoint, "fairchem.core.units.mlip_unit.api.inference.MLIPInferenceCheckpoint"),
    *((_Inert, f"omegaconf.{name}") for name in ("dictconfig.DictConfig", "listconfig.ListConfig")),
    *((_Inert, f"omegaconf.base.{name}") for name in ("ContainerMetadata", "Metadata", "UnionNode")),
    *((_Inert, f"omegaconf.nodes.{kind}Node") for kind in ("Any", "String", "Integer", "Float", "Boolean")),
    *((_Inert, f"typing.{name}") for name in ("Any", "Dict", "List", "Optional", "Union")),
    *((_Inert, f"builtins.{name}") for name in ("dict", "list", "tuple", "int", "float", "str", "bool")),
    (_Inert, "collections.defaultdict"),
]
"""Every class that fairchem's files name, with what is built in its place."""


def unpickled(path: Path) -> dict[str, Any]:
    """Return the fields of the checkpoint, of plain dicts, lists and tensors."""
    try:
        with safe_globals(_STAND_INS):
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        with safe_globals(_STAND_INS):
            try:
                asked = get_unsafe_globals_in_checkpoint(path)
            except (UnpicklingError, RuntimeError, EOFError, ValueError):
                asked = []
        reason = f"asks for {', '.join(sorted(asked))}" if asked else "is no checkpoint that torch can read"
        raise ValueError(
            f"{path} {reason}; nothing of it was executed. eSEN and UMA files of fairchem-core 2 need no more than "
            "tensors and settings: get the file from its publisher"
        ) from error
    if not isinstance(checkpoint, _Checkpoint) or not isinstance(checkpoint.state, dict):
        raise ValueError(f"{path} is no fairchem-core 2 inference checkpoint (MLIPInferenceCheckpoint)")
    fields = {name: _plain(value) for name, value in checkpoint.state.items()}
    if missing := {"model_config", "model_state_dict", "ema_state_dict"} - set(fields):
        raise ValueError(f"{path} has no {min(missing)}")
    return fields


def _plain(value: Any) -> Any:
    """Return omegaconf's nodes as the values they hold."""
    if isinstance(value, _Inert):
        state = value.state if isinstance(value.state, dict) else {}
        return _plain(state.get("_content", state.get("_val")))
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value
