"""torch.compile with a way back: where it fails, one warning, and the block runs as it is."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch._functorch import config as functorch

T = TypeVar("T")

logger = logging.getLogger(__name__)


def compiled(block: Callable[..., T]) -> Callable[..., T]:
    """Return `block`, compiled for tensors of any size when it is first called.

    Compilation may fail, for want of a C++ compiler or of an operation it knows: then the block runs uncompiled from
    then on. What is compiled in the backward pass is not caught. A compiled block has no gradient of its gradient.
    """
    fast: Callable[..., T] | None = None
    failed = False

    def run(*arguments: Any) -> T:
        nonlocal fast, failed
        if failed:
            return block(*arguments)
        try:
            if fast is None:
                fast = _compile(block)
            return fast(*arguments)
        except Exception as error:
            result = block(*arguments)  # an error of the block's own is raised here, as itself
            failed = True
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            logger.warning("torch.compile failed (%s); %s runs uncompiled", reason, _name(block))
            return result

    return run


def _compile(block: Callable[..., T]) -> Callable[..., T]:
    functorch.donated_buffer = False  # the gradient audit goes backward twice over one forward pass
    return torch.compile(block, dynamic=True)


def _name(block: Callable[..., Any]) -> str:
    return getattr(block, "__name__", type(block).__name__)
