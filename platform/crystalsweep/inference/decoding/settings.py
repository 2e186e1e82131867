"""How a decoder is set. Imports without torch."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field

from crystalsweep.config import Config
from crystalsweep.hyperparameters import NonNegative, Seed, Weight

MAX_CANDIDATES = 256
"""More than anybody reads, and what the network is asked about at once."""

MAX_VIEWS = 8
"""Sets of positions on which the network is asked."""

MAX_PASSES = 64
"""Of the network, one after the other."""


class DecodeConfig(Config):
    """How species are chosen for masked sites, and positions for all atoms, from what the generator Ĝ says."""

    method: Literal["argmax", "ordered", "sampled", "beam"] = "beam"
    """argmax: every site by itself in one pass, the paper's. ordered: in several passes the surest sites first, each
    pass seeing what was filled. sampled: many such chains, drawn at `temperature`, beside the likeliest; a single one
    is drawn. beam: the likeliest of such chains, searched for."""
    passes: Annotated[int, Field(ge=1, le=MAX_PASSES)] = 8
    """In which all sites are filled; argmax takes one. As many as masked sites make each choice see all before it."""
    views: Annotated[int, Field(ge=1, le=MAX_VIEWS)] = 1
    """Sets of positions on which the network is asked: as they are given, then as it restores them, once, twice, …; log
    p is the mean over these. 1 is the paper's."""
    candidates: Annotated[int, Field(ge=1, le=MAX_CANDIDATES)] = 10
    """Joint choices that are kept; argmax and ordered make one."""
    temperature: Weight = 0.7
    """Of sampled: below 1 the likely is drawn more often than its probability."""
    charge: Literal["any", "prefer", "require"] = "any"
    """Whether a composition must be charge-neutral by the oxidation states of SMACT: prefer ranks those that are first,
    require leaves the others out. A rule used here is no evidence for itself."""
    tie: Literal["none", "symmetry", "all"] = "none"
    """Masked sites that get one species together: symmetry ties those that the crystal's space group makes equal."""
    position_passes: Annotated[int, Field(ge=0, le=MAX_PASSES)] = 1
    """In which atoms are moved, at most, once all species are there; 0 leaves them. The first of argmax is the pass in
    which it names species; 1 is the paper's."""
    position_tolerance: NonNegative = 0.0
    """Å; a crystal's atoms are moved no further once the root mean square of a pass's P̃ is less."""
    critic_weight: NonNegative = 0.0
    """λ: candidates are ranked by log p + λ · critic, where the generator has a critic; 0 asks none."""
    seed: Seed = 0
    """Of sampled."""

    @property
    def fillings(self) -> int:
        """Joint choices that the method makes of a crystal."""
        return self.candidates if self.method in ("sampled", "beam") else 1

    @property
    def per_site(self) -> bool:
        """Whether each site is filled by itself and atoms are moved in the same pass, as in the paper."""
        plain = self.method == "argmax" and self.charge == "any" and self.tie == "none" and self.views == 1
        return plain and self.position_passes == 1

    @property
    def unjudged(self) -> Self:
        """The same without a critic, which finds the same candidates."""
        return self.model_copy(update={"critic_weight": 0.0})

    def __str__(self) -> str:
        """Return the decoder in words."""
        told = {
            "argmax": "argmax, each site by itself in one pass",
            "ordered": f"ordered, the surest sites first in {self.passes} passes",
            "sampled": f"sampled, {self.candidates} chains of {self.passes} passes at temperature {self.temperature:g}",
            "beam": f"beam of {self.candidates}, {self.passes} passes",
        }[self.method]
        tied = {"none": "", "symmetry": "; symmetry-equal sites alike", "all": "; all masked sites alike"}[self.tie]
        rule = {"any": "", "prefer": "; charge-neutral ones first", "require": "; charge-neutral ones only"}[
            self.charge
        ]
        critic = f"; ranked by log p + {self.critic_weight:g} · critic" if self.critic_weight else ""
        views = f"; log p the mean over {self.views} sets of positions" if self.views > 1 else ""
        most = "up to " if self.position_tolerance else ""
        passes = f"; positions in {most}{self.position_passes} passes" if self.position_passes > 1 else ""
        moved = passes if self.position_passes else "; positions as given"
        return f"{told}{views}{tied}{rule}{critic}{moved}"

    @property
    def filling_passes(self) -> int:
        """Passes in which sites are filled."""
        return 1 if self.method == "argmax" else self.passes


ARGMAX = DecodeConfig(method="argmax")
"""The paper's: what an evaluation does unless told otherwise."""
