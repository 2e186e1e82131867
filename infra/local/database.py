"""PostgreSQL on loopback, with passwords (SCRAM), for MLflow's runs and its accounts."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import ISOLATION_LEVEL_AUTOCOMMIT, connection, encrypt_password

from infra.local.component import Component
from infra.local.layout import Layout, Secrets, Settings, bare_environment, write_private

OWNER, ROLE = "postgres", "mlflow"
RUNS, ACCOUNTS = "mlflow", "mlflow_accounts"
"""Databases of the role."""


def postgres_programs() -> Path | None:
    """Return the folder that holds `initdb` and `postgres`, of the newest version here."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda found: int(found.parts[-3]))
    on_path = shutil.which("postgres")
    return debian[-1].parent if debian else Path(on_path).resolve().parent if on_path else None


def database(layout: Layout, settings: Settings, secrets: Secrets) -> Component:
    """Return the server. Root's runs as the account `postgres`, as PostgreSQL demands."""
    found = postgres_programs()
    assert found is not None, "prerequisites are checked first"
    port = settings.database_port

    def answers() -> bool:
        _connected(port, OWNER, secrets.database_owner).close()
        return True

    return Component(
        name="postgresql",
        command=[
            *(str(found / "postgres"), "-D", str(layout.database), "-p", str(port)),
            *("-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="),
        ],
        environment=bare_environment(),
        port=port,
        pids=layout.pids,
        log=layout.logs / "postgresql.log",
        answers=answers,
        user=None if os.geteuid() else "postgres",
        folder=layout.database,
        again_s=20,
        stop_signal=signal.SIGINT,  # rolls back what runs and ends; SIGTERM waits for clients to leave
    )


def make_database(layout: Layout, secrets: Secrets) -> None:
    """Make the files of an empty server, if there are none. ValueError where `initdb` fails."""
    if layout.database.exists():
        return
    found = postgres_programs()
    assert found is not None, "prerequisites are checked first"
    root = os.geteuid() == 0
    account = "postgres" if root else None
    new = layout.database.with_name(f"{layout.database.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(mode=0o700)
    password = new.with_name(f"{new.name}.password")
    write_private(password, secrets.database_owner)
    if root:
        shutil.chown(new, "postgres", "postgres")
        shutil.chown(password, "postgres", "postgres")
    try:
        made = subprocess.run(
            [
                *(str(found / "initdb"), "-D", str(new), "-U", OWNER, "--auth=scram-sha-256", f"--pwfile={password}"),
                *("--encoding=UTF8", "--no-locale"),
            ],
            env=bare_environment(),
            cwd=new,
            capture_output=True,
            text=True,
            check=False,
            user=account,
            group=account,
            extra_groups=[] if root else None,
        )
    finally:
        password.unlink()
    if made.returncode:
        raise ValueError(f"initdb failed: {made.stderr.strip()}")
    new.rename(layout.database)


def make_role(settings: Settings, secrets: Secrets) -> None:
    """Make MLflow's own role, which is no superuser, and its two databases, where they are missing."""
    server = _connected(settings.database_port, OWNER, secrets.database_owner)
    server.set_isolation_level(ISOLATION_LEVEL_AUTOCOMMIT)
    try:
        with server.cursor() as cursor:
            cursor.execute("select 1 from pg_roles where rolname = %s", [ROLE])
            if not cursor.fetchone():
                hashed = encrypt_password(secrets.database, ROLE, server, "scram-sha-256")  # a log may show statements
                cursor.execute(
                    sql.SQL("create role {} login password {}").format(sql.Identifier(ROLE), sql.Literal(hashed))
                )
            for name in (RUNS, ACCOUNTS):
                cursor.execute("select 1 from pg_database where datname = %s", [name])
                if not cursor.fetchone():
                    cursor.execute(
                        sql.SQL("create database {} owner {}").format(sql.Identifier(name), sql.Identifier(ROLE))
                    )
    finally:
        server.close()


def database_uri(settings: Settings, secrets: Secrets, name: str) -> str:
    """Return the address of one of the role's databases, with its password."""
    return f"postgresql+psycopg2://{ROLE}:{secrets.database}@127.0.0.1:{settings.database_port}/{name}"


def _connected(port: int, user: str, password: str) -> connection:
    return psycopg2.connect(
        host="127.0.0.1", port=port, user=user, password=password, dbname="postgres", connect_timeout=5
    )
