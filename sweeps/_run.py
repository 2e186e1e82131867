"""From options to a finished sweep: plan, cluster, prerequisites, trials, report."""

from __future__ import annotations

import getpass
import os
import signal
import socket
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import FrameType

import click
import optuna
import pandas as pd
import ray
from mlflow.exceptions import MlflowException
from optuna.samplers import TPESampler
from ray.tune.search.optuna import OptunaSearch

from crystalsweep.data import DataSet, absolute_source, load
from crystalsweep.data.splitting import PARTS
from crystalsweep.evaluation.protocol import evaluate_references
from crystalsweep.metrics import SHOWN, CompositionRules, by_condition, flat, headline, summarise
from crystalsweep.provenance import environment, git_revision
from crystalsweep.storage import default_storage
from crystalsweep.tracking import Tracker, default_tracking_uri
from sweeps._engine import Bench, Outcome, check_resources, connect, run_trials
from sweeps._plan import Plan
from sweeps._prerequisites import EXPERIMENT, Prerequisite, ensure
from sweeps._report import Evaluated, Finished, draw_trial, next_commands, tidy
from sweeps._spec import SweepSpec
from trainables.cluster import Resources, job_for
from trainables.config import StageConfig
from trainables.restoration import SCORE
from trainables.stage import select

LEAVES = {"pretrain": "generator", "finetune": "discriminator"}
"""What a stage leaves for later ones to start from."""

PROCESS = "crystalsweep.process"
"""Tag: host and pid of the process that owns a sweep."""


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
        resolved = spec.resolve(preset, settings)
        source = absolute_source(data)
        crystals = load(source, progress=True)
        for reject in crystals.rejects:
            click.echo(f"rejected: {reject}", err=True)
        plan = Plan(
            question=spec.question.splitlines()[0],
            resolved=resolved,
            points=spec.points,
            num_samples=num_samples,
            resources=Resources(workers=workers, use_gpu=bool(gpu)),
            max_concurrent=min(max_concurrent, max(1, (os.cpu_count() or 1) // workers)) if dry_run else max_concurrent,
            source=source,
            storage=root,
            tracking_uri=tracking_uri or default_tracking_uri(root),
        )
        _require_usable(resolved.stages, crystals)
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
        if "finetune" in stages and not any("e_above_hull" in crystal.labels for crystal in crystals.part(part)):
            raise ValueError(
                f"no {part} crystal has an e_above_hull label (eV/atom), which the discriminator learns from; "
                "add the column, or train `crystalsweep train pretrain --set stable_only=false` alone"
            )
        for config in stages.values():
            select(crystals.part(part), config, stable_only=config.stable_only, split=part)


def _execute(spec: SweepSpec, plan: Plan, crystals: DataSet, preset: str, gpu: bool | None) -> None:
    plan.storage.mkdir(parents=True, exist_ok=True)
    tracker = Tracker(plan.tracking_uri)
    names = (spec.name, *([EXPERIMENT] if plan.prerequisites else []))
    experiments = [tracker.experiment(name, plan.storage / "mlflow-artifacts") for name in names]
    for each in experiments:
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
        experiments[0],
        sweep,
        kind="sweep",
        params={"preset": preset, "num_samples": str(plan.num_samples), **plan.parameters()},
        tags=bench.tags | {"mlflow.note.content": spec.question},
    )
    with _closing(tracker, experiments, parent):
        _sweep(spec, plan, bench, crystals, experiments[0], parent)


def _sweep(spec: SweepSpec, plan: Plan, bench: Bench, crystals: DataSet, experiment: str, parent: str) -> None:
    given: dict[str, Prerequisite] = {}
    for stage, stage_config in plan.prerequisites.items():
        given[LEAVES[stage]] = ensure(bench, stage, stage_config, plan.source, crystals, dict(given))
    bench.tracker.tag(parent, {f"crystalsweep.{name}": found.run for name, found in given.items()})
    inputs = {name: found.checkpoint for name, found in given.items()}
    click.echo(f"{plan.stage}: {plan.num_samples} trials, {bench.max_concurrent} at once")
    outcomes = run_trials(
        bench,
        job_for(plan.stage, plan.swept, plan.source, inputs),
        experiment=experiment,
        kind="trial",
        title=plan.stage,
        parent=parent,
        search=_search(spec, plan.swept.seed),
        num_samples=plan.num_samples,
        choices=plan.resolved.choices,
        label=spec.label,
    )
    _report(spec, plan, bench, crystals, outcomes, parent)


def _search(spec: SweepSpec, seed: int) -> OptunaSearch:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = TPESampler(seed=seed, n_startup_trials=len(spec.points))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return OptunaSearch(spec.space, metric=SCORE, mode="max", points_to_evaluate=list(spec.points), sampler=sampler)


def _report(spec: SweepSpec, plan: Plan, bench: Bench, crystals: DataSet, outcomes: list[Outcome], parent: str) -> None:
    done = [outcome for outcome in outcomes if outcome.status == "FINISHED" and outcome.checkpoint]
    failed = [outcome for outcome in outcomes if outcome.status != "FINISHED"]
    for outcome in failed:
        reason = bench.tracker.client.get_run(outcome.run).data.tags.get("crystalsweep.reason", "")
        click.echo(f"trial {outcome.settings} failed: {reason}", err=True)
    if not done:
        raise RuntimeError(f"all {len(outcomes)} trials failed; see their runs in {plan.tracking_uri}")
    config = plan.swept
    val = select(crystals.val, config, stable_only=config.stable_only, split="val")
    train = select(crystals.train, config, stable_only=config.stable_only, split="train")
    references = evaluate_references(val, train, config.evaluation)
    told = spec.report(Finished(outcomes=done, references=references, structures=len(train), folder=bench.storage))
    summaries = {name: summarise(table) for name, table in references.items()}
    for trial in told.trials:
        for plot in draw_trial(trial, told.history, references, bench.storage / "plots" / trial.outcome.trial):
            bench.tracker.upload(trial.outcome.run, plot, "plots")
    (bench.storage / "results.txt").write_text(f"{told.text}\n")
    tidy(told.trials, summaries).to_csv(bench.storage / "results.csv", index=False)
    for file in (*told.plots, bench.storage / "results.txt", bench.storage / "results.csv"):
        bench.tracker.upload(parent, file)
    _log_conditions(bench.tracker, told.trials, references, parent)
    best = max(told.trials, key=lambda trial: trial.outcome.metrics[SCORE])
    bench.tracker.tag(parent, {"crystalsweep.best_run": best.outcome.run})
    click.echo(f"\n{told.text}\n")
    click.echo("plots:\n" + "\n".join(f"  {plot}" for plot in told.plots))
    click.echo(f"numbers: {bench.storage / 'results.csv'}\n")
    click.echo(next_commands(spec.name, best, plan.tracking_uri, plan.storage))


def _log_conditions(
    tracker: Tracker, trials: Sequence[Evaluated], references: dict[str, pd.DataFrame], parent: str
) -> None:
    """Metrics per mask type and sigma, and its facts, on every trial's run, and the reference rows on the sweep's."""
    for trial in trials:
        tracker.log(trial.outcome.run, by_condition(trial.summary) | trial.facts, int(trial.outcome.metrics["epoch"]))
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
    """SIGTERM, which Slurm and `ray job stop` send, ends a sweep as Ctrl-C does.

    Also where SIGINT itself is ignored, as in what a script starts with `&`.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        del number, frame
        raise KeyboardInterrupt

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
