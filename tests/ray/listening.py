"""Who of a process and what it started listens where, from the kernel's own tables."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from pathlib import Path

from tests.ray.conftest import descendants

_LISTEN = "0A"


@dataclass(frozen=True, order=True)
class Listener:
    """A TCP socket that accepts connections."""

    process: str
    """The first word of its command line."""
    address: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches it."""
        address = ip_address(self.address)
        mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
        return (mapped or address).is_loopback


def listeners(pid: int) -> set[Listener]:
    """All sockets of a process and its descendants that accept connections now."""
    there = {inode: address for table in ("tcp", "tcp6") for inode, address in _table(Path("/proc/net") / table)}
    tree = descendants(pid) | {pid: "driver"}
    return {
        Listener(Path(name.split()[0]).name if name.strip() else "", *there[inode])
        for each, name in tree.items()
        for inode in _sockets(each)
        if inode in there
    }


def _table(path: Path) -> list[tuple[str, tuple[str, int]]]:
    """Inode, address and port of each socket of a table that listens."""
    rows = [line.split() for line in path.read_text().splitlines()[1:]]
    return [(row[9], (_address(row[1][:-5]), int(row[1][-4:], 16))) for row in rows if row[3] == _LISTEN]


def _address(shown: str) -> str:
    """Of the kernel's hexadecimal, in words of 4 bytes that are turned round."""
    words = [bytes.fromhex(word)[::-1] for word in re.findall(".{8}", shown)]
    return str(ip_address(b"".join(words)))


def _sockets(pid: int) -> set[str]:
    """Inodes of a process's open sockets."""
    found = set()
    with suppress(OSError):  # it ended just now
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                if named := re.fullmatch(r"socket:\[(\d+)\]", str(descriptor.readlink())):
                    found.add(named[1])
    return found
