"""`crystalsweep app`: the page that completes crystals. Heavy libraries load when the command runs."""

from __future__ import annotations

from pathlib import Path

import click

from crystalsweep.cli.echo import echo
from crystalsweep.cli.errors import told_in_a_line
from crystalsweep.cli.known import known_crystals, known_option
from crystalsweep.cli.store import store_options

EXAMPLES = """\b
Examples:
  crystalsweep app                                            the champion, at http://127.0.0.1:8765
  crystalsweep app --model runs/pretrain --port 9000
  ssh -L 8765:127.0.0.1:8765 HOST                             then HOST's page is yours too
  CRYSTALSWEEP_TOKEN=$(openssl rand -hex 16) crystalsweep app --host 0.0.0.0
"""


@click.command(epilog=EXAMPLES)
@click.option(
    "--model",
    metavar="MODEL",
    help="A run folder, an MLflow run id, a registered version, an exported .zip, or `shipped`.  "
    "[default: the registry's champion, else the one that comes with the package]",
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Where to listen; any other than this machine's own wants --token.",
)
@click.option("--port", default=8765, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one.")
@click.option(
    "--token", envvar="CRYSTALSWEEP_TOKEN", show_envvar=True, help="Answer only who has it; at least 16 characters."
)
@known_option
@store_options
def app(
    model: str | None,
    host: str,
    port: int,
    token: str | None,
    reference: str,
    tracking_uri: str | None,
    storage: Path | None,
) -> None:
    """Serve a page that completes crystals: upload one, mask sites, see ranked candidates in 3D, download them.

    It listens on this machine alone. Elsewhere it wants a token, which the page asks for and which is sent unencrypted:
    put a proxy with TLS before it, or use ssh. Crystals are neither kept nor logged.
    """
    with told_in_a_line():
        from crystalsweep.app.server import build_app, listen, require_guarded, serve
        from crystalsweep.inference.restorer import load

        require_guarded(host, token)
        with listen(host, port) as at:
            restorer = load(model, tracking_uri=tracking_uri, storage=storage)
            served = build_app(restorer, token, known_crystals(reference))
            name = f"[{host}]" if ":" in host else host
            echo(f"http://{name}:{at.getsockname()[1]}  (Ctrl-C ends it)")
            serve(served, at)
