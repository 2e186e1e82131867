"""From a config to the backbone it asks for."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from importlib import import_module

from crystalsweep.networks.architectures import BackboneConfig
from crystalsweep.networks.backbones._base import Backbone
from crystalsweep.wording.notices import without_known_lines


def build_backbone(config: BackboneConfig) -> Backbone:
    """Return an initialised backbone; weights come from torch's global random state. Imports its module and no
    other's."""
    module, _, name = type(config).implementation.partition(":")
    with without_known_lines() if module not in sys.modules else nullcontext():
        implementation = import_module(module)
    backbone: Backbone = getattr(implementation, name)(config)
    return backbone
