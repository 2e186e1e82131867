"""Runs in MLflow: written by the sweep's own process, kept where the server is away."""
