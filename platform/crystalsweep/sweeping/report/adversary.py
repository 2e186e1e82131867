"""What a sweep over the critic's lessons says: what it is worth as a judge, and what as a teacher.

The control arms are lessons that need no critic. All arms are decoded alike: in one pass, by a beam, and by the beam
ranked by their own critic; what is claimed rests on the same crystals and, with several seeds, on their spread too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from crystalsweep.metrics import HEADERS, KEYS, SHOWN, cells
from crystalsweep.metrics.seed_verdicts import seed_verdicts
from crystalsweep.metrics.summary import WITHOUT_EXEMPT, Metric, computable, headline
from crystalsweep.pages.content import Table, TableRow
from crystalsweep.pages.text import with_interval
from crystalsweep.plots.decoders import plot_decoders
from crystalsweep.sweeping.report.adversary_words import (
    SIMILARITY,
    VALIDITY,
    conclusion,
    judge_sentences,
    teacher_sentences,
)
from crystalsweep.sweeping.report.beside import Beside, tally
from crystalsweep.sweeping.report.comparison import INDEPENDENT, Comparison, Pair, compare_trials
from crystalsweep.sweeping.report.figures import Gallery
from crystalsweep.sweeping.report.frames import short_names
from crystalsweep.sweeping.report.named_decoders import BEAM, JUDGED, NEUTRAL, ONE_PASS
from crystalsweep.sweeping.report.phase import draw_phase
from crystalsweep.sweeping.report.results import audited_ratio, results_table
from crystalsweep.sweeping.report.sweep import reported_trainings, tell
from crystalsweep.sweeping.space.finished import FinishedSweep, Report
from crystalsweep.training.records import SCORE

COMPARED = (*SHOWN, WITHOUT_EXEMPT, *INDEPENDENT)
"""Metrics that verdicts are given on: validity also without elements and alloys, which the rule exempts, and what
independent judges say where they were asked."""

LESSON = "lesson"
"""Key of what an arm learnt from."""

_HISTORY = (
    *("epoch", "loss/species", "loss/position", "loss/lesson", "audit/ratio", "audit/cosine", "lesson/moved"),
    *("critic/pair_accuracy", SCORE),
)


@dataclass(frozen=True, kw_only=True)
class Arms:
    """Trials by decoder: the table of each seed that all of them have."""

    lessons: dict[str, str]
    """What the trial learnt from, by key: `3/beam`."""
    tables: dict[str, list[pd.DataFrame]]
    """By key, in the order of the seeds."""
    seeds: list[int]
    controls: list[int]
    """Numbers of the trials that are control arms."""
    taught: list[int]
    """Of the others."""
    settings: dict[int, Mapping[str, Any]]
    """By number of a trial, what it was given."""

    @property
    def names(self) -> dict[str, str]:
        """What a table calls each, by its key."""
        return {key: f"{lesson}, {decoder_of(key)}" for key, lesson in self.lessons.items()}


def decoder_of(key: str) -> str:
    """Return how an arm of this key is decoded."""
    return key.partition("/")[2]


def adversary_report(finished: FinishedSweep) -> Report:
    """Return the report: judge and teacher, arms by decoder, and how the trainings went."""
    trials, arms = reported_trainings(finished), arms_of(finished)
    judge, teacher = judge_pairs(arms), teacher_pairs(arms)
    comparison = compared(arms, [*judge, *teacher])
    judged, taught = (comparison.of(pairs) for pairs in (judge, teacher))
    tables = [
        results_table(finished, trials, {"lesson/rec gradient": audited_ratio}),
        _decoded_table(arms, finished),
        _differences(comparison, arms, "The critic as a judge: ranked by it, minus by likelihood alone", judge),
        _differences(comparison, arms, "The critic as a teacher: one pass, minus that of a control arm", teacher),
    ]
    return tell(
        finished,
        trials,
        tables=[table for table in tables if table.rows],
        history=_HISTORY,
        conclusion=conclusion(judged, taught),
        words=[
            *judge_sentences(judged, arms.lessons),
            *teacher_sentences(taught, arms.lessons),
            *_tilted(arms),
            f"{_rests_on(finished, arms)}{_too_small_for(comparison)}",
        ],
        beside=_beside(comparison, arms, teacher),
        draw=lambda gallery: _draw(gallery, finished, arms, taught),
    )


def arms_of(finished: FinishedSweep) -> Arms:
    """Return the complete trainings by trial and decoder, of the seeds with which all complete trials have one."""
    called, lessons = short_names(finished), {}
    found: dict[str, dict[int, pd.DataFrame]] = {}
    for outcome in sorted(finished.done, key=lambda outcome: (outcome.number, outcome.seed)):
        for decoder, table in {ONE_PASS: outcome.table, **finished.decoded.get(outcome.key, {})}.items():
            key = f"{outcome.number}/{decoder}"
            found.setdefault(key, {})[outcome.seed] = table
            lessons[key] = called[str(outcome.number)].removeprefix("lesson=")
    seeds = sorted(set.intersection(*(set(tables) for tables in found.values()))) if found else []
    return Arms(
        lessons=lessons,
        tables={key: [tables[seed] for seed in seeds] for key, tables in found.items()} if seeds else {},
        seeds=seeds,
        controls=sorted({outcome.number for outcome in finished.done if outcome.control}),
        taught=sorted({outcome.number for outcome in finished.done if not outcome.control}),
        settings={outcome.number: outcome.settings for outcome in finished.done},
    )


def judge_pairs(arms: Arms) -> list[Pair]:
    """Return each trial ranked by its critic beside the same ranked by likelihood alone, controls first."""
    pairs = [(f"{number}/{JUDGED}", f"{number}/{BEAM}") for number in (*arms.controls, *arms.taught)]
    return [pair for pair in pairs if set(pair) <= arms.tables.keys()]


def teacher_pairs(arms: Arms) -> list[Pair]:
    """Return one pass of each taught generator beside that of each control arm that is trained like it.

    Where control arms differ in something besides their lesson, as in the noise, a trial is held against those that
    have its value.
    """
    apart = {key for key in _settings(arms, arms.controls) if len(_values(arms, arms.controls, key)) > 1} - {LESSON}
    pairs = [
        (f"{number}/{ONE_PASS}", f"{arm}/{ONE_PASS}")
        for number in arms.taught
        for arm in arms.controls
        if all(arms.settings[number].get(key) == arms.settings[arm].get(key) for key in apart)
    ]
    return [pair for pair in pairs if set(pair) <= arms.tables.keys()]


def _settings(arms: Arms, numbers: Sequence[int]) -> set[str]:
    return {key for number in numbers for key in arms.settings[number]}


def _values(arms: Arms, numbers: Sequence[int], key: str) -> set[Any]:
    return {arms.settings[number].get(key) for number in numbers}


def compared(arms: Arms, pairs: Sequence[Pair]) -> Comparison:
    """Return verdicts on all pairs, corrected together: over crystals, and over seeds where there are several."""
    if pairs and len(arms.seeds) > 1:
        return Comparison(frame=seed_verdicts(arms.tables, COMPARED, pairs=pairs), alone=[])
    return compare_trials({key: tables[0] for key, tables in arms.tables.items()}, pairs, KEYS, COMPARED)


def _differences(comparison: Comparison, arms: Arms, title: str, pairs: Sequence[Pair]) -> Table:
    shown = Comparison(frame=comparison.of(pairs), alone=[])
    told = {pair: [arms.names[pair[0]], arms.names[pair[1]]] for pair in pairs}
    table = shown.table(title, told, ["arm", "minus", "metric", "difference"])
    return Table(title=title, heads=table.heads, rows=table.rows, note=_corrected(comparison, arms))


def _corrected(comparison: Comparison, arms: Arms) -> str:
    over = f"{len(arms.seeds)} training seeds and crystals" if len(arms.seeds) > 1 else "crystals of one training each"
    return (
        f"Verdicts: p, after Holm's correction for {comparison.n} comparisons of both tables, below 0.05. "
        f"Intervals: 95 % each, uncorrected, over {over}."
    )


def _decoded_table(arms: Arms, finished: FinishedSweep) -> Table:
    asked = INDEPENDENT if finished.judges else ()
    told = (WITHOUT_EXEMPT, *asked)
    rows = [
        TableRow(cells=[arms.lessons[key], decoder_of(key), *cells(pooled), *(_told(each, pooled) for each in told)])
        for key, tables in arms.tables.items()
        for pooled in [pd.concat(tables, ignore_index=True)]
    ]
    note = (
        f"Seeds together: {', '.join(map(str, arms.seeds))}; intervals over crystals alone. {ONE_PASS}: each site by "
        f"itself, the paper's. {BEAM}: the likeliest joint choice. {JUDGED}: the first by log p + λ · critic. "
        f"{NEUTRAL}: the rule was used in decoding, so that validity by it is no evidence."
        f"{_judges_note(finished)}"
    )
    heads = ["arm", "decoded", *HEADERS, "validity without elements and alloys"]
    heads += ["charges balance", "ΔE, eV/atom"] if asked else []
    return Table(title="All arms decoded alike", heads=heads, rows=rows, note=note)


def _tilted(arms: Arms) -> list[str]:
    """Return what other ways of decoding do with an arm that had no critic; none where none was asked for."""
    first = [key for key in arms.tables if key.startswith("0/")]
    if {decoder_of(key) for key in first} <= {ONE_PASS, BEAM, JUDGED}:
        return []
    told = []
    for key in first:
        found = headline(pd.concat(arms.tables[key], ignore_index=True))
        told.append(f"{decoder_of(key)} {found[SIMILARITY].mean:.3f} and {found[VALIDITY].mean:.3f}")
    said = (
        f"Without an adversary, compositional similarity and validity of {arms.lessons[first[0]]} by how it is "
        f"decoded: {'; '.join(told)} ({NEUTRAL}: its validity is no evidence, for the rule was used). An adversary "
        "that is more valid at less similarity must be held against these."
    )
    return [said]


def _judges_note(finished: FinishedSweep) -> str:
    if finished.judges is None:
        return ""
    return (
        " Judges that no training and no decoder has seen: charges balance by bond lengths; ΔE is the energy by "
        f"{finished.judges.calculator} minus the parent's, of crystals with the parent's composition, of a sample of "
        f"{finished.judges.parents} parents at most. What cannot be told is left out: n says of how many it is."
    )


def _told(metric: Metric, table: pd.DataFrame) -> str:
    """Return a metric with its n; a dash in tables of before it was told."""
    if not computable(metric, table):
        return "–"
    found = metric.over(table)
    return with_interval(found.mean, found.low, found.high, n=found.n)


def _rests_on(finished: FinishedSweep, arms: Arms) -> str:
    left_out = sorted(set(finished.seeds) - set(arms.seeds))
    parents = next(iter(arms.tables.values()))[0]["parent"].nunique() if arms.tables else 0
    said = (
        f"These comparisons rest on {parents} validation crystals and {len(arms.seeds)} of {len(finished.seeds)} seeds"
    )
    why = f"; not every trial completed with seed {', '.join(map(str, left_out))}" if left_out else ""
    return f"{said}{why}."


def _too_small_for(comparison: Comparison) -> str:
    """Return which differences in similarity could not be seen, where some were not resolved."""
    rows = comparison.frame
    rows = rows[(rows["metric"] == SIMILARITY) & (rows["verdict"] == "not resolved")]
    widest = float((rows["high"] - rows["low"]).max()) / 2
    if not widest > 0:
        return ""
    return (
        f" They are too few to tell differences in compositional similarity below about {widest:.3f}, half the widest "
        "interval: “not resolved” is no answer there. docs/adversary_story.md tells what a larger run found."
    )


def _beside(comparison: Comparison, arms: Arms, pairs: Sequence[Pair]) -> Beside:
    said = dict.fromkeys(arms.controls, "is a control")
    for number in arms.taught:
        own = [pair for pair in pairs if pair[0] == f"{number}/{ONE_PASS}"]
        said[number] = tally(comparison, own) if own else "no control to hold it against"
    return Beside(head="one pass, beside the controls", cells=said, frame=comparison.frame)


def _draw(gallery: Gallery, finished: FinishedSweep, arms: Arms, taught: pd.DataFrame) -> None:
    draw_phase(gallery, finished, taught)
    by_rule = any(decoder_of(key) == NEUTRAL for key in arms.tables)
    gallery.add(
        "decoders",
        lambda path: plot_decoders(
            {arms.names[key]: pd.concat(tables, ignore_index=True) for key, tables in arms.tables.items()}, path
        ),
        "Validity against similarity",
        "Each arm in one colour, each way of decoding in one mark, seeds together; bars are 95 % intervals over "
        "crystals. Up and to the right is better in both; the line joins what nothing else beats in both means."
        f"{f' The validity of “{NEUTRAL}” is that of a rule used in decoding: no evidence.' if by_rule else ''}",
    )
