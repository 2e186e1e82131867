"""What pages may do in a browser: their own scripts run, any other does not, and nothing is fetched."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import pytest
from markupsafe import Markup

from crystalsweep.pages.policy import content_policy
from crystalsweep.pages.render import render
from tests.browser import listening, needs_browser, opened

SWEEP = "sweeping/report/report.html.j2"
GALLERY = "gallery/page.html.j2"
LIBRARY = "document.documentElement.dataset.library = 'ran';"

INTRUDER = """<script>document.title = 'ran'</script>
<script src="{server}/script.js"></script>
<img src="{server}/pixel.png"> <img src="x" onerror="document.title = 'ran'">
<svg onload="document.title = 'ran'"><image href="{server}/svg.png"/></svg>
<iframe src="{server}/frame"></iframe> <object data="{server}/object"></object> <embed src="{server}/embed">
<link rel="stylesheet" href="{server}/sheet.css"> <style>@import url("{server}/import.css");</style>
<video src="{server}/video" poster="{server}/poster"></video> <audio src="{server}/audio"></audio>
<div style="background: url('{server}/background.png')">.</div>
<base href="{server}/">"""


def page_with(text: str) -> str:
    """A page into which a template's mistake let markup through."""
    words = {"conclusion": "", "words": [], "question": "", "galleries": {}, "footer": ""}
    return render(SWEEP, title="A sweep", lead=Markup(text), sections=[], **words)


def policy_of(page: str) -> str:
    found = re.search(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">', page)
    assert found
    assert found.start() < min(page.find(tag) % len(page) for tag in ("<style", "<script", "<title", "<img"))
    return unescape(found[1])


def test_a_page_without_scripts_runs_none() -> None:
    policy = policy_of(page_with("Does it help?"))
    assert policy == content_policy()
    assert "default-src 'none'; script-src 'none';" in policy
    assert "http" not in policy


def test_a_script_is_named_by_what_browsers_hash() -> None:
    known = "'sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng='"  # from the CSP standard
    assert known in content_policy(["alert('Hello, world.');"])
    assert content_policy(["a\r\nb\rc"]) == content_policy(["a\nb\nc"]) != content_policy(["abc"])


@needs_browser
def test_markup_that_got_through_neither_runs_nor_fetches(tmp_path: Path) -> None:
    with listening() as (server, asked):
        page = page_with(INTRUDER.format(server=server))
        file = tmp_path / "page.html"
        file.write_text(page)
        assert "<title>A sweep</title>" in opened(file, tmp_path)
        assert asked == []
        file.write_text(re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page))
        assert "<title>ran</title>" in opened(file, tmp_path), "without the policy it would have run"
        assert asked


@needs_browser
@pytest.mark.parametrize("heading", ["a crystal", Markup("<script>document.title = 'ran'</script>")])
def test_a_gallery_runs_its_own_scripts_only(tmp_path: Path, heading: str) -> None:
    shown = [{"heading": heading, "result": "restored", "legend": []}]
    file = tmp_path / "page.html"
    crystals = '[{"cell": [], "parts": []}]'
    file.write_text(render(GALLERY, title="Crystals", specimens=shown, script=LIBRARY, crystals=crystals))
    seen = opened(file, tmp_path)
    assert "<title>Crystals</title>" in seen
    assert 'data-library="ran"' in seen
    assert "This browser has no WebGL" in seen, "the script that draws ran, and found no library that can"
