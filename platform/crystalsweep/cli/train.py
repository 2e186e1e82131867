"""`crystalsweep train`: one stage, alone in this process or on several Ray Train workers."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

import click

from crystalsweep.artifacts.addresses import ray_address
from crystalsweep.artifacts.places import checkpoint_folder, default_storage, require_writable
from crystalsweep.cli.echo import echo, echo_settings
from crystalsweep.cli.errors import told_in_a_line
from crystalsweep.config import override, setting_path
from crystalsweep.inference.champion import SHIPPED
from crystalsweep.inference.locate import locate as find
from crystalsweep.inference.locate import tracker_for
from crystalsweep.networks.architectures import EXECUTION, SIZES, run_as
from crystalsweep.training.catalogue import StageSpec, preset, stage_spec, stages
from crystalsweep.training.config import RestorationConfig, StageConfig
from crystalsweep.training.records import epoch_line, mend, recorded

DEFAULT = "demo"
"""Preset."""

RESUME_HELP = (
    "Continue the run in --out from its last checkpoint. Settings, data and the checkpoints it started from are those "
    "of the run; --set epochs=N lets it go further."
)

_ASKED = "targets"
"""Setting of a stage that learns labels, which `--target` fills."""

KEPT_ON_RAY = 2
"""Checkpoints that a run with several workers keeps in its folder, the last ones."""

if TYPE_CHECKING:
    from crystalsweep.data import DataSet


class Stages(click.Group):
    """A command per stage that is installed; of one that is not, `crystalsweep train PACKAGE.STAGE` imports it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all stages, in the order in which they are declared."""
        del ctx
        return list(stages())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of a stage, by its name or the dotted path of its package."""
        try:
            return _command(stage_spec(cmd_name))
        except ValueError as error:
            ctx.fail(str(error))


@click.group(cls=Stages)
def train() -> None:
    """Train one stage: pretrain, finetune, gan, critic, teach, or one of your own.

    \b
    crystalsweep train pretrain --preset demo --out runs/pretrain
    crystalsweep train pretrain --generator runs/pretrain --data mine.parquet --out runs/mine
    crystalsweep train pretrain --init-backbone uma-s-1p1.pt --out runs/uma
    crystalsweep train finetune --preset demo --generator runs/pretrain --out runs/stability
    crystalsweep train finetune --target k_vrh --generator shipped --out runs/bulk_modulus
    crystalsweep train gan --preset demo --generator runs/pretrain --discriminator runs/stability \\
        --set w_wasserstein=1 --out runs/gan
    crystalsweep train critic --preset demo --generator runs/pretrain --out runs/judged
    crystalsweep train finetune --generator models:/crystal-generator@champion --out runs/stability

    A stage of your own is a package with a config.py and a train.py; name it by its dotted path, as mylab.denoise.
    """


def _command(stage: StageSpec) -> click.Command:
    def run(**options: Any) -> None:
        with told_in_a_line():
            _train(stage.name, **options)

    options = [
        click.Option(["--preset"], help=f"One of {', '.join(stage.presets)}.  [default: demo]"),
        click.Option(
            ["--backbone"],
            type=click.Choice(list(SIZES)),
            help="The network, at the preset's size.  [default: that of the checkpoint it starts from, else painn]",
        ),
        click.Option(["--data", "source"], help="'bundled', a data set, or TRAIN,VAL.  [default: bundled]"),
        click.Option(["--set", "settings"], multiple=True, metavar="KEY=VALUE", help="Change a setting; repeatable."),
        click.Option(["--out"], type=click.Path(path_type=Path), help=f"Run folder.  [default: runs/{stage.name}]"),
        click.Option(["--resume"], is_flag=True, help=RESUME_HELP),
        click.Option(
            ["--workers"], type=click.IntRange(min=1), default=1, show_default=True, help="More than one trains on Ray."
        ),
        click.Option(["--device"], help="cpu, cuda, …; the GPU if there is one."),
        click.Option(["--settings", "list_settings"], is_flag=True, help="List all settings of the preset and exit."),
    ]
    if _ASKED in stage.config.model_fields:
        options += [
            click.Option(
                ["--target"],
                multiple=True,
                metavar="LABEL",
                help="What to learn: a column (k_vrh), log10(k_vrh), a question (e_above_hull<=0), classes "
                "(class(ordering)), or a spectrum (spectrum(phonon_dos)); repeatable.  "
                "[default: e_above_hull<=0]",
            ),
            click.Option(["--threshold"], type=float, help="Of the one --target: learn whether it is at most this."),
        ]
    if stage.published:
        options.append(
            click.Option(
                ["--init-backbone"],
                type=click.Path(path_type=Path, dir_okay=False, exists=True),
                help="An eSEN or UMA checkpoint file of fairchem-core 2 whose backbone to start from.",
            )
        )
    for name in stage.inputs:
        made_by = " or ".join(other.name for other in stages().values() if other.leaves == name)
        where = "a run folder, an MLflow run id, models:/NAME@ALIAS"
        where += f", or '{SHIPPED}'" if name == "generator" else ""
        options.append(
            click.Option([f"--{name}"], metavar="WHERE", help=f"What {made_by} made, to start from: {where}.")
        )
    if stage.inputs:
        options.append(
            click.Option(
                ["--tracking-uri"],
                help="MLflow server or database of run ids and names.  [default: MLFLOW_TRACKING_URI, or local]",
            )
        )
    return click.Command(stage.name, callback=run, params=list(options), help=stage.summary, short_help=stage.summary)


def _train(
    stage: str,
    *,
    preset: str | None,
    backbone: str | None,
    source: str | None,
    settings: tuple[str, ...],
    out: Path | None,
    resume: bool,
    workers: int,
    device: str | None,
    list_settings: bool,
    init_backbone: Path | None = None,
    tracking_uri: str | None = None,
    target: tuple[str, ...] = (),
    threshold: float | None = None,
    **inputs: str | None,
) -> None:
    settings = (*_asked(target, threshold), *settings)
    given = {name: _checkpoint(reference, tracking_uri) for name, reference in inputs.items() if reference}
    if init_backbone and given:
        raise ValueError("--init-backbone and --generator both say whose backbone to start from; give one of them")
    folder = (out or Path("runs") / stage).resolve()
    if init_backbone:
        given["backbone"] = init_backbone.resolve()
    if resume and _begun(folder, anything=bool(preset or backbone or source or settings or given)):
        given, source = _resumed(folder, stage, given, source)
    else:
        resume = False
    config = override(_unset(stage, preset, backbone, given, folder if resume else None), settings)
    if list_settings:
        echo_settings(config)
        return
    for line in _without_effect(config, settings):
        echo(line, err=True)
    require_writable(folder, "give another folder with --out")
    if workers > 1:
        ray_address()  # told before anything heavy is imported
    source = source or "bundled"
    _require_backbone(config, settings, {name: path for name, path in given.items() if name != "backbone"})
    data = _read(source, config, stages()[stage])
    from crystalsweep.data import absolute_source
    from crystalsweep.training.origin import origin_of, require_no_run, write_origin

    absolute = absolute_source(source)
    if not resume:
        require_no_run(folder)
        config.require_read()
        write_origin(folder, origin_of(stage, absolute, given), config)
    if workers == 1:
        from crystalsweep.training.local import LocalSession, train_here

        checkpoint = train_here(stage, config, data, given, LocalSession(folder, resume=resume, device=device))
    else:
        checkpoint = _on_ray(stage, config, absolute, given, folder, device=device, workers=workers)
        _tell_early_end(config, folder)
    if isinstance(config, RestorationConfig):
        from crystalsweep.training.restoration import restoration_report

        echo(restoration_report(checkpoint, data))
    from crystalsweep.networks.checkpoint import read_info

    info = read_info(checkpoint)
    if info.dropped:
        parts = Counter(".".join(name.split(".")[: 2 if name.startswith("backbone.") else 1]) for name in info.dropped)
        told = ", ".join(f"{part} ({count} tensors)" for part, count in parts.items())
        echo(f"not taken over from the checkpoints it started from: {told}")
    if config.keep_best:
        echo(f"kept: epoch {info.kept_epoch} of {info.epoch}, the best by {config.best_by}")
    echo(f"checkpoint: {checkpoint}")


def _tell_early_end(config: StageConfig, folder: Path) -> None:
    """Say why a run on Ray, whose workers log elsewhere, ended before its last epoch."""
    from crystalsweep.artifacts.checkpoint_store import CheckpointStore
    from crystalsweep.training.loop import early_end

    rows = CheckpointStore(folder).history()
    if why := early_end(config, rows):
        echo(f"stopped after epoch {rows[-1]['epoch']:.0f} of {config.epochs:,}: {why}")


def _without_effect(config: StageConfig, settings: tuple[str, ...]) -> list[str]:
    """Return a line for each setting that `--set` asks for and that nothing reads beside the others."""
    paths = dict.fromkeys(setting_path(config, setting.partition("=")[0].strip()) for setting in settings)
    unread = {path: config.unread[path] for path in paths if path in config.unread}
    return [f"--set {path} has no effect: it is of {needed}" for path, needed in unread.items()]


def _begun(folder: Path, *, anything: bool) -> bool:
    """Return whether there is a run to resume; one that was asked for in full begins where there is none.

    Raises `ValueError` where nothing else was asked for: then --out is probably mistyped.
    """
    from crystalsweep.training.origin import has_run

    if has_run(folder):
        return True
    if not anything:
        raise ValueError(f"{folder} holds no run to resume; check --out, or leave out --resume to begin one there")
    echo(f"{folder} holds no run yet: it begins", err=True)
    return False


def _resumed(
    folder: Path, stage: str, given: dict[str, Path], source: str | None
) -> tuple[dict[str, Path], str | None]:
    """Return the checkpoints that the run in a folder started from, and its data where no other is named."""
    from crystalsweep.training.origin import has_epochs, inputs_to_resume, read_origin, require_stage

    origin = read_origin(folder)
    if origin is None:
        return given, source
    require_stage(folder, origin.stage, stage)
    inputs, notes = inputs_to_resume(origin, given, trained=has_epochs(folder))
    for note in notes:
        echo(note, err=True)
    return inputs, source or origin.data


def _unset(
    stage: str, preset: str | None, backbone: str | None, given: dict[str, Path], resumed: Path | None
) -> StageConfig:
    """Return the settings before any is changed: those of the run that is resumed, unless others are named, else the
    preset's."""
    if published := given.get("backbone"):
        unset = _with_architecture_of(published, _preset(stage, preset or DEFAULT, backbone or "escn_md"))
    else:
        unset = _preset(stage, preset or DEFAULT, backbone or _backbone_of(given))
    if resumed is None or preset:
        return unset
    from crystalsweep.training.origin import settings_to_resume

    found = settings_to_resume(resumed, stage, unset)
    if backbone and found.backbone.name != backbone:
        raise ValueError(f"{resumed} has the backbone {found.backbone.name}; leave --backbone {backbone} out to resume")
    return found


def _asked(target: tuple[str, ...], threshold: float | None) -> tuple[str, ...]:
    """Return the setting that --target and --threshold stand for."""
    if threshold is not None:
        if len(target) != 1:
            raise ValueError("--threshold is about one --target; for several write it into each, as e_above_hull<=0.1")
        target = (f"{target[0]}<={threshold:g}",)
    return (f"{_ASKED}={json.dumps(target)}",) if target else ()


def _read(source: str, config: StageConfig, stage: StageSpec) -> DataSet:
    """Return the data set; what could not be read, and what the settings leave out, is said."""
    from crystalsweep.data import load_data, told_of_data
    from crystalsweep.data.splitting import PARTS
    from crystalsweep.training.stage import used

    data = load_data(source, progress=source != "bundled")
    lines = told_of_data(source, data)
    labels, notes = stage.labels(config), data.notes
    lines += [used(data.part(part), config, split=part, labels=labels, notes=notes)[1] for part in PARTS[:2]]
    for line in lines:
        echo(line, err=True)
    return data


_preset = preset  # the option of the same name shadows it above


def _checkpoint(reference: str, tracking_uri: str | None) -> Path:
    """Return folder of the checkpoint that a run folder, a run id or a registered name leads to."""
    found = find(reference, tracker_for(reference, tracking_uri, None), default_storage() / "downloads")
    if found.version:
        echo(f"{reference} is version {found.version} of {found.model} (run {found.run or 'unknown'})")
    return found.folder


def _backbone_of(given: dict[str, Path]) -> str:
    """Name of the backbone that the checkpoints a run starts from have; that of a fresh start without any."""
    if not given:
        return "painn"
    from crystalsweep.networks.checkpoint import read_backbone

    return read_backbone(next(iter(given.values()))).name


def _with_architecture_of(path: Path, preset: StageConfig) -> StageConfig:
    """Return the preset with the backbone in a file of fairchem's; only what the weights leave free stays the
    preset's."""
    if preset.backbone.name != "escn_md":
        raise ValueError(f"{path} can only hold an escn_md backbone; leave out --backbone {preset.backbone.name}")
    from crystalsweep.networks.pretrained import read_escn_md

    network = run_as(read_escn_md(path).config, preset.backbone)
    network = network.model_copy(update={"max_neighbours": preset.backbone.max_neighbours})
    return preset.model_copy(update={"backbone": network})


def _require_backbone(config: StageConfig, settings: tuple[str, ...], given: dict[str, Path]) -> None:
    """Require that what `--set` asks of the backbone is so in the checkpoints a run starts from: theirs is what
    trains."""
    from crystalsweep.networks.checkpoint import read_backbone

    paths = [setting_path(config, setting.partition("=")[0].strip()) for setting in settings]
    asked = [key for path in paths if (key := path.removeprefix("backbone.")) != path and key not in EXECUTION]
    for folder in given.values():
        theirs = read_backbone(folder)
        for key in ["name", *asked]:
            here, there = getattr(config.backbone, key), getattr(theirs, key)
            if here != there:
                raise ValueError(f"backbone.{key} is {there} in {folder}, which this run starts from, not {here}")


def _on_ray(
    stage: str,
    config: StageConfig,
    source: str,
    inputs: dict[str, Path],
    folder: Path,
    *,
    device: str | None,
    workers: int,
) -> Path:
    import ray
    import torch

    from crystalsweep.cluster.joining import join_cluster
    from crystalsweep.training.cluster import EpochRecorder, explaining, trainer
    from crystalsweep.training.job import Resources, job_for

    if (folder / "checkpoint").exists():
        raise ValueError(f"{folder} was trained alone; resume it without --workers, or choose another --out")
    gpus = float(torch.cuda.is_available() and device != "cpu")
    refusal = folder / "refused.txt"
    described = job_for(stage, config, source, inputs)
    job = replace(described, checkpoints=str(folder), keep_last=KEPT_ON_RAY, refusal=str(refusal))
    store = job.store()
    folder.mkdir(parents=True, exist_ok=True)
    mend(folder, store.history())
    join_cluster()
    try:
        refusal.unlink(missing_ok=True)
        resources = Resources(workers=workers, gpus_per_worker=gpus)
        run = trainer(
            job, resources=resources, name=folder.name, storage=folder.parent, callbacks=[EpochRecorder(folder)]
        )
        with _showing(folder), explaining(refusal):
            run.fit()
            mend(folder, store.history())
    finally:
        ray.shutdown()
    return checkpoint_folder(folder)


@contextmanager
def _showing(folder: Path) -> Iterator[None]:
    """Print the epochs that are recorded meanwhile; training happens in other processes."""
    ended = Event()

    def show() -> None:
        shown = {row["epoch"] for row in recorded(folder)}
        while True:
            last = ended.wait(1.0)
            for row in recorded(folder):
                if row["epoch"] not in shown:
                    echo(epoch_line(row))
                shown.add(row["epoch"])
            if last:
                return

    watcher = Thread(target=show, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()
