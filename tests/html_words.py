"""What a reader of a page sees of its text: tags, such as those of tips, taken out."""

from __future__ import annotations

import re
from html import unescape


def words_of(page: str) -> str:
    """Return the text of a page's body."""
    return unescape(re.sub(r"<[^>]*>", "", page.partition("<body>")[2] or page))
