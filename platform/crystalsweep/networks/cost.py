"""What a network costs: its parameters, and the arithmetic and memory of a training step.

Parameters, and the memory of what is there whatever the batch (weights, gradients, Adam's two moments), are counted.
The rest is measured by running a step: its floating-point operations with PyTorch's counter, its activations as the
greatest memory in use at once. On CUDA the allocator knows that; on the CPU `LiveBytes` follows every tensor's storage
from the operation that makes it to its release, which counts the same and, unlike a count of the tensors saved for the
backward pass, also what checkpointed blocks recompute.
"""

from __future__ import annotations

import gc
import os
import re
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from crystalsweep.networks.architectures import BackboneConfig
from crystalsweep.networks.backbones import Backbone
from crystalsweep.networks.models import Generator, graph_of, one_hot
from crystalsweep.structures.batch import CrystalBatch, collate
from crystalsweep.structures.crystal import Crystal
from crystalsweep.structures.graph import Graph

HEADROOM = 0.1
"""Share of the memory that a batch should leave free, for the allocator's gaps and for batches of large crystals."""

WORK = {"cpu": 1e10, "cuda": 1e12}
"""FLOPs of the batch to measure, roughly: a quarter of a second."""

MOST_MEASURED = 8
"""Crystals of the batch to measure."""


# Parameters


@contextmanager
def weightless() -> Iterator[None]:
    """Make modules inside with parameters without storage (on the meta device): enough to count, whatever their size.

    Buffers are real, so that networks that compute theirs can be made; `torch.device("meta")` would not let them.
    """

    def emptied(_: nn.Module, __: str, parameter: nn.Parameter | None) -> nn.Parameter | None:
        if parameter is None or parameter.is_meta:
            return None
        return nn.Parameter(parameter.detach().to("meta"), requires_grad=parameter.requires_grad)

    hook = register_module_parameter_registration_hook(emptied)  # type: ignore[arg-type]  # may return a parameter
    try:
        yield
    finally:
        hook.remove()


def parameters_by_part(model: nn.Module) -> dict[str, int]:
    """Return parameters of each head and of each part of the backbone, by name; a parameter that two share counts once.

    Where a backbone is a single module of its own, the parts are that module's.
    """
    inner, prefix = model.get_submodule("backbone"), "backbone."
    while len(children := list(inner.named_children())) == 1 and not list(inner.parameters(recurse=False)):
        ((name, inner),) = children
        prefix += f"{name}."
    parts: Counter[str] = Counter()
    for name, parameter in model.named_parameters():
        rest = name.removeprefix(prefix)
        parts[name[: len(name) - len(rest)] + rest.partition(".")[0]] += parameter.numel()
    return dict(parts)


def standing_bytes(model: nn.Module) -> int:
    """Return bytes that training takes whatever the batch: buffers and weights, their gradients and Adam's two
    moments."""
    trained = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    held = sum(t.numel() * t.element_size() for t in (*model.parameters(), *model.buffers()))
    return held + 3 * trained


# A sample of crystals


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Crystals and the sizes of their graphs."""

    crystals: list[Crystal]
    atoms: NDArray[np.int64]
    """(S,) of each crystal."""
    edges: NDArray[np.int64]
    """(S,) of each crystal."""

    def affordable(self, work: float, parameters: int) -> list[int]:
        """Return indices of a few crystals on which a training step takes at most about `work` FLOPs; at least one.

        Every parameter is taken to meet every edge once, in the forward and twice in the backward pass, as in networks
        whose weights act on edges. They are of the half of the sample that is nearest to its edges per atom, so that
        their cost scales with edges; if none of these is small enough, it is the smallest.
        """
        budget = work / (6 * max(parameters, 1))
        unusual = np.abs(self.edges / self.atoms - self.edges.sum() / self.atoms.sum())
        usual = unusual.argsort(kind="stable")[: (len(unusual) + 1) // 2]
        chosen: list[int] = []
        for index in usual.tolist():
            if self.edges[[*chosen, index]].sum() <= budget and len(chosen) < MOST_MEASURED:
                chosen.append(index)
        return chosen or [int(usual[self.edges[usual].argmin()])]


def draw_sample(
    crystals: Sequence[Crystal], config: BackboneConfig, max_atoms: int | None, size: int = 128, seed: int = 0
) -> Sample:
    """Return a seeded sample of the crystals with at most `max_atoms` atoms. Raises `ValueError` when there are
    none.

    Args:
        crystals: To draw from.
        config: Its cutoff and neighbours decide the edges that are counted.
        max_atoms: Leave out crystals with more; None leaves out none.
        size: Crystals to draw.
        seed: Of the draw.
    """
    fitting = [crystal for crystal in crystals if max_atoms is None or len(crystal) <= max_atoms]
    if not fitting:
        raise ValueError(f"none of the {len(crystals)} crystals has at most {max_atoms} atoms")
    picks = np.random.default_rng(seed).choice(len(fitting), min(size, len(fitting)), replace=False)
    chosen = [fitting[i] for i in picks]
    batch = collate(chosen)
    graph = graph_of(batch.cart, batch.lattice, batch.counts, config)
    edges = torch.bincount(graph.crystal[graph.dst], minlength=len(chosen))
    return Sample(crystals=chosen, atoms=batch.counts.numpy(), edges=edges.numpy())


# A training step


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of the storages that operations make inside it, until they are released.

    Scratch space inside an operation is not seen, nor is any rounding of sizes by an allocator.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        """Bytes in use."""
        self.peak = 0
        """Greatest number of bytes in use at once."""
        self._alive: dict[int, weakref.ref[torch.UntypedStorage]] = {}

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run the operation; what it returns is new unless it shares the storage of what it was given."""
        del types
        given = {storage._cdata for storage in _storages((args, kwargs))}
        result = func(*args, **(kwargs or {}))
        for storage in _storages(result):
            if storage._cdata not in given and storage._cdata not in self._alive:
                self._add(storage)
        return result

    def _add(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()

        def released(_: object) -> None:
            del self._alive[key]
            self.now -= size

        self._alive[key] = weakref.ref(storage, released)
        self.now += size
        self.peak = max(self.peak, self.now)


def _storages(tree: Any) -> Iterator[torch.UntypedStorage]:
    return (leaf.untyped_storage() for leaf in tree_leaves(tree) if isinstance(leaf, Tensor))


def count_flops(step: Callable[[], object]) -> int:
    """Return floating-point operations of the matrix multiplications, convolutions and attentions in `step`, two per
    term."""
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops()


def peak_bytes(step: Callable[[], object], device: torch.device | str) -> int:
    """Return greatest memory in use at once in `step`, beyond what there is before it, bytes.

    On CUDA as the allocator says, after one step to warm up; on the CPU as `LiveBytes` counts.
    """
    device = torch.device(device)
    if device.type != "cuda":
        with LiveBytes() as live:
            step()
        return live.peak
    step()
    gc.collect()
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    step()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before


def forward_backward(model: nn.Module, batch: CrystalBatch, graph: Graph) -> None:
    """Add gradients of a loss over all outputs of a `Generator` or a `PropertyModel`, added to those there are."""
    answer = model(one_hot(batch.species), graph)
    if isinstance(model, Generator):
        loss = functional.cross_entropy(answer.logits, batch.species - 1) + answer.perturbation.square().mean()
    else:
        loss = functional.cross_entropy(answer, batch.stable.long())
    loss.backward()


def flops_per_structure(model: nn.Module, config: BackboneConfig, crystals: Sequence[Crystal]) -> float:
    """Return FLOPs of a training step on the crystals, forward and backward, over their number; see `count_flops`."""
    return count_flops(_step(model, config, crystals)) / len(crystals)


class Memory(NamedTuple):
    """What a training step needs beyond `standing_bytes`."""

    per_structure: float
    """Bytes; activations."""
    extra: float
    """Bytes, whatever the batch: fresh gradients, and copies of weights in lower precision."""


def memory_of_step(model: nn.Module, config: BackboneConfig, crystals: Sequence[Crystal]) -> Memory:
    """Return memory of a training step, on the model's device: one on the crystals twice over and one four times over,
    eight times more often where messages go in blocks of edges.

    The part per structure is the slope between the two; in a smaller batch the peak may be where gradients of weights
    are made, and not yet grow with the batch. Leaves gradients in the model.
    """
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    device = next(model.parameters()).device
    in_blocks = cast(Backbone, model.get_submodule("backbone")).in_blocks and device.type == "cpu"
    times = 16 if in_blocks else 2
    half, whole = (peak_bytes(_step(model, config, [*crystals] * n), device) for n in (times, 2 * times))
    return Memory((whole - half) / (times * len(crystals)), max(2 * half - whole, 0))


def _step(model: nn.Module, config: BackboneConfig, crystals: Sequence[Crystal]) -> Callable[[], None]:
    batch = collate(crystals).to(next(model.parameters()).device)
    graph = graph_of(batch.cart, batch.lattice, batch.counts, config)
    return lambda: forward_backward(model, batch, graph)


# How much fits


def largest_batch(memory: float, standing: float, per_structure: float, headroom: float = HEADROOM) -> int:
    """Return structures per step that `memory` has room for, all in bytes; 0 when not even one."""
    return max(int((memory * (1 - headroom) - standing) // per_structure), 0)


def memory_here() -> int:
    """Return bytes of the GPU's memory if there is one, else of what the machine has available."""
    if torch.cuda.is_available():
        return int(torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory)
    meminfo = Path("/proc/meminfo")
    found = re.search(r"MemAvailable:\s+(\d+) kB", meminfo.read_text()) if meminfo.exists() else None
    return int(found[1]) * 1024 if found else int(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
