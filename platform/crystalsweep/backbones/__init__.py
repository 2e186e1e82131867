"""Equivariant networks under every model, found by name; one file each."""

from crystalsweep.backbones._base import Backbone, Features, norm
from crystalsweep.backbones._registry import build_backbone

__all__ = ["Backbone", "Features", "build_backbone", "norm"]
