"""What to try: one file per sweep, each a page with its question, its search space and its budget.

Importing `trainables` first makes the library of this very tree the one that runs; see `trainables/__init__.py`.
"""

import trainables  # noqa: F401
