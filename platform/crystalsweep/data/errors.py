"""The one exception for data that cannot be used as asked."""

from __future__ import annotations


class DataError(ValueError):
    """Says what was wrong, where, and what to do; the command line prints it as one line."""
