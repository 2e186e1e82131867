"""What the report of a finished sweep of generators needs: references, galleries of crystals, and other decoders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from crystalsweep.artifacts.checkpoint_store import CheckpointStore, child
from crystalsweep.artifacts.kept import kept_row
from crystalsweep.evaluation.energy_rows import Energies
from crystalsweep.evaluation.judges import IndependentJudges, sampled_parents
from crystalsweep.evaluation.protocol import Chunk, evaluate_references, evaluation_chunks
from crystalsweep.evaluation.settings import EnergyConfig
from crystalsweep.sweeping.crystals import draw_crystals
from crystalsweep.sweeping.decoders import decode_again
from crystalsweep.sweeping.prerequisites import home
from crystalsweep.sweeping.session import SweepSession
from crystalsweep.sweeping.space.finished import FinishedSweep
from crystalsweep.training.config import RestorationConfig
from crystalsweep.training.stage import select

DISCRIMINATOR = "discriminator"
"""What a stage leaves for a discriminator to start from."""


def gather_restorations(session: SweepSession, ended: FinishedSweep, named: Mapping[str, str]) -> FinishedSweep:
    """Return the sweep with what its validation crystals score untouched, and what complete trainings make of them.

    Args:
        session: The sweep.
        ended: It, as its trainings ended.
        named: Names of their runs, by key.
    """
    config = session.plan.swept
    assert isinstance(config, RestorationConfig)
    val, train = (
        select(session.crystals.part(part), config, stable_only=config.stable_only, split=part)
        for part in ("val", "train")
    )
    chunks, known = list(evaluation_chunks(val, config.evaluation)), config.evaluation.keep_known
    drawn = {each.key: draw_crystals(session, each, chunks, named[each.key], keep_known=known) for each in ended.done}
    judges = _judges(session, chunks, config.evaluation.seed)
    decoded = {
        each.key: decode_again(session, each, chunks, named[each.key], keep_known=known, judges=judges)
        for each in ended.done
    }
    return replace(
        ended,
        structures=len(train),
        references=evaluate_references(val, train, config.evaluation),
        crystals={key: folder for key, folder in drawn.items() if folder},
        decoded={key: tables for key, tables in decoded.items() if tables},
        judges=session.plan.space.judges,
        classifier=_classifier(session),
    )


def _judges(session: SweepSession, chunks: Sequence[Chunk], seed: int) -> IndependentJudges | None:
    """Return whom the report asks beside its metrics, once for all trainings: equal crystals are computed once."""
    asked = session.plan.space.judges
    if asked is None:
        return None
    energies = Energies(EnergyConfig(calculator=asked.calculator, max_parents=asked.parents), [], "cpu")
    return IndependentJudges(energies, sampled_parents(chunks, asked.parents, seed))


def _classifier(session: SweepSession) -> Mapping[str, float]:
    """Return the metrics of what the discriminator started from, as its kept epoch was validated."""
    known = session.record.prerequisites.get(DISCRIMINATOR)
    if known is None:
        return {}
    made = CheckpointStore(child(home(session.request.storage, known["key"]), known["stage"])).history()
    return kept_row(made) if made else {}
