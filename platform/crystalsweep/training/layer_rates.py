"""Learning rates by layer: what is nearer to the input moves less (ULMFiT, doi:10.18653/v1/P18-1031)."""

from __future__ import annotations

from torch import nn

from crystalsweep.networks.backbones import Backbone


def layer_factors(model: nn.Module, backbone: Backbone, decay: float) -> dict[str, float]:
    """Return what each weight's learning rate is multiplied with, by its name in `model`.

    Heads, and what a backbone has after its L layers, keep theirs; that of the last layer is multiplied with `decay`,
    of the one before with its square, and of what comes before all layers (embeddings) with its (L + 1)th power.

    Args:
        model: A network of heads over a backbone.
        backbone: That backbone, a part of the model.
        decay: At most 1, which leaves all alike.
    """
    depth = _depths(backbone)
    last = backbone.config.layers + 1
    return {name: decay ** (last - depth.get(id(weight), last)) for name, weight in model.named_parameters()}


def _depths(backbone: Backbone) -> dict[int, int]:
    """Return the depth of each weight, by its identity: 0 before the layers, 1 … L in them, L + 1 after."""
    lists = _layers(backbone)
    inside = {
        id(weight): index + 1
        for layers in lists.values()
        for index, layer in enumerate(layers)
        for weight in layer.parameters()
    }
    found, begun = {}, False
    for weight in backbone.parameters():  # in the order in which a backbone makes them, which is that of its layers
        begun = begun or id(weight) in inside
        found[id(weight)] = inside.get(id(weight), backbone.config.layers + 1 if begun else 0)
    return found


def _layers(backbone: Backbone) -> dict[str, nn.ModuleList]:
    """Return the lists that hold a module per layer: the outermost ones of that length."""
    lists = {
        name: module
        for name, module in backbone.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == backbone.config.layers
    }
    outermost = min((name.count(".") for name in lists), default=0)
    return {name: module for name, module in lists.items() if name.count(".") == outermost}
