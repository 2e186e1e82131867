"""What a sweep over the critic's lessons says in sentences: judge and teacher, by one rule each.

The judge pays where ranking by it is resolved better in compositional similarity and resolved worse in nothing. A
teacher pays where one pass of its generator is resolved better than every control arm in compositional similarity and
in compositional validity, and resolved worse in nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

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


def judge_sentences(frame: pd.DataFrame, names: Mapping[str, str]) -> list[str]:
    """Return what ranking by the critic changed, an arm each.

    Args:
        frame: As for `conclusion`.
        names: Of arms, by their key in the frame.
    """
    return [
        f"{names[str(arm)]}, against {names[str(group['b'].iloc[0])]}: {_told(group)}."
        for arm, group in frame.groupby("a", sort=False)
    ]


def teacher_sentences(frame: pd.DataFrame, names: Mapping[str, str]) -> list[str]:
    """Return what teaching changed, an arm and control each; arguments as for `judge_sentences`."""
    return [
        f"{names[str(arm)]}, against the control {names[str(control)]}: {_told(group)}."
        for (arm, control), group in frame.groupby(["a", "b"], sort=False)
    ]


def _told(group: pd.DataFrame) -> str:
    """Return similarity and validity with their intervals, and what else is resolved."""
    said = []
    for row in group.to_dict("records"):
        if row["metric"] in (SIMILARITY, VALIDITY) or row["verdict"] != "not resolved":
            effect = with_interval(row["difference"], row["low"], row["high"], signed=True)
            said.append(f"{metric_title(row['metric']).lower()} {effect}, {row['verdict']}")
    return "; ".join(said)
