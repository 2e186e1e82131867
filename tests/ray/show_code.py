"""Entry point of a submitted job: prints which library runs in the driver and in a worker. Not a test itself."""

import json
import sys

import ray

from crystalsweep.sweeping.cluster import connect_cluster


def library() -> str:
    """File of the library in this process, as `trainables` has settled it."""
    import trainables  # noqa: F401

    return str(sys.modules["crystalsweep"].__file__)


connect_cluster()
print("FOUND " + json.dumps({"driver": library(), "worker": ray.get(ray.remote(library).remote())}))
