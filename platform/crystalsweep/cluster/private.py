"""What is used of Ray's services beyond their documented interface; tests/test_private.py names each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

CLOSED = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_enable_metrics_collection": "0",
    "AUTOSCALER_METRIC_PORT": "-1",
    "DASHBOARD_METRIC_PORT": "-1",
    "GLOO_SOCKET_IFNAME": "lo",
}
"""Environment in which a cluster is started that only this machine reaches.

The first is Ray's switch for laptops with a firewall: this machine's address is the loopback one, also for what the
cluster starts later. Three take away its Prometheus endpoints, which ask for no token: that of the node, and those of
monitor and dashboard, which know no switch and leave out a port that is none (with a traceback in their logs). The last
is torch's: workers of one training meet where Ray's do.
"""


@contextmanager
def kept_on_loopback() -> Iterator[None]:
    """Let `ray.init` take 127.0.0.1 for an address meanwhile; it would put the machine's public one in its place, and
    then listen on every interface."""
    from ray._private import services

    resolve = services.resolve_ip_for_localhost
    services.resolve_ip_for_localhost = lambda host: host
    try:
        yield
    finally:
        services.resolve_ip_for_localhost = resolve


TOO_LATE = "timed out during startup"
"""In the message of the error, which is of no kind of its own, with which Ray gives up its own start."""


@contextmanager
def started_in_time() -> Iterator[None]:
    """Say what to do where Ray did not start within the half minute that it gives itself.

    Raises:
        RuntimeError: Instead of Ray's error.
    """
    try:
        yield
    except Exception as error:
        if TOO_LATE not in str(error):
            raise
        raise RuntimeError(
            "Ray did not start on this machine within half a minute: it is too busy, or short of memory. Try again "
            "when it has less to do; evaluate, promote, verify and train do without Ray with --workers 1"
        ) from error
