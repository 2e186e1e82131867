"""Runs ranked by a metric: only what was measured alike, with intervals, and ties where no difference is resolved."""
