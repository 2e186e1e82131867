"""`ray start` for a node that others cannot reach: its servers listen on 127.0.0.1 alone.

`ray start --node-ip-address 127.0.0.1` puts the machine's public address in its place, and then listens on every
interface. Here the address stays. Whatever the node starts, jobs among them, is told by Ray's own variable that this
machine's address is the loopback one; that variable is Ray's for laptops with a firewall, and forbids a second node,
which is why this process does not read it. Ray is pinned, and a test looks at every socket.
"""

from __future__ import annotations

import os

_CLUSTERS = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"


def main() -> None:
    """Run Ray's own command line."""
    os.environ[_CLUSTERS] = "1"
    from ray._private import services
    from ray.scripts import scripts

    os.environ[_CLUSTERS] = "0"
    services.resolve_ip_for_localhost = lambda host: host
    scripts.main()


if __name__ == "__main__":
    main()
