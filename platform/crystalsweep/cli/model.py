"""`crystalsweep model`: what the networks are and what training takes. Heavy libraries load when a command runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from crystalsweep.artifacts.places import checkpoint_folder
from crystalsweep.cli.echo import echo
from crystalsweep.cli.errors import told_in_a_line
from crystalsweep.cli.interpolate import interpolate
from crystalsweep.config import leaves, override, parse_bytes
from crystalsweep.networks.architectures import SIZES, BackboneConfig, size
from crystalsweep.training.catalogue import stage_spec
from crystalsweep.wording.stranger import tabulated

if TYPE_CHECKING:
    from crystalsweep.networks.cost import Sample

PRESETS = tuple(next(iter(SIZES.values())))

INFO_EXAMPLES = """\b
Examples:
  crystalsweep model info                                   painn at demo, with this machine's memory
  crystalsweep model info --backbone equiformer_v2 --preset paper --counts-only
  crystalsweep model info --backbone escn_md --preset base --memory 80GB
  crystalsweep model info --preset base --set width=128 --set layers=6
  crystalsweep model info runs/gan/checkpoint --data mp_20/train.csv
"""

LIST_EXAMPLES = """\b
Examples:
  crystalsweep model list
  crystalsweep model info --backbone painn --preset base    more about one of them
"""

CALIBRATE_EXAMPLES = """\b
Examples:
  crystalsweep model calibrate runs/pretrain --data train.parquet,val.parquet
  crystalsweep model calibrate runs/pretrain --data train.parquet,val.parquet --decoder beam --decoder sampled
  crystalsweep model calibrate runs/pretrain --data bundled --max-crystals 100 --sigma-noise 0.0
  crystalsweep model calibrate runs/pretrain --data train.parquet,val.parquet --set stable_only=true --energies 60
"""

NETWORKS = ("generator", "discriminator")


@click.group()
def model() -> None:
    """Look at the networks: their settings, parameters, arithmetic and memory.

    A network is a backbone at a preset's size with heads on it: the generator restores crystals, the discriminator
    judges them.
    """


model.add_command(interpolate)


@model.command("list", epilog=LIST_EXAMPLES)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(as_json: bool) -> None:
    """List every backbone at every preset's size, with the parameters of its generator."""
    rows = [
        {
            "backbone": backbone,
            "preset": preset,
            "width": config.width,
            "layers": config.layers,
            "lmax": getattr(config, "lmax", 1),  # what has no such setting has scalars and vectors
            "parameters": sum(_parts(config, "generator").values()),
        }
        for backbone, presets in SIZES.items()
        for preset, config in presets.items()
    ]
    echo(json.dumps(rows, indent=2) if as_json else tabulated(rows, headers="keys", intfmt=","))


@model.command(epilog=INFO_EXAMPLES)
@click.argument("checkpoint", metavar="[CHECKPOINT_FOLDER]", type=click.Path(path_type=Path), required=False)
@click.option("--backbone", metavar="NAME", help=f"One of {', '.join(SIZES)}.  [default: painn]")
@click.option("--preset", metavar="NAME", help=f"Its size, one of {', '.join(PRESETS)}.  [default: demo]")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a setting; repeatable.")
@click.option(
    "--data",
    "source",
    default="bundled",
    show_default=True,
    help="Whose crystals to measure on: 'bundled', a data set.",
)
@click.option(
    "--memory", metavar="SIZE", help="To fit a batch in, as 80GB or 24GiB.  [default: the GPU's, else free RAM]"
)
@click.option("--device", type=click.Choice(["cpu", "cuda"]), help="Where to measure; the GPU if there is one.")
@click.option("--counts-only", is_flag=True, help="Settings and parameters at once; nothing is run.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: counts, FLOPs and bytes, not rounded.")
def info(
    checkpoint: Path | None,
    backbone: str | None,
    preset: str | None,
    settings: tuple[str, ...],
    source: str,
    memory: str | None,
    device: str | None,
    counts_only: bool,
    as_json: bool,
) -> None:
    """Say what a network is and what a training step on it takes.

    The network is that of CHECKPOINT_FOLDER (or `shipped`), or the --backbone at the size of --preset. For generator
    and discriminator it prints the parameters by part, the FLOPs of a training step per structure, and its memory: a
    part that is there whatever the batch, a part per structure, and so the largest batch that fits, with and without
    activation_checkpointing.

    It measures by training on a few crystals of the data, of at most the preset's atoms, and scales by edges. On a CPU
    it counts the bytes of all tensors at the worst moment; a GPU's allocator adds its rounding and gaps. In the GAN
    stage the generator's step also runs forward and backward through the discriminator: add the two.
    """
    with told_in_a_line():
        if counts_only and (memory or device):
            raise ValueError("--counts-only runs nothing: leave --memory and --device out")
        config, max_atoms, title = _chosen(checkpoint, backbone, preset, settings)
        report: dict[str, Any] = {"title": title, "settings": config.model_dump(mode="json")}
        if counts_only:
            report["networks"] = {name: {"parameters": _parts(config, name)} for name in NETWORKS}
        else:
            report |= _measured(config, max_atoms, source, memory, device)
    echo(json.dumps(report, indent=2) if as_json else _page(config, report))


@model.command(epilog=CALIBRATE_EXAMPLES)
@click.argument("checkpoint", metavar="CHECKPOINT_FOLDER", type=click.Path(path_type=Path))
@click.option("--data", "source", required=True, help="What it was trained with: TRAIN,VAL, 'bundled', or a data set.")
@click.option("--part", type=click.Choice(["val", "test"]), default="val", show_default=True, help="Of --data.")
@click.option(
    "--max-crystals",
    type=click.IntRange(min=2),
    default=300,
    show_default=True,
    help="Mask a seeded sample of so many crystals.",
)
@click.option("--max-atoms", type=click.IntRange(min=1), help="Leave out larger ones.  [default: as in its training]")
@click.option(
    "--sigma-noise",
    default="0.0,0.1",
    show_default=True,
    help="How far atoms are displaced, in units of the shortest distance; 0 is a crystal as its CIF has it.",
)
@click.option(
    "--decoder",
    "decoders",
    multiple=True,
    type=click.Choice(["argmax", "ordered", "sampled", "beam"]),
    help="Whose candidates get sets; repeatable.  [default: beam]",
)
@click.option(
    "--energies", type=click.IntRange(min=0), default=0, help="Rank candidates of so many crystals by energy."
)
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="A setting of evaluate; repeatable.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder of tables and diagram.  [default: calibration/ beside it]"
)
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
def calibrate(
    checkpoint: Path,
    source: str,
    part: str,
    max_crystals: int,
    max_atoms: int | None,
    sigma_noise: str,
    decoders: tuple[str, ...],
    energies: int,
    settings: tuple[str, ...],
    out: Path | None,
    device: str,
) -> None:
    """Find out what a generator's odds are worth, and write it beside its weights.

    Crystals that it was not trained on are masked, displaced and completed. On one half of them it fits a temperature,
    which makes a probability of 0.7 come true seven times in ten, and sets such as "one of Ba, Sr, Pb in 90 % of such
    cases". On the other half it tells whether that holds: overall, per mask type, for rare elements, for joint
    candidates, and beside what needs no network. Nothing of a parent is in both halves.

    CHECKPOINT_FOLDER gets calibration.json, which `crystalsweep.load`, `complete` and `evaluate` then use; to be rid of
    it, remove the file. Promote after calibrating: a registered version is sealed.

    Minutes on a CPU: a beam takes about 0.3 s per masked crystal, and each parent gives three to six of these at each
    noise level.
    """
    with told_in_a_line():
        from crystalsweep.evaluation.calibration_run import CalibrationRequest, calibrate_checkpoint
        from crystalsweep.evaluation.calibration_tables import as_text
        from crystalsweep.evaluation.settings import EvaluationSettings
        from crystalsweep.inference.completion import JOINTLY
        from crystalsweep.inference.locate import Location
        from crystalsweep.inference.restorer import Restorer

        folder = checkpoint_folder(checkpoint)
        restorer = Restorer.of(Location(folder=folder, root=folder), str(checkpoint), device, calibrated=False)
        asked = [f"protocol.sigma_noise=[{sigma_noise}]", "protocol.draws=1", f"protocol.max_crystals={max_crystals}"]
        trained_up_to = restorer.info.config.get("max_atoms")
        if (most := max_atoms or trained_up_to) is not None:
            asked.append(f"max_atoms={most}")
        request = CalibrationRequest(
            checkpoint=str(checkpoint),
            source=source,
            part=part,
            settings=override(EvaluationSettings(), [*asked, *settings]),
            decoders=tuple(
                JOINTLY.model_copy(update={"method": each, "critic_weight": weight})
                for each in dict.fromkeys(decoders or ("beam",))
                for weight in dict.fromkeys((restorer.critic_weight, 0.0))
            ),
            energies=energies,
            out=out,
            device=device,
        )
        report = calibrate_checkpoint(request, restorer)
    for line in report.told:
        echo(line)
    found = report.fitted.calibration
    echo(f"sharpness (1 / temperature): sites {found.site_sharpness:.3f}, chains {found.chain_sharpness:.3f}")
    for title, table in report.tables:
        if len(table):
            heads, rows = as_text(table)
            echo(f"\n{title}\n{tabulated(rows, headers=heads, disable_numparse=True)}")
    echo(f"\ncalibration: {report.file}")
    echo(f"tables and diagram: {report.folder}")


def _chosen(
    checkpoint: Path | None, backbone: str | None, preset: str | None, settings: tuple[str, ...]
) -> tuple[BackboneConfig, int | None, str]:
    """Return the backbone's config, the greatest number of atoms it trains on, and what it is called."""
    if checkpoint is None:
        backbone, preset = backbone or "painn", preset or "demo"
        network, trained = override(size(backbone, preset), settings), stage_spec("pretrain").presets[preset]
        return network, trained.max_atoms, f"{backbone} at {preset}"
    if backbone or preset:
        raise ValueError("a checkpoint has its own backbone; leave --backbone and --preset out")
    from crystalsweep.inference.champion import SHIPPED, shipped_champion
    from crystalsweep.networks.checkpoint import read_backbone, read_info

    own = str(checkpoint) == SHIPPED and not checkpoint.exists()
    folder = checkpoint_folder(shipped_champion() if own else checkpoint)
    config, made = read_backbone(folder), read_info(folder)
    title = f"{config.name} of {folder} ({made.stage}, epoch {made.kept_epoch}, step {made.kept_step})"
    title += f", with {', '.join(settings)}" if settings else ""
    return override(config, settings), made.config.get("max_atoms"), title


def _build(config: BackboneConfig, network: str) -> Any:
    from crystalsweep.networks.models import Generator, PropertyModel

    return {"generator": Generator, "discriminator": PropertyModel}[network](config)


def _parts(config: BackboneConfig, network: str) -> dict[str, int]:
    from crystalsweep.networks.cost import parameters_by_part, weightless

    with weightless():
        return parameters_by_part(_build(config, network))


def _measured(
    config: BackboneConfig, max_atoms: int | None, source: str, memory: str | None, device: str | None
) -> dict[str, Any]:
    """Return what a report has beyond title and settings, when steps are run."""
    from crystalsweep.data import load_data, told_of_data
    from crystalsweep.networks.cost import HEADROOM, draw_sample, memory_here
    from crystalsweep.structures.devices import device_named

    device = device_named(device)
    room = parse_bytes(memory) if memory else memory_here()
    data = load_data(source, progress=source != "bundled")
    for line in told_of_data(source, data):
        echo(line, err=True)
    sample = draw_sample(data.train, config, max_atoms)
    return {
        "sample": {
            "source": source,
            "max_atoms": max_atoms,
            "structures": len(sample.crystals),
            "mean_atoms": float(sample.atoms.mean()),
            "most_atoms": int(sample.atoms.max()),
            "mean_edges": float(sample.edges.mean()),
            "most_edges": int(sample.edges.max()),
        },
        "device": device,
        "memory_bytes": room,
        "headroom": HEADROOM,
        "networks": {name: _network(config, name, sample, room, device) for name in NETWORKS},
    }


def _network(config: BackboneConfig, name: str, sample: Sample, room: int, device: str) -> dict[str, Any]:
    """Return parameters of one network, and what its training step takes with and without activation checkpointing."""
    import torch

    from crystalsweep.networks import cost

    result: dict[str, Any] = {}
    for checkpointing in (config.activation_checkpointing, not config.activation_checkpointing):
        variant = config.model_copy(update={"activation_checkpointing": checkpointing, "compile": False})
        with torch.random.fork_rng():
            torch.manual_seed(0)
            built = _build(variant, name).to(device)
            parts, standing = cost.parameters_by_part(built), cost.standing_bytes(built)
            chosen = sample.affordable(cost.WORK[device], sum(parts.values()))
            crystals, edges = [sample.crystals[i] for i in chosen], int(sample.edges[chosen].sum())
            to_mean = float(sample.edges.mean()) * len(chosen) / max(edges, 1)
            if not result:
                result = {
                    "parameters": parts,
                    "measured_on": {"structures": len(chosen), "edges": edges},
                    "flops_per_structure": cost.flops_per_structure(built, variant, crystals) * to_mean,
                    "standing_bytes": standing,
                }
            memory = cost.memory_of_step(built, variant, crystals)
        per_structure = memory.per_structure * to_mean
        result["checkpointing" if checkpointing else "no_checkpointing"] = {
            "bytes_per_structure": per_structure,
            "extra_bytes": memory.extra,
            "largest_batch": cost.largest_batch(room, standing + memory.extra, per_structure),
        }
    return result


# On the terminal


def _page(config: BackboneConfig, report: dict[str, Any]) -> str:
    settings = tabulated(
        [(leaf.path, leaf.value) for leaf in leaves(config)], ["setting", "value"], disable_numparse=True
    )
    parts = [report["title"], settings, _parameters(report["networks"])]
    if "sample" in report:
        parts += [_sample(report["sample"]), _training_step(report), _notes(report)]
    return "\n\n".join(parts)


def _parameters(networks: dict[str, Any]) -> str:
    counts = [networks[name]["parameters"] for name in NETWORKS]
    rows = [(part, *(c.get(part, "") for c in counts)) for part in dict.fromkeys(part for c in counts for part in c)]
    rows.append(("in all", *(sum(c.values()) for c in counts)))
    return tabulated(rows, ["parameters", *NETWORKS], intfmt=",", colalign=("left", "right", "right"))


def _sample(sample: dict[str, Any]) -> str:
    least = f" of at most {sample['max_atoms']} atoms" if sample["max_atoms"] else ""
    rows = [(what, sample[f"mean_{what}"], sample[f"most_{what}"]) for what in ("atoms", "edges")]
    table = tabulated(rows, ["per structure", "mean", "most"], floatfmt=",.1f", intfmt=",")
    return f"{sample['structures']} structures of {sample['source']}{least}:\n{table}"


def _training_step(report: dict[str, Any]) -> str:
    networks = [report["networks"][name] for name in NETWORKS]
    room = _short(report["memory_bytes"], "B")
    rows = [
        ("FLOPs per structure", *(_short(n["flops_per_structure"], "") for n in networks)),
        ("memory whatever the batch", *(_short(n["standing_bytes"], "B") for n in networks)),
    ]
    for key, how in {"no_checkpointing": "", "checkpointing": ", checkpointing"}.items():
        rows.append((f"memory per structure{how}", *(_short(n[key]["bytes_per_structure"], "B") for n in networks)))
        rows.append((f"largest batch in {room}{how}", *(f"{n[key]['largest_batch']:,}" for n in networks)))
    return tabulated(rows, ["a training step", *NETWORKS], disable_numparse=True, colalign=("left", "right", "right"))


def _notes(report: dict[str, Any]) -> str:
    sample, measured = report["sample"], report["networks"]["generator"]["measured_on"]
    larger = sample["most_edges"] / max(sample["mean_edges"], 1.0)
    return f"""\
FLOPs: forward and backward; matrix multiplications only, where a multiplication and its addition are two.
Memory whatever the batch: weights, gradients and the two moments of Adam. Memory per structure: activations at the mean
number of edges, measured on {report["device"]} with {measured["edges"]:,} edges in {measured["structures"]} \
structure{"" if measured["structures"] == 1 else "s"}; the largest takes {larger:.1f} times as much.
Largest batch: of mean structures, with {report["headroom"]:.0%} of the memory left free."""


def _short(value: float, unit: str) -> str:
    """Write a number with three digits and a decimal prefix: 1.23 GB."""
    power = max(len(f"{value:.0f}") - 1, 0) // 3
    return f"{value / 1000**power:.3g} {['', 'k', 'M', 'G', 'T', 'P', 'E'][power]}{unit}".rstrip()
