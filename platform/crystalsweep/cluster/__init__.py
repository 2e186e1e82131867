"""Ray's cluster: joined, or started on this machine where nobody else reaches it."""
