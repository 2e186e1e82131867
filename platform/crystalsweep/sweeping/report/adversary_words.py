"""What a sweep over the critic's lessons says in sentences: judge and teacher, by one rule each.

The judge pays where ranking by it is resolved better in compositional similarity and resolved worse in nothing. A
teacher pays where one pass of its generator is resolved better than every control arm in compositional similarity and
in compositional validity, and resolved worse in nothing.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd

from crystalsweep.pages.text import with_interval
from crystalsweep.sweeping.report.comparison import metric_title

SIMILARITY, VALIDITY = "compositional_similarity", "compositional_validity"


def conclusion(judged: pd.DataFrame, taught: pd.DataFrame) -> str:
    """Return the sweep's answer in a sentence.

    Args:
        judged: Verdicts of arms ranked by their critic minus the same ranked by likelihood.
        taught: Verdicts of one pass of taught generators minus that of control arms.
    """
    if judged.empty and taught.empty:
        return "Whether the critic helps cannot be told: no trial and its control arm are both complete."
    return f"{_judge(judged)}; {_teacher(taught)}."


def _judge(frame: pd.DataFrame) -> str:
    if frame.empty:
        return "As a judge the critic was not compared"
    pairs = [group for _, group in frame.groupby("a", sort=False)]
    paying = [group for group in pairs if judge_pays(group)]
    if paying:
        gains = frame[frame["metric"] == SIMILARITY]["difference"]
        return (
            f"As a judge the critic helps: ranked by it, {gains.min():+.3f} to {gains.max():+.3f} of the compositions "
            f"are restored beyond likelihood alone, resolved at no cost in {len(paying)} of {len(pairs)} arms"
        )
    if any((group["verdict"] == "worse").any() for group in pairs):
        return "As a judge the critic costs more than it brings"
    return "As a judge the critic was not shown to help"


def _teacher(frame: pd.DataFrame) -> str:
    if frame.empty:
        return "as a teacher it was not compared"
    trials = [group for _, group in frame.groupby("a", sort=False)]
    paying = [group for group in trials if teacher_pays(group)]
    if paying:
        return f"as a teacher it helps in {len(paying)} of {len(trials)} arms, whose single pass beats every control"
    worse = [group for group in trials if (group["verdict"] == "worse").any()]
    better = [group for group in trials if (group["verdict"] == "better").any()]
    if worse and not better:
        return f"as a teacher it harms in {len(worse)} of {len(trials)} arms and helps in none"
    if better:
        return (
            f"as a teacher it gains something in {len(better)} of {len(trials)} arms, but none is better than every "
            "control in similarity and validity at no cost"
        )
    return "as a teacher it was not shown to make a difference"


def judge_pays(verdicts: pd.DataFrame) -> bool:
    """Return whether ranking by the critic is better in similarity and worse in nothing."""
    similar = verdicts[verdicts["metric"] == SIMILARITY]["verdict"]
    return bool(len(similar) and similar.eq("better").all() and not verdicts["verdict"].eq("worse").any())


def teacher_pays(verdicts: pd.DataFrame) -> bool:
    """Return whether one pass is better than every control in similarity and in validity, and worse in nothing."""
    asked = [verdicts[verdicts["metric"] == metric]["verdict"] for metric in (SIMILARITY, VALIDITY)]
    better = all(len(each) and each.eq("better").all() for each in asked)
    return bool(better and not verdicts["verdict"].eq("worse").any())


def judge_sentences(frame: pd.DataFrame, lessons: Mapping[str, str]) -> list[str]:
    """Return what ranking by the critic changed, all arms in a sentence, and what else is resolved.

    Args:
        frame: As for `conclusion`.
        lessons: What the arms learnt from, by their key in the frame.
    """
    if frame.empty:
        return []
    gained = "; ".join(f"{lessons[str(row['a'])]} {_effect(row)}" for row in _of(frame, SIMILARITY))
    said = (
        "Judge: compositional similarity of the beam ranked by the critic minus that of the beam alone, by what the "
        f"generator learnt from: {gained}."
    )
    return [said, *_resolved(frame, "Judge", {str(arm): lessons[str(arm)] for arm in frame["a"]})]


def teacher_sentences(frame: pd.DataFrame, lessons: Mapping[str, str]) -> list[str]:
    """Return what teaching changed, a sentence for each lesson; arguments as for `judge_sentences`."""
    said = []
    for arm, group in frame.groupby("a", sort=False):
        parts = [
            f"{title} {_against(group, metric, lessons)}"
            for metric, title in ((SIMILARITY, "Compositional similarity"), (VALIDITY, "Validity"))
        ]
        said.append(f"Teacher, {lessons[str(arm)]}, in one pass. {'. '.join(parts)}.")
        others = group[~group["metric"].isin([SIMILARITY, VALIDITY])]
        named = {str(b): f"{lessons[str(arm)]} against {lessons[str(b)]}" for b in group["b"]}
        said += _resolved(others, "Teacher", named, by="b")
    return said


def _against(group: pd.DataFrame, metric: str, lessons: Mapping[str, str]) -> str:
    return "; ".join(f"{_effect(row)} against {lessons[str(row['b'])]}" for row in _of(group, metric))


def _of(frame: pd.DataFrame, metric: str) -> list[dict[Hashable, Any]]:
    return frame[frame["metric"] == metric].to_dict("records")


def _effect(row: Mapping[Hashable, Any]) -> str:
    return f"{with_interval(row['difference'], row['low'], row['high'], signed=True)} ({row['verdict']})"


def _resolved(frame: pd.DataFrame, who: str, called: Mapping[str, str], by: str = "a") -> list[str]:
    """Return a sentence on what else is resolved; none where nothing is."""
    rows = frame[(frame["verdict"] != "not resolved") & (frame["metric"] != SIMILARITY)].to_dict("records")
    told = [f"{metric_title(row['metric']).lower()}, {called[str(row[by])]}, {_effect(row)}" for row in rows]
    return [f"{who}, also resolved: {'; '.join(told)}."] if told else []
