"""spglib without its announcements."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_spglib() -> Iterator[None]:
    """Keep spglib 2.8 from announcing new error handling at every call."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield
