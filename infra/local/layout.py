"""Where a stack keeps what it has: one folder that only its owner can open, with settings, secrets and their readers.

`settings.json` holds ports and sizes, `secrets.json` what only the servers know, `env` and `ray_token` what a person's
shell needs. All of them are made once, by the first start.
"""

from __future__ import annotations

import hashlib
import json
import os
import pwd
import shlex
import socket
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from secrets import token_hex

BUCKET = "mlflow"
ADMIN, USER = "admin", "crystalsweep"
"""MLflow accounts: the first makes accounts, the second is the one that sweeps and people use."""


@dataclass(frozen=True)
class Settings:
    """What `start` was asked for the first time."""

    mlflow_port: int = 5000
    dashboard_port: int = 8265
    first_port: int = 25432
    """Of a row that only the stack itself uses: PostgreSQL, object store, Ray's two, then one for each node."""
    ray_nodes: int = 2
    cpus_per_node: int = 1

    @property
    def database_port(self) -> int:
        """PostgreSQL."""
        return self.first_port

    @property
    def store_port(self) -> int:
        """The S3 store."""
        return self.first_port + 1

    @property
    def cluster_port(self) -> int:
        """The head's own server, which nodes and jobs connect to."""
        return self.first_port + 2

    @property
    def client_port(self) -> int:
        """Ray Client's, which nothing here uses; its default would meet another cluster's."""
        return self.first_port + 3

    def agent_port(self, node: int) -> int:
        """Return the port of the agent of the nth node."""
        return self.first_port + 4 + node

    @property
    def tracking_uri(self) -> str:
        """MLflow's address."""
        return f"http://127.0.0.1:{self.mlflow_port}"

    @property
    def dashboard(self) -> str:
        """Ray's address for jobs and browsers."""
        return f"http://127.0.0.1:{self.dashboard_port}"

    @property
    def store_address(self) -> str:
        """The S3 endpoint."""
        return f"http://127.0.0.1:{self.store_port}"


@dataclass(frozen=True)
class Secrets:
    """Random, 128 bits or more each; `secrets.json` alone holds them all."""

    database_owner: str
    database: str
    store_key: str
    store_secret: str
    mlflow_admin: str
    mlflow_user: str
    mlflow_session: str
    ray_token: str

    @classmethod
    def made(cls) -> Secrets:
        """Make new ones."""
        return cls(**{field.name: token_hex(32 if field.name == "ray_token" else 16) for field in fields(cls)})


class Layout:
    """The folder of one stack."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.expanduser().resolve()
        self.logs, self.pids = self.folder / "logs", self.folder / "pids"
        self.objects = self.folder / "objects"
        self.env, self.ray_token = self.folder / "env", self.folder / "ray_token"
        self.mlflow_auth = self.folder / "mlflow_auth.ini"
        self._settings, self._secrets = self.folder / "settings.json", self.folder / "secrets.json"

    @property
    def exists(self) -> bool:
        """Whether a stack was started here before."""
        return self._settings.exists()

    @property
    def database(self) -> Path:
        """PostgreSQL's. It refuses to run as root, and its own account cannot reach into root's folders."""
        if os.geteuid():
            return self.folder / "postgresql"
        home = Path(pwd.getpwnam("postgres").pw_dir)
        return home / f"crystalsweep-{hashlib.sha256(str(self.folder).encode()).hexdigest()[:12]}"

    def ray(self, node: int) -> Path:
        """Return the folder of the nth node. Nodes that shared one would delete each other's copies of a job's code."""
        return self.folder / f"ray{node}"

    def make(self) -> None:
        """Make the folder, closed to others. ValueError where it holds something else."""
        own = {"lock", "logs", "pids", "objects"}
        if self.folder.exists() and not self.exists and {found.name for found in self.folder.iterdir()} - own:
            raise ValueError(f"{self.folder} holds something that is no stack; name another with --folder")
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        for each in (self.logs, self.pids, self.objects):
            each.mkdir(mode=0o700, exist_ok=True)

    def settings(self, **asked: int | None) -> Settings:
        """Return the options of the first start, and what is asked now in their place."""
        kept = json.loads(self._settings.read_text()) if self.exists else {}
        return Settings(**(kept | {name: value for name, value in asked.items() if value is not None}))

    def keep(self, settings: Settings) -> None:
        """Keep the layout for the next start."""
        write_private(self._settings, json.dumps(asdict(settings), indent=2) + "\n")

    def secrets(self) -> Secrets:
        """Return the secrets of the first start, made by it."""
        if not self._secrets.exists():
            write_private(self._secrets, json.dumps(asdict(Secrets.made()), indent=2) + "\n")
        return Secrets(**json.loads(self._secrets.read_text()))


def client_environment(layout: Layout, settings: Settings, secrets: Secrets) -> dict[str, str]:
    """Return what a shell needs to log to MLflow and to submit jobs; none of it is the servers' own."""
    return {
        "MLFLOW_TRACKING_URI": settings.tracking_uri,
        "MLFLOW_TRACKING_USERNAME": USER,
        "MLFLOW_TRACKING_PASSWORD": secrets.mlflow_user,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(layout.ray_token),
        "RAY_API_SERVER_ADDRESS": settings.dashboard,
    }


def as_shell(environment: Mapping[str, str]) -> str:
    """Return the lines to `source`."""
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in environment.items())


def bare_environment() -> dict[str, str]:
    """Return this process's environment, without what would send a server elsewhere, and with this Python's programs
    first."""
    foreign = ("MLFLOW_", "_MLFLOW_", "AWS_", "RAY_", "PG", "RCLONE_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return kept | {"PATH": f"{programs()}:{kept.get('PATH', '/usr/bin:/bin')}"}


def programs() -> Path:
    """Return the folder of the programs that were installed with this Python."""
    return Path(sys.executable).parent


def write_private(file: Path, text: str) -> None:
    """Write a file whole or not at all, and never readable by others, not for a moment."""
    new = file.with_name(f".{file.name}.new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as output:
        output.write(text)
    new.replace(file)


def taken(port: int) -> bool:
    """Return whether a program listens on this port of the loopback interface."""
    with socket.socket() as caller:
        caller.settimeout(1)
        return caller.connect_ex(("127.0.0.1", port)) == 0
