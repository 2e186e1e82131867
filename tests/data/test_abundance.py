"""The power law of element abundance (Fig. 1A)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from crystalsweep.data import DataError, element_abundance, load_bundled, plot_abundance, power_law_exponent
from crystalsweep.structures.crystal import Crystal


@pytest.mark.parametrize("alpha", [0.5, 0.8163, 1.3])
def test_known_exponent_is_recovered_without_the_rarest(alpha: float) -> None:
    counts = {str(rank): round(1e9 * rank**-alpha) for rank in range(1, 81)} | {f"rare{i}": 1 for i in range(8)}
    fit = power_law_exponent(counts)
    assert fit.exponent == pytest.approx(alpha, abs=1e-4)
    assert fit.standard_error < 1e-4
    assert fit.n_elements == 80
    assert power_law_exponent(counts, drop_last=0).exponent > alpha + 0.1


def test_standard_error_is_that_of_the_slope() -> None:
    from scipy.stats import linregress

    counts = {str(i): n for i, n in enumerate([900, 300, 310, 120, 80, 90, 20])}
    shares = np.sort(np.array(list(counts.values())))[::-1] / sum(counts.values())
    line = linregress(np.log10(np.arange(1, 8)), np.log10(shares))
    fit = power_law_exponent(counts, drop_last=0)
    assert fit.exponent == pytest.approx(-line.slope)
    assert fit.standard_error == pytest.approx(line.stderr)


def test_counts_are_atoms_and_masks_do_not_count() -> None:
    water = Crystal.of("w", [8, 1, 1, 0], 5 * np.eye(3), np.eye(4, 3) / 2)
    assert element_abundance([water, water]) == {"H": 4, "O": 2}


def test_too_few_elements() -> None:
    with pytest.raises(DataError, match="too few"):
        power_law_exponent({"H": 3, "O": 1})


def test_bundled_exponent_is_near_the_papers(tmp_path: Path) -> None:
    crystals = load_bundled()
    fit = power_law_exponent(element_abundance(crystals))
    assert 0.7 < fit.exponent < 1.0
    assert 0.01 < fit.standard_error < 0.1
    plot_abundance(crystals, tmp_path / "x.png")
    assert (tmp_path / "x.png").stat().st_size > 20_000
