"""From options to a finished sweep: plan, cluster, prerequisites, trials, report."""

from __future__ import annotations

import getpass
import os
import signal
import socket
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Any

import click
import optuna
import pandas as pd
import ray
from mlflow.exceptions import MlflowException
from optuna.samplers import TPESampler
from ray.tune.search.optuna import OptunaSearch

from crystalsweep.config import as_parameters, override
from crystalsweep.data import DataSet, absolute_source, load
from crystalsweep.data.splitting import PARTS
from crystalsweep.evaluation import evaluate_references
from crystalsweep.metrics import SHOWN, CompositionRules, by_condition, flat, headline, summarise
from crystalsweep.provenance import environment, git_revision
from crystalsweep.storage import default_storage
from crystalsweep.tracking import Tracker, default_tracking_uri
from sweeps import _report as report
from sweeps._engine import Bench, Outcome, check_resources, connect, run_trials
from sweeps._plan import Plan
from sweeps._prerequisites import EXPERIMENT, Prerequisite, ensure
from trainables.catalogue import preset as preset_of
from trainables.cluster import Resources, job_for
from trainables.config import StageConfig
from trainables.restoration import SCORE
from trainables.stage import select

PROCESS = "crystalsweep.process"
"""Tag: host and pid of the process that owns a sweep."""


@dataclass(frozen=True, kw_only=True)
class SweepSpec:
    """What a sweep file says."""

    name: str
    question: str
    points: Sequence[dict[str, Any]]
    """Settings of the first trials."""
    controls: int
    """How many of them are control arms, which no budget may leave out."""
    space: Callable[[optuna.Trial], dict[str, Any]]


def run(
    spec: SweepSpec,
    *,
    preset: str,
    data: str,
    num_samples: int,
    max_concurrent: int,
    workers: int,
    gpu: bool | None,
    tracking_uri: str | None,
    storage: Path | None,
    settings: tuple[str, ...],
    dry_run: bool,
) -> None:
    """Run the sweep; bad options end in one line, Ctrl-C in a consistent store and exit code 130."""
    root = (storage or default_storage()).resolve()
    try:
        if num_samples < spec.controls:
            raise ValueError(
                f"--num-samples {num_samples} leaves out control arms; {spec.name} needs {spec.controls} or more"
            )
        stages = {stage: preset_of(stage, preset) for stage in ("pretrain", "finetune", "gan")}
        backbone = {"backbone": stages["pretrain"].backbone}  # later stages start from the pre-trained one
        stages["finetune"] = stages["finetune"].model_copy(update=backbone)
        stages["gan"] = override(stages["gan"].model_copy(update=backbone), settings)
        if stages["gan"].backbone != stages["pretrain"].backbone:
            raise ValueError("the backbone is the pre-trained generator's; --set changes the GAN stage only")
        source = absolute_source(data)
        crystals = load(source, progress=True)
        for reject in crystals.rejects:
            click.echo(f"rejected: {reject}", err=True)
        plan = Plan(
            question=spec.question.splitlines()[0],
            stages=stages,
            points=spec.points,
            num_samples=num_samples,
            resources=Resources(workers=workers, use_gpu=bool(gpu)),
            max_concurrent=min(max_concurrent, max(1, (os.cpu_count() or 1) // workers)) if dry_run else max_concurrent,
            source=source,
            storage=root,
            tracking_uri=tracking_uri or default_tracking_uri(root),
        )
        _require_usable(stages, crystals)
        if dry_run:
            click.echo(plan.describe(plan.expected_minutes(crystals)))
            return
        with _stopping_cleanly():
            _execute(spec, plan, crystals, preset, gpu)
    except (ValueError, RuntimeError, OSError, MlflowException) as error:
        raise click.ClickException(str(error)) from error
    except KeyboardInterrupt:
        click.echo("stopped; finished trials are in MLflow, the others are marked KILLED", err=True)
        sys.exit(130)
    finally:
        ray.shutdown()


def _require_usable(stages: dict[str, StageConfig], crystals: DataSet) -> None:
    """Every stage needs crystals to train and validate on, the classifier labels: better told now than by a worker."""
    for part in PARTS[:2]:
        if not any("e_above_hull" in crystal.labels for crystal in crystals.part(part)):
            raise ValueError(
                f"no {part} crystal has an e_above_hull label (eV/atom), which the discriminator learns from; "
                "add the column, or train `crystalsweep train pretrain --set stable_only=false` alone"
            )
        for config in stages.values():
            select(crystals.part(part), config, stable_only=config.stable_only, split=part)


def _execute(spec: SweepSpec, plan: Plan, crystals: DataSet, preset: str, gpu: bool | None) -> None:
    plan.storage.mkdir(parents=True, exist_ok=True)
    tracker = Tracker(plan.tracking_uri)
    experiment = tracker.experiment(spec.name, plan.storage / "mlflow-artifacts")
    prerequisites = tracker.experiment(EXPERIMENT, plan.storage / "mlflow-artifacts")
    for each in (experiment, prerequisites):
        _bury_the_dead(tracker, each)
    click.echo(f"{plan.question}\nstarting Ray…")
    connect()
    resources = Resources(
        workers=plan.resources.workers, use_gpu=ray.cluster_resources().get("GPU", 0) > 0 if gpu is None else gpu
    )
    sweep = f"{spec.name}-{datetime.now():%Y%m%d-%H%M%S}"
    folder = plan.storage / "sweeps" / sweep
    folder.mkdir(parents=True)
    bench = Bench(
        tracker=tracker,
        storage=folder,
        resources=resources,
        max_concurrent=check_resources(resources, plan.max_concurrent),
        tags=_source(spec)
        | {PROCESS: _process(os.getpid()), "smact": str(CompositionRules())}
        | environment()
        | {"data_sha256": crystals.data_sha256, "split_sha256": crystals.split_sha256, "data": plan.source},
    )
    parent = tracker.start(
        experiment,
        sweep,
        kind="sweep",
        params={"preset": preset, "num_samples": str(plan.num_samples), **as_parameters(plan.swept)},
        tags=bench.tags | {"mlflow.note.content": spec.question},
    )
    with _closing(tracker, (experiment, prerequisites), parent):
        _sweep(spec, plan, bench, crystals, experiment, parent, preset)


def _sweep(
    spec: SweepSpec, plan: Plan, bench: Bench, crystals: DataSet, experiment: str, parent: str, preset: str
) -> None:
    generator, discriminator = _prerequisites(plan, bench, crystals)
    bench.tracker.tag(
        parent, {"crystalsweep.generator": generator.run, "crystalsweep.discriminator": discriminator.run}
    )
    config = plan.swept
    inputs = {"generator": generator.checkpoint, "discriminator": discriminator.checkpoint}
    click.echo(f"gan: {plan.num_samples} trials, {bench.max_concurrent} at once")
    outcomes = run_trials(
        bench,
        job_for("gan", config, plan.source, inputs),
        experiment=experiment,
        kind="trial",
        title="gan",
        parent=parent,
        search=_search(spec, config.seed),
        num_samples=plan.num_samples,
    )
    _report(plan, bench, crystals, outcomes, parent, preset)


def _prerequisites(plan: Plan, bench: Bench, crystals: DataSet) -> tuple[Prerequisite, Prerequisite]:
    generator = ensure(bench, "pretrain", plan.stages["pretrain"], plan.source, crystals, {})
    given = {"generator": generator}
    return generator, ensure(bench, "finetune", plan.stages["finetune"], plan.source, crystals, given)


def _search(spec: SweepSpec, seed: int) -> OptunaSearch:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    drawn = [{key: value for key, value in point.items() if value} for point in spec.points]
    sampler = TPESampler(seed=seed, n_startup_trials=len(spec.points))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return OptunaSearch(spec.space, metric=SCORE, mode="max", points_to_evaluate=drawn, sampler=sampler)


def _report(plan: Plan, bench: Bench, crystals: DataSet, outcomes: list[Outcome], parent: str, preset: str) -> None:
    trials = report.evaluated(outcomes)
    failed = [outcome for outcome in outcomes if outcome.status != "FINISHED"]
    for outcome in failed:
        reason = bench.tracker.client.get_run(outcome.run).data.tags.get("crystalsweep.reason", "")
        click.echo(f"trial {outcome.settings} failed: {reason}", err=True)
    if not trials:
        raise RuntimeError(f"all {len(outcomes)} trials failed; see their runs in {plan.tracking_uri}")
    config = plan.swept
    val = select(crystals.val, config, stable_only=config.stable_only, split="val")
    train = select(crystals.train, config, stable_only=config.stable_only, split="train")
    references = evaluate_references(val, train, config.evaluation)
    plots = report.draw(trials, references, bench.storage)
    summaries = {name: summarise(table) for name, table in references.items()}
    for trial in trials:
        for plot in report.draw_trial(trial, summaries, bench.storage / "plots" / trial.outcome.trial):
            bench.tracker.upload(trial.outcome.run, plot, "plots")
    text = report.results_table(trials, references)
    versus = report.adversary_table(trials)
    (bench.storage / "results.txt").write_text(f"{text}\n\n{versus}\n")
    report.tidy(trials, summaries).to_csv(bench.storage / "results.csv", index=False)
    for file in (*plots, bench.storage / "results.txt", bench.storage / "results.csv"):
        bench.tracker.upload(parent, file)
    _log_conditions(bench.tracker, trials, references, parent)
    best = max(trials, key=lambda trial: trial.outcome.metrics[SCORE])
    bench.tracker.tag(parent, {"crystalsweep.best_run": best.outcome.run})
    click.echo(f"\n{text}\n\n{versus}\n")
    click.echo("plots:\n" + "\n".join(f"  {plot}" for plot in plots))
    click.echo(f"numbers: {bench.storage / 'results.csv'}\n")
    click.echo(report.next_commands(best, plan.tracking_uri, plan.storage, preset))


def _log_conditions(
    tracker: Tracker, trials: list[report.Evaluated], references: dict[str, pd.DataFrame], parent: str
) -> None:
    """Metrics per mask type and sigma on every trial's run, and the reference rows on the sweep's."""
    for trial in trials:
        tracker.log(trial.outcome.run, by_condition(trial.summary), int(trial.outcome.metrics["epoch"]))
    for name, table in references.items():
        tracker.log(parent, flat(headline(table, metrics=SHOWN), prefix=name.replace(" ", "_")), 0)


@contextmanager
def _closing(tracker: Tracker, experiments: Sequence[str], parent: str) -> Iterator[None]:
    """Whatever happens, the parent run ends with a status that says so, and no run of this process stays running."""
    status, reason = "FAILED", ""
    try:
        yield
        status = "FINISHED"
    except KeyboardInterrupt:
        status, reason = "KILLED", "the sweep was stopped"
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise
    finally:
        tracker.finish(parent, status, reason)
        for experiment in experiments:
            for left in tracker.running(experiment, tag=(PROCESS, _process(os.getpid()))):
                tracker.finish(left.info.run_id, "KILLED", "the sweep was stopped")


def _bury_the_dead(tracker: Tracker, experiment: str) -> None:
    """Close runs of this host whose process is gone, as after kill -9."""
    for left in tracker.running(experiment):
        host, _, pid = left.data.tags.get(PROCESS, "").rpartition(":")
        if host == socket.gethostname() and pid.isdigit() and not _alive(int(pid)):
            tracker.finish(left.info.run_id, "KILLED", "its process is gone")


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@contextmanager
def _stopping_cleanly() -> Iterator[None]:
    """SIGTERM, which Slurm and `ray job stop` send, ends a sweep as Ctrl-C does."""

    def stop(number: int, frame: FrameType | None) -> None:
        del number, frame
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _source(spec: SweepSpec) -> dict[str, str]:
    """What MLflow's UI shows as a run's source, user and commit."""
    user = getpass.getuser() if "USER" in os.environ or "LOGNAME" in os.environ else "unknown"
    commit = {"mlflow.source.git.commit": git_revision()[0]}
    return {"mlflow.source.name": f"sweeps/{spec.name}.py", "mlflow.source.type": "LOCAL", "mlflow.user": user} | commit


def _process(pid: int) -> str:
    return f"{socket.gethostname()}:{pid}"
