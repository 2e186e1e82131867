"""Equivariant networks under every model, found by name; one file each."""

from crystalsweep.networks.backbones._base import Backbone, Features, ScalarHead, VectorHead, norm
from crystalsweep.networks.backbones._registry import build_backbone

__all__ = ["Backbone", "Features", "ScalarHead", "VectorHead", "build_backbone", "norm"]
