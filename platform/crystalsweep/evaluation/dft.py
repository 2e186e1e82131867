"""A sample of an evaluation's crystals for density functional theory, and its energies in the evaluation's table.

As in Liu et al., iScience 27, 110672 (2024), doi:10.1016/j.isci.2024.110672, Fig. S15: single points of restored
crystals beside those of their parents. Differences are between crystals of one composition; what a generator restores
is in the cell of its parent, and gets the same k-points.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from crystalsweep.artifacts.atomic import write_whole
from crystalsweep.config import Config
from crystalsweep.energies import Energy
from crystalsweep.energies.dft import aims, vasp
from crystalsweep.energies.dft.manifest import (
    Calculation,
    Code,
    Manifest,
    SampledRow,
    crystal_sha256,
    read_manifest,
    write_manifest,
)
from crystalsweep.energies.dft.outputs import read_energy
from crystalsweep.evaluation.outcome import DFT_SETTINGS, METRICS_FILE, Evaluation, figures, read_outcome, reasons
from crystalsweep.evaluation.rescoring import parents_of
from crystalsweep.evaluation.results import named_tables, present
from crystalsweep.evaluation.run import read_tables, write_tables
from crystalsweep.evaluation.scoring import MODEL
from crystalsweep.evaluation.structures import crystals_of
from crystalsweep.metrics.scoring import KEYS
from crystalsweep.metrics.summary import DELTA_DFT
from crystalsweep.structures.crystal import Crystal
from crystalsweep.structures.elements import formula_of

COLUMNS = ("energy_dft", "energy_before_dft", "delta_energy_dft")
"""eV/atom, of the restored crystal, its parent, and their difference; NaN where there is none."""

FAILURE = "energy_dft_failure"
"""Why a row of the sample has no difference; empty elsewhere."""

_TOLD = "DFT"
"""Key of the sentence on what was read, in an evaluation's energies."""


class DftRequest(Config):
    """Which crystals inputs are written for, and by which code they are to be computed."""

    code: Code = "aims"
    sample: int = 20
    """Restored crystals, of as many parents as there are."""
    seed: int = 0
    max_atoms: int | None = None
    """Leave out larger cells."""
    open_shells: bool = False
    """Take crystals of elements with a partially filled d or f shell too, which the paper leaves out."""


def write_sample(folder: Path, out: Path, asked: DftRequest, species: Path | None = None) -> Manifest:
    """Write inputs of a seeded sample of restored crystals and of their parents, each crystal once, with a manifest.

    Args:
        folder: A finished evaluation.
        out: A new folder; a folder for each calculation goes there.
        asked: Code and sample.
        species: FHI-aims' species defaults, which are then put into each control.in.

    Raises:
        ValueError: The evaluation is none, `out` is not empty, or no crystal is left to draw from.
    """
    if out.exists() and any(out.iterdir()):
        raise ValueError(f"{out} is not empty; choose another folder")
    outcome, table = read_outcome(folder), read_tables(folder)[0]
    why_not = _why_not(table, asked)
    usable, left_out = np.array([not why for why in why_not], dtype=bool), Counter(why for why in why_not if why)
    if not usable.any():
        told = "; ".join(f"{n:,} {why}" for why, n in left_out.items())
        raise ValueError(f"{folder} has no restored crystal to compute: {told or 'its table is empty'}")
    rows = table[usable].reset_index(drop=True)
    rows = rows.iloc[_drawn(rows["parent"].tolist(), asked.sample, asked.seed)]
    restored, parents = crystals_of(rows, "after"), crystals_of(rows, "before")
    folders = {"restored": _folders("restored", restored), "parent": _folders("parent", parents)}
    written = [
        _write(crystal, out / name, asked.code, species)
        for kind, crystals in (("restored", restored), ("parent", parents))
        for name, crystal in _each_once(folders[kind], crystals)
    ]
    keys = rows[list(KEYS)].to_dict("records")
    manifest = Manifest(
        code=asked.code,
        settings={"code": asked.code} | (aims.SETTINGS if asked.code == "aims" else vasp.SETTINGS),
        evaluation=outcome.name,
        seed=asked.seed,
        left_out=dict(left_out),
        calculations=tuple(written),
        rows=tuple(
            SampledRow.model_validate({**key, "restored": a, "original": b})
            for key, a, b in zip(keys, folders["restored"], folders["parent"], strict=True)
        ),
    )
    write_manifest(manifest, out)
    return manifest


def read_energies(folder: Path, calculations: Path) -> tuple[Evaluation, dict[str, int]]:
    """Put the energies of calculations into the table, figures and report of the evaluation that they are of.

    Returns the figures, and how many of the sampled rows have a difference or, by reason, none. What had been read
    before is read anew, so that it can be asked again while calculations run.

    Raises:
        ValueError: Either folder is none, or the crystals are not those of this evaluation.
    """
    outcome, manifest = read_outcome(folder), read_manifest(calculations)
    model, references = read_tables(folder)
    model = _with_energies(model, manifest, calculations)
    own = reasons(model[[FAILURE]])
    asked = len(manifest.rows)
    have = int(model[DELTA_DFT.name].notna().sum())
    told = f"{manifest.code}, {have:,} of {asked:,} sampled crystals have an energy beside their parent's"
    outcome = outcome.model_copy(
        update={
            "rows": outcome.rows | {outcome.name: outcome.rows[outcome.name] | figures(model, [DELTA_DFT])},
            "energies": outcome.energies | {_TOLD: told, DFT_SETTINGS: manifest.settings},
            "failures": {name: each for name, each in outcome.failures.items() if name != FAILURE} | own,
        }
    )
    write_tables(folder, model, references)
    write_whole(folder / METRICS_FILE, outcome.model_dump_json(indent=1) + "\n")
    present(folder, outcome, named_tables({MODEL: model} | references, outcome.name), parents_of(model))
    return outcome, {"with a difference": have, **own.get(FAILURE, {})}


def _why_not(table: pd.DataFrame, asked: DftRequest) -> list[str]:
    """Return (n,) why a row's crystal is not drawn from; empty where it may be."""
    open_shells = [any(map(aims.has_open_shell, set(map(int, species)))) for species in table["species_after"]]
    sizes = table["species_after"].map(len)
    doubts = (
        (table["species_before"].map(len) == 0, "have no original"),
        (table["failure"].fillna("") != "", "could not be scored"),
        (table["compositional_similarity_permuted"].astype(float) != 1, "are of another composition than their parent"),
        (table["structural_validity"].astype(float) != 1, "have atoms on each other"),
        (sizes > (asked.max_atoms or np.inf), f"have more than {asked.max_atoms} atoms"),
        (pd.Series(open_shells, table.index) & (not asked.open_shells), "have partially filled d or f shells"),
    )
    why = pd.Series("", table.index)
    for holds, reason in doubts:
        why = why.where(~holds.astype(bool) | (why != ""), reason)
    return [str(each) for each in why]


def _drawn(parents: Sequence[str], sample: int, seed: int) -> list[int]:
    """Return indices of a seeded sample of rows: one of each parent before a second of any."""
    order = np.random.default_rng(seed).permutation(len(parents)).tolist()
    turns: Counter[str] = Counter()
    turn = {}
    for i in order:
        turn[i] = turns[parents[i]]
        turns[parents[i]] += 1
    return sorted(order, key=lambda i: turn[i])[:sample]  # stable: the drawn order within a turn


def _folders(kind: str, crystals: Sequence[Crystal]) -> list[str]:
    """Return a folder for each crystal, the same for the same content."""
    known: dict[str, str] = {}
    return [known.setdefault(crystal_sha256(crystal), f"{kind}-{len(known):04d}") for crystal in crystals]


def _each_once(folders: Sequence[str], crystals: Sequence[Crystal]) -> Iterable[tuple[str, Crystal]]:
    return dict(zip(folders, crystals, strict=True)).items()


def _write(crystal: Crystal, folder: Path, code: Code, species: Path | None) -> Calculation:
    folder.mkdir(parents=True)
    if code == "aims":
        aims.write_aims_input(crystal, folder, species)
    else:
        vasp.write_vasp_input(crystal, folder)
    return Calculation(
        folder=folder.name,
        sha256=crystal_sha256(crystal),
        formula=formula_of(crystal.species),
        atoms=len(crystal),
        k_grid=aims.k_grid(crystal) if code == "aims" else None,
    )


def _with_energies(model: pd.DataFrame, manifest: Manifest, calculations: Path) -> pd.DataFrame:
    """Return the table with `COLUMNS` and `FAILURE` of the manifest's rows."""
    places = _places(model, manifest, calculations)
    rows = model.iloc[places]
    columns: dict[str, Any] = {name: np.full(len(model), np.nan) for name in COLUMNS}
    failure = np.full(len(model), "", dtype=object)
    outputs = _Outputs(manifest, calculations)
    restored, parents = crystals_of(rows, "after"), crystals_of(rows, "before")
    for at, row, made, true in zip(places, manifest.rows, restored, parents, strict=True):
        after, before = outputs.energy(row.restored, made), outputs.energy(row.original, true)
        columns["energy_dft"][at], columns["energy_before_dft"][at] = after.per_atom, before.per_atom
        columns["delta_energy_dft"][at] = after.per_atom - before.per_atom
        told = (("restored", after.failure), ("parent", before.failure))
        failure[at] = "; ".join(f"{whose}: {why}" for whose, why in told if why)
    return model.assign(**columns, **{FAILURE: failure})


def _places(model: pd.DataFrame, manifest: Manifest, calculations: Path) -> list[int]:
    """Return where the manifest's rows are in the table. Raises `ValueError` where one is not."""
    wanted = [(row.parent, row.mask_type, row.sigma_noise, row.draw) for row in manifest.rows]
    there = {key: at for at, key in enumerate(model[list(KEYS)].itertuples(index=False, name=None))}
    for parent, mask, sigma, draw in (key for key in wanted if key not in there):
        raise ValueError(
            f"{calculations} has a crystal that the evaluation has not ({parent}, {mask}, σ {sigma:g}, draw {draw}); "
            f"give the evaluation that it was written for, of {manifest.evaluation}"
        )
    return [there[key] for key in wanted]


class _Outputs:
    """The calculations of a manifest; each output is read once."""

    def __init__(self, manifest: Manifest, folder: Path) -> None:
        self._manifest, self._folder = manifest, folder
        self._known = {each.folder: each.sha256 for each in manifest.calculations}
        self._found: dict[str, Energy] = {}

    def energy(self, name: str, crystal: Crystal) -> Energy:
        """Return what was computed of a crystal. Raises `ValueError` where the input was of another one."""
        if self._known.get(name) != crystal_sha256(crystal):
            raise ValueError(
                f"{self._folder / name} is not of this evaluation's crystal of {crystal.id}; give the evaluation that "
                f"it was written for, of {self._manifest.evaluation}"
            )
        if name not in self._found:
            self._found[name] = read_energy(self._folder / name, self._manifest.code, crystal)
        return self._found[name]
