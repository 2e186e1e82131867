"""The `crystalsweep` command. Its groups are found by entry point and loaded when they are used."""

from __future__ import annotations

import ast
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path

import click

from crystalsweep.cli.errors import PlainCommand


class Discovered(PlainCommand, click.Group):
    """A group whose commands are entry points of `crystalsweep.commands`; what is not called is not imported."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return names of all commands, sorted."""
        del ctx
        return sorted(self._found())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of this name, imported."""
        del ctx
        found = self._found().get(cmd_name)
        return found.load() if found else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a line per command from its docstring, without importing what the commands import."""
        del ctx
        found = self._found()
        limit = formatter.width - 6 - max(map(len, found), default=0)
        with formatter.section("Commands"):
            formatter.write_dl([(name, _short_help(found[name], limit)) for name in sorted(found)])

    @staticmethod
    def _found() -> dict[str, EntryPoint]:
        return {found.name: found for found in entry_points(group="crystalsweep.commands")}


def _short_help(command: EntryPoint, limit: int) -> str:
    """Return the first sentence of a command's docstring, at most `limit` long, as its source has it."""
    spec = find_spec(command.module)
    source = spec.origin if spec else None
    for node in ast.parse(Path(source).read_text(encoding="utf-8")).body if source else []:
        if isinstance(node, ast.FunctionDef) and node.name == command.attr:
            return click.Command(node.name, help=ast.get_docstring(node)).get_short_help_str(limit)
    return str(command.load().get_short_help_str(limit))  # not a function: another package's own kind


@click.group(cls=Discovered, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="crystalsweep")
def main() -> None:
    """Train, sweep, compare and promote self-supervised generative models of crystals.

    \b
    Look at data:      crystalsweep data info bundled
    Train one stage:   crystalsweep train pretrain --preset demo --out runs/pretrain
    Sweep:             python sweeps/gan_noise.py --preset demo
    Promote a run:     crystalsweep promote RUN_ID
    Complete crystals: crystalsweep complete BaTiO3.cif --mask Ti
    """
