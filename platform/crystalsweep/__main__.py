"""`python -m crystalsweep` is `crystalsweep`."""

from crystalsweep.cli import main

main(prog_name="crystalsweep")
