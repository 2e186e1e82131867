"""Joining Ray's cluster, or starting one on this machine. Whatever uses Ray begins here."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from crystalsweep.artifacts.addresses import ray_address
from crystalsweep.cluster.private import CLOSED, kept_on_loopback, started_in_time

LOOPBACK = "127.0.0.1"

TOKEN = Path.home() / ".ray" / "auth_token"
"""Of this user's clusters; Ray makes it with the first."""


def join_cluster(
    *, cpus: int | None = None, dashboard: bool = False, runtime_env: Mapping[str, Any] | None = None
) -> None:
    """Join the cluster that RAY_ADDRESS names, as in a submitted job, else start one on this machine.

    One that is started listens on the loopback address alone, and has no exporters of metrics: these ask for no token.
    Nothing is changed of a cluster that is joined.

    Args:
        cpus: CPUs of a cluster that is started; by default the machine's.
        dashboard: Whether one that is started has a dashboard, and with it the State API.
        runtime_env: What workers run with (Ray's words).

    Raises:
        RuntimeError: Ray did not start within the half minute that it gives itself.
    """
    import ray

    address = ray_address()  # never a cluster that Ray remembers and that may be long gone
    starts = address == "local"
    own: dict[str, Any] = {"_node_ip_address": LOOPBACK, "num_cpus": cpus, "include_dashboard": dashboard}
    own |= {"dashboard_host": LOOPBACK}
    with (
        _environment(CLOSED) if starts else nullcontext(),
        kept_on_loopback() if starts else nullcontext(),
        started_in_time(),
    ):
        ray.init(
            address,
            log_to_driver=False,
            logging_level="ERROR",
            runtime_env=dict(runtime_env) if runtime_env else None,
            **(own if starts else {}),
        )
    with suppress(OSError):
        TOKEN.chmod(0o600)  # Ray makes it readable for everybody


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set these variables for the processes that are started meanwhile."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
