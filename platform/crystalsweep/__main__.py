"""`python -m crystalsweep` is `crystalsweep`."""

from crystalsweep.cli.main import main

main(prog_name="crystalsweep")
