"""crystalsweep: self-supervised generative models of crystal structures, after Liu et al., iScience 27, 110672 (2024).

`crystalsweep.load("models:/crystal-generator@champion")` gives a restorer from a registry, a folder or a file.

`crystal`        one crystal                      `data`        readers, the bundled set, splits
`batch`          many, as tensors                 `corruption`  masking and displacing them (Fig. 1B)
`neighbours`     periodic neighbours of one       `graph`       periodic graphs of a batch
`backbones`      equivariant networks             `models`      generator Ĝ, property model and discriminator D̂
`losses`         Eqs. 1–3 and alternatives        `audit`       does D̂ teach Ĝ?
`metrics`        validity, similarity, intervals  `evaluation`  the protocol of Fig. 4
`checkpoint`     safetensors and JSON             `tracking`    MLflow runs
`registry`       promotion by evidence            `leaderboard` runs in order, with ties
`restorer`       a trained generator in use       `serving`     the same over HTTP
`plots`          every figure                     `provenance`  code, versions, hardware of a result
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crystalsweep.inference.restorer import load

__all__ = ["load"]


def __getattr__(name: str) -> Any:
    if name == "load":  # torch is imported when something is loaded
        from crystalsweep.inference.restorer import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
