"""From a config's `name` to the backbone it asks for."""

from __future__ import annotations

from crystalsweep.backbones._base import Backbone
from crystalsweep.backbones.painn import PaiNN
from crystalsweep.hyperparameters import BackboneConfig

BACKBONES: dict[str, type[Backbone]] = {"painn": PaiNN}


def build_backbone(config: BackboneConfig) -> Backbone:
    """An initialised backbone; weights come from torch's global random state."""
    return BACKBONES[config.name](config)
