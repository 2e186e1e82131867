"""Pages extend one template, escape what they are given and open offline; a mean with its interval is one text."""

from __future__ import annotations

import base64
import math
import re
from pathlib import Path
from typing import Any

import pytest
from jinja2 import UndefinedError

import crystalsweep
from crystalsweep.pages.content import Picture, Section, Table, TableRow
from crystalsweep.pages.render import render
from crystalsweep.pages.text import with_interval

LIBRARY = Path(crystalsweep.__file__).parent
PAGES = sorted(path.relative_to(LIBRARY).as_posix() for path in LIBRARY.rglob("*.html.j2"))
SWEEP = "sweeping/report/report.html.j2"
WORDS: dict[str, Any] = {
    "title": "A sweep",
    "lead": "Does it help?",
    "conclusion": "It does.",
    "words": [],
    "question": "",
    "galleries": {},
    "footer": "",
}


@pytest.mark.parametrize(
    ("mean", "low", "high", "text"),
    [
        (0.6112, 0.5899, 0.6334, "0.611 [0.590, 0.633]"),
        (-0.05, -0.1, 0.0, "-0.050 [-0.100, 0.000]"),
        (0.5, None, None, "0.500"),
        (0.5, math.nan, math.nan, "0.500"),
        (0.5, 0.4, None, "0.500"),
        (math.nan, math.nan, math.nan, "n = 0"),
        (None, None, None, "n = 0"),
    ],
)
def test_a_mean_with_its_interval(mean: float | None, low: float | None, high: float | None, text: str) -> None:
    assert with_interval(mean, low, high) == text


def test_a_difference_has_its_sign_and_what_is_undefined_its_name() -> None:
    assert with_interval(0.032, 0.007, 0.057, signed=True) == "+0.032 [+0.007, +0.057]"
    assert with_interval(-0.032, -0.057, 0.007, signed=True) == "-0.032 [-0.057, +0.007]"
    assert with_interval(0.032, None, None, signed=True) == "+0.032"
    assert with_interval(None, None, None, undefined="undefined") == "undefined"


def test_a_page_shows_what_would_turn_or_hide_its_text() -> None:
    page = render(SWEEP, sections=[], **WORDS | {"lead": "a\u202e999.0\u2066\u200b\x1b <b>", "words": ["\xad", "a\nb"]})
    assert r"a\u202e999.0\u2066\u200b\u001b &lt;b&gt;" in page
    assert r"<li>\u00ad</li>" in page
    assert "a\nb" in page


def test_every_page_extends_the_base_and_one_module_makes_the_environment() -> None:
    own = [page for page in PAGES if not page.startswith("pages/")]
    assert len(own) == 9
    for page in own:
        text = (LIBRARY / page).read_text(encoding="utf-8")
        above = re.match(r'{% extends "([^"]+)" %}', text)
        assert above and above[1] in ("pages/base.html.j2", *own), page
        assert not re.search(r"<html|<head|<body|<style", text), page
    makers = [path for path in LIBRARY.rglob("*.py") if "jinja2" in path.read_text(encoding="utf-8")]
    assert makers == [LIBRARY / "pages" / "render.py"]


@pytest.mark.parametrize("page", PAGES)
def test_templates_name_nothing_outside(page: str) -> None:
    text = (LIBRARY / page).read_text(encoding="utf-8")
    assert not re.search(r"https?://|<link|@import|url\(", text)
    assert all(source.startswith("data:") for source in re.findall(r'src="([^"]*)', text))


def test_a_page_shows_sections_escaped(tmp_path: Path) -> None:
    (tmp_path / "plot.png").write_bytes(b"a picture")
    rows = [
        TableRow(cells=["<script>", {"mean": 0.5, "low": 0.4, "high": 0.6}, "not resolved"], highlighted=True),
        TableRow(cells=["b", {"mean": 0.5, "low": None, "high": None}, {"mean": None, "low": None, "high": None}]),
    ]
    table = Table(heads=["run", "score", "verdict"], rows=rows, title="A <table>", note="Mind & read.", folded="more")
    figures = [Picture.of(tmp_path / "plot.png", "Drawn.", "As it is."), Picture(title="Not.", caption="Why.", data="")]
    page = render(SWEEP, **WORDS, sections=[Section(title="Results & all", tables=[table], figures=figures)])
    assert page.startswith("<!DOCTYPE html>")
    assert "<title>A sweep</title>" in page
    assert '<a href="#s1">Results &amp; all</a>' in page
    assert "<td>&lt;script&gt;</td>" in page
    assert "<script>" not in page
    assert '0.500 <span>[0.400, 0.600]</span></td><td class="not-resolved">not resolved</td>' in page
    assert '<td class="interval">0.500</td><td class="interval"><span>n = 0</span></td>' in page
    assert "<details><summary>more</summary>" in page
    assert page.count("<img") == 1
    assert f"data:image/png;base64,{base64.b64encode(b'a picture').decode()}" in page


@pytest.mark.parametrize(("rows", "folded"), [(40, False), (41, True)])
def test_a_long_table_is_folded(rows: int, folded: bool) -> None:
    table = Table(heads=["n"], rows=[TableRow(cells=[n]) for n in range(rows)])
    page = render(SWEEP, **WORDS, sections=[Section(title="All", tables=[table])])
    assert (f"<summary>{rows} rows</summary>" in page) == folded


def test_a_missing_value_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="'sections' is undefined"):
        render(SWEEP, **WORDS)
