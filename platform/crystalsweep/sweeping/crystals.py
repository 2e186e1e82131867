"""Crystals before, corrupted and after, of each complete training of a finished sweep: pages, pictures and CIFs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from crystalsweep.artifacts.checkpoint_store import INFO, CheckpointStore, child
from crystalsweep.artifacts.sums import SUMS
from crystalsweep.evaluation.protocol import Chunk
from crystalsweep.gallery import choose, restore_chosen, write_gallery
from crystalsweep.networks.checkpoint import load_generator
from crystalsweep.sweeping.session import SweepSession
from crystalsweep.sweeping.space.outcome import TrainingOutcome
from crystalsweep.training.restoration import TABLE

_FILES = (INFO, TABLE, "generator.safetensors", SUMS)


def draw_crystals(
    session: SweepSession, outcome: TrainingOutcome, chunks: Sequence[Chunk], name: str, *, keep_known: bool
) -> Path | None:
    """Return the gallery's folder, in the sweep's; None where there is nothing to show, or it failed, which is said.

    The report does not depend on it, so that whatever goes wrong here costs the pictures only.

    Args:
        session: The sweep.
        outcome: A complete training.
        chunks: Its validation inputs, in the order of its table.
        name: Of its run, for the title.
        keep_known: Whether visible species are kept as given.
    """
    store = CheckpointStore(child(session.checkpoints, outcome.key))
    try:
        latest = store.latest()
        rows = choose(outcome.table)
        if latest is None or not rows:
            return None
        generator = load_generator(store.fetch(latest, only=_FILES))
        specimens = restore_chosen(generator, chunks, outcome.table, rows, keep_known=keep_known)
        return write_gallery(specimens, session.folder / "crystals" / outcome.key, title=name)
    except Exception as error:
        session.display.say(f"no crystals are shown of {outcome.key}: {type(error).__name__}: {error}", error=True)
        return None
