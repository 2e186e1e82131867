"""The validation crystals of each complete training restored again, by the decoders that a sweep asks for."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from crystalsweep.artifacts.checkpoint_store import INFO, CheckpointStore, child
from crystalsweep.artifacts.sums import SUMS
from crystalsweep.evaluation.decoded import decoded_tables
from crystalsweep.evaluation.judges import IndependentJudges
from crystalsweep.evaluation.protocol import Chunk
from crystalsweep.inference.decoding.settings import ARGMAX
from crystalsweep.networks.checkpoint import load_critic, load_generator
from crystalsweep.sweeping.report.named_decoders import ONE_PASS
from crystalsweep.sweeping.session import SweepSession
from crystalsweep.sweeping.space.outcome import TrainingOutcome

_FILES = (INFO, "generator.safetensors", "critic.safetensors", SUMS)


def decode_again(
    session: SweepSession,
    outcome: TrainingOutcome,
    chunks: Sequence[Chunk],
    name: str,
    *,
    keep_known: bool,
    judges: IndependentJudges | None = None,
) -> dict[str, pd.DataFrame]:
    """Return the table that each decoder of the sweep gives, by its name; none where the checkpoint is gone, which is
    said.

    A decoder that asks a critic is left out of trainings that have none.

    Args:
        session: The sweep.
        outcome: A complete training.
        chunks: Its validation inputs.
        name: Of its run.
        keep_known: Whether visible species are kept as given.
        judges: Of all tables; the training's own, one pass, is then made again for them.
    """
    decoders = {**({ONE_PASS: ARGMAX} if judges else {}), **session.spec.decoders}
    if outcome.control and outcome.number == 0:
        decoders |= session.spec.control_decoders
    if not decoders:
        return {}
    store = CheckpointStore(child(session.checkpoints, outcome.key))
    latest = store.latest()
    if latest is None:
        session.display.say(f"{name} is not decoded again: its checkpoint is gone", error=True)
        return {}
    session.display.say(f"restoring the validation crystals again by {', '.join(decoders)}: {name}")
    folder = store.fetch(latest, only=_FILES)
    generator, critic = load_generator(folder), load_critic(folder)
    asked = {name: each for name, each in decoders.items() if critic is not None or not each.critic_weight}
    return decoded_tables(generator, chunks, asked, critic, keep_known=keep_known, judges=judges)
