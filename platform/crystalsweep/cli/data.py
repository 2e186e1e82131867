"""`crystalsweep data`: look at data sets and convert them. Heavy libraries load only when a command runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from crystalsweep.cli.echo import echo
from crystalsweep.cli.errors import told_in_a_line
from crystalsweep.data.split_rules import RULES, By
from crystalsweep.data.splitting import PARTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crystalsweep.data.reading import Reading, Reject
    from crystalsweep.structures.crystal import Crystal

INFO_EXAMPLES = """\b
Examples:
  crystalsweep data info bundled
  crystalsweep data info mp_20/train.csv --rejects rejects.txt
  crystalsweep data info my_cifs/ --plot elements.png
"""

IMPORT_EXAMPLES = """\b
Examples:
  crystalsweep data import my_cifs/ my_crystals.parquet --primitive
  crystalsweep data import mp_20/train.csv train.parquet --strict
  crystalsweep data import bundled bundled.extxyz
  crystalsweep data import alexandria.parquet alexandria.crystals
"""

SPLIT_EXAMPLES = """\b
Examples:
  crystalsweep data split mine.parquet --by chemical-system
  crystalsweep data split mine.parquet --by crystal-system --train-on cubic
  crystalsweep data split mine.parquet --by element --element Fe --out no_iron.split.json
  crystalsweep data split matbench_log_kvrh.parquet --by matbench-fold --fold 0
"""

PLOT_HELP = "Draw how the atoms spread over the elements, to FILE (.png, .svg or .pdf)."
REJECTS_HELP = "Write every rejected row with its reason to FILE."


class DataGroup(click.Group):
    """Bad input ends in one line and exit code 1, never in a traceback."""

    def invoke(self, ctx: click.Context) -> object:
        """Run a command; data and file errors become click's own."""
        with told_in_a_line():
            return super().invoke(ctx)


@click.group(cls=DataGroup)
def data() -> None:
    """Look at data sets of crystals, and convert them.

    A data set is a .parquet or .crystals file, a .csv file with a column of CIF texts, an .extxyz file, a POSCAR, a
    directory of .cif files, or the word `bundled` for the 6,229 crystals that come with crystalsweep.
    """


@data.command(epilog=INFO_EXAMPLES)
@click.argument("path", metavar="PATH")
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help=PLOT_HELP)
@click.option("--rejects", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help=REJECTS_HELP)
def info(path: str, plot: Path | None, rejects: Path | None) -> None:
    """Say what is in the data set at PATH.

    Prints the number of crystals, cell sizes, elements, labels, stable crystals and rejected rows. Writes nothing that
    is not asked for.
    """
    from crystalsweep.data.abundance import plot_abundance
    from crystalsweep.data.summary import summarise_data

    reading = _read(path)
    echo(summarise_data(reading))
    _write_rejects(reading.rejects, rejects)
    if plot and reading.crystals:
        plot_abundance(reading.crystals, plot)
        echo(f"\nabundance plot: {plot}")


@data.command("import", epilog=IMPORT_EXAMPLES)
@click.argument("source", metavar="IN")
@click.argument("target", metavar="OUT", type=click.Path(path_type=Path))
@click.option("--strict", is_flag=True, help="Write nothing if any row is rejected.")
@click.option("--primitive", is_flag=True, help="Reduce every crystal to its primitive cell (spglib, Niggli-reduced).")
@click.option("--rejects", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help=REJECTS_HELP)
def import_(source: str, target: Path, strict: bool, primitive: bool, rejects: Path | None) -> None:
    """Read the data set IN, check every crystal and write those that pass to OUT.

    The suffix of OUT names the form: .parquet (best: quick to read, keeps everything, read everywhere), .crystals (the
    same crystals packed, mapped into memory instead of read; for sets of hundreds of thousands), .extxyz, .csv, or no
    suffix for a directory of CIFs, which hold no labels.
    """
    from crystalsweep.data.summary import summarise_rejects
    from crystalsweep.data.told import told_of
    from crystalsweep.data.writing import require_writable, write

    require_writable(target)
    reading = _read(source)
    if primitive:
        reading = _reduced(reading)
    _write_rejects(reading.rejects, rejects)
    if strict:
        reading.require_clean()
    if reading.rejects:
        echo(summarise_rejects(reading).lstrip() + "\n")
    write(reading.crystals, target)
    for line in told_of(source, reading.crystals, [], reading.notes):
        echo(f"note: {line}")
    echo(f"{reading.n_rows:,} rows in = {len(reading.crystals):,} crystals + {len(reading.rejects):,} rejects")
    echo(f"written: {target}{_without_labels(reading.crystals, target)}")


@data.command(epilog=SPLIT_EXAMPLES)
@click.argument("source", metavar="FILE", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--by", type=click.Choice(RULES), default="composition", show_default=True, help="What test must be new in."
)
@click.option("--train-on", "trained", multiple=True, metavar="SYSTEM", help="Of crystal-system.  [default: cubic]")
@click.option("--element", metavar="SYMBOL", help="Of element: which one is kept for test.")
@click.option("--fold", type=click.IntRange(0, 4), help="Of matbench-fold: which one is kept for test.")
@click.option("--fractions", type=float, nargs=3, default=(0.8, 0.1, 0.1), show_default=True, metavar="TRAIN VAL TEST")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="[default: FILE.split.json]")
def split(
    source: Path,
    by: By,
    trained: tuple[str, ...],
    element: str | None,
    fold: int | None,
    fractions: tuple[float, float, float],
    seed: int,
    out: Path | None,
) -> None:
    """Divide the data set FILE into train, val and test, and freeze that in FILE.split.json.

    Every command that reads FILE uses the split beside it. Held-out crystals that are the same structure as a training
    crystal, or its supercell, are left out of all parts and counted; of matbench's folds they stay and are counted.
    """
    from tqdm import tqdm

    from crystalsweep.artifacts.atomic import write_whole
    from crystalsweep.data.split_rules import ASKS, by_crystal_system, divided, matbench_fold, without_element
    from crystalsweep.metrics.distributions import (
        CRYSTAL_SYSTEMS,
        GENERATED_SYMPREC,
        crystal_system_of,
        space_group_of,
    )
    from crystalsweep.registry.split_guard import guarded

    if (by == "element") != bool(element) or (trained and by != "crystal-system"):
        raise ValueError("--element goes with --by element, which needs it; --train-on goes with --by crystal-system")
    if (by == "matbench-fold") != (fold is not None):
        raise ValueError("--fold goes with --by matbench-fold, which needs it")
    if unknown := sorted(set(trained) - set(CRYSTAL_SYSTEMS)):
        raise ValueError(f"{unknown[0]!r} is no crystal system; there are {', '.join(CRYSTAL_SYSTEMS)}")
    target = out or Path(f"{source}.split.json")
    if target.exists():
        raise ValueError(f"{target} is there already, and a split is frozen; remove it, or choose another --out")
    reading = _read(str(source))
    if fold is not None and reading.rejects:
        raise ValueError(
            f"{len(reading.rejects):,} of {reading.n_rows:,} rows are rejected, and matbench's folds rest on all "
            f"of them in order; repair them (`crystalsweep data info {source} --rejects rejects.txt` names them)"
        )
    crystals = list(reading.crystals)
    if by == "crystal-system":
        echo(f"crystal systems as spglib finds them within {GENERATED_SYMPREC} Å", err=True)
        shown = tqdm(crystals, desc="crystal systems", unit="")
        systems = [crystal_system_of(space_group_of(crystal)) for crystal in shown]
        made = by_crystal_system(crystals, systems, trained or ("cubic",), fractions, seed)
    elif by == "element":
        made = without_element(crystals, str(element), fractions, seed)
    elif fold is not None:
        made = matbench_fold(crystals, fold, fractions, seed)
    else:
        made = divided(crystals, by, fractions, seed)
    checked = guarded(made.split, crystals, leave_out=fold is None)
    write_whole(target, json.dumps(checked.split.to_json(), indent=2) + "\n")
    for line in (*made.told, *checked.told):
        echo(f"note: {line}")
    sizes = ", ".join(f"{part} {len(checked.split.ids(part)):,}" for part in PARTS)
    echo(f"{sizes}; test asks of {ASKS[by]}")
    echo(f"written: {target} (split {checked.split.sha256[:12]})")


def _read(source: str) -> Reading:
    from crystalsweep.data.bundled import load_bundled
    from crystalsweep.data.reading import Reading, read

    if source == "bundled":
        return Reading(source=source, crystals=load_bundled(), rejects=[])
    return read(Path(source), progress=True)


def _reduced(reading: Reading) -> Reading:
    """Return primitive cells; a crystal without one becomes a reject."""
    from tqdm import tqdm

    from crystalsweep.data.errors import DataError
    from crystalsweep.data.primitive import primitive_cell
    from crystalsweep.data.reading import Note, Reading, Reject

    crystals: list[Crystal] = []
    failed: list[Reject] = []
    smaller: list[Crystal] = []
    for crystal in tqdm(reading.crystals, desc="primitive cells"):
        try:
            crystals.append(primitive_cell(crystal))
        except DataError as error:
            failed.append(Reject(where=reading.source, id=crystal.id, reason="no primitive cell", detail=str(error)))
        else:
            smaller += [crystal] if crystal.labels and len(crystals[-1]) < len(crystal) else []
    atoms = sum(map(len, reading.crystals))
    echo(f"atoms before: {atoms:,}; in primitive cells: {sum(map(len, crystals)):,}", err=True)
    notes = list(reading.notes)
    if smaller:
        names = sorted({name for crystal in smaller for name in crystal.labels})
        says = (
            f"cells became smaller and kept their labels ({', '.join(names)}): right for energies per atom, moduli and "
            "gaps; what was counted per cell, such as a total energy, must be divided by hand"
        )
        notes.append(Note(says=says, rows=len(smaller), first=smaller[0].id))
    return Reading(source=reading.source, crystals=crystals, rejects=[*reading.rejects, *failed], notes=tuple(notes))


def _write_rejects(rejects: list[Reject], path: Path | None) -> None:
    if path is not None:
        path.write_text("".join(f"{reject}\n" for reject in rejects), encoding="utf-8")
        echo(f"{len(rejects):,} rejects listed in {path}")


def _without_labels(crystals: Sequence[Crystal], target: Path) -> str:
    from crystalsweep.data.spectra import column_names

    lost = column_names(name for crystal in crystals for name in crystal.labels)
    return f" (CIF files hold no labels; left out: {', '.join(lost)})" if lost and not target.suffix else ""
