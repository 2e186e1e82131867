"""Files that a stranger may have made, opened as nothing else than what they should be, and only when they are sane.

No format here can hold code, save that of `tensors_of_pickle`, from which torch reads tensors and nothing else. What is
not a regular file is refused unopened: a pipe would be waited for without end. Every refusal is a `ValueError` that
names the file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from crystalsweep.artifacts.safe_json import require_regular

MAX_HEADER = 16 << 20
"""Bytes of a safetensors file that describe its tensors: some hundred thousand tensors."""

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""Those of safetensors that networks have."""

_CONTENT = {"dtype", "shape", "data_offsets"}


class TensorEntry(NamedTuple):
    """A tensor as its file describes it."""

    dtype: torch.dtype
    shape: tuple[int, ...]


def described_tensors(path: Path) -> dict[str, TensorEntry]:
    """Return names, types and shapes of the tensors in a safetensors file, which follow each other without gap or
    overlap.

    Only its first bytes are read. Raises `FileNotFoundError` where there is no file.
    """
    size = require_regular(path)
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if size < 8 or not 2 <= length <= min(MAX_HEADER, size - 8):
            raise ValueError(f"{path} is no safetensors file: its header would have {length:,} of its {size:,} bytes")
        text = stream.read(length)
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no safetensors file: its header is no JSON ({error})") from None
    if not isinstance(header, dict):
        raise ValueError(f"{path} is no safetensors file: its header is no JSON object")
    header.pop("__metadata__", None)
    placed = sorted((*_placed(path, name, entry), name) for name, entry in header.items())
    end = 0
    for start, stop, name in placed:
        if start != end:
            raise ValueError(f"{path}: tensor {name!r} begins at byte {start:,}, where {end:,} is expected")
        end = stop
    if end != size - 8 - length:
        raise ValueError(f"{path} has {size - 8 - length:,} bytes of tensors, and describes {end:,}")
    return {name: TensorEntry(DTYPES[entry["dtype"]], tuple(entry["shape"])) for name, entry in header.items()}


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file, all finite, on the CPU. Raises as `described_tensors` does."""
    described_tensors(path)
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is no safetensors file: {error}") from None
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise ValueError(f"{path}: the weights are not finite, first those of {name!r}; take another checkpoint")
    return tensors


def require_same_tensors(path: Path, found: Mapping[str, TensorEntry], expected: Mapping[str, Tensor]) -> None:
    """Check that a file describes just the tensors that a network has, by name, type and shape."""
    for name, tensor in expected.items():
        own = TensorEntry(tensor.dtype, tuple(tensor.shape))
        if found.get(name) != own:
            there = _words(found[name]) if name in found else "absent"
            raise ValueError(f"{path} does not fit its checkpoint.json: {name} is {there}, and should be {_words(own)}")
    if more := sorted(found.keys() - expected.keys()):
        raise ValueError(f"{path} does not fit its checkpoint.json: its network has no {more[0]!r}")


def tensors_of_pickle(path: Path) -> dict[str, Any]:
    """Return what torch saved: a dict of tensors, numbers and text. Whatever else the file asks for is refused
    unexecuted."""
    require_regular(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a hostile pickle can make the unpickler raise anything
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"{path} is no file of tensors that can be read safely, and nothing of it was executed ({reason}); resume "
            "from another checkpoint"
        ) from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds no dict of tensors; resume from another checkpoint")
    return content


def _placed(path: Path, name: str, entry: Any) -> tuple[int, int]:
    """Return where a tensor begins and ends."""
    wrong = f"{path}: the header describes tensor {name[:100]!r} wrongly"
    if not isinstance(entry, dict) or entry.keys() != _CONTENT:
        raise ValueError(f"{wrong}: expected dtype, shape and data_offsets")
    if not isinstance(entry["dtype"], str) or entry["dtype"] not in DTYPES:
        raise ValueError(f"{wrong}: no network has the dtype {str(entry['dtype'])[:20]!r}")
    shape, offsets = entry["shape"], entry["data_offsets"]
    for numbers in (shape, offsets):
        if not isinstance(numbers, list) or any(type(each) is not int or not 0 <= each < 1 << 62 for each in numbers):
            raise ValueError(f"{wrong}: its shape or place is no list of whole numbers")
    size = DTYPES[entry["dtype"]].itemsize
    for each in shape:
        size *= each
    if len(offsets) != 2 or offsets[1] - offsets[0] != size or len(shape) > 20:
        raise ValueError(f"{wrong}: its place has not the size of its shape")
    return offsets[0], offsets[1]


def _words(described: TensorEntry) -> str:
    return f"{str(described.dtype).removeprefix('torch.')} of shape {described.shape}"
