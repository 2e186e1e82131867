"""What is asked of a checkpoint before it is promoted; each gate gives a `Gate` with its numbers."""
