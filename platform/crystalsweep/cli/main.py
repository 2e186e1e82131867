"""The `crystalsweep` command. Its groups are found by entry point and loaded when they are used."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

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

    @staticmethod
    def _found() -> dict[str, EntryPoint]:
        return {found.name: found for found in entry_points(group="crystalsweep.commands")}


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
