"""Entry point of a submitted job: prints which library runs in the driver and in a worker. Not a test itself."""

import json
import sys

import ray

import trainables  # noqa: F401  brings the library that lies beside it, before another is imported
from crystalsweep.sweeping.cluster import connect_cluster


def library() -> str:
    """File of the library in this process."""
    return str(sys.modules["crystalsweep"].__file__)


connect_cluster()
print("FOUND " + json.dumps({"driver": library(), "worker": ray.get(ray.remote(library).remote())}))
