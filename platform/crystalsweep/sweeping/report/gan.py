"""What a finished GAN sweep says: a table with intervals, what the adversary changed, and plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import pandas as pd

from crystalsweep.metrics import SHOWN
from crystalsweep.metrics.summary import WITHOUT_EXEMPT, computable
from crystalsweep.pages.content import Table
from crystalsweep.sweeping.report.beside import Beside, tally
from crystalsweep.sweeping.report.comparison import RESOLVED, Comparison, Pair, compare_trials, over_seeds
from crystalsweep.sweeping.report.conclusion import adversary_conclusion, visible_sentence
from crystalsweep.sweeping.report.control import Counterpart, counterparts, without_repetition
from crystalsweep.sweeping.report.figures import Gallery
from crystalsweep.sweeping.report.frames import pooled, short_names
from crystalsweep.sweeping.report.gan_figures import arm_colours, draw_gan
from crystalsweep.sweeping.report.phase import draw_phase
from crystalsweep.sweeping.report.results import Column, audited_ratio, results_table, setting_columns
from crystalsweep.sweeping.report.sweep import reported_trainings, tell
from crystalsweep.sweeping.report.words import adversary_sentences, classifier_sentence
from crystalsweep.sweeping.space.finished import FinishedSweep, Report, ReportedTraining
from crystalsweep.sweeping.space.outcome import TrainingOutcome
from crystalsweep.training.records import SCORE

_HISTORY = (
    "epoch",
    "loss/species",
    "loss/position",
    "loss/adversarial",
    "audit/ratio",
    "audit/cosine",
    "discriminator/accuracy_real",
    "discriminator/accuracy_fake",
    "discriminator/score_gap",
    SCORE,
)


def gan_report(finished: FinishedSweep) -> Report:
    """Return the report of any sweep over the GAN stage."""
    trials = reported_trainings(finished)
    compared = compared_with_controls(finished)
    table, words = against_controls(finished, compared)
    exact = compared.comparison.of([_pair(each) for each in compared.pairs if not each.differs])
    if visible := visible_sentence(exact, compared.comparison.n):
        words.append(visible)
    if started := classifier_sentence(finished.classifier):
        words.append(started)
    results = results_table(
        finished, trials, {WITHOUT_EXEMPT.title: _without_exempt, "adv/rec gradient": audited_ratio}
    )
    told = tell(
        finished,
        trials,
        tables=[results, *([table] if table else [])],
        history=_HISTORY,
        conclusion=adversary_conclusion(exact),
        words=words,
        beside=_beside(finished, compared),
        draw=partial(_draw, finished, trials, exact),
        colours=arm_colours(finished),
    )
    return replace(told, verdicts=_verdicts(compared))


def _without_exempt(outcome: TrainingOutcome) -> str:
    """Return the share of valid compositions among those that the rule does not accept whatever they are."""
    return str(WITHOUT_EXEMPT.over(outcome.table)) if computable(WITHOUT_EXEMPT, outcome.table) else ""


def _draw(finished: FinishedSweep, trials: Sequence[ReportedTraining], exact: pd.DataFrame, gallery: Gallery) -> None:
    """Draw the sweep's own figures; in the phase diagram, trials whose control arm is their exact counterpart."""
    draw_phase(gallery, finished, exact)
    draw_gan(finished, trials, gallery)


@dataclass(frozen=True, kw_only=True)
class ControlComparison:
    """Trials held against their controls."""

    pairs: Sequence[Counterpart]
    repeated: bool
    """Whether a second kind of control restored the same and was left out."""
    comparison: Comparison


def compared_with_controls(finished: FinishedSweep) -> ControlComparison:
    """Compare each complete trial with its control arms, paired by corrupted crystal and seed."""
    tables = pooled(finished.done)
    pairs, repeated = without_repetition(counterparts(finished.done, finished.parameters), tables)
    named = {str(number): each for number, each in tables.items()}
    comparison = compare_trials(named, [_pair(each) for each in pairs], metrics=(*SHOWN, WITHOUT_EXEMPT))
    return ControlComparison(pairs=pairs, repeated=repeated, comparison=comparison)


def _beside(finished: FinishedSweep, compared: ControlComparison) -> Beside:
    """Return what each trial came to beside its first control, and which are controls themselves."""
    cells = {outcome.number: "is a control" for outcome in finished.done if outcome.control}
    for each in reversed(compared.pairs):
        unlike = f", another {', '.join(each.differs)}" if each.differs else ""
        cells[each.trial] = f"{tally(compared.comparison, [_pair(each)])}{unlike}"
    return Beside(head="beside its control", cells=cells, frame=compared.comparison.frame)


def _verdicts(compared: ControlComparison) -> dict[int, str]:
    """Return, by number of the trial, what its comparisons with control arms came to, in a phrase."""
    phrases: dict[int, list[str]] = {}
    for each in compared.pairs:
        counts = compared.comparison.of([_pair(each)])["verdict"].value_counts()
        total = int(counts.sum())
        resolved = [f"{verdict} in {counts[verdict]}" for verdict in RESOLVED if counts.get(verdict)]
        said = f"{' and '.join(resolved)} of {total} metrics" if resolved else f"not resolved in any of {total} metrics"
        nearest = f", which has other {', '.join(each.differs)}" if each.differs else ""
        phrases.setdefault(each.trial, []).append(f"against its control {each.kind}{nearest}: {said}")
    return {number: "; ".join(said) for number, said in phrases.items()}


def against_controls(finished: FinishedSweep, compared: ControlComparison) -> tuple[Table | None, list[str]]:
    """Tell what the adversary did, as a table and in words; without a complete control arm there is no table."""
    pairs, comparison = compared.pairs, compared.comparison
    if not pairs:
        return None, ["The adversary cannot be judged: no trial and control arm are both complete."]
    words = _judged(finished, pairs, comparison)
    if compared.repeated:
        words.append(
            "The two kinds of control arm restored the same crystals, row by row, as they should: "
            "a verdict against one holds for both."
        )
    return _adversary_table(finished, pairs, comparison), words


def _adversary_table(finished: FinishedSweep, pairs: Sequence[Counterpart], comparison: Comparison) -> Table:
    columns = setting_columns(finished)
    first = {outcome.number: outcome for outcome in reversed(finished.done)}
    several = len({each.kind for each in pairs}) > 1 or any(each.differs for each in pairs)
    cells = {_pair(each): _cells(each, columns, first, several=several) for each in pairs}
    heads = [*columns, *(["control"] if several else []), "metric", "minus control"]
    title = (
        "What the adversary did: each trial minus its control arm (the same training without the adversary), paired\n"
        "by restored crystal"
    )
    return comparison.table(title, cells, heads, over_seeds(len(finished.seeds), "arm"))


def _cells(
    each: Counterpart, columns: Mapping[str, Column], first: Mapping[int, TrainingOutcome], *, several: bool
) -> list[str]:
    """Return what the rows of a counterpart begin with."""
    unlike = f", other {', '.join(each.differs)}" if each.differs else ""
    control = [f"{each.kind}{unlike}"] if several else []
    return [*(cell(first[each.trial]) for cell in columns.values()), *control]


def _judged(finished: FinishedSweep, pairs: Sequence[Counterpart], comparison: Comparison) -> list[str]:
    """Return verdicts of exact counterparts by kind of control; those of mere neighbours apart."""
    called = short_names(finished)
    epochs = {outcome.number: outcome.metrics.get("epoch") for outcome in finished.done}
    seeds = f", over {len(finished.seeds)} seeds" if len(finished.seeds) > 1 else ", one seed each"
    said = []
    for kind in dict.fromkeys(each.kind for each in pairs):
        exact = [each for each in pairs if each.kind == kind and not each.differs]
        near = [each for each in pairs if each.kind == kind and each.differs]
        if exact:
            equal = all(epochs[each.trial] == epochs[each.control] for each in exact)
            how = f"at {'equal' if equal else 'unequal'} numbers of epochs{seeds}"
            frame = comparison.of([_pair(each) for each in exact])
            said += adversary_sentences(frame, kind, comparison.n, called, how)
        if near:
            frame = comparison.of([_pair(each) for each in near])
            counts = frame["verdict"].value_counts()
            titles = ", ".join(dict.fromkeys(title for each in near for title in each.differs))
            said.append(
                f"{len(near)} trials have no {kind} control with their {titles} and are held against the nearest one: "
                f"better in {counts.get('better', 0)}, worse in {counts.get('worse', 0)}, not resolved in "
                f"{counts.get('not resolved', 0)} comparisons, which mix the adversary's effect with that of {titles} "
                "and do not tell whether the adversary helps."
            )
    return said


def _pair(each: Counterpart) -> Pair:
    return str(each.trial), str(each.control)
