"""README, CONTRIBUTING and the pages of the documentation name commands, options and files that exist."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import click
import pytest

from crystalsweep.cli.main import main

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
PAGES = sorted((ROOT / "docs").rglob("*.md"))


def commands(start: str) -> list[str]:
    """Lines of shell blocks that begin with `start`, without comments, each once."""
    texts = [README, *(page.read_text() for page in PAGES)]
    blocks = [block for text in texts for block in re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL)]
    lines = (line.partition("  #")[0].strip() for block in blocks for line in block.replace("\\\n", " ").splitlines())
    return list(dict.fromkeys(line for line in lines if line.startswith(start)))


def known_options(command: click.Command) -> set[str]:
    return {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)} | {
        "--help"
    }


@pytest.mark.parametrize("line", commands("crystalsweep "))
def test_commands_of_the_readme_exist(line: str) -> None:
    command: click.Command = main
    words = line.split()[1:]
    while isinstance(command, click.Group):
        found = command.get_command(click.Context(command), words.pop(0))
        assert found is not None, line
        command = found
    assert {word for word in words if word.startswith("--")} <= known_options(command), line


@pytest.mark.parametrize("line", commands("python sweeps/"))
def test_options_of_the_sweeps_exist(line: str) -> None:
    sweep = import_module(f"sweeps.{Path(line.split()[1]).stem}").main
    assert {word for word in line.split() if word.startswith("--")} <= known_options(sweep), line


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 150


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text()):
        file, _, anchor = link.partition("#")
        target = (page.parent / file) if file else page
        assert target.exists(), f"{page.name}: {link}"
        if anchor:
            heads = re.findall(r"^#+ (.+)$", target.read_text(), flags=re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads}
            assert anchor in slugs, f"{page.name}: {link}"


def test_every_page_is_in_the_navigation() -> None:
    nav = (ROOT / "mkdocs.yml").read_text()
    assert [page.name for page in PAGES if page.relative_to(ROOT / "docs").as_posix() not in nav] == []


def test_nothing_is_left_to_fill_in() -> None:
    assert "@@" not in README


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = set(re.findall(r"`?make ([a-z]+)", README + CONTRIBUTING))
    assert named
    assert named <= targets | {"sweep"}


def test_files_and_folders_of_the_layout_exist() -> None:
    tree = re.search(r"## Layout\n\n```\n(.*?)```", README, flags=re.DOTALL)
    assert tree
    for line in tree[1].splitlines():
        path = line.split()[0]
        assert (ROOT / path).is_dir() or (ROOT / "platform" / "crystalsweep" / path).is_dir(), line
    for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / link).exists(), link
