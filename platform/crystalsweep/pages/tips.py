"""Tips on pages: words of the glossary are marked, and say what they mean under the pointer or when touched."""

from __future__ import annotations

import re

from markupsafe import Markup, escape

from crystalsweep.wording.glossary import GLOSSARY
from crystalsweep.wording.stranger import plain

_MEANINGS = {term.lower(): meaning for term, meaning in GLOSSARY.items()}
_TERMS = re.compile(
    rf"(?<![\w/])(?:{'|'.join(re.escape(term) for term in sorted(GLOSSARY, key=len, reverse=True))})(?![\w/])",
    re.IGNORECASE,
)


def with_tips(text: object) -> Markup:
    """Return text as markup, in which the first of each word of the glossary has its tip."""
    if isinstance(text, Markup):
        return text
    shown, parts, at, told = plain(str(text)), [], 0, set[str]()
    for found in _TERMS.finditer(shown):
        term = found[0].lower()
        if term not in told:
            told.add(term)
            parts += [escape(shown[at : found.start()]), _tip(found[0], _MEANINGS[term])]
            at = found.end()
    return Markup("").join([*parts, escape(shown[at:])])


def _tip(word: str, meaning: str) -> Markup:
    return Markup('<abbr tabindex="0" title="{}">{}</abbr>').format(meaning, word)
