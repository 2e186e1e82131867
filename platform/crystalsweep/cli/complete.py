"""`crystalsweep complete`: what partial crystals may be made of. Heavy libraries load when a command runs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from crystalsweep.artifacts.atomic import file_sha256
from crystalsweep.cli.echo import echo, echo_settings
from crystalsweep.cli.errors import told_in_a_line
from crystalsweep.cli.known import known_crystals, known_option
from crystalsweep.cli.store import store_options
from crystalsweep.wording.stranger import in_a_line

if TYPE_CHECKING:
    from crystalsweep.data.reading import Reject
    from crystalsweep.evaluation.completing import Completing, Numbered, Outcome
    from crystalsweep.inference.answer_folder import AnswerFolder
    from crystalsweep.inference.inputs import Partial
    from crystalsweep.inference.ranking import Order, Ranking
    from crystalsweep.inference.restorer import Restorer

TABLES = 10
"""Crystals whose tables are printed; of more, a line each."""

MANY = 100
"""Crystals that are worth the start of workers on a cluster."""

EXAMPLES = """\b
Examples:
  crystalsweep complete BaTiO3.cif --mask Ti                        which elements may stand where titanium is?
  crystalsweep complete partial.cif                                 sites whose symbol is X or ? are masked already
  crystalsweep complete POSCAR --mask-sites 3,5 --charge neutral    the third and fifth site of the file
  crystalsweep complete NaCl.cif --mask Cl --allowed F-Cl-Br-I      of these four alone
  crystalsweep complete frame.cif --mask Li,Fe --formula LiFePO4    a formula of the whole crystal
  crystalsweep complete alloy.cif --supercell 2x2x2                 sites that elements share are ordered
  crystalsweep complete frame.cif --mask Fe --rank-by runs/k_vrh    the stiffest of the likeliest first
  crystalsweep complete my_cifs/ --mask O --out answers             a folder: CSV, JSON, CIFs and a page in 3D
In Python:  crystalsweep.complete(structure, mask="Ti")
"""


def _list_settings(context: click.Context, option: click.Parameter, asked: bool) -> None:
    del option
    if asked:
        from crystalsweep.inference.asking import decoder_of
        from crystalsweep.inference.completion import CRITIC_WEIGHT

        echo_settings(decoder_of(critic_weight=CRITIC_WEIGHT))
        context.exit()


@click.command(epilog=EXAMPLES)
@click.argument("paths", nargs=-1, required=True, metavar="FILE|DIR…", type=click.Path(path_type=Path))
@click.option("--mask", default="", metavar="ELEMENTS", help="Mask all atoms of these, as Ti or Ti,O.")
@click.option(
    "--mask-sites", default="", metavar="NUMBERS", help="Mask these sites of the file, counted from 1, as 3,5."
)
@click.option("--top", type=click.IntRange(1, 100), default=10, show_default=True, help="Candidates of each crystal.")
@click.option("--allowed", metavar="ELEMENTS", help="Masked sites become one of these, as Li-Fe-P-O, and nothing else.")
@click.option("--required", default="", metavar="ELEMENTS", help="These must be in the crystal.")
@click.option("--exclude", default="", metavar="ELEMENTS", help="Masked sites become none of these.")
@click.option("--formula", help="Of the whole crystal, as LiFePO4; the cell holds some units of it.")
@click.option(
    "--charge",
    type=click.Choice(["neutral", "prefer", "any"]),
    default="any",
    show_default=True,
    help="neutral: charge-balanced candidates only; prefer: those first. By SMACT's rule, which gives each element one "
    "oxidation state: mixed valence, as in Fe3O4, counts as not balanced.",
)
@click.option(
    "--tie",
    type=click.Choice(["none", "symmetry", "all"]),
    default="symmetry",
    show_default=True,
    help="Masked sites that get one element together: those that symmetry makes equal, or all.",
)
@click.option(
    "--decoder",
    type=click.Choice(["beam", "sampled", "ordered", "argmax"]),
    default="beam",
    show_default=True,
    help="beam: the likeliest, searched for; sampled: drawn; ordered, argmax: one candidate.",
)
@click.option(
    "--supercell", metavar="AxBxC", help="To order shared sites in, as 2x2x2.  [default: the smallest that can be]"
)
@click.option("--keep-positions", is_flag=True, help="Leave every atom where it is.")
@click.option(
    "--passes",
    type=click.IntRange(1, 64),
    default=4,
    show_default=True,
    help="In which positions are restored, at most: until a pass moves atoms by less than 0.05 Å.",
)
@click.option("--energies", is_flag=True, help="Also CHGNet's energy of each candidate; some seconds more.")
@click.option(
    "--rank-by",
    metavar="MODEL[:TARGET]",
    help="Order the candidates by what this property model predicts: run folder, run id, models:/name@alias.",
)
@click.option(
    "--rank-order",
    type=click.Choice(["ascending", "descending"]),
    help="Of --rank-by.  [default: the lowest of energies first, else the highest]",
)
@known_option
@click.option("--model", metavar="REF", help="Run folder, run id, models:/name@alias, .zip.  [default: the champion]")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of --decoder sampled.")
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a setting of the decoder; repeatable."
)
@click.option(
    "--settings",
    "list_settings",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_list_settings,
    help="List them and exit.",
)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help="Also write files there.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a line, instead of tables.")
@store_options
def complete(
    paths: tuple[Path, ...],
    mask: str,
    mask_sites: str,
    top: int,
    allowed: str | None,
    required: str,
    exclude: str,
    formula: str | None,
    charge: Any,
    tie: str,
    decoder: str,
    supercell: str | None,
    keep_positions: bool,
    passes: int,
    energies: bool,
    rank_by: str | None,
    rank_order: Order | None,
    reference: str,
    model: str | None,
    seed: int,
    settings: tuple[str, ...],
    out: Path | None,
    as_json: bool,
    tracking_uri: str | None,
    storage: Path | None,
) -> None:
    """Say which elements may stand on masked sites of crystals, the likeliest first, and put the atoms right.

    Reads CIFs, POSCARs, .extxyz, .parquet, .csv and .crystals files, and folders of them. Masked are: sites that the
    file calls X or ?, atoms of --mask, sites of --mask-sites. A site that several elements share is ordered: in the
    smallest cell that holds whole numbers of them, every distinct arrangement that is found is a candidate.

    With --out there are a table (candidates.csv), an answer for each crystal (answers/*.json), its candidates (cif/)
    and candidates.html, where the first of them turn in 3D beside the input. Each is written as soon as it is known;
    the same command goes on where it was stopped. What cannot be completed is one line with the reason on stderr, and
    in rejects.txt. The exit code is 1 where nothing could be completed.
    """
    with told_in_a_line():
        from crystalsweep.data.masking import left_out, rows_in
        from crystalsweep.evaluation.completing import Completing
        from crystalsweep.inference.asking import Question, decoder_of
        from crystalsweep.inference.decoding.constraints import Constraints
        from crystalsweep.inference.inputs import masking_of, partials_of
        from crystalsweep.inference.ordering import shape_of
        from crystalsweep.inference.ranking import ranking_of
        from crystalsweep.inference.restorer import load

        if rank_order and not rank_by:
            raise ValueError("--rank-order goes with --rank-by: name the property model")
        ranking = ranking_of(rank_by, rank_order, tracking_uri=tracking_uri, storage=storage) if rank_by else None
        restorer = load(model, tracking_uri=tracking_uri, storage=storage)
        question = Question(
            decode=decoder_of(
                method=decoder,
                top=top,
                charge=charge,
                tie=tie,
                passes=passes,
                seed=seed,
                critic_weight=restorer.critic_weight,
                settings=settings,
            ),
            constraints=Constraints.of(allowed=allowed, required=required, excluded=exclude, formula=formula),
            top=top,
            keep_positions=keep_positions,
        )
        task = Completing(
            restorer=restorer,
            question=question,
            known=known_crystals(reference),
            calculator="chgnet" if energies else None,
            ranking=ranking,
        )
        folder = _folder(out, click.get_current_context().params, restorer, ranking) if out else None
        shape = shape_of(supercell) if supercell else None
        for line in left_out(paths):
            echo(in_a_line(line), err=True)
        partials = partials_of(paths, masking_of(mask, mask_sites), keep_positions=keep_positions, supercell=shape)
        _run(task, partials, folder, rows_in(paths), as_json)


def _run(
    task: Completing,
    partials: Iterable[Partial | Reject],
    folder: AnswerFolder | None,
    rows: int | None,
    as_json: bool,
) -> None:
    """Complete one crystal after the other; each answer is printed and written when it is known."""
    from tqdm import tqdm

    from crystalsweep.data.reading import Reject
    from crystalsweep.evaluation.completing import Numbered
    from crystalsweep.inference.completion import NO_CANDIDATE

    counts: Counter[str] = Counter()
    with tqdm(total=rows, desc="completing", unit="crystal", disable=rows == 1) as bar:

        def unanswered() -> Iterator[Numbered]:
            for number, each in enumerate(partials, start=1):
                if folder and not isinstance(each, Reject) and folder.has(number, each.crystal.id):
                    counts["there"] += 1
                    bar.update()
                else:
                    yield Numbered(number, each)

        for number, answer, reject in _outcomes(task, unanswered(), rows):
            bar.update()
            counts["answered" if answer else "rejected"] += 1
            if answer and folder:
                folder.keep(number, answer)
            if answer and not answer["candidates"]:
                counts["without"] += 1
                why = next(line for line in answer["warnings"] if line.startswith(NO_CANDIDATE))
                reject = f"{answer['where'] or answer['id']}: {why}"
            if folder and reject:
                folder.reject(in_a_line(reject))
            with tqdm.external_write_mode():
                if answer:
                    _print(answer, counts["answered"], as_json)
                else:
                    echo(in_a_line(f"rejected: {reject}"), err=True)
    _close(folder, counts)


def _outcomes(task: Completing, given: Iterable[Numbered], rows: int | None) -> Iterator[Outcome]:
    """Yield what becomes of crystals, on the cluster of RAY_ADDRESS where there is one and they are many."""
    from crystalsweep.evaluation.completing import spread_out
    from crystalsweep.evaluation.spread import cluster_workers

    workers = cluster_workers(rows, MANY)
    if workers is None:
        return task.outcomes(given)
    echo(f"completing on the Ray cluster of RAY_ADDRESS, with {workers} workers", err=True)
    return spread_out(task, given, workers)


def _print(answer: dict[str, Any], nth: int, as_json: bool) -> None:
    from crystalsweep.inference.told import told, told_briefly

    if as_json:
        echo(json.dumps(answer))
    elif nth <= TABLES:
        echo(f"{told(answer)}\n")
    else:
        echo(told_briefly(answer))


def _close(folder: AnswerFolder | None, counts: Mapping[str, int]) -> None:
    """Say what became of all, and write the page; end with exit code 1 where nothing was completed."""
    without = f", {counts['without']:,} without a candidate" if counts["without"] else ""
    told = f"{counts['answered'] - counts['without']:,} completed{without}, {counts['rejected']:,} rejected"
    if folder:
        from crystalsweep.gallery.completions import write_completions

        folder.finish()
        there = f"; {counts['there']:,} were there already" if counts["there"] else ""
        echo(f"{told}{there}: {folder.folder}, in 3D {write_completions(folder.folder, folder.answers())}", err=True)
    elif counts["answered"] + counts["rejected"] > 1 and counts["rejected"]:
        echo(told, err=True)
    if not counts["answered"] - counts["without"] + counts["there"]:
        raise click.exceptions.Exit(1)


def _folder(out: Path, asked: Mapping[str, Any], restorer: Restorer, ranking: Ranking | None) -> AnswerFolder:
    """Return the folder of answers to what was asked of this model, and of the one that ranks them."""
    from crystalsweep.data.masking import content_of
    from crystalsweep.inference.answer_folder import AnswerFolder
    from crystalsweep.inference.calibration import WEIGHTS
    from crystalsweep.networks.checkpoint import PROPERTY_WEIGHTS

    question = {
        name: value for name, value in asked.items() if name not in ("out", "as_json", "tracking_uri", "storage")
    }
    question["paths"] = [str(path) for path in asked["paths"]]
    of = {"inputs_sha256": content_of(asked["paths"]), "weights_sha256": file_sha256(restorer.folder / WEIGHTS)}
    if (known := Path(asked["reference"])).is_file():
        of["known_sha256"] = file_sha256(known)
    if ranking:
        of["ranked_by_sha256"] = file_sha256(ranking.folder / PROPERTY_WEIGHTS)
    return AnswerFolder(out, {**question, **of})
