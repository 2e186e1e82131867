"""The S3-compatible store of MLflow's artifacts: `rclone serve s3` over a folder, where an object is a file.

An upload is written beside its object and renamed, so that a killed store leaves the old object or the new one.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

from infra.local.component import Component
from infra.local.layout import BUCKET, Layout, Secrets, Settings, bare_environment, programs

OLDEST = (1, 75)
"""The first that renames every upload into place."""


@cache
def rclone() -> Path | None:
    """Return a program that is new enough: this Python's, else the one on the PATH."""
    for found in (programs() / "rclone", shutil.which("rclone")):
        if found and Path(found).exists():
            told = subprocess.run([str(found), "version"], capture_output=True, text=True, check=False).stdout
            version = re.match(r"rclone v(\d+)\.(\d+)", told)
            if version and tuple(map(int, version.groups())) >= OLDEST:
                return Path(found)
    return None


def object_store(layout: Layout, settings: Settings, secrets: Secrets) -> Component:
    """Return the server; its one key pair is in its environment, not on its command line."""
    program = rclone()
    assert program is not None, "prerequisites are checked first"

    def answers() -> bool:
        client = s3_client(settings, secrets)
        if BUCKET not in [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]:
            client.create_bucket(Bucket=BUCKET)
        return True

    return Component(
        name="object-store",
        command=[
            *(str(program), "serve", "s3", "--addr", f"127.0.0.1:{settings.store_port}", "--config", "/dev/null"),
            *("--cache-dir", str(layout.folder / "cache"), "--umask", "077", str(layout.objects)),
        ],
        environment=bare_environment() | {"RCLONE_AUTH_KEY": f'"{secrets.store_key},{secrets.store_secret}"'},
        port=settings.store_port,
        pids=layout.pids,
        log=layout.logs / "object-store.log",
        answers=answers,
    )


def s3_environment(settings: Settings, secrets: Secrets) -> dict[str, str]:
    """Return what MLflow and other clients read; no file of the person's own takes part."""
    return {
        "MLFLOW_S3_ENDPOINT_URL": settings.store_address,
        "AWS_ACCESS_KEY_ID": secrets.store_key,
        "AWS_SECRET_ACCESS_KEY": secrets.store_secret,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def s3_client(settings: Settings, secrets: Secrets) -> Any:
    """Return a boto3 client that gives up soon."""
    import boto3
    from botocore.config import Config

    return boto3.client(
        "s3",
        endpoint_url=settings.store_address,
        aws_access_key_id=secrets.store_key,
        aws_secret_access_key=secrets.store_secret,
        region_name="us-east-1",
        config=Config(connect_timeout=5, read_timeout=10, retries={"max_attempts": 1}),
    )
