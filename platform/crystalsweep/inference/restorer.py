"""A trained generator in use: loaded from wherever it is, it completes crystals.

Neither Ray nor, for folders and files, MLflow is imported.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from crystalsweep.artifacts.places import default_storage
from crystalsweep.data.checks import Problem
from crystalsweep.data.partial_cif import MAX_CIF_BYTES, partial_from_cif
from crystalsweep.data.reading import Reject
from crystalsweep.inference.calibration import Calibration, read_calibration
from crystalsweep.inference.champion import CHAMPION, SHIPPED, champion_in_use
from crystalsweep.inference.completion import CRITIC_WEIGHT, JOINTLY, MAX_ATOMS, Completion, complete
from crystalsweep.inference.decoding.constraints import Constraints
from crystalsweep.inference.decoding.settings import DecodeConfig
from crystalsweep.inference.locate import Location, locate, tracker_for
from crystalsweep.networks.checkpoint import CheckpointInfo, load_critic, load_generator, read_info
from crystalsweep.networks.models import Critic, Generator
from crystalsweep.structures.crystal import Crystal
from crystalsweep.structures.devices import device_named
from crystalsweep.wording.stranger import in_a_line


@dataclass(frozen=True, kw_only=True, eq=False)
class Restorer:
    """A generator, in evaluation mode, and where it comes from."""

    generator: Generator
    info: CheckpointInfo
    """Stage, config, data and metrics of its training."""
    reference: str
    """What it was loaded by."""
    critic: Critic | None = None
    """Judges its candidates where a decoder asks for that; None where the checkpoint has none."""
    calibration: Calibration | None = None
    """What its odds are worth; None where nobody looked: they are then as the network gives them."""
    folder: Path
    """Its checkpoint on this machine."""
    run: str | None = None
    """MLflow run it was trained in, where known."""
    model: str | None = None
    """Name in the registry."""
    version: str | None = None
    """Number in the registry."""

    @property
    def told(self) -> str:
        """What it is called, in a phrase."""
        if self.reference == SHIPPED:
            return f"{CHAMPION}, which comes with the package"
        return f"{self.reference}, version {self.version}" if self.version else self.reference

    @property
    def critic_weight(self) -> float:
        """λ by which its candidates are ranked unless a decoder says otherwise: 0 without a critic."""
        return CRITIC_WEIGHT if self.critic else 0.0

    @property
    def usual(self) -> DecodeConfig:
        """How it completes crystals unless told otherwise."""
        return JOINTLY.model_copy(update={"critic_weight": self.critic_weight})

    @classmethod
    def of(
        cls, resolved: Location, reference: str, device: torch.device | str = "cpu", *, calibrated: bool = True
    ) -> Restorer:
        """Return the generator of a checkpoint. Raises `ValueError` for a property model's."""
        there = torch.device(device_named(str(device)))
        info = read_info(resolved.folder)
        if info.stage == "finetune":
            raise ValueError(
                f"{reference} is of stage finetune, a property model, which `crystalsweep predict` uses; give a "
                "checkpoint of pretrain or gan"
            )
        return cls(
            generator=load_generator(resolved.folder).to(there),
            critic=critic.to(there) if (critic := load_critic(resolved.folder)) else None,
            calibration=read_calibration(resolved.folder) if calibrated else None,
            info=info,
            reference=reference,
            folder=resolved.folder,
            run=resolved.run,
            model=resolved.model,
            version=resolved.version,
        )

    def complete(
        self,
        partial: str | Path | Crystal,
        *,
        decode: DecodeConfig | None = None,
        constraints: Constraints | None = None,
        top_k: int = 5,
        keep_positions: bool = False,
        max_atoms: int = MAX_ATOMS,
    ) -> Completion:
        """Return one partial crystal completed: a CIF file, the text of a CIF, or a `Crystal` with `MASK` among its
        species.

        Args:
            partial: Masked sites have the symbol `X` or `?` in a CIF. A string of several lines is a CIF's text.
            decode: How candidates are found, and how many.  [default: as `crystalsweep complete`, the critic asked]
            constraints: What they must fulfil.
            top_k: Elements whose odds are given for each masked site.
            keep_positions: Leave every atom where it is.
            max_atoms: Refuse larger crystals.

        Raises:
            ValueError: It cannot be read or completed, with the reason and what to do.
        """
        crystal = partial if isinstance(partial, Crystal) else _read(partial)
        return self.complete_all(
            [crystal],
            decode=decode,
            constraints=constraints,
            top_k=top_k,
            keep_positions=keep_positions,
            max_atoms=max_atoms,
        )[0]

    def complete_all(
        self,
        partials: Sequence[Crystal],
        *,
        decode: DecodeConfig | None = None,
        constraints: Constraints | None = None,
        top_k: int = 5,
        keep_positions: bool = False,
        max_atoms: int = MAX_ATOMS,
    ) -> list[Completion]:
        """Return the same for many crystals, several of which pass the network together.

        Args:
            partials: Masked sites have species `MASK`.
            decode: As there.
            constraints: What they must fulfil.
            top_k: Elements whose odds are given for each masked site.
            keep_positions: Leave every atom where it is.
            max_atoms: Refuse larger crystals.
        """
        return complete(
            self.generator,
            partials,
            decode=decode or self.usual,
            constraints=constraints,
            top_k=top_k,
            keep_positions=keep_positions,
            max_atoms=max_atoms,
            critic=self.critic,
            calibration=self.calibration,
        )


def load(
    reference: str | Path | None = None,
    *,
    tracking_uri: str | None = None,
    storage: Path | None = None,
    device: torch.device | str = "cpu",
) -> Restorer:
    """Return the trained generator that `reference` names; of none the champion, and a line on stderr says which.

    Args:
        reference: `models:/crystal-generator@champion`, `models:/NAME/3`, an MLflow run id, a run or checkpoint folder,
            a file in one, an exported `.zip`, or `shipped`, the champion that comes with the package. Folders and files
            need no server.  [default: the champion of the registry in use, else `shipped`]
        tracking_uri: MLflow server or database.  [default: MLFLOW_TRACKING_URI, else the local store]
        storage: Folder of the local store, and of what is downloaded.  [default: ~/crystalsweep]
        device: Where the network runs.

    Raises:
        ValueError: There is no such generator, saying what would be understood.
    """
    named = champion_in_use(tracking_uri, storage) if reference is None else str(reference)
    tracker = tracker_for(named, tracking_uri, storage)
    found = Restorer.of(locate(named, tracker, (storage or default_storage()) / "downloads"), named, device)
    if reference is None:
        tqdm.write(in_a_line(f"generator: {found.told}"), file=sys.stderr)
    return found


def _read(partial: str | Path) -> Crystal:
    if isinstance(partial, str) and "\n" in partial:
        where, name, text = "the given text", "crystal", partial
    else:
        file = Path(partial)
        try:
            with file.open("rb") as stream:
                content = stream.read(MAX_CIF_BYTES + 1)
        except OSError as error:
            raise ValueError(f"{file}: {error.strerror}; give a CIF file, or the text of a CIF") from error
        where, name, text = str(file), file.stem, content.decode(errors="replace")
    read = partial_from_cif(text, name)
    if isinstance(read, Problem):
        raise ValueError(str(Reject(where=where, id=name, **read._asdict())))
    return read
