"""The page in a real browser: a crystal in, sites masked, candidates in 3D, downloads; by mouse, keyboard and phone."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from crystalsweep.data.partial_cif import partial_from_cif
from crystalsweep.structures.crystal import Crystal
from tests.app.test_server import MODEL, NACL
from tests.browser import listening, needs_browser
from tests.chromium import Tab, tab

pytestmark = [needs_browser, pytest.mark.server]

RUN = "from crystalsweep.cli.app import app; app()"
TITANIUM = "[data-symbol=Ti]"


@contextmanager
def serving(*options: str, **environment: str) -> Iterator[str]:
    """The command as a process of its own, and the address that it prints; Ctrl-C ends it without a complaint."""
    command = [sys.executable, "-c", RUN, "--model", str(MODEL), "--port", "0", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | environment)
    assert process.stdout is not None
    try:
        found = re.match(r"(http://127\.0\.0\.1:\d+)", process.stdout.readline())
        assert found, process.wait(30)
        yield found[1]
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        process.stdout.close()


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with serving() as address:
        yield address


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with tab(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


@pytest.fixture
def shown(browser: Tab, server: str) -> Tab:
    """The page, freshly opened."""
    browser.complaints.clear()
    browser.open("about:blank")
    browser.open(server)
    browser.wait("document.getElementById('model').textContent.startsWith('Model: ')")
    return browser


def example(page: Tab) -> None:
    page.click("#example")
    page.wait("!document.getElementById('masking').hidden")


def complete(page: Tab) -> None:
    page.value("page.answer = null")
    page.click("#complete")
    page.wait("page.answer && !document.getElementById('answer').hidden")


def give(page: Tab, file: Path, text: str) -> None:
    """Choose a file with a text, and wait until it was read or refused."""
    file.write_text(text)
    page.upload("#file", file)
    page.wait("document.getElementById('error-upload').textContent || !document.getElementById('masking').hidden")
    page.wait("!document.getElementById('reading').textContent")


def pressed(page: Tab, selector: str = TITANIUM) -> str:
    return str(page.value(f"document.querySelector({json.dumps(selector)}).getAttribute('aria-pressed')"))


def test_the_example_is_completed_and_saved(shown: Tab) -> None:
    example(shown)
    assert shown.text("#count") == "1 of 5 sites masked"
    assert pressed(shown) == "true"
    complete(shown)
    rows = shown.value("[...document.querySelectorAll('#ranked li')].map((row) => row.innerText)")
    assert len(rows) == 10
    assert rows[0].startswith("1. Ba")
    assert all("charge-balanced" in row and "shortest distance" in row and row.endswith("CIF") for row in rows)
    shares = [float(re.search(r"([\d.]+) %", row)[1]) for row in rows]  # type: ignore[index]
    assert shares == sorted(shares, reverse=True)
    assert shown.text("#odds").startswith("Site ")
    shown.click("#ranked li:first-child button")
    assert isinstance(partial_from_cif(shown.downloaded(".cif").read_text(), "again"), Crystal)
    shown.click("#zip")
    with zipfile.ZipFile(shown.downloaded(".zip")) as file:
        assert len(file.namelist()) == 10
    shown.click("#json")
    assert len(json.loads(shown.downloaded(".json").read_text())["candidates"]) == 10
    assert shown.complaints == []


def test_atoms_elements_and_rows_are_masked_by_clicking(shown: Tab) -> None:
    example(shown)
    shown.click(TITANIUM)
    assert pressed(shown) == "false"
    assert shown.text("#count") == "0 of 5 sites masked: only positions would be restored"
    box = shown.value("document.getElementById('before').getBoundingClientRect().toJSON()")
    shown.click_at(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)  # titanium, in the cell's middle
    shown.wait("document.getElementById('count').textContent.startsWith('1 of 5')")
    assert pressed(shown) == "true"
    shown.click("#sites summary")
    shown.click("#rows tr:last-child input")
    assert shown.text("#count") == "2 of 5 sites masked"
    assert pressed(shown, "[data-symbol=O]") == "mixed"
    assert shown.complaints == []


def test_the_keyboard_alone_does_it(shown: Tab) -> None:
    def focused() -> str:
        return str(shown.value("document.activeElement.id || document.activeElement.dataset.symbol || ''"))

    def tab_to(name: str) -> None:
        for _ in range(60):
            if focused() == name:
                return
            shown.press("Tab")
        raise AssertionError(f"no way to {name}")

    tab_to("example")
    shown.press("Enter")
    tab_to("before")
    turned = "JSON.stringify(before.viewer.getView())"
    view = shown.value(turned)
    shown.press("ArrowLeft", 2)
    assert shown.value(turned) != view
    tab_to("O")
    shown.press(" ")
    assert shown.text("#count") == "4 of 5 sites masked"
    tab_to("allowed")
    shown.type("Ti-Zr-O-S")
    tab_to("complete")
    shown.press("Enter")
    shown.wait("page.answer")
    assert focused() == "h-candidates"
    tab_to("candidate-0")
    shown.press("ArrowDown")
    assert focused() == "candidate-1"
    assert shown.value("page.chosen") == 1
    unnamed = """[...document.querySelectorAll('button, input, select, textarea, [tabindex="0"]')].filter((each) =>
      !(each.labels?.length || each.ariaLabel || each.getAttribute('aria-labelledby') ||
        (each.tagName === 'BUTTON' && each.textContent.trim())))"""
    assert shown.value(f"{unnamed}.map((each) => each.outerHTML)") == []
    assert shown.complaints == []


def test_mistakes_are_told_beside_their_fields(shown: Tab, tmp_path: Path) -> None:
    give(shown, tmp_path / "bad.cif", "no cif at all")
    assert "bad.cif" in shown.text("#error-upload")
    give(shown, tmp_path / "bad.pdf", "%PDF")
    assert "bad.pdf" in shown.text("#error-upload")
    example(shown)
    assert shown.text("#error-upload") == ""
    for field, text in (("allowed", "Q-Ti"), ("formula", "BaTi"), ("top", "0")):
        shown.value(f"document.getElementById('{field}').value = '{text}'")
        shown.click("#complete")
        shown.wait(f"document.getElementById('error-{field}').textContent")
        assert shown.value(f"document.getElementById('{field}').getAttribute('aria-invalid')") == "true"
        assert shown.value("document.activeElement.id") == field
        shown.value(f"document.getElementById('{field}').value = '{'10' if field == 'top' else ''}'")
    complete(shown)
    assert shown.value("document.querySelectorAll('[aria-invalid]').length") == 0
    assert not [each for each in shown.complaints if "422" not in each], "the browser itself notes refused requests"


@pytest.mark.parametrize("width", [1280, 360])
def test_it_fits_the_window(shown: Tab, width: int) -> None:
    shown.value("document.getElementById('model').textContent += '/of_a_folder_far_down'.repeat(20)")
    shown.size(width, 800)
    example(shown)
    complete(shown)
    shown.click("#sites summary")
    assert shown.value("document.documentElement.scrollWidth") == width
    outside = """[...document.querySelectorAll('main *')].filter((each) => each.checkVisibility() &&
      !each.closest('.viewer, .scroll, .unseen') && each.getBoundingClientRect().right > innerWidth)"""
    assert shown.value(f"{outside}.map((each) => each.outerHTML.slice(0, 80))") == []


def test_a_file_that_masks_itself_and_one_whose_sites_are_shared(shown: Tab, tmp_path: Path) -> None:
    give(shown, tmp_path / "hidden.cif", NACL.replace("Cl1 Cl", "X1 X"))
    assert shown.text("#count") == "4 of 8 sites masked"
    assert shown.value("document.querySelectorAll('#rows input:disabled').length") == 4
    loop = "_atom_site_fract_z\n_atom_site_occupancy\nNa1 Na 0 0 0 1\nCl1 Cl 0.5 0.5 0.5 0.5\nBr1 Br 0.5 0.5 0.5 0.5\n"
    give(shown, tmp_path / "shared.cif", NACL.partition("_atom_site_fract_z")[0] + loop)
    shown.wait("page.crystal.name === 'shared'")
    assert "2 Cl, 2 Br" in shown.text("#notes") or "2 Br, 2 Cl" in shown.text("#notes")
    complete(shown)
    formulas = shown.value(
        "page.answer.candidates.map((each) => Object.values(each.elements).filter((one) => one === 'Br').length)"
    )
    assert set(formulas) == {2}
    shown.value("document.getElementById('supercell').value = '1x1x2'")
    shown.click("#reorder")
    shown.wait("page.crystal.elements.length === 16")
    assert shown.value("document.getElementById('answer').hidden")
    assert "4 Cl, 4 Br" in shown.text("#notes") or "4 Br, 4 Cl" in shown.text("#notes")
    shown.value("document.getElementById('supercell').value = '2x2'")
    shown.click("#reorder")
    shown.wait("document.getElementById('error-supercell').textContent")
    assert "is no supercell" in shown.text("#error-supercell")
    assert shown.value("page.crystal.elements.length") == 16, "what was there is kept"
    example(shown)
    assert shown.value("document.getElementById('shared').hidden")


HOSTILE = "</script><script>document.title = 'ran'</script><img src={server}/x.png onerror=\"document.title = 'ran'\">"


def test_what_a_file_says_is_text(shown: Tab, tmp_path: Path) -> None:
    with listening() as (other, asked):
        name = HOSTILE.format(server=other)
        rows = f'material_id,cif\n"{name.replace(chr(34), chr(34) * 2)}","{NACL}"\nsecond,"{NACL}"\n'
        give(shown, tmp_path / "<img src=x onerror=alert(1)>.csv", rows)
        assert shown.text("#name") == name
        assert name in shown.text("#which")
        complete(shown)
        shown.click("#json")
        wicked = NACL.replace("data_NaCl", f"data_{name.replace(' ', '_')}").replace("Cl1 Cl", f"Cl1 '{name}'")
        give(shown, tmp_path / "wicked.cif", wicked)
        assert shown.text("#error-upload")
        shown.value(f"document.getElementById('allowed').value = {json.dumps(name)}")
        shown.click("#complete")
        shown.wait("document.getElementById('error-allowed').textContent")
        assert shown.value("document.title") == "Complete a crystal"
        assert shown.value("document.images.length + document.body.querySelectorAll('main script').length") == 0
        assert asked == []


def test_a_policy_stops_what_got_through(shown: Tab) -> None:
    with listening() as (other, asked):
        shown.value(f"document.body.insertAdjacentHTML('beforeend', {json.dumps(HOSTILE.format(server=other))})")
        shown.value(f"fetch('{other}/api').catch(() => null)")
        assert shown.value("document.title") == "Complete a crystal"
        assert asked == []
        assert any("Content Security Policy" in each for each in shown.complaints)


def test_a_token_is_asked_for(browser: Tab) -> None:
    token = "a-token-of-enough-length"
    with serving(CRYSTALSWEEP_TOKEN=token) as address:
        browser.open(address)
        browser.wait("!document.getElementById('enter').hidden")
        assert browser.value("document.activeElement.id") == "token"
        browser.type("a wrong one")
        browser.press("Enter")
        browser.wait("document.getElementById('error-token').textContent")
        browser.value("document.getElementById('token').value = ''")
        browser.type(token)
        browser.press("Enter")
        browser.wait("document.getElementById('enter').hidden && !document.getElementById('main').hidden")
        example(browser)
        complete(browser)
        browser.value("sessionStorage.clear()")
        browser.open("about:blank")
        browser.open(f"{address}/#token={token}")
        browser.wait("document.getElementById('model').textContent")
        assert browser.value("location.hash") == ""
