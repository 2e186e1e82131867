"""Archives come back as they went in, and a hostile one writes nothing anywhere."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest

from crystalsweep.artifacts import archive as archives
from crystalsweep.artifacts.archive import MANIFEST, check, manifest, pack, plain_files, unpack

CONTENT = b"weights"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder such as a registered version's."""
    made = tmp_path / "version"
    (made / "dossier" / "evaluation").mkdir(parents=True)
    (made / "checkpoint").mkdir()
    (made / "MODEL_CARD.md").write_text("σ = 0.2\n")
    (made / "dossier" / "dossier.json").write_text("{}")
    (made / "dossier" / "evaluation" / "no rows.csv").write_text("")
    (made / "checkpoint" / "generator.safetensors").write_bytes(os.urandom(3 << 20))
    return made


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def records(*names: str, content: bytes = CONTENT) -> dict[str, Any]:
    return {name: {"sha256": digest(content), "bytes": len(content)} for name in names}


def entry(name: str, **fields: Any) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("x")
    info.filename = name
    for key, value in fields.items():
        setattr(info, key, value)
    return info


def archive(
    tmp_path: Path, *entries: zipfile.ZipInfo, manifest: Any = None, content: bytes = CONTENT, name: str = "evil.zip"
) -> Path:
    """A zip of these entries, with a manifest that agrees with them unless another is given."""
    file = tmp_path / name
    if manifest is None:
        manifest = records(*(e.filename for e in entries), content=content)
    text = manifest if isinstance(manifest, bytes) else json.dumps(manifest).encode()
    with zipfile.ZipFile(file, "w") as out:
        out.writestr(MANIFEST, text)
        for each in entries:
            out.writestr(each, content)
    return file


def refused(file: Path, reason: str, **limits: int) -> str:
    """Unpacking is refused in a message that names the archive, and leaves every folder as it was."""
    root = file.parent
    outside = sorted(root.parent.iterdir())
    before = set(root.rglob("*")) - {root / "out"}
    with pytest.raises(ValueError, match=reason) as raised:
        unpack(file, root / "out" / "into", **limits)
    assert str(file) in str(raised.value)
    assert set(root.rglob("*")) - {root / "out"} == before
    assert sorted(root.parent.iterdir()) == outside
    return str(raised.value)


# There and back


def test_files_come_back_as_they_were(folder: Path, tmp_path: Path) -> None:
    sha256 = pack(folder, tmp_path / "new" / "version.zip")
    assert sha256 == digest((tmp_path / "new" / "version.zip").read_bytes())
    into = unpack(tmp_path / "new" / "version.zip", tmp_path / "back" / "again")
    assert into == tmp_path / "back" / "again"
    assert manifest(into) == manifest(folder)
    check(into, manifest(folder))
    assert [p.name for p in (tmp_path / "back").iterdir()] == ["again"]
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["version.zip"]


def test_the_same_files_give_the_same_archive(folder: Path, tmp_path: Path) -> None:
    first = pack(folder, tmp_path / "1.zip")
    copy = unpack(tmp_path / "1.zip", tmp_path / "copy")
    for path in copy.rglob("*"):
        path.chmod(0o700)
        os.utime(path, (1_000_000_000, 1_000_000_000))
    assert pack(copy, tmp_path / "2.zip") == first


def test_a_manifest_tells_path_size_and_sha256(folder: Path) -> None:
    told = manifest(folder)
    assert list(told) == [
        "MODEL_CARD.md",
        "checkpoint/generator.safetensors",
        "dossier/dossier.json",
        "dossier/evaluation/no rows.csv",
    ]
    assert told["dossier/dossier.json"] == {"sha256": digest(b"{}"), "bytes": 2}
    assert told == json.loads(json.dumps(told))


def test_an_archive_is_replaced_at_once(folder: Path, tmp_path: Path) -> None:
    pack(folder, tmp_path / "1.zip")
    (folder / "MODEL_CARD.md").write_text("other\n")
    second = pack(folder, tmp_path / "1.zip")
    assert digest((tmp_path / "1.zip").read_bytes()) == second
    assert unpack(tmp_path / "1.zip", tmp_path / "back").joinpath("MODEL_CARD.md").read_text() == "other\n"


def test_an_empty_folder_may_become_the_unpacked_one_and_no_other(folder: Path, tmp_path: Path) -> None:
    pack(folder, tmp_path / "1.zip")
    (tmp_path / "empty").mkdir()
    unpack(tmp_path / "1.zip", tmp_path / "empty")
    for taken in (tmp_path / "empty", tmp_path / "1.zip"):
        with pytest.raises(ValueError, match=f"{taken} exists already"):
            unpack(tmp_path / "1.zip", taken)
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="exists already"):
        unpack(tmp_path / "1.zip", tmp_path / "link")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: (f / "MODEL_CARD.md").write_text("σ = 0.3\n"), r"'MODEL_CARD\.md' was changed: sha256"),
        (lambda f: (f / "MODEL_CARD.md").write_text("longer\n\n\n\n"), r"'MODEL_CARD\.md' was changed: 10 bytes"),
        (lambda f: (f / "MODEL_CARD.md").unlink(), r"'MODEL_CARD\.md' is missing"),
        (lambda f: (f / "more.txt").write_text("x"), r"'more\.txt' is not in the manifest"),
    ],
)
def test_a_change_is_named(folder: Path, change: Any, words: str) -> None:
    told = manifest(folder)
    change(folder)
    with pytest.raises(ValueError, match=words):
        check(folder, told)


@pytest.mark.parametrize(
    "told",
    [
        [],
        {"a": 1},
        {"a": {"sha256": "0" * 64}},
        {"a": {"sha256": "0" * 63, "bytes": 1}},
        {"a": {"sha256": "0" * 64, "bytes": -1}},
        {"a": {"sha256": "0" * 64, "bytes": True}},
        {"a": {"sha256": "0" * 64, "bytes": "1"}},
        {"../a": {"sha256": "0" * 64, "bytes": 1}},
    ],
    ids=str,
)
def test_what_is_no_manifest_is_refused(folder: Path, told: Any) -> None:
    with pytest.raises(ValueError, match=f"{folder}: the manifest "):
        check(folder, told)


# Folders that are not packed


def test_links_pipes_and_devices_are_not_packed(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("token")
    for make, kind in (
        (lambda p: p.symlink_to(tmp_path / "secret"), "a link"),
        (lambda p: p.symlink_to(tmp_path), "a link"),
        (lambda p: p.symlink_to("nowhere"), "a link"),
        (os.mkfifo, "a pipe"),
    ):
        make(folder / "dossier" / "odd")
        for read in (plain_files, manifest, lambda f: pack(f, tmp_path / "1.zip")):
            with pytest.raises(ValueError, match=f"'dossier/odd' is {kind}"):
                read(folder)
        (folder / "dossier" / "odd").unlink()
    assert not (tmp_path / "1.zip").exists()


@pytest.mark.parametrize("name", ["a\\b", "a\nb", "a\x1b[31m", "C:x", "Model_Card.md"])
def test_names_that_would_be_refused_are_not_packed(folder: Path, tmp_path: Path, name: str) -> None:
    (folder / name).write_text("x")
    with pytest.raises(ValueError, match=str(folder)) as raised:
        pack(folder, tmp_path / "1.zip")
    assert str(raised.value).isprintable()
    assert not (tmp_path / "1.zip").exists()


def test_the_manifests_own_name_and_a_place_inside_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="name a place outside"):
        pack(folder, folder / "1.zip")
    (folder / MANIFEST).write_text("{}")
    with pytest.raises(ValueError, match="rename that file"):
        pack(folder, tmp_path / "1.zip")
    with pytest.raises(ValueError, match="is no folder"):
        pack(tmp_path / "nothing", tmp_path / "1.zip")


def test_a_folder_beyond_the_limits_is_not_packed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "MAX_FILES", 3)
    with pytest.raises(ValueError, match="holds 4 files of"):
        pack(folder, tmp_path / "1.zip")


# Archives of strangers


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../evil.txt", "leads out of its folder"),
        ("a/../../evil.txt", "leads out of its folder"),
        ("a/..", "leads out of its folder"),
        ("/etc/cron.d/evil", "is an absolute path"),
        ("//host/share", "is an absolute path"),
        ("C:/evil.txt", "is an absolute path"),
        ("c:evil.txt", "is an absolute path"),
        ("..\\evil.txt", "backslash"),
        ("a\\b", "backslash"),
        ("a\0.txt", "unprintable"),
        ("a\x1b]0;evil\x07", "unprintable"),
        ("a\u202etxt.exe", "unprintable"),
        ("./a", "no path of a file"),
        ("a//b", "no path of a file"),
        ("a/./b", "no path of a file"),
        ("a/" + "b" * 256, "longer than"),
        ("/".join(["abcdefgh"] * 200), "longer than"),
    ],
)
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: str, reason: str) -> None:
    message = refused(archive(tmp_path, entry(name)), reason)
    assert message.isprintable()


def test_an_empty_name_is_refused(tmp_path: Path) -> None:
    file = archive(tmp_path, entry("x"), manifest={})
    file.write_bytes(_renamed(file.read_bytes(), b"x", b""))
    refused(file, "no path of a file|damaged|not in the archive")


def _renamed(content: bytes, old: bytes, new: bytes) -> bytes:
    """The name of the last entry in local header and index."""
    for signature, at, header in ((b"PK\3\4", 26, 30), (b"PK\1\2", 28, 46)):
        start = content.rindex(signature)
        assert content[start + header : start + header + len(old)] == old
        length = struct.pack("<H", len(new))
        content = content[: start + at] + length + content[start + at + 2 : start + header] + new + content[
            start + header + len(old) :
        ]  # fmt: skip
    return content


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (("a", "a"), "'a' is there twice"),
        (("Generator.safetensors", "generator.safetensors"), "are one file"),
        (("caf\u00e9", "cafe\u0301"), "are one file"),
        (("strasse", "straße"), "are one file"),
        (("a", "a/b"), "'a' is both a file and the folder of 'a/b'"),
        (("a/b/c", "A/b"), "is both a file and the folder"),
        ((MANIFEST,), "is there twice"),
        (("manifest.json",), "are one file"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_that_meet_are_refused(tmp_path: Path, names: tuple[str, ...], reason: str) -> None:
    refused(archive(tmp_path, *map(entry, names)), reason)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (stat.S_IFLNK, "is a link"),
        (stat.S_IFIFO, "is a pipe"),
        (stat.S_IFSOCK, "is a socket"),
        (stat.S_IFCHR, "is a device"),
        (stat.S_IFBLK, "is a device"),
        (stat.S_IFDIR, "is a folder"),
        (0o170000, "is no regular file"),
    ],
)
def test_links_and_devices_are_refused(tmp_path: Path, kind: int, reason: str) -> None:
    hostile = entry("link", external_attr=(kind | 0o777) << 16, create_system=3)
    refused(archive(tmp_path, hostile, content=b"/etc/passwd"), reason)


def test_folders_are_refused(tmp_path: Path) -> None:
    refused(archive(tmp_path, entry("a/"), content=b""), "is a folder")


def test_encrypted_and_unusual_entries_are_refused(tmp_path: Path) -> None:
    file = archive(tmp_path, entry("a"))
    content = bytearray(file.read_bytes())
    content[content.rindex(b"PK\1\2") + 8] |= 1
    file.write_bytes(content)
    refused(file, "'a' is encrypted")
    file = archive(tmp_path, entry("a", compress_type=zipfile.ZIP_LZMA), name="lzma.zip")
    refused(file, "'a' is compressed by method 14")


def test_a_bomb_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    zeros = bytes(50 << 20)
    file = archive(tmp_path, entry("zeros", compress_type=zipfile.ZIP_DEFLATED), content=zeros)
    assert file.stat().st_size < 1 << 20
    refused(file, "holds 52,428,800 bytes, more than the 1,048,576 allowed", max_bytes=1 << 20)


def test_a_bomb_that_says_it_is_small_is_refused(tmp_path: Path) -> None:
    """In its manifest, or in the manifest and the zip's own index."""
    told = records("zeros", content=b"0" * 100)
    bomb = entry("zeros", compress_type=zipfile.ZIP_DEFLATED)
    file = archive(tmp_path, bomb, content=bytes(50 << 20), manifest=told)
    refused(file, "'zeros' has 52,428,800 bytes, and 100 in the manifest", max_bytes=1 << 20)
    content = bytearray(file.read_bytes())
    for signature, at in ((b"PK\3\4", 22), (b"PK\1\2", 24)):
        start = content.rindex(signature) + at
        content[start : start + 4] = struct.pack("<I", 100)
    file.write_bytes(content)
    refused(file, "damaged|is not what the manifest says", max_bytes=1 << 20)


def test_too_many_files_are_refused(tmp_path: Path) -> None:
    file = archive(tmp_path, *(entry(str(i)) for i in range(30)))
    refused(file, "holds 31 entries, more than the 20 allowed", max_files=20)
    assert len(list(unpack(file, tmp_path / "ok", max_files=30).iterdir())) == 30


def test_an_index_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    hostile = entry("a", comment=b"x" * 60_000)
    refused(archive(tmp_path, hostile), "has an index of 60,", max_files=1)


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        (b"not json", "is no JSON"),
        (b"[" * 1_000_000, "is no JSON"),
        (b"\x80\x02cos\nsystem\n", "is no JSON"),
        ([], "no JSON object"),
        ({}, "'a' is not in its manifest"),
        (records("a", "b"), "'b' is in its manifest and not in the archive"),
        (records("a", MANIFEST), "'MANIFEST.json' is in its manifest and not in the archive"),
        (records("a", content=b"wEights"), "'a' is not what the manifest says: sha256"),
        ({"a": {"sha256": digest(CONTENT), "bytes": 10**30}}, "more than the"),
    ],
    ids=[str(i) for i in range(9)],
)
def test_manifests_that_do_not_agree_are_refused(tmp_path: Path, told: Any, reason: str) -> None:
    refused(archive(tmp_path, entry("a"), manifest=told), reason)


def test_a_zip_without_manifest_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as out:
        out.writestr("a", "x")
    refused(tmp_path / "evil.zip", f"has no {MANIFEST}")


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.zip").write_text("hello")
    refused(tmp_path / "text.zip", "is no zip archive")
    (tmp_path / "empty.zip").write_text("")
    refused(tmp_path / "empty.zip", "is no zip archive")
    refused(tmp_path / "missing.zip", "cannot be read: No such file")
    os.mkfifo(tmp_path / "pipe.zip")
    refused(tmp_path / "pipe.zip", "is a pipe, not an archive")


def test_every_truncated_or_damaged_archive_is_refused_or_whole(folder: Path, tmp_path: Path) -> None:
    (folder / "checkpoint" / "generator.safetensors").write_bytes(b"weights" * 20)
    pack(folder, tmp_path / "whole.zip")
    content, told = (tmp_path / "whole.zip").read_bytes(), manifest(folder)
    file = tmp_path / "damaged" / "evil.zip"
    file.parent.mkdir()
    for length in range(0, len(content), 7):
        file.write_bytes(content[:length])
        refused(file, "no zip archive|damaged")
    outcomes = []
    for position in range(0, len(content), 3):
        file.write_bytes(content[:position] + bytes([content[position] ^ 0xFF]) + content[position + 1 :])
        try:
            check(unpack(file, tmp_path / f"{position}"), told)  # flipped where nothing depends on it, as in a date
            outcomes.append("whole")
        except ValueError as error:
            assert str(file) in str(error)
            assert not (tmp_path / f"{position}").exists()
            outcomes.append("refused")
    assert outcomes.count("refused") > len(outcomes) / 2
    assert [path.name for path in file.parent.iterdir()] == ["evil.zip"]


def test_flat_names_are_written_with_their_own_content(tmp_path: Path) -> None:
    """A deflated archive of another tool is as good as ours."""
    file = archive(tmp_path, entry("a/b", compress_type=zipfile.ZIP_DEFLATED), entry("c"))
    into = unpack(file, tmp_path / "into")
    assert {name: path.read_bytes() for name, path in plain_files(into).items()} == {"a/b": CONTENT, "c": CONTENT}
