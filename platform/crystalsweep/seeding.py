"""Random streams named by what they are for, so that a run can be repeated and resumed from any epoch."""

from __future__ import annotations

import hashlib

import torch


def derive_seed(*parts: int | str) -> int:
    """Return a 63-bit seed from a seed and the names of a stream, e.g. `derive_seed(seed, "corruption", epoch,
    step)`."""
    digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def stream(*parts: int | str) -> torch.Generator:
    """Return a CPU generator for the stream of this name; the same on every device and rank."""
    return torch.Generator().manual_seed(derive_seed(*parts))
