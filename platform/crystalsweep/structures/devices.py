"""On which device tensors live, by the name that a user gives. Imports without torch."""

from __future__ import annotations


def device_named(name: str | None = None) -> str:
    """Return the name of a device that is here; without one the GPU where there is one, else `cpu`.

    Raises `ValueError` for a device that torch does not know, or that this machine or this build of torch lacks.
    """
    import torch

    if name is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type == "meta":
        raise ValueError(f"There is no device {name!r}; write cpu or cuda")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"Device {name!r} is not available here; write cpu")
    try:
        torch.empty(0, device=device)
    except Exception as error:  # of a back end that this build of torch has not, whatever it raises
        raise ValueError(f"Device {name!r} is not available here; write cpu") from error
    return name
