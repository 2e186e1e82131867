"""What is in a data set, in a page of text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from crystalsweep.data.abundance import DROP_LAST, element_abundance, power_law_exponent
from crystalsweep.data.reading import Reading, Reject
from crystalsweep.data.spectra import folded
from crystalsweep.data.told import told_of
from crystalsweep.structures.crystal import Crystal
from crystalsweep.wording.stranger import tabulated

QUANTILES = {"min": 0.0, "5 %": 0.05, "25 %": 0.25, "median": 0.5, "75 %": 0.75, "95 %": 0.95, "max": 1.0}
SHOWN_REJECTS = 20
TOP_ELEMENTS = 10


def summarise_data(reading: Reading) -> str:
    """Return counts, cell sizes, elements, labels, stability and rejects."""
    parts = [f"{reading.source}: {reading.n_rows:,} rows = {len(reading.crystals):,} crystals + {_rejects(reading)}"]
    if reading.crystals:
        parts += [_cells(reading.crystals), _elements(reading.crystals), _labels(reading.crystals)]
    parts += [f"note: {line}" for line in told_of(reading.source, reading.crystals, [], reading.notes)]
    if reading.rejects:
        parts.append(summarise_rejects(reading))
    return "\n".join(part for part in parts if part)


def summarise_rejects(reading: Reading) -> str:
    """Return how many for which reason, and the first few one by one."""
    counts = tabulated(reading.rejects_by_reason().items(), ["reject reason", "rows"], intfmt=",")
    return f"\n{counts}\n\n{_listed(reading.rejects)}"


def _rejects(reading: Reading) -> str:
    return f"{len(reading.rejects):,} reject{'' if len(reading.rejects) == 1 else 's'}"


def _listed(rejects: Sequence[Reject]) -> str:
    lines = [str(reject) for reject in rejects[:SHOWN_REJECTS]]
    more = len(rejects) - len(lines)
    return "\n".join([*lines, *([f"… and {more:,} more (--rejects FILE lists all)"] if more else [])])


def _cells(crystals: Sequence[Crystal]) -> str:
    sizes = np.quantile([len(crystal) for crystal in crystals], list(QUANTILES.values()))
    compositions = len({crystal.reduced_formula for crystal in crystals})
    row = ", ".join(f"{name} {size:g}" for name, size in zip(QUANTILES, sizes, strict=True))
    return f"compositions: {compositions:,}\natoms per cell: {row}"


def _elements(crystals: Sequence[Crystal]) -> str:
    counts = element_abundance(crystals)
    total = sum(counts.values())
    top = ", ".join(f"{symbol} {100 * n / total:.1f} %" for symbol, n in list(counts.items())[:TOP_ELEMENTS])
    lines = f"elements: {len(counts)}; most atoms: {top}"
    if len(counts) < DROP_LAST + 3:
        return lines
    fit = power_law_exponent(counts)
    law = f"abundance ∝ 1/rank^α, α = {fit.exponent:.4f} ± {fit.standard_error:.4f}"
    return f"{lines}\n{law} (least squares in log-log, without the {DROP_LAST} rarest)"


def _labels(crystals: Sequence[Crystal]) -> str:
    cells = [folded(crystal.labels) for crystal in crystals]
    names = sorted({name for row in cells for name in row})
    if not names:
        return "labels: none"
    values = {name: np.array([row[name] for row in cells if name in row]) for name in names}
    rows = [(name, len(v), v.min(), float(np.median(v)), v.max()) for name, v in values.items()]
    table = tabulated(rows, ["label", "crystals", "min", "median", "max"], intfmt=",", floatfmt=".4g")
    return f"\n{table}\n{_stable(values.get('e_above_hull'))}"


def _stable(e_above_hull: np.ndarray | None) -> str:
    if e_above_hull is None:
        return ""
    stable = int((e_above_hull <= 0).sum())
    share = 100 * stable / len(e_above_hull)
    return f"\nstable (e_above_hull ≤ 0): {stable:,} of {len(e_above_hull):,} ({share:.1f} %)"
