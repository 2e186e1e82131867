"""MLflow's server with accounts: runs in PostgreSQL, artifacts in the S3 store, whose key it alone has."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from infra.local.component import Component
from infra.local.database import ACCOUNTS, RUNS, database_uri
from infra.local.layout import ADMIN, BUCKET, USER, Layout, Secrets, Settings, bare_environment, programs, write_private
from infra.local.object_store import s3_environment

_ACCOUNTS_FILE = """\
[mlflow]
# EDIT: everyone with an account logs to the experiments and models of others; only who made them deletes them.
default_permission = EDIT
database_uri = {database}
admin_username = {admin}
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
# A password is hashed once in so many seconds, not for every request; a changed one is taken as long.
auth_cache_ttl_seconds = 30
"""


def tracking_server(layout: Layout, settings: Settings, secrets: Secrets) -> Component:
    """Return the server. It answers to names of this machine only, so that no web page can reach it by another."""
    environment = {
        "MLFLOW_BACKEND_STORE_URI": database_uri(settings, secrets, RUNS),
        "MLFLOW_AUTH_CONFIG_PATH": str(layout.mlflow_auth),
        "MLFLOW_AUTH_ADMIN_USERNAME": ADMIN,
        "MLFLOW_AUTH_ADMIN_PASSWORD": secrets.mlflow_admin,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.mlflow_session,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    return Component(
        name="mlflow",
        command=[
            *(str(programs() / "mlflow"), "server", "--app-name", "basic-auth", "--workers", "2"),
            *("--host", "127.0.0.1", "--port", str(settings.mlflow_port), "--artifacts-destination", f"s3://{BUCKET}"),
            *("--allowed-hosts", "127.0.0.1:*,localhost:*"),
        ],
        environment=bare_environment() | s3_environment(settings, secrets) | environment,
        port=settings.mlflow_port,
        pids=layout.pids,
        log=layout.logs / "mlflow.log",
        answers=lambda: _ask(settings, "/health") is not None,
        folder=layout.folder,
        remedy="--mlflow-port",
    )


def write_accounts_file(layout: Layout, settings: Settings, secrets: Secrets) -> None:
    """Write what MLflow reads of accounts; it takes the address of their database from nowhere else."""
    address = database_uri(settings, secrets, ACCOUNTS)
    write_private(layout.mlflow_auth, _ACCOUNTS_FILE.format(database=address, admin=ADMIN))


def make_user(settings: Settings, secrets: Secrets) -> None:
    """Make the account that sweeps use, if it is missing."""
    admin = (ADMIN, secrets.mlflow_admin)
    try:
        _ask(settings, f"/api/2.0/mlflow/users/get?username={USER}", admin)
    except HTTPError as error:
        if error.code != 404:
            raise
        _ask(settings, "/api/2.0/mlflow/users/create", admin, {"username": USER, "password": secrets.mlflow_user})


def _ask(
    settings: Settings, path: str, account: tuple[str, str] | None = None, send: dict[str, str] | None = None
) -> Any:
    request = Request(settings.tracking_uri + path, json.dumps(send).encode() if send else None)
    request.add_header("Content-Type", "application/json")
    if account:
        request.add_header("Authorization", "Basic " + base64.b64encode(":".join(account).encode()).decode())
    with urlopen(request, timeout=30) as answer:
        return answer.read()
