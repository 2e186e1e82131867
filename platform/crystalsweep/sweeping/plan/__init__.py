"""From the command line to a plan with its price."""
