"""Entry point of a submitted job: prints which library runs in the driver and in a worker. Not a test itself."""

import json

import ray

import trainables  # noqa: F401  brings the library that lies beside it, before another is imported
from crystalsweep.sweeping.cluster import connect_cluster


def library() -> str:
    """File of the library in this process."""
    import crystalsweep  # pickled by value, so that a worker finds the library by its own path

    return str(crystalsweep.__file__)


connect_cluster()
print("FOUND " + json.dumps({"driver": library(), "worker": ray.get(ray.remote(library).remote())}))
