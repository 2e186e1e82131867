"""What a finished sweep says in sentences. None claims more than the verdicts do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from crystalsweep.pages.text import three_digits, with_interval
from crystalsweep.plots.pareto import non_dominated
from crystalsweep.structures.targets import STABILITY
from crystalsweep.sweeping.report.comparison import Comparison, Pair, metric_title
from crystalsweep.sweeping.space.finished import FinishedSweep
from crystalsweep.sweeping.space.objectives import Objective
from crystalsweep.sweeping.space.outcome import TrainingOutcome

_NAMED = 4
"""Things that a sentence names; of more it gives the number."""

_FEW_TRIALS = 10
"""Complete trials below which importances are a hint."""

COSTS = {"minutes": "wall-clock minutes", "cpu_hours": "CPU-hours", "gpu_hours": "GPU-hours", "bytes": "checkpoints"}


def best_sentence(best: TrainingOutcome | None, finished: FinishedSweep, trainings: pd.DataFrame) -> str:
    """Return the best trial and its interval."""
    objective = finished.objectives[0]
    if best is None:
        return f"No training completed, so there is no best trial by {_title(objective)}."
    row = trainings[trainings["key"] == best.key].to_dict("records")[0]
    group = trainings[(trainings["number"] == best.number) & (trainings["state"] == "complete")]
    arm = ", a control arm" if best.control else ""
    found = (row[f"{objective.name}{part}"] for part in ("", "/low", "/high"))
    value = with_interval(*found, undefined="without a value")
    if len(group) > 1:
        values = group[objective.name]
        value = (
            f"mean {values.mean():.3f} over {len(group)} seeds ({values.min():.3f} to {values.max():.3f}); "
            f"its best seed, {best.seed}: {value}"
        )
    return f"Best by {_title(objective)}: {row['trial']} (trial {best.number}{arm}), {value}."


def importance_sentence(finished: FinishedSweep, complete: int) -> str:
    """Return what mattered, by importance."""
    objective = _title(finished.objectives[0])
    titles = {parameter.key: parameter.title for parameter in finished.parameters}
    ranked = sorted(finished.importances.items(), key=lambda item: -item[1])
    if len(finished.parameters) == 1:
        return f"One parameter was varied, {finished.parameters[0].title}: there is nothing to rank."
    if not ranked:
        return f"Which parameter mattered most for {objective} cannot be told from {complete} complete trials."
    told = ", then ".join(f"{titles.get(key, key)} ({value:.2f})" for key, value in ranked)
    hint = ", few enough for this to be a hint only" if complete < _FEW_TRIALS else ""
    return f"What mattered for {objective}, by importance: {told}. It rests on {complete} complete trials{hint}."


def best_against_others(
    comparison: Comparison, best: str, pairs: Sequence[Pair], called: Mapping[str, str], seeds: int
) -> list[str]:
    """Return what is resolved between the best trial and each other, and what is not.

    Args:
        comparison: Verdicts of all pairs.
        best: The best trial's name in them.
        pairs: The best with each other.
        called: Trials as text, by name.
        seeds: Trainings of each.
    """
    better, worse, neither = [], [], []
    for pair in pairs:
        found = set(comparison.of([pair])["verdict"])
        better += [pair[1]] if "better" in found else []
        worse += [pair[1]] if "worse" in found else []
        neither += [] if found & {"better", "worse"} else [pair[1]]
    others = _count(len(pairs), "other trial")
    over = f", over {seeds} seeds" if seeds > 1 else ""
    correction = f"Holm-corrected over {comparison.n} comparisons"
    if not better and not worse:
        return [f"Not resolved: {called[best]} from any of {others} in any metric{over} ({correction})."]
    resolved = (
        f"Resolved: against {others}{over}, in at least one metric, {called[best]} is better than "
        f"{_list([called[name] for name in better])} and worse than {_list([called[name] for name in worse])} "
        f"({correction}; it was chosen on these same crystals, which flatters it)."
    )
    if not neither:
        return [resolved]
    return [resolved, f"Not resolved from it in any metric: {_list([called[name] for name in neither])}."]


def adversary_sentences(frame: pd.DataFrame, kind: str, n: int, called: Mapping[str, str], how: str) -> list[str]:
    """Return whether the adversary beat one kind of control.

    Args:
        frame: Verdicts of trials (a) minus their controls of this kind (b).
        kind: Of the control, as `w_W = 0`.
        n: Comparisons that the verdicts are corrected for, all kinds together.
        called: Trials as text, by name in the frame.
        how: What else there is to say of the comparison, as `at equal epochs, over 3 seeds`.
    """
    better, worse = (frame[frame["verdict"] == verdict] for verdict in ("better", "worse"))
    unresolved = len(frame) - len(better) - len(worse)
    if frame.empty:
        return [f"Against {kind}: nothing could be compared."]
    if len(better):
        verdict = "the adversary beat it in some comparisons" + (" and lost in others" if len(worse) else "")
    elif len(worse):
        verdict = "the adversary did not beat it and was worse in some comparisons"
    else:
        verdict = "the adversary was not shown to make a difference"
    parts = [f"better in {_where(better, called)}"] if len(better) else []
    parts += [f"worse in {_where(worse, called)}"] if len(worse) else []
    parts += [f"{unresolved} of {len(frame)} comparisons not resolved"]
    return [f"Against the control {kind} {how}: {verdict}; {'; '.join(parts)} (Holm-corrected over {n})."]


def front_sentence(finished: FinishedSweep, trials: pd.DataFrame) -> str:
    """Tell which trials are on the front of several objectives; empty for one."""
    if len(finished.objectives) < 2 or trials.empty:
        return ""
    done = trials[trials["state"] == "complete"]
    values = done[[objective.name for objective in finished.objectives]].to_numpy(dtype=float)
    front = done[non_dominated(values, [objective.direction for objective in finished.objectives])]
    titles = ", ".join(_title(objective) for objective in finished.objectives)
    numbers = ", ".join(f"{number}" for number in front["number"])
    return (
        f"On the Pareto front of {titles}: {len(front)} of {_count(len(done), 'complete trial')}"
        f"{f' (numbers {numbers})' if len(front) else ''}. The front goes by means, whose intervals may overlap."
    )


def seeds_sentence(finished: FinishedSweep, trainings: pd.DataFrame) -> str:
    """Return how far seeds lie apart, beside the interval of one."""
    objective = finished.objectives[0]
    done = trainings[trainings["state"] == "complete"].dropna(subset=[objective.name])
    groups = done.groupby("number")[objective.name]
    several = groups.size() > 1
    if not several.any():
        return "One seed per setting: how much the seed matters is unknown, and no interval here has it in it."
    spread = float(groups.std()[several].median())
    half = float(((done[f"{objective.name}/high"] - done[f"{objective.name}/low"]) / 2).median())
    beside = f", beside {half:.3f} for half of a training's 95 % interval over crystals" if np.isfinite(half) else ""
    return (
        f"Seeds: the standard deviation of {_title(objective)} over seeds is {spread:.3f} "
        f"(median over {_count(int(several.sum()), 'setting')}){beside}."
    )


def ends_sentence(finished: FinishedSweep) -> str:
    """Return how many trainings completed, were cut, failed or stopped, and why."""
    outcomes = finished.outcomes
    complete = sum(outcome.state == "complete" for outcome in outcomes)
    parts = [f"{complete} of {_count(len(outcomes), 'training')} completed"]
    for state, said in (("pruned", "cut early"), ("failed", "failed"), ("stopped", "stopped and can be resumed")):
        chosen = [outcome for outcome in outcomes if outcome.state == state]
        if chosen:
            reasons: dict[str, list[str]] = {}
            for outcome in chosen:
                reasons.setdefault(outcome.reason.rstrip(".") or "no reason given", []).append(outcome.key)
            told = "; ".join(f"{reason}: {_list(keys)}" for reason, keys in reasons.items())
            parts.append(f"{len(chosen)} {said} ({told})")
    return f"{', '.join(parts)}."


def costs_sentence(costs: Mapping[str, tuple[float, float]], *, whole: bool = True) -> str:
    """Tell forecast against actual, and whether within a factor of two, if the `whole` sweep was run."""
    known = {name: pair for name, pair in costs.items() if any(pair)}
    if not known:
        return "What it cost was not measured."
    told, off = [], []
    for name, (forecast, actual) in known.items():
        title = COSTS.get(name, name)
        told.append(f"{title} {amount(name, forecast)} → {amount(name, actual)}{_ratio(forecast, actual)}")
        if not within_two(forecast, actual):
            off.append(title)
    if not whole:
        return f"Forecast of the whole sweep → so far: {'; '.join(told)}."
    verdict = f"not within 2× for {', '.join(off)}" if off else "within 2×"
    return f"Forecast → actual: {'; '.join(told)}: {verdict}."


def within_two(forecast: float, actual: float) -> bool:
    """Return whether the two differ by at most a factor of two."""
    return forecast > 0 and 0.5 <= actual / forecast <= 2


def amount(name: str, value: float) -> str:
    """Return a cost with its unit where the name does not say it."""
    if name != "bytes":
        return f"{value:.3g}"
    power = next((power for power in (9, 6, 3) if value >= 10**power), 0)
    return f"{value / 10**power:.3g} {({9: 'GB', 6: 'MB', 3: 'kB', 0: 'B'})[power]}"


def _ratio(forecast: float, actual: float) -> str:
    return f" ({actual / forecast:.2f}×)" if forecast else ""


def _where(rows: pd.DataFrame, called: Mapping[str, str]) -> str:
    """Return metrics with the trials they are resolved for."""
    parts = [
        f"{metric_title(str(metric)).lower()} ({_list([called[name] for name in group['a']])})"
        for metric, group in rows.groupby("metric", sort=False)
    ]
    return ", ".join(parts)


def _list(names: Sequence[str]) -> str:
    if not names:
        return "none"
    return "; ".join(names) if len(names) <= _NAMED else f"{len(names)} of them"


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"


def _title(objective: Objective) -> str:
    title = objective.title
    return title if title.startswith("L_") else title[0].lower() + title[1:]


def classifier_sentence(metrics: Mapping[str, float]) -> str:
    """Return how good the stability classifier was that the discriminator started from; empty where none is known.

    Args:
        metrics: Of its validation, as fine-tuning logs them, of stability alone or beside other targets.
    """
    prefix = next((each for each in ("val", f"val/{STABILITY}") if f"{each}/majority_accuracy" in metrics), None)
    if prefix is None:
        return ""
    accuracy, commonest = metrics[f"{prefix}/accuracy"], metrics[f"{prefix}/majority_accuracy"]
    low, high = 1 - metrics[f"{prefix}/error/high"], 1 - metrics[f"{prefix}/error/low"]
    better = "" if low > commonest else ": it is not shown to know what is stable"
    auc, n = three_digits(metrics[f"{prefix}/auc"]), f"{metrics[f'{prefix}/n']:,.0f}"
    right, alone = with_interval(accuracy, low, high), three_digits(commonest)
    return (
        f"The discriminator started from a stability classifier with an accuracy of {right} and a ROC-AUC of {auc} "
        f"on {n} validation crystals; the commoner answer alone has {alone}{better}."
    )
