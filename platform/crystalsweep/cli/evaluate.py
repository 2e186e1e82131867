"""`crystalsweep evaluate`, `rescore` and `compare`. Heavy libraries load when a command runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from crystalsweep.artifacts.places import default_storage
from crystalsweep.cli.echo import echo, echo_settings
from crystalsweep.cli.errors import told_in_a_line
from crystalsweep.cli.store import store_options
from crystalsweep.config import override
from crystalsweep.evaluation.request import EvaluationRequest, Machine
from crystalsweep.evaluation.settings import EvaluationSettings, changed_settings
from crystalsweep.evaluation.suite import Suite, find_suite
from crystalsweep.metrics.settings import METRIC_PRESETS
from crystalsweep.wording.stranger import in_a_line

if TYPE_CHECKING:
    from crystalsweep.evaluation.outcome import Evaluation
    from crystalsweep.inference.locate import Location

OF_PROPERTIES = ("max_atoms", "protocol.max_crystals", "protocol.seed")
"""Settings that the evaluation of a property model reads."""

EVALUATE_EXAMPLES = """\b
Examples:
  crystalsweep evaluate --checkpoint runs/gan                                 the bundled test crystals
  crystalsweep evaluate --checkpoint runs/gan --data mine.parquet --reference train.parquet --max-crystals 500
  crystalsweep evaluate --checkpoint 3f2a…                                    a run of the local MLflow store
  crystalsweep evaluate --checkpoint models:/crystal-generator@champion
  crystalsweep evaluate --checkpoint runs/gan --suite bundled-569               crystals and settings that never change
  crystalsweep evaluate --checkpoint runs/gan --set decode.method=beam          with joint top-1/3/5 and their odds
  crystalsweep evaluate --checkpoint identity                                 a reference row, as if it were a model
  crystalsweep evaluate --checkpoint runs/finetune --scratch runs/scratch       a property model, beside baselines
  crystalsweep evaluate --structures generated_cifs/ --reference train.parquet
Start the same command again to go on where it was stopped. --settings lists what --set can change.
"""

COMPARE_EXAMPLES = """\b
Examples:
  crystalsweep compare evaluations/gan-3f2a9c1b evaluations/control-77d01e42
  crystalsweep compare RUN_ID OTHER_RUN_ID --all-metrics
  crystalsweep compare RUN_ID/gan-3f2a9c1b RUN_ID/gan-0b77e42a                two evaluations of one run
  crystalsweep compare evaluations/a evaluations/b --preset cdvae2022         as rescored by `crystalsweep rescore`
  crystalsweep compare control=ev/c0,ev/c1,ev/c2 gan=ev/g0,ev/g1,ev/g2         arms of three training seeds each
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
@click.option("--scratch", metavar="REF", help="Of a property model: the same network trained from random weights.")
@click.option("--max-crystals", type=click.IntRange(min=1), help="Evaluate a seeded sample of so many crystals.")
@click.option("--max-atoms", type=click.IntRange(min=1), help="Leave out crystals with more atoms.")
@click.option(
    "--calculator",
    help="Energies: none, chgnet, sevennet, MODULE:CLASS of an ASE calculator, uma:FILE.  [default: chgnet]",
)
@click.option("--suite", help="Instead of all these: a frozen suite by name, or the path of its .json file.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a setting; repeatable.")
@click.option("--settings", "list_settings", is_flag=True, help="List all settings and exit.")
@click.option("--out", type=click.Path(path_type=Path), help="Result folder.  [default: evaluations/NAME-HASH]")
@click.option("--name", help="What tables and plots call it.  [default: its stage, or the file's name]")
@click.option("--report/--no-report", default=True, help="Draw plots and report.html.  [default: report]")
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
    scratch: str | None,
    max_crystals: int | None,
    max_atoms: int | None,
    calculator: str | None,
    suite: str | None,
    settings: tuple[str, ...],
    list_settings: bool,
    out: Path | None,
    name: str | None,
    report: bool,
    workers: int | None,
    device: str | None,
    tracking_uri: str | None,
    storage: Path | None,
) -> None:
    """Score restored or generated crystals, with ceiling, baselines and 95 % intervals (paper, Figs. 4 and 5).

    With --checkpoint: every crystal × mask type × noise level is corrupted, restored and scored. With --structures:
    the crystals of a file, made by any tool. The result folder holds report.html, metrics.json, structures.parquet
    (a row per crystal) and plots/. With a tracking URI all of it goes to MLflow, to the checkpoint's own run if it has
    one.

    With the --checkpoint of a property model (`crystalsweep train finetune`): its predictions of --data, beside the
    majority or mean, a formula's guess and similar crystals' labels, all fitted on its own training crystals; figures
    by crystal system, number of elements and rarity; predictions.csv instead of structures.parquet.
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
        machine = Machine(workers=workers, device=device)
        if suite and checkpoint:
            frozen = find_suite(suite, calculator)
            request = EvaluationRequest.of_suite(frozen, checkpoint, out=out, name=name, report=report, machine=machine)
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
                report=report,
                machine=machine,
            )
        request.require_sound()
        place, address = storage or default_storage(), tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
        if checkpoint and (found := property_model(checkpoint, address, place)):
            ours = {"suite": suite, "calculator": calculator, "workers": (workers or 1) > 1}
            if refused := sorted(key for key, value in ours.items() if value):
                raise ValueError(f"--{refused[0]} is of generators, and {checkpoint} is a property model; leave it out")
            _require_read(config)
            _evaluate_property(request, found, scratch, address, place)
            return
        if scratch:
            raise ValueError("--scratch goes with the --checkpoint of a property model, as `train finetune` makes")
        _evaluate(request, frozen, address, place)


def _require_read(config: EvaluationSettings) -> None:
    """Raise `ValueError` for settings that the evaluation of a property model does not read."""
    if unread := [path for path in changed_settings(config) if path not in OF_PROPERTIES]:
        raise ValueError(
            f"{', '.join(unread)}: of generators; the evaluation of a property model reads {', '.join(OF_PROPERTIES)}"
        )


def property_model(checkpoint: str, tracking_uri: str | None, storage: Path) -> Location | None:
    """Return where the checkpoint lies where it is a property model's; None of anything else."""
    from crystalsweep.inference.locate import UnknownReferenceError, locate, tracker_for
    from crystalsweep.inference.target_records import TARGETS_FILE
    from crystalsweep.networks.checkpoint import read_info

    try:
        found = locate(checkpoint, tracker_for(checkpoint, tracking_uri, storage), storage / "downloads")
    except UnknownReferenceError:  # a reference row, or what `_evaluate` tells of
        return None
    told = (found.folder / TARGETS_FILE).exists() or read_info(found.folder).stage == "finetune"
    return found if told else None


def _evaluate_property(
    asked: EvaluationRequest, found: Location, scratch: str | None, tracking_uri: str | None, storage: Path
) -> None:
    """Evaluate it, show the headline, and log it where a server was named or the checkpoint has a run."""
    from crystalsweep.evaluation.properties.run import PropertyRequest, evaluate_property
    from crystalsweep.evaluation.properties.text import property_text
    from crystalsweep.evaluation.publishing import log_evaluation
    from crystalsweep.inference.locate import locate, tracker_for
    from crystalsweep.tracking.opening import checked_tracker, open_tracker

    beside = locate(scratch, tracker_for(scratch, tracking_uri, storage), storage / "downloads") if scratch else None
    request = PropertyRequest(
        checkpoint=found.folder,
        scratch=beside.folder if beside else None,
        source=asked.source,
        part=asked.part,
        reference=asked.reference,
        max_atoms=asked.settings.max_atoms,
        max_crystals=asked.settings.protocol.max_crystals,
        seed=asked.settings.protocol.seed,
        name=asked.name,
        run=found.run,
        out=asked.out,
        report=asked.report,
        device=asked.machine.torch_device,
    )
    folder, outcome = evaluate_property(request)
    echo(f"\n{property_text(outcome)}\n")
    _say_where(folder, "predictions.csv")
    tracker = checked_tracker(tracking_uri) if tracking_uri else open_tracker(None, storage)
    if tracker and (tracking_uri or found.run):
        echo(f"MLflow run: {log_evaluation(tracker, outcome, folder, found.run)} in {tracker.uri}")


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
    _say_where(folder, "structures.parquet")


def _say_where(folder: Path, table: str) -> None:
    if (report := folder / "report.html").exists():
        echo(f"report:  {report}")
    echo(f"numbers: {folder / 'metrics.json'}, a row per crystal in {folder / table}")


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
    Several with commas between them are one arm, a training seed each: intervals then also hold for other seeds.
    Property models are paired by crystal.
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
        if name and len(presets) > 1:
            raise ValueError(
                f"--name is of one preset, and {len(presets)} are given; leave it out, or name them one by one"
            )
        chosen = {name or preset: override(METRIC_PRESETS[preset], settings) for preset in (presets or ("default",))}
        for each, metrics in chosen.items():
            outcome = rescore_folder(evaluation, each, metrics)
        echo(rescored_text(outcome, list(chosen)))
