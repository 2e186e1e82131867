"""Generators between a control and its adversarial sister: what each α gives, and how far one may go."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from crystalsweep.evaluation.energy_rows import Energies
from crystalsweep.evaluation.protocol import Chunk, blocks, evaluation_chunks, restore_chunk
from crystalsweep.evaluation.scoring import Key, energy_sample
from crystalsweep.hyperparameters import EvaluationConfig
from crystalsweep.metrics.bootstrap import Interval
from crystalsweep.metrics.scoring import KEYS, score_table
from crystalsweep.metrics.summary import EXTENDED, METRICS, SECONDARY, Metric, metric_difference
from crystalsweep.networks.models import Generator
from crystalsweep.structures.crystal import Crystal

_TOLD = (
    "compositional_validity",
    "structural_validity",
    "compositional_similarity",
    "structural_similarity",
    "masked_accuracy",
    "delta_energy",
)

MEASURES: tuple[Metric, ...] = tuple(
    metric for name in _TOLD for metric in (*METRICS, *SECONDARY, *EXTENDED) if metric.name == name
)
"""What is told over α."""


def evaluate_between(
    generators: Mapping[float, Generator],
    crystals: Sequence[Crystal],
    config: EvaluationConfig,
    *,
    energies: Energies | None = None,
    device: str = "cpu",
) -> dict[float, pd.DataFrame]:
    """Return a scored table for each α, all of the same corrupted crystals.

    Args:
        generators: By α, in evaluation mode.
        crystals: Parents, which none of them was trained on.
        config: The protocol.
        energies: Of a sample of `energies.config.max_parents` parents, as `delta_energy`; none where not given.
        device: Where the networks run.
    """
    torch.set_num_threads(1)
    chosen = (
        energy_sample(blocks(crystals, config), energies.config.max_parents, config.seed) if energies else frozenset()
    )
    chunks = list(evaluation_chunks(crystals, config))
    tables = {}
    with tqdm(total=len(generators) * len(chunks), desc="restoring", unit=" parts") as bar:
        for alpha, generator in generators.items():
            parts = []
            for part in _rows(generator.to(torch.device(device)), chunks, energies, chosen, device):
                parts.append(part)
                bar.update()
            tables[alpha] = pd.concat(parts, ignore_index=True)
    return tables


def _rows(
    generator: Generator, chunks: Sequence[Chunk], energies: Energies | None, chosen: frozenset[Key], device: str
) -> Iterator[pd.DataFrame]:
    for chunk in chunks:
        made = restore_chunk(generator, chunk, device).completed
        table = score_table(chunk.originals, chunk.corrupted_crystals(), made, chunk.keys)
        if energies:
            sampled = np.array([key in chosen for key in chunk.keys[list(KEYS)].itertuples(index=False, name=None)])
            table = pd.concat([table, energies.columns(chunk.originals, made, sampled)], axis=1)
        yield table


def curve_of(tables: Mapping[float, pd.DataFrame]) -> pd.DataFrame:
    """Return a row per α and metric: alpha, metric, mean, low, high, n, and the paired difference to the first α with
    its interval as difference, difference_low, difference_high."""
    control = tables[min(tables)]
    return pd.DataFrame(
        [
            _row(alpha, metric, metric.over(table), metric_difference(table, control, metric))
            for metric in MEASURES
            for alpha, table in sorted(tables.items())
            if metric.name != "delta_energy" or "delta_energy" in table
        ]
    )


def _row(alpha: float, metric: Metric, value: Interval, difference: Interval) -> dict[str, object]:
    return {
        "alpha": alpha,
        "metric": metric.name,
        "mean": value.mean,
        "low": value.low,
        "high": value.high,
        "n": value.n,
        "difference": difference.mean,
        "difference_low": difference.low,
        "difference_high": difference.high,
    }


def harmless_alpha(curve: pd.DataFrame, metric: str = "compositional_similarity") -> float:
    """Return the greatest α up to which every paired interval of the metric's difference to the control includes 0 or
    lies above it; the first, where not even the next does."""
    rows = curve[curve["metric"] == metric].sort_values("alpha")
    worse = (rows["difference_high"] < 0).to_numpy()
    last = int(worse.argmax()) if worse.any() else len(rows)
    return float(rows["alpha"].iloc[max(last - 1, 0)])
