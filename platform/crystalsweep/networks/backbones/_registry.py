"""From a config to the backbone it asks for."""

from __future__ import annotations

from importlib import import_module

from crystalsweep.networks.architectures import BackboneConfig
from crystalsweep.networks.backbones._base import Backbone


def build_backbone(config: BackboneConfig) -> Backbone:
    """Return an initialised backbone; weights come from torch's global random state. Imports its module and no
    other's."""
    module, _, name = type(config).implementation.partition(":")
    backbone: Backbone = getattr(import_module(module), name)(config)
    return backbone
