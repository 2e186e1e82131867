"""The plots of an evaluation, with what a reader needs to know beside each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from crystalsweep.data.abundance import plot_abundance
from crystalsweep.metrics.calibration import reliability
from crystalsweep.metrics.odds import odds_cases
from crystalsweep.metrics.strata import STRATA
from crystalsweep.metrics.summary import ScoreTables
from crystalsweep.pages.content import Picture
from crystalsweep.plots.distributions import plot_distributions
from crystalsweep.plots.energies import plot_energies
from crystalsweep.plots.extrapolation import plot_extrapolation
from crystalsweep.plots.grids import plot_similarity, plot_validity
from crystalsweep.plots.periodic import plot_replacement_table
from crystalsweep.plots.reliability import plot_reliability
from crystalsweep.plots.replacement import (
    plot_mined_correlation,
    plot_replacement_matrix,
)
from crystalsweep.plots.replacement_rates import plot_replacement_rates
from crystalsweep.plots.strata import plot_strata
from crystalsweep.structures.crystal import Crystal

ODDS_SECTION = "Odds"
"""Title of what is said of the model's probabilities."""

_ODDS_OF = {"sites": "Sites", "joint": "Joint candidates"}

_PAPERS = {"n_atoms": " (Fig. 4D)", "masked_element": " (Fig. 4E)"}
"""Strata that the paper draws."""


def draw_pictures(
    tables: ScoreTables,
    name: str,
    folder: Path,
    true_crystals: Sequence[Crystal],
    distances: Mapping[str, Mapping[str, Any]],
    trained_at: float | None,
) -> dict[str, list[Picture]]:
    """Return every plot that the tables have rows for, as PNG in `folder` and as pictures by section of the report.

    A PNG that is there already is taken as it is.

    Args:
        tables: Rows by name.
        name: The model among them.
        folder: Where the PNGs go.
        true_crystals: Whose elements are counted; may be empty where that plot is there already.
        distances: Distances between these distributions, as `metrics.distributions` gives them.
        trained_at: Training noise, marked in the plots.
    """
    folder.mkdir(exist_ok=True)
    own, drawn = tables[name], _Drawn(folder)
    if (own["sigma_noise"] > 0).any():
        _draw_scores(drawn, tables, trained_at)
    drawn.add(
        "Energies",
        "fig4c_energies",
        lambda path: plot_energies(tables, path),
        "Energy relative to the original (Fig. 4C).",
        "Same composition only, from the calculator named in the table above; the paper used DFT.",
    )
    if cases := odds_cases(own):
        drawn.add(
            ODDS_SECTION,
            "reliability",
            lambda path: plot_reliability(
                {_ODDS_OF[each]: {name: reliability(*_pair(found))} for each, found in cases.items()}, path
            ),
            "Are the odds what they say?",
            "Sites: the likeliest element of each masked site by itself, in one pass. Joint: the first candidate.",
        )
    _draw_strata(drawn, {name: own})
    if "species_corrupted" in own:
        _draw_replacement(drawn, {name: own})
    _draw_distributions(drawn, tables, _distances_by_column(distances, name), true_crystals)
    return drawn.pictures


def _pair(cases: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    return cases["confidence"], cases["hit"]


def _draw_scores(drawn: _Drawn, tables: ScoreTables, trained_at: float | None) -> None:
    section = "Validity and similarity"
    drawn.add(
        section,
        "fig4a_validity",
        lambda path: plot_validity(tables, path),
        "Validity (paper, Fig. 4A).",
        "Columns: what was masked. A model above the ceiling is not better than real crystals, only more uniform.",
    )
    drawn.add(
        section,
        "fig4b_similarity",
        lambda path: plot_similarity(tables, path),
        "Similarity to the original (Fig. 4B).",
        "Structural similarity counts crystals with restored species only: 1 is the original, 0 is as far off as "
        "the input, below 0 farther.",
    )
    drawn.add(
        section,
        "extrapolation",
        lambda path: plot_extrapolation(tables, path, trained_at=trained_at),
        "Beyond the training noise.",
        "All mask types together; the number is the area under the curve over the range of sigma.",
    )


def _draw_strata(drawn: _Drawn, tables: ScoreTables) -> None:
    for by, stratum in STRATA.items():
        drawn.add(
            "Strata",
            f"fig4de_{by}",
            partial(plot_strata, tables, by=by),
            f"{stratum.title}{_PAPERS.get(by, '')}.",
            "Bins with fewer than 10 crystals are not drawn.",
        )


def _draw_replacement(drawn: _Drawn, tables: ScoreTables) -> None:
    (table,) = tables.values()
    section = "Replacement of species"
    drawn.add(
        section,
        "fig5a_replacement",
        lambda path: plot_replacement_matrix(table, path),
        "What replaces what (Fig. 5A).",
        "Valid crystals of another composition than their original. Ordered by chemical family.",
    )
    drawn.add(
        section,
        "fig5b_periodic_table",
        lambda path: plot_replacement_table(table, path),
        "The commonest replacements in the periodic table (Fig. 5B).",
        "Dashed: the replaced element; blocks: its three commonest replacements with their share.",
    )
    drawn.add(
        section,
        "figs16_mined",
        lambda path: plot_mined_correlation(table, path),
        "Against substitution probabilities mined from known crystals (Fig. S16).",
        "Mined: Hautier et al., doi:10.1021/ic102031h, as pymatgen has them.",
    )
    drawn.add(
        section,
        "figs17_rates",
        lambda path: plot_replacement_rates(tables, path),
        "How often elements are replaced and replace (Fig. S17, Eq. 7).",
        "Ordered by how often they occur.",
    )


def _draw_distributions(
    drawn: _Drawn, tables: ScoreTables, distances: Mapping[str, Mapping[str, float]], crystals: Sequence[Crystal]
) -> None:
    section = "Distributions"
    drawn.add(
        section,
        "distributions",
        lambda path: plot_distributions(tables, path, distances),
        "The generated crystals as a set.",
        "Restoring every original exactly would give the true crystals' own distributions.",
    )
    if crystals or (drawn.folder / "fig1a_abundance.png").exists():
        drawn.add(
            section,
            "fig1a_abundance",
            lambda path: _abundance(crystals, path),
            "Elements of the evaluated crystals (Fig. 1A).",
            "Share of atoms by rank, with the power law of the paper.",
        )


def _distances_by_column(found: Mapping[str, Mapping[str, Any]], name: str) -> dict[str, dict[str, float]]:
    columns = {"density": "density", "n_elements": "n_elements", "crystal_systems": "space_group"}
    columns["elements"] = "species_after"
    known = {each: row["distance"] for each, row in found.items() if each in columns}
    return {columns[each]: {name: distance} for each, distance in known.items() if distance is not None}


def _abundance(crystals: Sequence[Crystal], path: Path) -> Path:
    plot_abundance(crystals, path)
    return path


class _Drawn:
    """Pictures by section; of those there are too few crystals for, the reason."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pictures: dict[str, list[Picture]] = {}

    def add(self, section: str, stem: str, plot: Callable[[Path], Path], title: str, caption: str) -> None:
        try:
            target = self.folder / f"{stem}.png"
            picture = Picture.of(target if target.exists() else plot(target), title, caption)
        except ValueError as error:  # the plots say so when there is nothing to draw
            picture = Picture(title=title, caption=f"Not drawn. {error}", data="")
        self.pictures.setdefault(section, []).append(picture)
