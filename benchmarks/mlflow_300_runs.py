"""Whether an experiment with 300 runs stays usable: how long MLflow's server takes for what its pages ask.

Writes 300 runs under one parent with the names, tags, parameters and numbers of metrics of a demo GAN sweep (the values
are random), starts a server over them, and times the requests of the runs table, of one run and of a comparison of
three. With `--keep`, the server stays up for a browser until Ctrl-C.

    python benchmarks/mlflow_300_runs.py                     two minutes
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
from mlflow import MlflowClient
from tabulate import tabulate

from crystalsweep.config import as_parameters
from crystalsweep.sweeping.space.parameters import always_named, run_name
from crystalsweep.tracking.tags import KIND
from crystalsweep.tracking.tracker import Tracker, now_ms
from crystalsweep.tracking.view import TAG, SavedView, ViewSection, encoded, link
from crystalsweep.training.catalogue import preset, stage_spec
from sweeps.axes import G_STEPS, SIGMA, W

METRICS = ("structural_validity", "compositional_validity", "compositional_similarity", "structural_similarity")
SECONDARY = ("masked_accuracy", "visible_accuracy", "paper_eq5", "failed", "novel_vs_input", "similarity_undefined")
MASKS, SIGMAS = ("species", "random15", "random30"), (0.1, 0.2)
OTHERS = ("loss", "loss/species", "loss/position", "loss/adversarial", "audit/ratio", "audit/cosine", "time/epoch_s")
SWEEP = "gan_noise-20261123-000000"


def names() -> list[str]:
    """Return metrics of a run, as a sweep logs them."""
    pooled = [f"val/{metric}{part}" for metric in METRICS + SECONDARY for part in ("", "/low", "/high", "/n")]
    apart = [f"val/{mask}/{sigma}/{metric}" for mask in MASKS for sigma in SIGMAS for metric in METRICS + SECONDARY[:4]]
    return ["val/score", *OTHERS, *pooled, *apart]


def fill(tracker: Tracker, experiment: str, runs: int, epochs: int) -> None:
    """Write the parent and its runs."""
    parent = tracker.start(experiment, SWEEP, kind="sweep", tags={"sweep": SWEEP, "stage": "gan"})
    random, metrics, shared = np.random.default_rng(0), names(), as_parameters(preset("gan", "demo"))
    for number in range(runs):
        settings = {SIGMA: float(random.choice([0.1, 0.2])), W: float(10 ** random.uniform(-2, 1)), G_STEPS: 10}
        seed = number % 3
        tags = {"sweep": SWEEP, "stage": "gan", "backbone": "painn", "control": "false", "seed": str(seed)}
        name = f"gan {run_name(always_named(stage_spec('gan').named), settings)} seed {seed}"
        params = shared | {key: str(value) for key, value in settings.items()}
        run = tracker.start(
            experiment, name, kind="trial", parent=parent, params=params, tags={**tags, "state": "complete"}
        )
        for epoch in range(1, epochs + 1):
            tracker.log(run, dict(zip(metrics, random.random(len(metrics)).tolist(), strict=True)), epoch)
        tracker.finish(run, "FINISHED")
    tracker.finish(parent, "FINISHED")


def save_view(tracker: Tracker, experiment: str) -> None:
    """Save the view that a sweep saves."""
    headline = ["val/score", *(f"val/{metric}" for metric in METRICS)]
    view = SavedView(
        name=SWEEP,
        filter=f"tags.sweep = '{SWEEP}' and tags.`{KIND}` = 'trial'",
        order_by="metrics.`val/score`",
        columns=[*(f"metrics.`{name}`" for name in headline), f"params.`{SIGMA}`", f"params.`{W}`"],
        sections=[
            ViewSection(name="What varied, and the headline", parameters=[SIGMA, W], results=headline[:4], columns=1),
            ViewSection(name="Headline over the epochs", lines=headline),
        ],
        folded=[*sorted({name.rpartition("/")[0] for name in names() if "/" in name}), "Model metrics"],
    )
    tracker.tag_experiment(experiment, {f"{TAG}{SWEEP}": encoded(view, now_ms())})


def post(address: str, path: str, body: object) -> int:
    """Return the bytes of the answer."""
    request = urllib.request.Request(
        f"{address}/ajax-api/2.0/mlflow/{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=120) as answer:
        return len(answer.read())


def get(address: str, path: str) -> int:
    """Return the bytes of the answer."""
    with urllib.request.urlopen(f"{address}/ajax-api/2.0/mlflow/{path}", timeout=120) as answer:
        return len(answer.read())


def timed(address: str, experiment: str, runs: list[str]) -> list[list[object]]:
    """Return a row per request: what it is for, median seconds of three, megabytes."""
    page = {"experiment_ids": [experiment], "max_results": 100, "order_by": ["metrics.`val/score` DESC"]}
    whole = page | {"max_results": 300}
    chosen = page | {"filter": f"tags.sweep = '{SWEEP}' and tags.`{KIND}` = 'trial' and metrics.`val/score` > 0.5"}
    curves = "&".join(f"run_ids={run}" for run in runs[:3])
    asked = {
        "runs table, first 100 by score": lambda: post(address, "runs/search", page),
        "runs table, all 300": lambda: post(address, "runs/search", whole),
        "filtered by tags and a metric": lambda: post(address, "runs/search", chosen),
        "one run": lambda: get(address, f"runs/get?run_id={runs[0]}"),
        "a curve of three runs": lambda: get(
            address, f"metrics/get-history-bulk-interval?{curves}&metric_key=val/score&max_results=320"
        ),
    }
    rows: list[list[object]] = []
    for what, ask in asked.items():
        times, size = [], 0
        for _ in range(3):
            began = time.perf_counter()
            size = ask()
            times.append(time.perf_counter() - began)
        rows.append([what, f"{median(times):.2f}", f"{size / 1e6:.2f}"])
    return rows


def main() -> None:
    """Write, serve, time."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--port", type=int, default=5973)
    parser.add_argument("--keep", action="store_true", help="leave the server up until Ctrl-C")
    options = parser.parse_args()
    with TemporaryDirectory() as scratch:
        uri = f"sqlite:///{Path(scratch) / 'mlflow.db'}"
        tracker = Tracker(uri)
        experiment = tracker.experiment("gan_noise", Path(scratch) / "artifacts")
        began = time.perf_counter()
        fill(tracker, experiment, options.runs, options.epochs)
        save_view(tracker, experiment)
        print(f"{options.runs} runs of {len(names())} metrics written in {time.perf_counter() - began:.0f} s")
        command = [str(Path(sys.executable).parent / "mlflow"), "server", "--backend-store-uri", uri, "--workers", "1"]
        command += ["--host", "127.0.0.1", "--port", str(options.port)]
        address = f"http://127.0.0.1:{options.port}"
        with (Path(scratch) / "server.log").open("w") as log:
            server = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ}, start_new_session=True)
        try:
            _wait(address)
            runs = MlflowClient(uri).search_runs([experiment], f"tags.`{KIND}` = 'trial'", max_results=3)
            found = [str(run.info.run_id) for run in runs]
            print(tabulate(timed(address, experiment, found), ["request", "s", "MB"]))
            if options.keep:
                print(f"view:    {link(address, experiment, SWEEP)}\nruns:    {' '.join(found)}", flush=True)
                server.wait()
        finally:
            os.killpg(server.pid, 15)
            server.wait()


def _wait(address: str) -> None:
    for _ in range(120):
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=2):
                return
        except OSError:
            time.sleep(1)
    raise SystemExit(f"no server at {address}")


if __name__ == "__main__":
    main()
