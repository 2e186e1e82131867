"""What a page may do in a browser: show its own text and pictures, run its own scripts, fetch nothing from others."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence


def content_policy(scripts: Sequence[str] = (), *, asks: bool = False) -> str:
    """Return the Content-Security-Policy of a page that is one file.

    Nothing is fetched from anywhere, and of scripts only those given run: a crystal's name that came to stand as a
    script in a page is text to the browser.

    Args:
        scripts: Text of each inline script of the page, as it stands between its tags.
        asks: Whether its scripts may ask the server that the page came from.
    """
    own = " ".join(f"'sha256-{_digest(each)}'" for each in scripts) or "'none'"
    allowed = [
        "default-src 'none'",
        f"script-src {own}",
        "style-src 'unsafe-inline'",  # the pages' own style sheet, and widths that 3Dmol sets
        "img-src data:",
        *(["connect-src 'self'"] if asks else []),
        "base-uri 'none'",
        "form-action 'none'",
    ]
    return "; ".join(allowed)


def _digest(script: str) -> str:
    """Return the sha256 of a script as browsers compare it: over its text with line feeds only."""
    text = script.replace("\r\n", "\n").replace("\r", "\n")
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
