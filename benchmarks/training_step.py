"""How long does one training step take, beside fairchem-core 1.10's EquiformerV2 and schnetpack's PaiNN on the same
crystals and edges?

    pip install --no-deps --target DIR fairchem-core==1.10.0
    python benchmarks/training_step.py --reference DIR             # or --install-reference
    pip install --no-deps --target DIR2 schnetpack==2.1.1
    python benchmarks/training_step.py --config painn --schnetpack DIR2 --out benchmarks/records/painn_step.json

A step is forward, loss, backward and Adam. Every network lives in a process of its own and they take turns, one step
each per round, so that whatever else the machine does hits all alike; a ratio is the median over rounds of two steps of
one round, with the least and the greatest. Ours search for their edges in every step, 1.10 is given the same ones.
Dropout is off where a network is the same as 1.10's, and as the preset has it elsewhere. Adam is PyTorch's default for
1.10, as in the paper's code, and its fused form for all others, as in our stages. Compilation takes minutes, before the
clock starts; `--only` chooses networks. Networks named "memory kept" have their process keep freed memory, as trainings
do. It also prints the share of matrix products in a step, its page faults, and for PaiNN how many times longer it takes
than the least that its products and filters need on this core (`painn_sides.floor_seconds`).
"""

from __future__ import annotations

import json
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import click
import numpy as np
import torch
from safetensors.torch import load_file, save_file
from tabulate import tabulate
from torch import Tensor
from torch.nn import functional
from tqdm import trange

from crystalsweep.networks.architectures import BackboneConfig, EquiformerV2Config, PaiNNConfig, size
from crystalsweep.structures.crystal import Crystal
from crystalsweep.training.machine import keep_memory

sys.path.insert(0, str(Path(__file__).parents[1] / "infra"))
from painn_sides import Plain, SchnetGenerator, Schnetpack, floor_seconds, load_schnetpack, plain_generator
from record_equiformer_v2 import CUTOFF, PAPER, RELEASE, Net, apply, build, installed, load_release

W_POS = 60.0
NOISE = 0.1
"""Å; standard deviation of what the networks are to predict."""
MAX_ATOMS = 20
WARM_UP = 2
REFERENCE = f"{RELEASE.replace('==', ' ')} EquiformerV2"

Settings: TypeAlias = Net | BackboneConfig | Plain | Schnetpack
"""Of release 1.10's network, of one of ours, of ours as it was, or of schnetpack's."""
KEPT = ", memory kept"
"""In the name of a network: its process keeps freed memory."""
Batch = dict[str, Tensor]
PRODUCTS = {"aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm", "mkldnn::_linear_pointwise"}
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


@dataclass(frozen=True)
class Bench:
    """Networks of one cutoff and number of neighbours."""

    networks: dict[str, Settings]
    crystals: int
    """How many, unless --crystals says otherwise."""
    sparse: bool
    """Take the crystals of 8 and more atoms with the fewest edges per atom, not a random sample."""
    reference: str = REFERENCE
    """Network that the speed of all is compared with."""
    max_atoms: int = MAX_ATOMS
    """Of a crystal."""
    min_atoms: int = 1
    """Of a crystal."""

    def restricted(self, only: tuple[str, ...]) -> Bench:
        """Release 1.10's network and those with one of these texts in their names; all of them for no text."""
        chosen = {
            name: settings
            for name, settings in self.networks.items()
            if not only or name == self.reference or any(text in name for text in only)
        }
        return replace(self, networks=chosen)


def twin(net: Net, **settings: Any) -> EquiformerV2Config:
    """Return our EquiformerV2 with the layers, weights and heads that release 1.10's has."""
    sizes = {"width": net.channels, "layers": net.blocks, "lmax": net.lmax, "mmax": net.mmax, "feed_forward": net.ffn}
    attention = {"attention_heads": net.heads, "attention_hidden": net.attn_hidden, "alpha_channels": net.alpha}
    edges = {"value_channels": net.value, "edge_channels": net.edge, "radial_functions": 600, "symmetry": "SO3"}
    undropped = {"alpha_drop": 0.0, "drop_path": 0.0, "head_layout": "released"}
    return EquiformerV2Config.model_validate(sizes | attention | edges | undropped | settings)


def ways(name: str, config: BackboneConfig) -> dict[str, Settings]:
    """Return a network in float32 and in bf16."""
    return {name: config, f"{name}, bf16": config.model_copy(update={"precision": "bf16"})}


def uncompiled(config: BackboneConfig) -> BackboneConfig:
    """Return the network without compiled blocks."""
    return config.model_copy(update={"compile": False})


PAINN = PaiNNConfig(width=96)
"""Preset `small`."""
PLAIN = "painn as it was"
SMALL = Net(lmax=2, blocks=2, channels=64, attn_hidden=64, heads=4, alpha=32, value=16, ffn=128, edge=64)
SAME = "equiformer_v2, the same network"
BENCHES = {
    "small": Bench(
        {REFERENCE: SMALL}
        | ways(SAME, twin(SMALL))
        | {f"{SAME}{KEPT}": twin(SMALL), f"{SAME}, compiled{KEPT}": twin(SMALL, compile=True)}
        | ways("equiformer_v2 small", size("equiformer_v2", "small"))
        | ways("escn_md small", size("escn_md", "small"))
        | {"painn, width 64": PaiNNConfig(width=64)},
        crystals=16,
        sparse=False,
    ),
    "paper": Bench(
        {REFERENCE: PAPER}
        | ways(SAME, twin(PAPER, max_neighbours=500))
        | {f"{SAME} with reflections (O3)": twin(PAPER, max_neighbours=500, symmetry="O3")}
        | {"escn_md paper": size("escn_md", "paper"), "painn paper": size("painn", "paper")},
        crystals=2,
        sparse=True,
    ),
    "painn": Bench(
        {PLAIN: Plain(PAINN)}
        | {"schnetpack's PaiNN": Schnetpack(PAINN), f"schnetpack's PaiNN{KEPT}": Schnetpack(PAINN)}
        | {f"{PLAIN}{KEPT}": Plain(PAINN)}
        | {"painn in blocks": uncompiled(PAINN), f"painn in blocks{KEPT}": uncompiled(PAINN)}
        | {f"painn compiled{KEPT}": PAINN.model_copy(update={"compile": True})},
        crystals=32,
        sparse=False,
        reference=PLAIN,
        max_atoms=60,
        min_atoms=8,  # 17 on average, as of the Materials Project's up to 60; most bundled ones are smaller
    ),
}


# Either side, in its worker


class Folders(NamedTuple):
    """Where other packages are installed."""

    release: Path | None
    schnetpack: Path | None

    def lacks(self, settings: Settings) -> str:
        """Return what would have to be given for a network, or nothing."""
        if isinstance(settings, Net) and self.release is None:
            return "give --reference or --install-reference"
        return "give --schnetpack" if isinstance(settings, Schnetpack) and self.schnetpack is None else ""


class Side(NamedTuple):
    """What the two implementations do differently; made in the worker, once the implementation is imported."""

    build: Callable[[], Any]
    """The network."""
    graph: Callable[[Batch], Any]
    """What a network reads besides the batch, built in every step."""
    forward: Callable[[Any, Batch, Any], tuple[Tensor, Tensor]]
    """(n, 118) logits and (n, 3) vectors of a network for a batch and its graph."""


def release(net: Net, folder: Path) -> Side:
    """Return fairchem-core 1.10, which is given its edges."""
    load_release(folder)
    import_module("fairchem.core.models.equiformer_v2.equiformer_v2")
    return Side(lambda: build(net), lambda _: None, lambda model, batch, _: apply(model, batch)[1:])


def ours(config: BackboneConfig) -> Side:
    """Return crystalsweep, which searches for its edges."""
    from crystalsweep.networks.models import Generator, graph_of, one_hot

    import_module(type(config).implementation.partition(":")[0])
    return Side(
        lambda: Generator(config),
        lambda batch: graph_of(batch["cart"], batch["lattice"], batch["counts"], config),
        lambda model, batch, graph: model(one_hot(batch["species"]), graph),
    )


def plain(config: PaiNNConfig) -> Side:
    """Return our PaiNN with messages as its equations read."""
    return ours(config)._replace(build=lambda: plain_generator(config))


def schnet(config: PaiNNConfig, folder: Path) -> Side:
    """Return schnetpack's PaiNN, on our edges."""
    load_schnetpack(folder)
    side = ours(config)
    return side._replace(
        build=lambda: SchnetGenerator(config), forward=lambda model, batch, graph: model(batch["species"], graph)
    )


def side_of(settings: Settings, folders: Folders) -> Side:
    """Return how a network is built, and what it reads."""
    if isinstance(settings, Net):
        return release(settings, _given(folders.release))
    if isinstance(settings, Schnetpack):
        return schnet(settings.config, _given(folders.schnetpack))
    return plain(settings.config) if isinstance(settings, Plain) else ours(settings)


def _given(folder: Path | None) -> Path:
    assert folder is not None, "left out before"
    return folder


class Facts(NamedTuple):
    """What is known of a network beside the times of its steps."""

    parameters: int
    memory: float
    """MB beyond the libraries', at most."""
    page_faults: int
    """Of a step."""
    product_share: float
    """Of a step's time, that matrix products take."""
    floor: float | None
    """Seconds that a step on this core takes at least; of PaiNN."""


class Training:
    """A network, its optimizer and its only batch."""

    def __init__(
        self, name: str, settings: Settings, folders: Folders, given: Path, device: str, threads: int, clock: str
    ) -> None:
        torch.set_num_threads(threads)
        if KEPT in name:
            keep_memory()
        self.side = side_of(settings, folders)
        self.settings, self.device = settings, device
        self.clock = CLOCKS[clock]
        self.batch = {name: value.to(device) for name, value in load_file(given).items()}
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak counts from here
        self.memory_before = resident("VmRSS")
        torch.manual_seed(0)
        self.model = self.side.build().train().to(device)
        theirs = isinstance(settings, Net)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-4, fused=not theirs)
        graph = self.side.graph(self.batch)
        if graph is not None and not torch.equal(graph.src, self.batch["src"]):
            raise ValueError("its graph has other edges than those 1.10 is given")
        for _ in range(WARM_UP):
            self.step()

    def step(self) -> tuple[float, float]:
        """Return seconds of one step, and those of them that the graph took."""
        began = self._now()
        graph = self.side.graph(self.batch)
        built = self._now()
        logits, vectors = self.side.forward(self.model, self.batch, graph)
        error = (self.batch["noise"] - vectors).square().sum(dim=-1).mean()
        loss = functional.cross_entropy(logits, self.batch["species"] - 1) + W_POS * error
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return self._now() - began, built - began

    def _now(self) -> float:
        if self.device != "cpu":
            torch.cuda.synchronize()
        return self.clock()

    def facts(self) -> Facts:
        """Return what is known of the network once its steps are timed."""
        peak = resident("VmHWM") - self.memory_before
        parameters = sum(parameter.numel() for parameter in self.model.parameters())
        memory = peak if self.device == "cpu" else torch.cuda.max_memory_allocated() / 1e6
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        self.step()
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults
        return Facts(parameters, memory, faults, self._product_share(), self._floor())

    def _product_share(self) -> float:
        """Return the share of a step that matrix products take."""
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            self.step()
        times = {row.key: row.self_cpu_time_total for row in profile.key_averages()}
        products = sum(spent for key, spent in times.items() if key.removesuffix("_") in PRODUCTS)
        return products / sum(times.values())

    def _floor(self) -> float | None:
        config = config_of(self.settings)
        if not isinstance(config, PaiNNConfig) or self.device != "cpu":
            return None
        return floor_seconds(self.step, len(self.batch["src"]), config)


def resident(field: str) -> float:
    """Return resident memory of this process, MB; NaN where the system is not Linux."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(field)), float("nan"))


_training: Training
"""Of this worker."""


def start(*arguments: Any) -> None:
    """Give this worker its `Training`."""
    global _training
    _training = Training(*arguments)


def call(method: str) -> Any:
    """Return what this worker's `Training` answers."""
    return getattr(_training, method)()


# The process that takes turns


def sample(bench: Bench, count: int) -> list[Crystal]:
    """Return bundled crystals of at most `MAX_ATOMS` atoms."""
    from crystalsweep.data import load_bundled
    from crystalsweep.structures.neighbours import neighbour_list

    crystals = [crystal for crystal in load_bundled("val") if bench.min_atoms <= len(crystal) <= bench.max_atoms]
    if bench.sparse:
        big = [crystal for crystal in crystals if len(crystal) >= 8]
        return sorted(big, key=lambda c: len(neighbour_list(c.lattice, c.frac, CUTOFF).src) / len(c))[:count]
    return [crystals[i] for i in np.random.default_rng(0).choice(len(crystals), count, replace=False)]


def batch_of(crystals: list[Crystal], config: BackboneConfig) -> Batch:
    """Return the crystals with noise on their positions, and the edges of the config."""
    from crystalsweep.networks.models import graph_of
    from crystalsweep.structures.batch import collate

    batch = collate(crystals)
    noise = NOISE * torch.randn(batch.cart.shape, generator=torch.Generator().manual_seed(0))
    graph = graph_of(batch.cart + noise, batch.lattice, batch.counts, config)
    atoms = {"species": batch.species, "cart": graph.cart, "noise": noise}
    edges = {"src": graph.src, "dst": graph.dst, "offset": graph.offset}
    return atoms | edges | {"lattice": batch.lattice, "counts": batch.counts}


def worker(stack: ExitStack, *arguments: Any) -> ProcessPoolExecutor:
    """Return a process with a `Training` that has run a few steps; it ends with the stack."""
    pool = stack.enter_context(ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")))
    pool.submit(start, *arguments).result()
    return pool


def config_of(settings: Settings) -> BackboneConfig | None:
    """Return what our graphs are made by; none of release 1.10."""
    if isinstance(settings, Plain | Schnetpack):
        return settings.config
    return settings if isinstance(settings, BackboneConfig) else None


def measure(bench: Bench, count: int, folders: Folders, repeats: int, *way: Any) -> dict[str, Any]:
    """Time all networks of a bench in turn; what the record holds of it. `way` goes to every `Training`."""
    crystals = sample(bench, count)
    configs = [config for settings in bench.networks.values() if (config := config_of(settings))]
    batch = batch_of(crystals, configs[0])
    skipped: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as exchange, ExitStack() as stack:
        given = Path(exchange) / "batch.safetensors"
        save_file(batch, given)
        workers = {}
        for name, settings in bench.networks.items():
            if lacking := folders.lacks(settings):
                skipped[name] = lacking
                continue
            try:
                workers[name] = worker(stack, name, settings, folders, given, *way)
            except Exception as error:  # whatever it is, the others can run
                skipped[name] = f"{type(error).__name__}: {error}"
        rounds = [{name: pool.submit(call, "step").result() for name, pool in workers.items()} for _ in trange(repeats)]
        known = {name: pool.submit(call, "facts").result() for name, pool in workers.items()}
    rows = [row(name, bench, known[name], rounds, crystals) for name in workers]
    sizes = {"crystals": len(crystals), "atoms": len(batch["species"]), "edges": len(batch["src"])}
    return sizes | {"ids": [crystal.id for crystal in crystals], "rows": rows, "skipped": skipped}


def row(name: str, bench: Bench, known: Facts, rounds: list[dict[str, Any]], crystals: list[Crystal]) -> dict[str, Any]:
    """Return one network's figures; `speed` is the reference's time over its own."""
    settings, reference = bench.networks[name], bench.reference
    steps, graphs = zip(*(turn[name] for turn in rounds), strict=True)
    median = statistics.median(steps)
    ratios = [turn[reference][0] / turn[name][0] for turn in rounds if reference in turn]
    return {
        "network": name,
        "settings": _json_of(settings),
        "parameters": known.parameters,
        "step_s": median,
        "structures_per_s": len(crystals) / median,
        "atoms_per_s": sum(map(len, crystals)) / median,
        "memory_mb": known.memory,
        "page_faults": known.page_faults,
        "matrix_product_share": known.product_share,
        "floor_s": known.floor,
        "over_floor": None if known.floor is None else median / known.floor,
        "speed": {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)} if ratios else None,
        "graph_share": None if config_of(settings) is None else statistics.median(graphs) / median,
        "seconds": [list(turn[name]) for turn in rounds],
    }


def _json_of(settings: Settings) -> dict[str, Any]:
    config = config_of(settings)
    return config.model_dump(mode="json") if config else asdict(settings)  # type: ignore[arg-type]


def show(name: str, bench: dict[str, Any]) -> None:
    """Show the table of one bench."""
    sizes = f"{bench['crystals']} crystals, {bench['atoms']} atoms, {bench['edges']} edges"
    click.echo(f"\n{name}: {sizes}; speed beside {BENCHES[name].reference}")
    headers = ["network", "parameters", "step, ms", "structures/s", "atoms/s", "memory, MB", "speed"]
    headers += ["graph", "products", "page faults", "÷ floor"]
    rows = []
    for each in bench["rows"]:
        per_second = f"{each['structures_per_s']:.2f}", f"{each['atoms_per_s']:.1f}"
        size_and_time = f"{each['parameters']:,}", f"{each['step_s'] * 1e3:,.0f}"
        speed = "{median:.2f} ({min:.2f}–{max:.2f})".format(**each["speed"]) if each["speed"] else ""
        share = "" if each["graph_share"] is None else f"{each['graph_share']:.1%}"
        over = "" if each["over_floor"] is None else f"{each['over_floor']:.2f}"
        inside = f"{each['matrix_product_share']:.0%}", f"{each['page_faults']:,}", over
        rows.append([each["network"], *size_and_time, *per_second, f"{each['memory_mb']:,.0f}", speed, share, *inside])
    click.echo(tabulate(rows, headers=headers, disable_numparse=True))
    for network, reason in bench["skipped"].items():
        click.echo(f"left out: {network}: {reason}")


def machine(device: str, threads: int) -> dict[str, Any]:
    """Return where it ran."""
    libraries = {name: version(name) for name in ("torch", "fairchem-core", "e3nn", "torch-geometric")}
    libraries["date"] = datetime.now(UTC).date().isoformat()
    name = torch.cuda.get_device_name() if device != "cpu" else platform.processor() or platform.machine()
    return {"device": name, "system": platform.platform(), "cores": os.cpu_count(), "threads": threads} | libraries


@click.command()
@click.option("--reference", type=click.Path(path_type=Path, exists=True, file_okay=False), help="Folder of 1.10.")
@click.option("--schnetpack", type=click.Path(path_type=Path, exists=True, file_okay=False), help="Folder of it.")
@click.option("--install-reference", is_flag=True, help="Install 1.10 into a temporary folder with pip.")
@click.option("--config", type=click.Choice([*BENCHES, "all"]), default="small", show_default=True)
@click.option("--crystals", type=click.IntRange(1), help="Crystals of a batch.  [default: 16 for small, 2 for paper]")
@click.option("--only", multiple=True, metavar="TEXT", help="Networks with this in their name; repeatable.")
@click.option("--repeats", type=click.IntRange(1), default=15, show_default=True, help="Rounds.")
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="Of each network.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--clock", type=click.Choice(list(CLOCKS)), default="wall", show_default=True, help="cpu: if busy.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), default="training_step.json", show_default=True)
def main(
    reference: Path | None,
    schnetpack: Path | None,
    install_reference: bool,
    config: str,
    crystals: int | None,
    only: tuple[str, ...],
    repeats: int,
    threads: int,
    device: str,
    clock: str,
    out: Path,
) -> None:
    """Time the networks and write the record to OUT."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    record: dict[str, Any] = {"machine": machine(device, threads), "clock": clock, "repeats": repeats, "benches": {}}
    with installed() if install_reference else nullcontext(reference and reference.resolve()) as folder:
        for name in BENCHES if config == "all" else [config]:
            bench = BENCHES[name].restricted(only)
            folders = Folders(folder, schnetpack and schnetpack.resolve())
            found = measure(bench, crystals or bench.crystals, folders, repeats, device, threads, clock)
            record["benches"][name] = found
            show(name, found)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    click.echo(f"\nrecord: {out}")


if __name__ == "__main__":
    main()
