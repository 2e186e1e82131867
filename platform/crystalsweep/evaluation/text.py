"""What an evaluation says on the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from crystalsweep.evaluation.outcome import Evaluation, Figure
from crystalsweep.evaluation.report import headline_metrics, metric_titles, most_rows, odds_metrics
from crystalsweep.pages.text import with_interval
from crystalsweep.wording.stranger import in_a_line, tabulated

_HEAD = 24
"""Letters of a line of a head, about as many as a mean with its interval has."""


def headline_text(outcome: Evaluation) -> str:
    """Return the headline table with its warnings; the report has the rest."""
    titles, shown = metric_titles(outcome), headline_metrics(outcome)
    rows = [_row(name, [found.get(metric) for metric in shown]) for name, found in outcome.rows.items()]
    heads = ["", "n", *(titles[name].lower() for name in shown)]
    lines = [tabulated(rows, headers=heads, maxheadercolwidths=_HEAD, disable_numparse=True)]
    lines += _odds(outcome, titles)
    lines += [in_a_line(f"! {row}: {sentence}") for row, found in outcome.flags.items() for sentence in found]
    for column, found in outcome.failures.items():
        reasons = "; ".join(f"{reason} ({n:,})" for reason, n in list(found.items())[:5])
        lines.append(in_a_line(f"! {column}: {reasons}"))
    return "\n".join(lines)


def _odds(outcome: Evaluation, titles: Mapping[str, str]) -> list[str]:
    """Return what the model's odds are worth, in lines; none where it gives none."""
    own = outcome.rows[outcome.name]
    rows = [[titles[name], shown_figure(own[name])] for name in odds_metrics(outcome)]
    rows += [
        [f"Calibration error, {name}", with_interval(each.calibration_error, None, None, n=each.n)]
        for name, each in outcome.odds.items()
    ]
    if not rows:
        return []
    title = f"odds of {outcome.name}"
    return ["", tabulated(rows, headers=[title, f"decoded by {outcome.settings.decode}"], disable_numparse=True)]


def _row(name: str, figures: Sequence[Figure | None]) -> list[str]:
    """Return a row with its n, which cells repeat only where theirs is another."""
    n = most_rows(figures)
    return [name, f"{n:,}", *(shown_figure(figure, row_n=n) for figure in figures)]


def rescored_text(outcome: Evaluation, presets: Sequence[str]) -> str:
    """Return model and references under the evaluation's own settings and under others."""
    metrics = list(
        dict.fromkeys(name for preset in presets for row in outcome.rescored[preset].rows.values() for name in row)
    )
    rows = []
    for row, found in outcome.rows.items():
        if not any(row in outcome.rescored[preset].rows for preset in presets):
            continue
        rows.append([row, "as evaluated", *(shown_figure(found.get(name)) for name in metrics)])
        rows += [
            ["", preset, *(shown_figure(outcome.rescored[preset].rows.get(row, {}).get(name)) for name in metrics)]
            for preset in presets
        ]
    return tabulated(rows, headers=["", "settings", *metrics], disable_numparse=True)


def shown_figure(figure: Figure | None, row_n: int | None = None) -> str:
    """Return a figure's mean with its interval, its n and what was undecided, or that nothing defines it.

    Args:
        figure: None where nothing defines it.
        row_n: The n that stands in the row already.
    """
    if figure is None:
        return with_interval(None, None, None)
    n = None if figure.n == row_n else figure.n
    return with_interval(figure.mean, figure.low, figure.high, n=n, undecided=figure.undecided)
