"""`crystalsweep promote`, `demote`, `history`, `verify` and `registry`. Heavy libraries load when a command runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from crystalsweep.artifacts.places import default_storage
from crystalsweep.cli.echo import echo
from crystalsweep.cli.errors import told_in_a_line
from crystalsweep.cli.store import store_options
from crystalsweep.wording.stranger import in_a_line, tabulated

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crystalsweep.registry.gates.gate import Gate
    from crystalsweep.tracking.tracker import Tracker

REFUSED = 3
"""Exit code of a refusal, and of a dossier that no longer holds."""

PROMOTE_EXAMPLES = """\b
Examples:
  crystalsweep promote 3f2a…                                the run id of a trial, to champion
  crystalsweep promote runs/gan --dry-run                   every gate, and nothing is registered
  crystalsweep promote 3f2a… --metric match_rate --to challenger
  crystalsweep promote 3f2a… --suite bundled-569 --trained-on mp_20.parquet
  crystalsweep promote 3f2a… --force --reason "Na is masked in our lab's cells only; see the meeting of 12 May"
  crystalsweep promote runs/bulk_modulus                    a property model, as crystal-property-k_vrh
Then, anywhere:  crystalsweep.load("models:/crystal-generator@champion")
                 crystalsweep.predict([structure], model="models:/crystal-property-k_vrh@champion")
"""

_MODEL = click.option("--model", default="crystal-generator", show_default=True, help="Name in the registry.")
_PROMOTED_MODEL = click.option(
    "--model",
    help="Name in the registry.  [default: crystal-generator, or crystal-property-TARGET of a property model]",
)
_CALCULATOR = click.option("--calculator", help="That of the suite, where it is code of your own; else it is not run.")
_WORKERS = click.option("--workers", type=click.IntRange(min=1), help="Processes of an evaluation.  [default: all]")


@click.command(epilog=PROMOTE_EXAMPLES)
@click.argument("reference", metavar="RUN|CHECKPOINT")
@click.option("--to", "alias", type=click.Choice(["challenger", "champion"]), default="champion", show_default=True)
@_PROMOTED_MODEL
@click.option(
    "--suite", default="bundled-100", show_default=True, help="Frozen suite by name, or a suite's .json file."
)
@click.option("--metric", default="score", show_default=True, help="What must be better than the champion's.")
@click.option(
    "--guard", "guarded", multiple=True, metavar="METRIC", help="Must not be worse; repeatable.  [default: 6]"
)
@click.option(
    "--trained-on", multiple=True, metavar="DATA", help="What it was trained on, beside the bundled crystals."
)
@_CALCULATOR
@click.option("--dry-run", is_flag=True, help="Go through the gates; register and record nothing.")
@click.option("--force", is_flag=True, help="Promote although gates refuse; needs --reason, which is kept.")
@click.option("--reason", default="", help="Why the gates are overruled.")
@click.option("--json", "as_json", is_flag=True, help="Print the dossier as JSON instead of tables.")
@_WORKERS
@store_options
def promote(
    reference: str,
    alias: str,
    model: str | None,
    suite: str,
    metric: str,
    guarded: tuple[str, ...],
    trained_on: tuple[str, ...],
    calculator: str | None,
    dry_run: bool,
    force: bool,
    reason: str,
    as_json: bool,
    workers: int | None,
    tracking_uri: str | None,
    storage: Path | None,
) -> None:
    """Register a checkpoint under an alias, if the evidence is for it.

    Gates: physics (equivariance, one-atom cells, rock salt restored); no held-out crystal in the training data;
    on a frozen suite a resolved gain over the present champion (over the baselines where there is none) and no
    resolved loss in what is guarded; and the same figures again from a process of its own. For a challenger the gain
    is told, not required. The dossier goes with the version: numbers, page, model card. A refusal is kept too, in
    MLflow's experiment `promotions`, and ends with exit code 3.

    A property model (`train finetune`) is judged on the held-out part of its own data: no held-out crystal in the
    training data of any ancestor, a resolved gain over the best baseline and over the champion of that name, and the
    same figures again. --suite, --metric, --guard, --calculator and --workers are of generators.
    """
    with told_in_a_line():
        if force and not reason.strip():
            raise ValueError("--force needs --reason: who reads the dossier must know why")
        if reason and not force:
            raise ValueError("--reason goes with --force; gates that pass need none")
        from crystalsweep.cli.evaluate import property_model
        from crystalsweep.data import absolute_source
        from crystalsweep.evaluation.suite import find_suite
        from crystalsweep.inference.target_records import read_targets
        from crystalsweep.registry import promotion
        from crystalsweep.registry.asked import Asked
        from crystalsweep.registry.gates.gain import GUARDED
        from crystalsweep.registry.property_names import default_name
        from crystalsweep.tracking.holders import MODEL
        from crystalsweep.tracking.next_steps import predict_commands, use_commands

        def say(line: object) -> None:
            echo(in_a_line(f"· {line}"), err=True)

        where = storage or default_storage()
        sources, forced = [absolute_source(source) for source in trained_on], reason.strip()
        predicts = property_model(reference, tracking_uri, where)
        if predicts is not None:
            _require_of_generators(click.get_current_context())
            name = model or default_name(each.name for each in read_targets(predicts.folder))
            asked = Asked(
                reference=reference, model=name, alias=alias, trained_on=sources, forced=forced, storage=where
            )
            tracker = _tracker(tracking_uri, storage)
            decision = promotion.promote_property(tracker, asked, say, dry=dry_run)
        else:
            name = model or MODEL
            request = promotion.PromotionRequest(
                reference=reference,
                model=name,
                alias=alias,
                suite=find_suite(suite, calculator),
                metric=metric,
                guarded=guarded or GUARDED,
                trained_on=sources,
                forced=forced,
                workers=workers,
                storage=where,
            )
            tracker = _tracker(tracking_uri, storage)
            decision = promotion.promote(tracker, request, say, dry=dry_run)
        dossier = decision.dossier
        if as_json:
            echo(dossier.model_dump_json(indent=2))
        else:
            echo(_gates(dossier.gates))
            for gate in dossier.gates:
                for note in gate.notes:
                    echo(in_a_line(f"note: {gate.title}: {note}"))
            for line in dossier.reasons:
                echo(in_a_line(f"! {line}"))
            echo(f"dossier: {decision.folder / 'dossier' / 'dossier.html'}")
            target = f"{name}@{alias}"
            echo(_outcome(decision.version, dossier.verdict, target, dossier.decided_by, dry=dry_run))
            if decision.version is not None and not dry_run:
                commands = use_commands if predicts is None else predict_commands
                for line in commands(target, tracker.address, where):
                    echo(in_a_line(line))
        if dossier.verdict == "refused":
            sys.exit(REFUSED)


_OF_GENERATORS = ("suite", "metric", "guarded", "calculator", "workers")
"""Parameters of `promote` that say nothing of a property model."""


def _require_of_generators(context: click.Context) -> None:
    """Raise `ValueError` where a property model is asked what only a generator can be."""
    named = [name for name in _OF_GENERATORS if context.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    if named:
        option = {"guarded": "guard"}.get(named[0], named[0])
        raise ValueError(
            f"--{option} is of generators, and {context.params['reference']} is a property model, judged by the "
            "headline figure of each property; leave it out"
        )


def _outcome(version: str | None, verdict: str, target: str, who: str, *, dry: bool) -> str:
    if dry:
        return f"dry run: it would be {verdict}; nothing was registered"
    if version is None:
        return (
            f"refused: {target} stays as it is; the refusal and its dossier are kept in MLflow's experiment promotions"
        )
    forced = " by force" if verdict == "forced" else ""
    return f"version {version} is now {target}{forced}, promoted by {who}"


@click.command()
@click.argument("reference", metavar="models:/NAME@ALIAS")
@click.option(
    "--trained-on", multiple=True, metavar="DATA", help="What it was trained on, where it lies elsewhere now."
)
@_CALCULATOR
@_WORKERS
@store_options
def verify(
    reference: str,
    trained_on: tuple[str, ...],
    calculator: str | None,
    workers: int | None,
    tracking_uri: str | None,
    storage: Path | None,
) -> None:
    """Run a version's dossier again and say whether it still holds.

    Looks at the sha256 of every file, physics, leakage, and every figure of the suite; of a property model at the
    files, leakage, and every figure of the held-out crystals, for which its data must be here (--trained-on). Also for
    an exported .zip, and for `shipped`, the champion that comes with the package: without its training data
    (--trained-on), leakage is told only. Exit
    code 3 where something no longer holds, and 1 where it could not be asked: no such version, no answer from the
    server, crystals of the suite that are not here, a calculator that is code and that you did not name.
    """
    with told_in_a_line():
        from crystalsweep.inference.locate import is_local
        from crystalsweep.registry.verification import verify as again

        tracker = None if is_local(reference) else _reader(tracking_uri, storage)
        found = again(
            tracker,
            reference,
            lambda line: echo(in_a_line(f"· {line}"), err=True),
            trained_on=trained_on,
            calculator=calculator,
            workers=workers,
        )
        echo(_gates(found.gates))
        named = f"{reference}{f' (version {found.version})' if found.version else ''}"
        dossier = f"the dossier of {found.dossier.decided_at}" if found.dossier else "the dossier"
        echo(f"{named}: {dossier} {'holds' if found.holds else 'NO LONGER HOLDS'}")
        if not found.holds:
            sys.exit(REFUSED)


@click.command()
@_MODEL
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@store_options
def history(model: str, as_json: bool, tracking_uri: str | None, storage: Path | None) -> None:
    """List every promotion that was tried: when, by whom, what became of it and why."""
    with told_in_a_line():
        import json
        from dataclasses import asdict

        from crystalsweep.registry.attempts import attempts_of as entries
        from crystalsweep.registry.history import holders

        tracker = _reader(tracking_uri, storage)
        found = entries(tracker, model)
        if as_json:
            echo(json.dumps([asdict(each) | {"when": each.when.isoformat()} for each in found], indent=2))
            return
        for alias, version in holders(tracker, model).items():
            echo(in_a_line(f"{model}@{alias}: version {version}"))
        if not found:
            echo(f"nothing was promoted to {model} in {tracker.uri} yet")
            return
        rows = [
            [f"{e.when:%Y-%m-%d %H:%M}", e.who, e.alias, e.verdict, e.version, e.candidate[-32:], e.reasons[:160]]
            for e in found
        ]
        heads = ["when (UTC)", "who", "to", "verdict", "version", "candidate", "why"]
        echo(tabulated(rows, headers=heads, disable_numparse=True, maxcolwidths=[None] * 6 + [60]))


@click.command()
@click.argument("alias", type=click.Choice(["challenger", "champion"]))
@_MODEL
@click.option("--reason", required=True, help="Why; it is kept.")
@store_options
def demote(alias: str, model: str, reason: str, tracking_uri: str | None, storage: Path | None) -> None:
    """Take an alias from its version and give it back to the one that had it before.

    Where there was none before, the alias ends. The version itself stays registered.
    """
    with told_in_a_line():
        from crystalsweep.registry.history import demote as take

        where = storage or default_storage()
        gone, back = take(_reader(tracking_uri, storage), model, alias, reason, where / "mlflow-artifacts")
        now = f"version {back} again" if back else "no version"
        echo(f"version {gone} is no longer {model}@{alias}, which is {now}")


@click.group()
def registry() -> None:
    """Move champions with their dossiers between servers."""


@registry.command("export")
@click.argument("reference", metavar="models:/NAME@ALIAS")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@store_options
def export(reference: str, file: Path, tracking_uri: str | None, storage: Path | None) -> None:
    """Write a registered version, with its dossier, to FILE (.zip).

    `crystalsweep.load(FILE)`, `crystalsweep verify FILE` and `crystalsweep registry import FILE` read it.
    """
    with told_in_a_line():
        from crystalsweep.registry.exchange import export as write

        if file.suffix != ".zip":
            raise ValueError(f"{file}: give it a name that ends in .zip")
        if file.exists():
            raise ValueError(f"{file} exists already; choose another name")
        tracker = _reader(tracking_uri, storage)
        sha256 = write(tracker, reference, file)
        echo(f"{file}: {reference}, {file.stat().st_size:,} bytes, sha256 {sha256}")


@registry.command("import")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--model", help="Name in this registry.  [default: the one it had]")
@click.option("--to", "alias", type=click.Choice(["challenger", "champion"]), help="Also give it this alias.")
@click.option("--replace", is_flag=True, help="Also where another version has the alias.")
@store_options
def import_(
    file: Path, model: str | None, alias: str | None, replace: bool, tracking_uri: str | None, storage: Path | None
) -> None:
    """Register what `export` wrote, checked by hash.

    Its dossier comes along as it is: `crystalsweep verify` says whether it holds here. Pages and model card are
    written anew from data; those of the archive, which a browser would run, are not kept.
    """
    with told_in_a_line():
        from crystalsweep.registry.exchange import import_ as read

        where = storage or default_storage()
        found = read(_tracker(tracking_uri, storage), file, model=model, alias=alias, replace=replace, storage=where)
        for line in found.told:
            echo(f"· {line}", err=True)
        known = "" if found.new else ", which this server had"
        echo(f"{file}: {found.model} version {found.version}{known}{f', now {alias}' if alias else ''}")


def _gates(gates: Sequence[Gate]) -> str:
    rows = []
    for gate in gates:
        for i, check in enumerate(gate.checks):
            verdict = "passed" if check.passed else "NOT PASSED" if gate.required else "no (told only)"
            rows.append(["" if i else gate.title, verdict, check.title, check.says])
    return tabulated(rows, headers=["gate", "", "", ""], maxcolwidths=[26, None, 34, 64], disable_numparse=True)


def _tracker(tracking_uri: str | None, storage: Path | None) -> Tracker:
    """Return the store to write to, which is made where it is a local file that is not there."""
    from crystalsweep.tracking.opening import checked_tracker
    from crystalsweep.tracking.tracker import default_tracking_uri

    return checked_tracker(tracking_uri or default_tracking_uri(storage or default_storage()))


def _reader(tracking_uri: str | None, storage: Path | None) -> Tracker:
    """Return the store to read from."""
    from crystalsweep.tracking.opening import checked_tracker, existing_store

    return checked_tracker(existing_store(tracking_uri, storage or default_storage()))
