"""Builds the bundled data set from the source distribution of matminer 0.3.9 (PyPI).

    python infra/build_bundled.py matminer-0.3.9.tar.gz
    python infra/build_bundled.py --download

Four CSVs of Materials Project structures are parsed, merged by id, reduced to standard primitive cells, freed of
duplicates and written with a frozen split. The same input gives the same bytes. `DATA_CARD.md` describes the result.
"""

from __future__ import annotations

import ast
import csv
import hashlib
import io
import json
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import click
import pyarrow as pa
import pyarrow.parquet as pq
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Element, Structure
from pymatgen.io.vasp.inputs import Poscar

from crystalsweep.data.bundled import BUNDLED
from crystalsweep.data.fingerprint import fingerprint
from crystalsweep.data.primitive import primitive_cell
from crystalsweep.data.splitting import PARTS, RULE, Split, grouped_split
from crystalsweep.data.writing import parquet_table
from crystalsweep.structures.crystal import Crystal

SDIST = "matminer-0.3.9"
SDIST_SHA256 = "3faf9e83464f3d48f68a759bf476ad24da4c8c3e950c8f340cb917d3bb906400"
SEED = 0
LABELS = ("formation_energy_per_atom", "e_above_hull", "k_vrh", "g_vrh")
DECIMALS = 6
"""Of labels (eV/atom, GPa)."""

csv.field_size_limit(1 << 24)  # the longest cells hold a VASP input and a CIF


@dataclass(frozen=True)
class Source:
    """One CSV: how its structures are written and which columns become labels."""

    name: str
    structure: Callable[[dict[str, str]], Structure]
    labels: dict[str, str]
    """Column → label."""


@dataclass(frozen=True)
class Entry:
    """A crystal and the CSVs it came from."""

    crystal: Crystal
    sources: tuple[str, ...]


def from_dict(row: dict[str, str]) -> Structure:
    """Return the structure of a Python dict literal (flla)."""
    return Structure.from_dict(ast.literal_eval(row["structure"]))


def from_poscar(row: dict[str, str]) -> Structure:
    """Return the structure of a VASP POSCAR (the other three)."""
    return Poscar.from_str(row["poscar"]).structure


# Where a material is in several CSVs, its structure is taken from the first of them.
SOURCES = (
    Source("flla_2015", from_dict, {name: name for name in ("formation_energy_per_atom", "e_above_hull")}),
    Source("elastic_tensor", from_poscar, {"K_VRH": "k_vrh", "G_VRH": "g_vrh"}),
    Source("dielectric_constant", from_poscar, {}),
    Source("piezoelectric_tensor", from_poscar, {}),
)


@click.command()
@click.argument("sdist", type=click.Path(path_type=Path, exists=True, dir_okay=False), required=False)
@click.option("--download", is_flag=True, help="Get the source distribution from PyPI with pip.")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False, exists=True), default=BUNDLED, show_default=True
)
def main(sdist: Path | None, download: bool, out: Path) -> None:
    """Write crystals.parquet and split.json to OUT from matminer's source distribution SDIST."""
    if download == (sdist is not None):
        raise click.UsageError("give either the path of the source distribution or --download")
    with tempfile.TemporaryDirectory() as folder:
        archive = read_sdist(sdist or downloaded(Path(folder)))
    counts: dict[str, object] = {}
    merged = merge_ids(parse(archive, counts))
    counts["distinct ids"] = len(merged)
    reduced = [replace(entry, crystal=primitive_cell(entry.crystal)) for entry in merged]
    counts["cells made smaller"] = sum(len(a.crystal) > len(b.crystal) for a, b in zip(merged, reduced, strict=True))
    kept, dropped = drop_duplicates(reduced)
    counts["dropped as duplicates"] = len(dropped)
    counts["crystals"] = len(kept)
    write_bundled(kept, dropped, counts, out)
    click.echo(json.dumps(counts, indent=2))


def downloaded(folder: Path) -> Path:
    """Return the archive as pip fetches it."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", ":all:", "matminer==0.3.9"]
    subprocess.run([*command, "--dest", str(folder)], check=True)
    return folder / f"{SDIST}.tar.gz"


def read_sdist(path: Path) -> bytes:
    """Return the archive's bytes, checked."""
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != SDIST_SHA256:
        raise click.ClickException(f"{path}: sha256 {found}, expected {SDIST_SHA256}; get {SDIST}.tar.gz from PyPI")
    return content


def table(archive: bytes, name: str) -> Iterator[dict[str, str]]:
    """Yield the rows of one CSV. Only the first line is a comment: CIFs inside cells hold '#' too.

    Two of the files have a running number in front of each row that their header does not name.
    """
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        member = tar.extractfile(f"{SDIST}/matminer/datasets/{name}.csv")
        assert member is not None
        text = member.read().decode("utf-8")
    header, *rows = csv.reader(io.StringIO(text.partition("\n")[2], newline=""))
    for cells in rows:
        yield dict(zip(header, cells[len(cells) - len(header) :], strict=True))


def parse(archive: bytes, counts: dict[str, object]) -> Iterator[Entry]:
    """Yield every row of every CSV; the number of rows goes to `counts`."""
    for source in SOURCES:
        rows = list(table(archive, source.name))
        counts[source.name] = len(rows)
        for row in rows:
            check_energies(row)
            yield Entry(crystal_of(row, source), (source.name,))


def check_energies(row: dict[str, str]) -> None:
    """Check that formation energy per atom = formation energy / atoms, and nothing lies below the hull."""
    if "formation_energy" not in row:
        return
    per_atom = float(row["formation_energy"]) / int(row["nsites"])
    if abs(per_atom - float(row["formation_energy_per_atom"])) > 1e-6 or float(row["e_above_hull"]) < 0:
        raise click.ClickException(f"{row['material_id']}: its energies contradict each other; the source has changed")


def crystal_of(row: dict[str, str], source: Source) -> Crystal:
    """Return one row as a crystal in the source's own cell."""
    structure = source.structure(row)
    numbers = [Element(site.specie.symbol).Z for site in structure]
    labels = {label: round(float(row[column]), DECIMALS) for column, label in source.labels.items()}
    return Crystal.of(row["material_id"], numbers, structure.lattice.matrix, structure.frac_coords, **labels)


def merge_ids(entries: Iterable[Entry]) -> list[Entry]:
    """Return one entry per id, sorted by id: the first structure with the labels of all."""
    merged: dict[str, Entry] = {}
    for entry in entries:
        known = merged.get(entry.crystal.id)
        merged[entry.crystal.id] = entry if known is None else absorb(known, entry)
    return [merged[name] for name in sorted(merged)]


def absorb(kept: Entry, other: Entry) -> Entry:
    """Return the kept structure; its own labels win over the other's."""
    labels = other.crystal.labels | kept.crystal.labels
    sources = tuple(source.name for source in SOURCES if source.name in {*kept.sources, *other.sources})
    return Entry(replace(kept.crystal, labels=labels), sources)


def drop_duplicates(entries: list[Entry]) -> tuple[list[Entry], dict[str, str]]:
    """Return entries of which no two match by pymatgen's default `StructureMatcher`, and dropped id → kept id."""
    groups: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        groups[entry.crystal.reduced_formula].append(entry)
    dropped: dict[str, str] = {}
    kept = [entry for group in groups.values() for entry in distinct(group, dropped)]
    return sorted(kept, key=lambda entry: entry.crystal.id), dict(sorted(dropped.items()))


def distinct(group: list[Entry], dropped: dict[str, str]) -> list[Entry]:
    """Keep of matching crystals the one with the most labels stays, among equals the first by id; it gets missing
    labels."""
    matcher = StructureMatcher()
    kept: list[tuple[Structure, Entry]] = []
    for entry in sorted(group, key=lambda entry: (-len(entry.crystal.labels), entry.crystal.id)):
        structure = Structure(entry.crystal.lattice, entry.crystal.species, entry.crystal.frac)
        match = next((i for i, (other, _) in enumerate(kept) if matcher.fit(structure, other)), None)
        if match is None:
            kept.append((structure, entry))
            continue
        dropped[entry.crystal.id] = kept[match][1].crystal.id
        kept[match] = (kept[match][0], absorb(kept[match][1], entry))
    return [entry for _, entry in kept]


def write_bundled(kept: list[Entry], dropped: dict[str, str], counts: dict[str, object], out: Path) -> None:
    """Write crystals.parquet and split.json."""
    crystals = [entry.crystal for entry in kept]
    columns = parquet_table(crystals)
    ordered = columns.select([*(n for n in columns.column_names if n not in LABELS), *LABELS])
    sources = pa.array([" ".join(entry.sources) for entry in kept], pa.string())
    pq.write_table(ordered.append_column("sources", sources), out / "crystals.parquet", compression="zstd")
    split = grouped_split(crystals, seed=SEED)
    counts["atoms per cell"] = [min(map(len, crystals)), max(map(len, crystals))]
    counts["labels"] = dict(Counter(name for crystal in crystals for name in sorted(crystal.labels)))
    manifest = {
        "rule": RULE,
        "seed": SEED,
        "crystals_sha256": hashlib.sha256((out / "crystals.parquet").read_bytes()).hexdigest(),
        "fingerprint": fingerprint(crystals),
        "counts": counts,
        "compositions": compositions(crystals, split),
        "duplicates": dropped,
        **split.to_json(),
    }
    (out / "split.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def compositions(crystals: list[Crystal], split: Split) -> dict[str, int]:
    """Return the number of reduced formulas in each part."""
    formulas = {crystal.id: crystal.reduced_formula for crystal in crystals}
    return {part: len({formulas[name] for name in split.ids(part)}) for part in PARTS}


if __name__ == "__main__":
    main()
