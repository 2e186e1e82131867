"""A generator taught by the critic: by its choices among candidates, by its gradient, or not at all, for comparison."""
