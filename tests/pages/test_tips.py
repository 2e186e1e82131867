"""Words of the glossary on pages: each explained once in a text, whatever stands around it, and nothing else marked."""

from __future__ import annotations

from markupsafe import Markup

from crystalsweep.pages.tips import with_tips
from crystalsweep.wording.glossary import GLOSSARY


def test_every_word_of_the_glossary_gets_its_tip() -> None:
    for term, meaning in GLOSSARY.items():
        shown = with_tips(f"the {term} of it")
        assert shown == Markup('the <abbr tabindex="0" title="{}">{}</abbr> of it').format(meaning, term)


def test_the_longest_word_wins_and_the_first_of_each_is_marked() -> None:
    shown = with_tips("Not resolved, not resolved; resolved and unresolved")
    assert shown.count("<abbr") == 2
    assert ">Not resolved</abbr>, not resolved; <abbr" in shown
    assert shown.endswith("</abbr> and unresolved")


def test_the_rest_is_escaped() -> None:
    assert with_tips("<b>\u202ea & b</b>") == r"&lt;b&gt;\u202ea &amp; b&lt;/b&gt;"
    assert "<script" not in with_tips("score <script>score</script>")


def test_the_glossary_is_sorted_and_its_meanings_are_sentences() -> None:
    assert list(GLOSSARY) == sorted(GLOSSARY, key=lambda term: term.lower().replace("_", " "))
    assert all(meaning.endswith(".") and meaning[:1] in meaning[:1].upper() for meaning in GLOSSARY.values())
