"""crystalsweep: self-supervised generative models of crystal structures, after Liu et al., iScience 27, 110672 (2024).

`crystal`        one crystal                      `data`        readers, the bundled set, splits
`batch`          many, as tensors                 `corruption`  masking and displacing them (Fig. 1B)
`neighbours`     periodic neighbours of one       `graph`       periodic graphs of a batch
`backbones`      equivariant networks             `models`      generator Ĝ, property model and discriminator D̂
`losses`         Eqs. 1–3 and alternatives        `audit`       does D̂ teach Ĝ?
`metrics`        validity, similarity, intervals  `evaluation`  the protocol of Fig. 4
`checkpoint`     safetensors and JSON             `tracking`, `promotion`  MLflow runs and registry
`plots`          every figure                     `provenance`  code, versions, hardware of a result
"""
