"""A finished sweep, or one that a cap stopped: its outcomes, its report, and what MLflow is told of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress

from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from crystalsweep.artifacts.atomic import write_whole
from crystalsweep.artifacts.checkpoint_store import INFO, CheckpointStore, child
from crystalsweep.gallery.writing import GALLERY_PAGE, GALLERY_PICTURE
from crystalsweep.pages.text import with_interval
from crystalsweep.sweeping.display.json_lines import as_json
from crystalsweep.sweeping.folder import read_history
from crystalsweep.sweeping.plan.budget import Usage
from crystalsweep.sweeping.predicted import gather_predictions
from crystalsweep.sweeping.report.frames import objective_interval
from crystalsweep.sweeping.report.overview import MEANS
from crystalsweep.sweeping.report.report import next_commands
from crystalsweep.sweeping.report.results import setting_columns
from crystalsweep.sweeping.restored import gather_restorations
from crystalsweep.sweeping.session import SweepSession
from crystalsweep.sweeping.space.finished import FinishedSweep, Report
from crystalsweep.sweeping.space.objectives import Objective
from crystalsweep.sweeping.space.outcome import TrainingOutcome
from crystalsweep.sweeping.study import Ledger, TrainingEnd
from crystalsweep.sweeping.views import IMAGES, save_view, tag_of
from crystalsweep.tracking.images import IMAGES_FOLDER as IMAGE_FOLDER
from crystalsweep.tracking.images import TAGS as LOGGED_IMAGES
from crystalsweep.tracking.images import as_images
from crystalsweep.tracking.outbox import RUN_KEY
from crystalsweep.tracking.tags import NOTE, PARENT
from crystalsweep.tracking.view import link
from crystalsweep.training.catalogue import stage_spec
from crystalsweep.training.records import SCORED_FILE, Scored

Gather = Callable[[SweepSession, FinishedSweep, Mapping[str, str]], FinishedSweep]

_GATHERED: Mapping[Scored, Gather] = {"restorations": gather_restorations, "predictions": gather_predictions}
"""What a report needs beside how trainings ended, by what their stage scores."""

_NUMBERS = ("results.txt", "results.csv", "verdicts.csv")


def finish_sweep(session: SweepSession, ledger: Ledger, used: Usage, *, whole: bool) -> None:
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
    session.display.say("writing the report…")
    named = {ended.training.key: ended.training.name for ended in ledger.ended()}
    ended = FinishedSweep(
        name=record.name,
        question=session.spec.question,
        outcomes=outcomes,
        parameters=plan.space.parameters,
        objectives=session.objectives,
        limits=session.limits,
        structures=0,
        costs=_costs(session, used),
        whole=whole,
        importances=ledger.importances(),
        folder=session.folder,
    )
    finished = _GATHERED[stage_spec(plan.stage).scores](session, ended, named)
    told = session.spec.reporter()(finished)
    _publish(session, told)
    _publish_trials(session, finished, told)
    _say(session, finished, told, save_view(session, told, [tag_of(title) for title in setting_columns(finished)]))


def _publish(session: SweepSession, told: Report) -> None:
    """Write files into the sweep's folder and to the parent run, with what the references score and the conclusion."""
    folder, outbox, parent = session.folder, session.outbox, session.record.name
    (folder / "results.txt").write_text(f"{told.text}\n")
    told.numbers.to_csv(folder / "results.csv", index=False)
    told.differences.to_csv(folder / "verdicts.csv", index=False)
    for file in (told.page, *told.plots, *(folder / f"{name}" for name in _NUMBERS)):
        outbox.upload(parent, file)
    for figures in told.references.values():
        outbox.log(parent, figures, 0)
    first, *others = told.words
    view = f"[Compare the trials]({link('', session.experiments[session.spec.name], parent)})"
    conclusion = "\n\n".join((f"**{first}**", view, " ".join(others), session.spec.question))
    best = {"crystalsweep.best_run": told.best.run} if told.best and told.best.run else {}
    outbox.tag(parent, {NOTE: conclusion} | best)


def _publish_trials(session: SweepSession, finished: FinishedSweep, told: Report) -> None:
    """Send each complete training's plots, crystals, conditions and conclusion, to its own run.

    What MLflow's table has columns for is there once more under short names: heads are cut after a dozen letters.
    """
    outbox, folder, settings = session.outbox, session.folder, setting_columns(finished)
    for trial in told.trials:
        key, outcome = trial.outcome.key, trial.outcome
        epoch = int(outcome.metrics["epoch"])
        outbox.attach(key, session.experiments[session.spec.name], parent=session.record.parent)
        plots = told.draw(trial, folder / "plots" / key)
        for plot in plots:
            outbox.upload(key, plot, "plots")
        crystals = finished.crystals.get(key)
        if crystals:
            outbox.upload(key, crystals, "crystals")
        pictures = [plot for plot in plots if plot.stem in IMAGES] + ([crystals / GALLERY_PICTURE] if crystals else [])
        outbox.upload(key, as_images(pictures, epoch, folder / "images" / key), IMAGE_FOLDER)
        means = {
            head: outcome.metrics[f"val/{name}"] for name, head in MEANS.items() if f"val/{name}" in outcome.metrics
        }
        outbox.log(key, told.conditions(outcome) | trial.facts | means, epoch)
        varied = {tag_of(title): shown for title, cell in settings.items() if (shown := cell(outcome))}
        outbox.tag(key, varied | {NOTE: conclusion_of(outcome, told, finished.objectives[0]), **LOGGED_IMAGES})


def conclusion_of(outcome: TrainingOutcome, told: Report, objective: Objective) -> str:
    """Return a complete training in a line: its objective, and how it did beside its control arm."""
    parts = [f"{objective.title} {with_interval(*objective_interval(outcome, objective), undefined='without a value')}"]
    verdict = told.verdicts.get(outcome.number, "control arm" if outcome.control else "")
    parts += [verdict] if verdict else []
    best = "Best of its sweep: " if told.best is not None and told.best.key == outcome.key else ""
    return best + "; ".join(parts)


def _say(session: SweepSession, finished: FinishedSweep, told: Report, view: str) -> None:
    """Tell people the conclusion, what it means and where to look, and programs what came out."""
    display, request, folder = session.display, session.request, session.folder
    display.settle()
    display.say(f"\n{told.story}\n")
    places = {"report": told.page}
    if told.best and told.best.key in finished.crystals:
        places["crystals in 3D"] = finished.crystals[told.best.key] / GALLERY_PAGE
    if len(told.differences):
        places["every comparison"] = folder / "verdicts.csv"
    places["every number"] = folder / "results.csv"
    width = max(map(len, places))
    display.say("\n".join(["Where to look", *(f"  {name:<{width}}  {path}" for name, path in places.items())]) + "\n")
    if told.best and not told.best.run:
        display.say(f"no run ids: MLflow does not answer; --resume {session.record.name}, once it does, has them")
    elif told.best:
        shown = link("", session.experiments[session.spec.name], view) if view else ""
        display.say(next_commands(session.spec.name, told.best, request.tracking_uri, request.storage, shown))
    result = {
        "sweep": session.record.name,
        "conclusion": told.words[0],
        "report": told.page,
        "best_run": told.best.run if told.best else None,
        "best": told.best.metrics.get(session.objectives[0].metric) if told.best else None,
        "costs": {name: {"forecast": a, "actual": b} for name, (a, b) in finished.costs.items()},
    }
    write_whole(folder / "result.json", f"{json.dumps(as_json(result), indent=2, ensure_ascii=False)}\n")
    display.result(result)


def runs_of(session: SweepSession) -> dict[str, Run]:
    """Return MLflow's run of each training, by key; none where MLflow is away."""
    experiment = session.experiments[session.spec.name]
    with suppress(MlflowException):
        runs = session.tracker.tagged(experiment, {PARENT: session.record.parent})
        return {run.data.tags.get(RUN_KEY, ""): run for run in runs}
    return {}


def _outcome(session: SweepSession, ended: TrainingEnd, runs: Mapping[str, str]) -> TrainingOutcome:
    training = ended.training
    store = CheckpointStore(child(session.checkpoints, training.key))
    latest = store.latest() if ended.state == "complete" else None
    scored = SCORED_FILE[stage_spec(session.plan.stage).scores]
    scored = SCORED_FILE[stage_spec(session.plan.stage).scores]
    return TrainingOutcome(
        number=ended.number,
        seed=training.seed,
        key=training.key,
        state=ended.state,
        reason=ended.reason,
        settings=training.settings,
        control=training.control,
        run=runs.get(training.key, ""),
        history=read_history(session.folder, training.key) or store.history(),
        checkpoint=None if latest is None else store.fetch(latest, only=(INFO, scored)),
        seconds=training.seconds,
    )


def _costs(session: SweepSession, used: Usage) -> dict[str, tuple[float, float]]:
    """Return what was forecast, and what came."""
    forecast = session.record.forecast
    actual = {
        "minutes": session.record.seconds / 60,
        "cpu_hours": used.cpu_hours,
        "gpu_hours": used.gpu_hours,
        "bytes": float(used.bytes),
    }
    return {name: (float(forecast.get(name, float("nan"))), value) for name, value in actual.items()}
