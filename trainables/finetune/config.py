"""Settings and presets of fine-tuning. Imports without torch."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from crystalsweep.structures.targets import STABILITY, Target, TargetName, target_of
from crystalsweep.training.catalogue import StageSpec, declare
from crystalsweep.training.config import StageConfig


class FinetuneConfig(StageConfig):
    """Learning labels of crystals: stability first (Fig. 1C), or any column of the data, several at once."""

    targets: Annotated[tuple[TargetName, ...], Field(min_length=1, max_length=64)] = (STABILITY,)
    """What is learnt: a label (k_vrh), its logarithm (log10(k_vrh)), a question (e_above_hull<=0), a class
    (class(ordering)), a spectrum (spectrum(phonon_dos)); several share the network. Where a crystal lacks one label,
    the others teach."""
    loss: Literal["mse", "l1", "huber"] = "mse"
    """Of numbers, also those of a spectrum, after they are scaled by mean and deviation of the training labels; mse is
    the paper's. Answers to questions are learnt by cross-entropy."""
    pooling: Literal["mean", "sum"] = "mean"
    """Over a crystal's atoms: mean for what does not grow with the cell, sum for what does."""
    coverage: Annotated[float, Field(ge=0.5, le=0.99)] = 0.9
    """Share of new crystals whose label is to be in the predicted interval, band or set (conformal)."""
    stable_only: Literal[False] = False
    """Unstable crystals are learnt from too."""
    best_by: str = "val/loss"
    """Metric of an epoch by which the best is told."""
    train_share: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = 1.0
    """Share of the labelled training crystals that teach: a seeded sample, within that of any greater share. An epoch
    goes over it so often that every share makes as many steps."""
    from_scratch: bool = False
    """Take the network of the checkpoint that it starts from without its weights: the control arm of pre-training."""
    trainable: Literal["all", "head"] = "all"
    """What is updated: everything (the paper's text) or the head alone (its code)."""

    layer_decay: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = 1.0
    """Learning rate of each layer over that of the next one; 0.8 lets what is nearer to the input move less. The head's
    is learning_rate. Of trainable=all."""

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        if len(set(self.targets)) < len(self.targets):
            raise ValueError("targets: each target once")
        return self

    def require_read(self) -> None:
        """Raise `ValueError` for a setting that a new run would never read; older runs may have it."""
        super().require_read()
        if self.loss != "mse" and all(target.kind == "classification" for target in self.asked):
            raise ValueError(f"loss={self.loss} is of numbers and spectra, which no target is; leave it out")

    def share(self, split: str) -> float:
        """Return `train_share` of the training crystals, and all of the others."""
        return self.train_share if split == "train" else 1.0

    @property
    def asked(self) -> tuple[Target, ...]:
        """The targets, in the order of the network's outputs."""
        return tuple(map(target_of, self.targets))


PRESETS = {
    "smoke": FinetuneConfig(epochs=1, learning_rate=1e-3, max_atoms=12, max_crystals=64),
    "demo": FinetuneConfig(epochs=4, learning_rate=1e-3, schedule="cosine", max_atoms=20),
    "small": FinetuneConfig(epochs=6, learning_rate=5e-4, schedule="cosine", max_atoms=60),
    "base": FinetuneConfig(epochs=20, learning_rate=3e-4, schedule="cosine", max_atoms=120),
    "paper": FinetuneConfig(epochs=60, learning_rate=1e-4, batch_size={0: 1, 25: 3, 45: 5}),
}
"""`smoke`: seconds. `demo`: a minute on two cores. `small`: tens of minutes with tens of thousands of crystals. `base`:
hours on a GPU. `paper`: the paper's optimizer and batch schedule, all weights updated."""


def _labels(config: StageConfig) -> tuple[str, ...]:
    assert isinstance(config, FinetuneConfig)
    return tuple(dict.fromkeys(target.label for target in config.asked))


STAGE = declare(
    StageSpec(
        name="finetune",
        package="trainables.finetune",
        summary="Learn a property: to tell stable crystals from unstable ones (Fig. 1C), or any label of the data.",
        presets=PRESETS,
        inputs=("generator",),
        leaves="discriminator",
        labels=_labels,
        scores="predictions",
    )
)
"""The fine-tuning stage: a property model over the pre-trained backbone."""
