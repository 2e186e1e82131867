"""`crystalsweep evaluate`, `rescore` and `compare`. Heavy libraries load when a command runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from crystalsweep.artifacts.places import default_storage, require_writable
from crystalsweep.cli.echo import echo, echo_settings
from crystalsweep.cli.errors import told_in_a_line
from crystalsweep.cli.store import store_options
from crystalsweep.config import override
from crystalsweep.evaluation.properties.request import PropertyRequest
from crystalsweep.evaluation.request import EVALUATIONS, EvaluationRequest, Machine
from crystalsweep.evaluation.settings import EvaluationSettings
from crystalsweep.evaluation.suite import Suite, find_suite
from crystalsweep.metrics.settings import METRIC_PRESETS
from crystalsweep.wording.stranger import in_a_line

if TYPE_CHECKING:
    from crystalsweep.evaluation.outcome import Evaluation

EVALUATE_EXAMPLES = """\b
Examples:
  crystalsweep evaluate --checkpoint runs/gan                                 the bundled test crystals
  crystalsweep evaluate --checkpoint runs/gan --data mine.parquet --reference train.parquet --max-crystals 500
  crystalsweep evaluate --checkpoint 3f2a…                                    a run of the local MLflow store
  crystalsweep evaluate --checkpoint models:/crystal-generator@champion
  crystalsweep evaluate --checkpoint runs/gan --suite bundled-569               crystals and settings that never change
  crystalsweep evaluate --checkpoint runs/gan --set decode.method=beam          with joint top-1/3/5 and their odds
  crystalsweep evaluate --checkpoint runs/bulk_modulus                        predictions, beside baselines
  crystalsweep evaluate --checkpoint identity                                 a reference row, as if it were a model
  crystalsweep evaluate --structures generated_cifs/ --reference train.parquet
Start the same command again to go on where it was stopped. --settings lists what --set can change.
"""

COMPARE_EXAMPLES = """\b
Examples:
  crystalsweep compare evaluations/gan-3f2a9c1b evaluations/control-77d01e42
  crystalsweep compare RUN_ID OTHER_RUN_ID --all-metrics
  crystalsweep compare RUN_ID/gan-3f2a9c1b RUN_ID/gan-0b77e42a                two evaluations of one run
  crystalsweep compare evaluations/a evaluations/b --preset cdvae2022         as rescored by `crystalsweep rescore`
"""

RESCORE_EXAMPLES = """\b
Examples:
  crystalsweep rescore evaluations/gan-3f2a9c1b --preset cdvae2022
  crystalsweep rescore evaluations/gan-3f2a9c1b --preset smact4 --preset paper
  crystalsweep rescore evaluations/gan-3f2a9c1b --set composition.alloys=false --name no_alloys
"""


@click.command(epilog=EVALUATE_EXAMPLES)
@click.option("--checkpoint", metavar="REF", help="Run folder, MLflow run id, models:/name@alias, or a reference row.")
@click.option(
    "--structures", type=click.Path(path_type=Path), help="Instead: crystals made by any tool, as file or folder."
)
@click.option(
    "--data", "source", help="Crystals to corrupt and restore: 'bundled', a data set, or TRAIN,VAL.  [default: bundled]"
)
@click.option(
    "--part",
    type=click.Choice(["train", "val", "test", "all"]),
    help="Of --data.  [default: test, else val, else all]",
)
@click.option("--reference", help="Training crystals to be new against.  [default: --data's train part]")
@click.option("--originals", help="With --structures: true crystals of the same ids.  [default: --reference]")
@click.option("--max-crystals", type=click.IntRange(min=1), help="Evaluate a seeded sample of so many crystals.")
@click.option("--max-atoms", type=click.IntRange(min=1), help="Leave out crystals with more atoms.")
@click.option(
    "--calculator", help="Energies: none, chgnet, MODULE:CLASS of an ASE calculator, uma:FILE.  [default: chgnet]"
)
@click.option("--suite", help="Instead of all these: a frozen suite by name, or the path of its .json file.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a setting; repeatable.")
@click.option("--settings", "list_settings", is_flag=True, help="List all settings and exit.")
@click.option(
    "--scratch", metavar="REF", help="With a property model: the same trained from scratch at equal budget, as a row."
)
@click.option("--out", type=click.Path(path_type=Path), help="Result folder.  [default: evaluations/NAME-HASH]")
@click.option("--name", help="What tables and plots call it.  [default: its stage, or the file's name]")
@click.option("--workers", type=click.IntRange(min=1), help="Processes, on Ray if more than one.  [default: all CPUs]")
@click.option("--device", help="cpu, cuda, …; the GPU if there is one.")
@store_options
def evaluate(
    checkpoint: str | None,
    structures: Path | None,
    source: str | None,
    part: str | None,
    reference: str | None,
    originals: str | None,
    max_crystals: int | None,
    max_atoms: int | None,
    calculator: str | None,
    suite: str | None,
    settings: tuple[str, ...],
    list_settings: bool,
    scratch: str | None,
    out: Path | None,
    name: str | None,
    workers: int | None,
    device: str | None,
    tracking_uri: str | None,
    storage: Path | None,
) -> None:
    """Score restored or generated crystals, with ceiling, baselines and 95 % intervals (paper, Figs. 4 and 5).

    With --checkpoint: every crystal × mask type × noise level is corrupted, restored and scored; a checkpoint of
    `train finetune` is scored by its predictions, beside what the composition alone, the nearest structure and the mean
    tell. With --structures: the crystals of a file, made by any tool. The result folder holds report.html,
    metrics.json, structures.parquet (a row per crystal) and plots/. With a tracking URI all of it goes to MLflow, to
    the checkpoint's own run if it has one.
    """
    with told_in_a_line():
        given = {
            "protocol.max_crystals": max_crystals,
            "max_atoms": max_atoms,
        } | ({} if suite else {"energies.calculator": calculator})
        asked = [*(f"{key}={value}" for key, value in given.items() if value is not None), *settings]
        config = override(EvaluationSettings(), asked)
        if suite and (asked or source or part or reference or structures is not None):
            raise ValueError("--suite is frozen: it goes with --checkpoint, without other data or settings")
        if list_settings:
            echo_settings(find_suite(suite, calculator).settings if suite else config)
            return
        if checkpoint and (folder := _property_model(checkpoint, tracking_uri, storage)):
            if suite or asked or structures or reference or originals:
                raise ValueError(
                    f"{checkpoint} is a property model: give --data, --part, --max-atoms, --scratch, --out or --name"
                )
            if part == "all":
                raise ValueError("a property model is evaluated on train, val or test: baselines are fitted on train")
            called = name or Path(checkpoint).name
            asked_for = PropertyRequest(
                source=source or "bundled",
                part=part,  # type: ignore[arg-type]
                out=out or Path(EVALUATIONS) / f"{called}-properties",
                name=called,
                scratch=None if scratch is None else _property_model(scratch, tracking_uri, storage),
                max_atoms=max_atoms,
                device=device or "cpu",
            )
            if scratch is not None and asked_for.scratch is None:
                raise ValueError(f"--scratch {scratch} is no property model")
            _evaluate_properties(folder, asked_for)
            return
        if scratch:
            raise ValueError("--scratch goes with a property model, which `crystalsweep train finetune` makes")
        machine = Machine(workers=workers, device=device)
        if suite and checkpoint:
            frozen = find_suite(suite, calculator)
            request = EvaluationRequest.of_suite(frozen, checkpoint, out=out, name=name, machine=machine)
        else:
            frozen = None
            request = EvaluationRequest(
                checkpoint=checkpoint,
                structures=structures,
                source=source,
                part=part,
                reference=reference,
                originals=originals,
                settings=config,
                out=out,
                name=name,
                machine=machine,
            )
        request.require_sound()
        _evaluate(request, frozen, tracking_uri or os.environ.get("MLFLOW_TRACKING_URI"), storage or default_storage())


def _property_model(reference: str, tracking_uri: str | None, storage: Path | None) -> Path | None:
    """Return the folder of a property model; None where the reference names a generator, or nothing that is known."""
    from crystalsweep.inference.locate import UnknownReferenceError, locate, tracker_for
    from crystalsweep.inference.target_records import TARGETS_FILE
    from crystalsweep.metrics.baselines import REFERENCES

    if reference.replace("-", " ") in REFERENCES:
        return None
    downloads = (storage or default_storage()) / "downloads"
    try:
        where = locate(reference, tracker_for(reference, tracking_uri, storage), downloads)
    except UnknownReferenceError:
        return None
    return where.folder if (where.folder / TARGETS_FILE).exists() else None


def _evaluate_properties(folder: Path, asked: PropertyRequest) -> None:
    """Show how good predicted properties are, beside baselines; written into a folder."""
    from crystalsweep.data import load_data, told_of
    from crystalsweep.evaluation.properties.report import as_text, property_page
    from crystalsweep.evaluation.properties.run import evaluate_properties

    require_writable(asked.out, "give another folder with --out")
    data = load_data(asked.source, progress=asked.source != "bundled")
    for line in told_of(asked.source, data.crystals, data.rejects, data.notes):
        echo(line, err=True)
    done = evaluate_properties(
        folder,
        data,
        asked.part or ("test" if len(data.part("test")) else "val"),
        asked.out,
        source=asked.source,
        name=asked.name,
        scratch=asked.scratch,
        max_atoms=asked.max_atoms,
        device=asked.device,
        say=lambda line: echo(in_a_line(f"· {line}"), err=True),
    )
    (asked.out / "report.html").write_text(property_page(done), encoding="utf-8")
    echo(f"\n{as_text(done)}\n")
    echo(f"report:  {asked.out / 'report.html'}")
    echo(f"numbers: {asked.out / 'metrics.json'}, a row per crystal in {asked.out / 'predictions.csv'}")


def _evaluate(request: EvaluationRequest, suite: Suite | None, tracking_uri: str | None, storage: Path) -> None:
    """Run the evaluation, show its headline, and log it where a server was named or the checkpoint has a run."""
    from crystalsweep.evaluation.driver import evaluate_checkpoint, evaluate_structures
    from crystalsweep.evaluation.freezing import require_same_crystals
    from crystalsweep.evaluation.models import allowed_name
    from crystalsweep.evaluation.publishing import EVALUATIONS, log_evaluation
    from crystalsweep.inference.locate import is_local
    from crystalsweep.tracking.opening import checked_tracker, open_tracker

    if suite:
        require_same_crystals(suite)
    if request.name or request.structures:
        allowed_name(request.name or (request.structures.stem if request.structures else ""))
    tracker, run = checked_tracker(tracking_uri) if tracking_uri else open_tracker(None, storage), None
    alone = request.structures is not None or is_local(str(request.checkpoint))
    if tracker and tracking_uri and alone:
        tracker.require_kept(EVALUATIONS)  # before hours of work
    if request.structures is not None:
        folder, outcome = evaluate_structures(request)
    else:
        folder, outcome, model = evaluate_checkpoint(request, tracker, storage)
        run = model.run
    _show(outcome, folder)
    if tracker and (tracking_uri or run):
        logged = log_evaluation(tracker, outcome, folder, run)
        echo(f"MLflow run: {logged} in {tracker.uri}")


def _show(outcome: Evaluation, folder: Path) -> None:
    from crystalsweep.evaluation.text import headline_text

    echo(f"\n{headline_text(outcome)}\n")
    echo(f"report:  {folder / 'report.html'}")
    echo(f"numbers: {folder / 'metrics.json'}, a row per crystal in {folder / 'structures.parquet'}")


@click.command(epilog=COMPARE_EXAMPLES)
@click.argument("evaluations", nargs=-1, required=True, metavar="A B …")
@click.option("--all-metrics", is_flag=True, help="Also what explains the headline; the correction is for all of them.")
@click.option("--preset", metavar="NAME", help="Compare the scores that `rescore` has added as metric@NAME.")
@click.option("--all-pairs", is_flag=True, help="Each against each; otherwise every one against the first.")
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="Also write the verdicts to this CSV file."
)
@store_options
def compare(
    evaluations: tuple[str, ...],
    all_metrics: bool,
    preset: str | None,
    all_pairs: bool,
    out: Path | None,
    tracking_uri: str | None,
    storage: Path | None,
) -> None:
    """Say per metric whether evaluations differ: better, worse, or not resolved.

    A, B, … are folders of `crystalsweep evaluate`, or MLflow runs that one was logged to, as RUN_ID or, where a run has
    several, RUN_ID/NAME; the first is the baseline.
    Crystals are paired by parent and corruption, parents resampled, p values corrected for the number of comparisons.
    """
    with told_in_a_line():
        from crystalsweep.evaluation.interface import compare as compare_evaluations
        from crystalsweep.metrics.verdicts import verdict_table

        frame, notes = compare_evaluations(
            *evaluations,
            all_metrics=all_metrics,
            all_pairs=all_pairs,
            preset=preset,
            tracking_uri=tracking_uri,
            storage=storage,
        )
        for note in notes:
            echo(in_a_line(f"note: {note}"), err=True)
        echo(verdict_table(frame))
        if out:
            frame.to_csv(out, index=False)


@click.command(epilog=RESCORE_EXAMPLES)
@click.argument("evaluation", type=click.Path(path_type=Path), metavar="FOLDER")
@click.option(
    "--preset", "presets", multiple=True, type=click.Choice(list(METRIC_PRESETS)), help="Settings by name; repeatable."
)
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Settings of your own; needs --name.")
@click.option("--name", help="What the new columns are called after the @.  [default: the preset's]")
def rescore(evaluation: Path, presets: tuple[str, ...], settings: tuple[str, ...], name: str | None) -> None:
    """Compute the metrics of a finished evaluation again under other settings, from its saved crystals.

    Nothing is generated and nothing overwritten: scores go to new columns `metric@preset` of structures.parquet and
    references.parquet, means to metrics.json and the report.
    """
    with told_in_a_line():
        from crystalsweep.evaluation.rescoring import rescore_folder
        from crystalsweep.evaluation.text import rescored_text

        if not presets and not settings:
            raise ValueError(f"give --preset ({', '.join(METRIC_PRESETS)}) or --set KEY=VALUE with --name")
        if settings and (len(presets) > 1 or not name):
            raise ValueError("--set changes one preset (or the default) and needs --name for its columns")
        chosen = {name or preset: override(METRIC_PRESETS[preset], settings) for preset in (presets or ("default",))}
        for each, metrics in chosen.items():
            outcome = rescore_folder(evaluation, each, metrics)
        echo(rescored_text(outcome, list(chosen)))
