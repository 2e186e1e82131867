"""A report can be read on a phone and in print: in a browser, nothing is wider than the window or the sheet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from crystalsweep.pages.content import Section, Table, TableRow
from crystalsweep.pages.render import render
from tests.browser import needs_browser
from tests.chromium import Tab, tab

PATH = "/scratch/somebody/" + "a_folder_with_a_long_name" * 4 + "/checkpoint"
FIGURE = {"mean": 0.5, "low": 0.4, "high": 0.6, "n": 1234}
SHEET = 1032
"""Pixels across a landscape A4 sheet between its margins."""

OUTSIDE = """
JSON.stringify([...document.querySelectorAll('body *')]
  .filter(e => e.getBoundingClientRect().right > WIDTH + 1 && !(INSIDE && e.closest('div.wide table, div.wide, pre')))
  .map(e => `${e.tagName} ${e.textContent.slice(0, 40)}`))
"""


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """A report with a long path, many sections and a table of ten figures."""
    heads = ["", *(f"Compositional similarity {i}" for i in range(10))]
    table = Table(heads=heads, rows=[TableRow(cells=["candidate", *[FIGURE] * 10])])
    sections = [Section(title=f"Replacement of species {i}", tables=[table]) for i in range(6)]
    words: dict[str, Any] = {"title": PATH, "lead": PATH, "conclusion": "It does.", "words": [PATH], "question": ""}
    file = tmp_path / "report.html"
    more: dict[str, Any] = {"galleries": {}, "footer": PATH}
    file.write_text(render("sweeping/report/report.html.j2", sections=sections, **words, **more), encoding="utf-8")
    return file


def outside(shown: Tab, width: int, *, scrolled: bool) -> list[str]:
    """What reaches beyond a width; where tables are `scrolled` by themselves, of the rest alone."""
    asked = OUTSIDE.replace("WIDTH", str(width)).replace("INSIDE", "true" if scrolled else "false")
    return list(json.loads(shown.value(asked)))


@needs_browser
def test_nothing_is_wider_than_a_phone_or_a_sheet(page: Path, tmp_path: Path) -> None:
    with tab(tmp_path) as shown:
        shown.open(page.as_uri(), 360, 800)
        assert outside(shown, 360, scrolled=True) == []
        assert shown.value("document.documentElement.scrollWidth") == 360
        shown.call("Emulation.setEmulatedMedia", media="print")
        shown.open(page.as_uri(), SHEET, 700)
        assert outside(shown, SHEET, scrolled=False) == []
