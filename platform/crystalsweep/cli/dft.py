"""`crystalsweep dft`: inputs of density functional theory for an evaluation's crystals, and energies read back."""

from __future__ import annotations

from pathlib import Path

import click

from crystalsweep.artifacts.places import require_writable
from crystalsweep.cli.echo import echo
from crystalsweep.cli.errors import told_in_a_line

WRITE_EXAMPLES = """\b
Examples:
  crystalsweep dft write evaluations/gan-3f2a9c1b gan-dft --sample 20 --species .../defaults_2020/intermediate
  crystalsweep dft write evaluations/gan-3f2a9c1b gan-vasp --code vasp --max-atoms 20
Run the code in every folder of it, FHI-aims with its output in aims.out, and then:
  crystalsweep dft read evaluations/gan-3f2a9c1b gan-dft
"""


@click.group()
def dft() -> None:
    """Compute an evaluation's crystals by density functional theory, where you have FHI-aims or VASP.

    `write` makes the inputs of a sample of restored crystals and their parents; you run the code; `read` puts the
    energies into the evaluation's table and report. Nothing is computed by crystalsweep.
    """


@dft.command(epilog=WRITE_EXAMPLES)
@click.argument("evaluation", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--code", type=click.Choice(["aims", "vasp"]), default="aims", show_default=True, help="What computes.")
@click.option("--sample", type=click.IntRange(min=1), default=20, show_default=True, help="Restored crystals.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the sample.")
@click.option("--max-atoms", type=click.IntRange(min=1), help="Leave out larger cells.")
@click.option(
    "--open-shells", is_flag=True, help="Also elements with partially filled d or f shells, which the paper leaves out."
)
@click.option(
    "--species",
    type=click.Path(path_type=Path, file_okay=False),
    help="FHI-aims' species defaults, put into control.in; without it they are still to be appended.",
)
def write(
    evaluation: Path,
    out: Path,
    code: str,
    sample: int,
    seed: int,
    max_atoms: int | None,
    open_shells: bool,
    species: Path | None,
) -> None:
    """Write inputs of a sample of EVALUATION's restored crystals and of their parents into the new folder OUT.

    Drawn are crystals of their parent's composition, one of each parent before a second of any, so that ΔE is between
    crystals of one composition; a generator restores them in their parent's cell. FHI-aims gets the paper's settings:
    PBE, atomic ZORA, intermediate basis, and a k-grid of at least 30 Å along each vector. VASP gets the Materials
    Project's static settings; its pseudopotentials are licensed, and POTCAR.spec names those to put together.
    """
    with told_in_a_line():
        from crystalsweep.evaluation.dft import DftRequest, write_sample

        if species is not None and code != "aims":
            raise ValueError("--species is of FHI-aims; leave it out")
        require_writable(out, "give another folder")
        asked = DftRequest.model_validate(
            {"code": code, "sample": sample, "seed": seed, "max_atoms": max_atoms, "open_shells": open_shells}
        )
        manifest = write_sample(evaluation, out, asked, species)
        pairs, n = len(manifest.rows), len(manifest.calculations)
        echo(f"{n:,} calculations for {pairs:,} restored crystals beside their parents: {out}")
        for why, left in manifest.left_out.items():
            echo(f"! not drawn from: {left:,} {why}")
        missing = {"aims": "species defaults", "vasp": "POTCAR"}[code] if species is None else ""
        if missing:
            echo(f"Still to be added to each folder: {missing}, which come with the licensed code.")
        echo(f"Then: crystalsweep dft read {evaluation} {out}")


@dft.command()
@click.argument("evaluation", type=click.Path(path_type=Path))
@click.argument("calculations", type=click.Path(path_type=Path))
def read(evaluation: Path, calculations: Path) -> None:
    """Read the energies in CALCULATIONS into the table, the figures and the report of EVALUATION.

    FHI-aims' output is aims.out, VASP's vasprun.xml or OUTCAR, in the folder of each calculation. What is missing, did
    not converge, or is of another crystal than the input has a reason instead of an energy. Ask again as more end.
    """
    with told_in_a_line():
        from crystalsweep.evaluation.dft import read_energies
        from crystalsweep.evaluation.text import shown_figure
        from crystalsweep.metrics.summary import DELTA_DFT

        outcome, counted = read_energies(evaluation, calculations)
        echo(f"{DELTA_DFT.title}: {shown_figure(outcome.rows[outcome.name].get(DELTA_DFT.name))} eV/atom")
        for what, n in counted.items():
            echo(f"  {n:,} {what}")
        echo(f"report: {evaluation / 'report.html'}")
