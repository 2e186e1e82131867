"""A finished sweep, or one that a cap stopped: its outcomes, its report, and what MLflow is told of them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

import pandas as pd
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from crystalsweep.checkpoint_store import INFO, CheckpointStore, child
from crystalsweep.evaluation.protocol import evaluate_references
from crystalsweep.metrics import SHOWN, by_condition, flat, headline
from crystalsweep.outbox import KEY
from crystalsweep.tracking import PARENT
from sweeps.engine.budget import Used
from sweeps.engine.folder import read_history
from sweeps.engine.outcome import Outcome
from sweeps.engine.session import Session
from sweeps.engine.study import Ended, Ledger
from sweeps.report.report import Finished, Told, draw_trial, next_commands
from trainables.restoration import TABLE
from trainables.stage import select


def finish(session: Session, ledger: Ledger, used: Used, *, whole: bool) -> None:
    """Report on all trainings so far, on the terminal, in the sweep's folder and on the parent run.

    `whole` says that all have ended, which is what the forecast was of.
    """
    record, plan = session.record, session.plan
    session.outbox.flush(timeout=60)
    runs = {key: str(run.info.run_id) for key, run in runs_of(session).items()}
    outcomes = [_outcome(session, ended, runs) for ended in ledger.ended()]
    if not any(outcome.state == "complete" for outcome in outcomes):
        if outcomes and all(outcome.state == "failed" for outcome in outcomes):
            raise RuntimeError(f"all {len(outcomes)} trainings failed, the first: {outcomes[0].reason}")
        session.display.say("no training is complete yet: no report")
        return
    config = plan.swept
    val = select(session.crystals.val, config, stable_only=config.stable_only, split="val")
    train = select(session.crystals.train, config, stable_only=config.stable_only, split="train")
    references = evaluate_references(val, train, config.evaluation)
    costs = _costs(session, used)
    told = session.spec.report(
        Finished(
            name=record.name,
            question=session.spec.question,
            outcomes=outcomes,
            parameters=plan.resolved.parameters,
            objectives=session.objectives,
            references=references,
            structures=len(train),
            costs=costs,
            whole=whole,
            importances=ledger.importances(),
            folder=session.folder,
        )
    )
    _publish(session, told, references)
    _say(session, told, costs)


def _publish(session: Session, told: Told, references: Mapping[str, pd.DataFrame]) -> None:
    """Files into the sweep's folder and to the parent run; each training's plots and conditions to its own run."""
    folder, outbox, parent = session.folder, session.outbox, session.record.name
    (folder / "results.txt").write_text(f"{told.text}\n")
    told.numbers.to_csv(folder / "results.csv", index=False)
    for file in (told.page, *told.plots, folder / "results.txt", folder / "results.csv"):
        outbox.upload(parent, file)
    for trial in told.trials:
        outcome = trial.outcome
        outbox.attach(outcome.key, session.experiments[session.spec.name], parent=session.record.parent)
        for plot in draw_trial(trial, told.history, references, folder / "plots" / outcome.key):
            outbox.upload(outcome.key, plot, "plots")
        outbox.log(outcome.key, by_condition(outcome.summary) | trial.facts, int(outcome.metrics["epoch"]))
    for name, table in references.items():
        outbox.log(parent, flat(headline(table, metrics=SHOWN), prefix=name.replace(" ", "_")), 0)
    conclusion = f"{session.spec.question}\n\n{' '.join(told.words)}"
    best = {"crystalsweep.best_run": told.best.run} if told.best and told.best.run else {}
    outbox.tag(parent, {"mlflow.note.content": conclusion} | best)


def _say(session: Session, told: Told, costs: Mapping[str, tuple[float, float]]) -> None:
    display, request, folder = session.display, session.request, session.folder
    display.settle()
    display.say(f"\n{told.text}\n")
    display.say("plots:\n" + "\n".join(f"  {plot}" for plot in told.plots))
    display.say(f"report:  {told.page}\nnumbers: {folder / 'results.csv'}\n")
    if told.best and not told.best.run:
        display.say(f"no run ids: MLflow does not answer; --resume {session.record.name}, once it does, has them")
    elif told.best:
        display.say(next_commands(session.spec.name, told.best, request.tracking_uri, request.storage))
    display.result(
        {
            "sweep": session.record.name,
            "report": told.page,
            "best_run": told.best.run if told.best else None,
            "best": told.best.metrics.get(session.objectives[0].metric) if told.best else None,
            "costs": {name: {"forecast": a, "actual": b} for name, (a, b) in costs.items()},
        }
    )


def runs_of(session: Session) -> dict[str, Run]:
    """MLflow's run of each training, by key; none where MLflow is away."""
    experiment = session.experiments[session.spec.name]
    with suppress(MlflowException):
        runs = session.tracker.tagged(experiment, {PARENT: session.record.parent})
        return {run.data.tags.get(KEY, ""): run for run in runs}
    return {}


def _outcome(session: Session, ended: Ended, runs: Mapping[str, str]) -> Outcome:
    training = ended.training
    store = CheckpointStore(child(session.checkpoints, training.key))
    latest = store.latest() if ended.state == "complete" else None
    return Outcome(
        number=ended.number,
        seed=training.seed,
        key=training.key,
        state=ended.state,
        reason=ended.reason,
        settings=training.settings,
        control=training.control,
        run=runs.get(training.key, ""),
        history=read_history(session.folder, training.key) or store.history(),
        checkpoint=None if latest is None else store.fetch(latest, only=(INFO, TABLE)),
        seconds=training.seconds,
    )


def _costs(session: Session, used: Used) -> dict[str, tuple[float, float]]:
    """What was forecast, and what came."""
    forecast = session.record.forecast
    actual = {
        "minutes": session.record.seconds / 60,
        "cpu_hours": used.cpu_hours,
        "gpu_hours": used.gpu_hours,
        "bytes": float(used.bytes),
    }
    return {name: (float(forecast.get(name, float("nan"))), value) for name, value in actual.items()}
