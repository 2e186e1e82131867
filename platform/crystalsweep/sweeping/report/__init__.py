"""What a finished sweep says."""
