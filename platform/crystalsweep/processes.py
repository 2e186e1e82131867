"""Who runs this process, and whether another one still does."""

from __future__ import annotations

import getpass
import os
import socket


def user() -> str:
    """Name of the user; `unknown` in a container that has no names."""
    return getpass.getuser() if "USER" in os.environ or "LOGNAME" in os.environ else "unknown"


def lives(pid: int) -> bool:
    """Whether this host has a process of that id, anybody's."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def is_gone(host: str, pid: str) -> bool:
    """Whether a process that noted its host and id is no more; of another host's, or of what is no id, never."""
    return host == socket.gethostname() and pid.isdigit() and not lives(int(pid))
