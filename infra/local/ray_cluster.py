"""Ray's nodes on loopback, a head and workers, all of which ask for the token.

Jobs inherit the environment of the node that runs them. What they need of MLflow's is there, so that no password
travels in a job's description, which Ray's dashboard shows and its logs keep.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from urllib.request import Request, urlopen

from infra.local.component import Component
from infra.local.layout import Layout, Secrets, Settings, bare_environment, client_environment

_NODE = Path(__file__).with_name("ray_node.py")
_OBJECT_STORE_BYTES = 256 << 20
"""A node's: weights and reports pass through it, no data sets."""
_LONGEST_FOLDER = 107 - len("/session_2026-01-01_00-00-00_000000_0000000/sockets/plasma_store")
"""Bytes of a folder below which Ray's socket names fit into what the kernel takes."""


def ray_nodes(layout: Layout, settings: Settings, secrets: Secrets) -> list[Component]:
    """Return the head, then the workers."""
    environment = bare_environment() | client_environment(layout, settings, secrets) | {"RAY_USAGE_STATS_ENABLED": "0"}
    size = ["--num-cpus", str(settings.cpus_per_node), "--object-store-memory", str(_OBJECT_STORE_BYTES)]
    ports = ["--min-worker-port", "0", "--max-worker-port", "0"]  # free ones: two nodes here cannot share a range
    head = [
        *("--head", "--port", str(settings.cluster_port), "--ray-client-server-port", str(settings.client_port)),
        *("--dashboard-host", "127.0.0.1", "--dashboard-port", str(settings.dashboard_port)),
    ]
    worker = ["--address", f"127.0.0.1:{settings.cluster_port}", "--num-gpus", "0"]  # the machine's are the head's

    def node(number: int) -> Component:
        agent = settings.agent_port(number)
        return Component(
            name=f"ray-worker-{number}" if number else "ray-head",
            command=[
                *(sys.executable, str(_NODE), "start", "--block", "--node-ip-address", "127.0.0.1"),
                *("--dashboard-agent-listen-port", str(agent), *size, *ports, *(worker if number else head)),
                *("--temp-dir", str(layout.ray(number))),
            ],
            environment=environment,
            port=agent if number else settings.dashboard_port,
            pids=layout.pids,
            log=layout.logs / (f"ray-worker-{number}.log" if number else "ray-head.log"),
            answers=lambda: living_nodes(settings, secrets) > number,
            remedy="--first-port" if number else "--dashboard-port",
        )

    return [node(number) for number in range(settings.ray_nodes)]


def living_nodes(settings: Settings, secrets: Secrets) -> int:
    """Return how many nodes the head counts."""
    request = Request(f"{settings.dashboard}/api/v0/nodes", headers={"Authorization": f"Bearer {secrets.ray_token}"})
    with urlopen(request, timeout=10) as answer:
        told = json.load(answer)["data"]["result"]["result"]
    return sum(node["state"] == "ALIVE" for node in told)


def require_short(folder: Path) -> None:
    """Raise ValueError where Ray's socket names would be too long for the kernel."""
    if len(str(folder).encode()) > _LONGEST_FOLDER:
        raise ValueError(
            f"{folder} is too long for Ray's sockets (at most {_LONGEST_FOLDER} bytes); give a shorter --folder"
        )
