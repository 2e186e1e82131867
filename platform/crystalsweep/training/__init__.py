"""Training one stage: the loop, where it runs, what it reports, and how stages are found by name."""
