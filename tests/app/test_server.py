"""The page's server reads what is uploaded, completes what is asked, and says what is wrong beside its field."""

from __future__ import annotations

import base64
import io
import json
import re
import zipfile
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from fastapi.testclient import TestClient

import crystalsweep
from crystalsweep.app.page import page
from crystalsweep.app.request import MAX_ATOMS
from crystalsweep.app.server import WAITING, build_app
from crystalsweep.app.turns import BusyError, Turns
from crystalsweep.data import load_bundled, read
from crystalsweep.data.partial_cif import partial_from_cif
from crystalsweep.data.writing import write
from crystalsweep.inference.answers import answer_of
from crystalsweep.inference.known import Known
from crystalsweep.inference.restorer import Restorer, load
from crystalsweep.inference.serving import EXAMPLE
from crystalsweep.structures.crystal import Crystal

MODEL = Path(__file__).parent.parent / "fixtures" / "generators" / "control"
NACL = EXAMPLE.replace("NaX", "NaCl").replace("X1 X ", "Cl1 Cl ")


@pytest.fixture(scope="module")
def restorer() -> Restorer:
    return load(MODEL)


@pytest.fixture(scope="module")
def client(restorer: Restorer) -> TestClient:
    known = Known([crystal for crystal in load_bundled() if len(crystal) <= 8])
    return TestClient(build_app(restorer, known=known), base_url="http://127.0.0.1:8765", raise_server_exceptions=False)


def uploaded(client: TestClient, content: str | bytes, name: str = "") -> Any:
    content = content.encode() if isinstance(content, str) else content
    return client.post("/api/read", json={"name": name, "content": base64.b64encode(content).decode()})


def rock_salt(client: TestClient) -> dict[str, Any]:
    crystal = uploaded(client, NACL, "NaCl.cif").json()["crystals"][0]["crystal"]
    assert isinstance(crystal, dict)
    return crystal


def errors(answer: Any, status: int = 422) -> list[tuple[str, str]]:
    assert answer.status_code == status, answer.text
    return [(each["field"], each["says"]) for each in answer.json()["errors"]]


# The page and its policy


def test_the_page_is_one_file_under_a_policy(client: TestClient) -> None:
    answer = client.get("/")
    assert answer.status_code == 200
    assert answer.text == page()
    policy = answer.text.split('http-equiv="Content-Security-Policy" content="')[1].split('"')[0]
    assert "default-src &#39;none&#39;; script-src &#39;sha256-" in policy
    assert "connect-src &#39;self&#39;" in policy
    assert "http" not in policy
    assert "innerHTML" not in answer.text.rpartition('id="told"')[2]
    assert answer.headers["content-security-policy"] == "frame-ancestors 'none'"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"


def test_no_other_page_is_there(client: TestClient) -> None:
    for path in ("/docs", "/redoc", "/openapi.json", "/static/app.js", "/../server.py"):
        assert client.get(path).status_code == 404
    assert client.get("/api/complete").status_code == 405


def test_a_strangers_name_and_page_are_refused(client: TestClient) -> None:
    assert errors(client.get("/api/model", headers={"Host": "evil.example"}), 403)[0][1].startswith("open this page as")
    assert errors(client.get("/api/model", headers={"Origin": "http://evil.example"}), 403)
    form = client.post("/api/read", content="{}", headers={"Content-Type": "text/plain"})
    assert errors(form, 415) == [("", "send JSON, as application/json")]


def test_the_model_is_named(client: TestClient) -> None:
    told = client.get("/api/model").json()
    assert (told["name"], told["stage"], told["network"]) == (str(MODEL), "gan", "painn")
    assert told["parameters"] > 10_000


def test_with_a_token_only_its_holder_is_answered(restorer: Restorer) -> None:
    token = "sixteen-characters"
    guarded = TestClient(build_app(restorer, token), base_url="http://crystals.example")
    assert guarded.get("/").status_code == 200
    assert token not in guarded.get("/").text
    assert errors(guarded.get("/api/model"), 401) == [("", "give the token that this page was started with")]
    assert guarded.get("/api/model", headers={"Authorization": f"Bearer {token}"}).status_code == 200


# Reading


def test_a_cif_is_read(client: TestClient) -> None:
    crystal = rock_salt(client)
    assert crystal["name"] == "NaCl"
    assert sorted(crystal["elements"]) == ["Cl"] * 4 + ["Na"] * 4
    pasted = uploaded(client, NACL.replace("Cl1 Cl", "X1 X")).json()["crystals"][0]["crystal"]
    assert pasted["elements"].count(None) == 4


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".extxyz", ".crystals"])
def test_every_form_that_can_be_read_is_read(client: TestClient, tmp_path: Path, suffix: str) -> None:
    crystals = [crystal for crystal in load_bundled("test") if len(crystal) <= 8][:3]
    file = tmp_path / f"some{suffix}"
    write(crystals, file)
    found = [each["crystal"] for each in uploaded(client, file.read_bytes(), file.name).json()["crystals"]]
    assert [each["name"] for each in found] == [crystal.id for crystal in read(file).crystals]
    assert [len(each["elements"]) for each in found] == [len(crystal) for crystal in crystals]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("", "", "there is nothing in it"),
        ("a.cif", " \n", "there is nothing in it"),
        ("a.cif", "hello", "CIF"),
        ("a.pdf", "%PDF-1.4", "not a form that can be read"),
        ("a.parquet", "no parquet", "a.parquet"),
        ("../../etc/passwd", "root:x:0:0", "not a form that can be read"),
    ],
)
def test_what_cannot_be_read_is_told_beside_the_upload(client: TestClient, name: str, content: str, says: str) -> None:
    ((field, said), *_) = errors(uploaded(client, content, name))
    assert field == "upload"
    assert says in said
    assert "/tmp" not in said
    assert "crystalsweep-app-" not in said


def test_a_large_crystal_is_refused_when_it_is_read(client: TestClient, tmp_path: Path) -> None:
    big = [Crystal.of("big", [11], [[50, 0, 0], [0, 50, 0], [0, 0, 50]], [[0, 0, 0]])]
    n = MAX_ATOMS + 1
    frac = [[(i % 8) / 8, (i // 8 % 8) / 8, (i // 64) / 8] for i in range(n)]
    big.append(Crystal.of("bigger", [11] * n, [[30, 0, 0], [0, 30, 0], [0, 0, 30]], frac))
    write(big, tmp_path / "big.extxyz")
    answer = uploaded(client, (tmp_path / "big.extxyz").read_bytes(), "big.extxyz").json()
    assert [each["crystal"]["name"] for each in answer["crystals"]] == ["big"]
    assert any(f"{n} atoms" in note for note in answer["notes"])


def test_what_is_no_base64_is_told(client: TestClient) -> None:
    assert errors(client.post("/api/read", json={"name": "a.cif", "content": "abc"}))[0][0] == "content"
    assert errors(client.post("/api/read", json={"name": "a.cif"}))[0][0] == "content"


# Completing


def chlorine(crystal: dict[str, Any]) -> list[int]:
    return [site for site, symbol in enumerate(crystal["elements"], start=1) if symbol == "Cl"]


def test_candidates_are_ranked_and_can_be_downloaded(client: TestClient) -> None:
    crystal = rock_salt(client)
    answer = client.post("/api/complete", json={"crystal": crystal, "masked": chlorine(crystal), "top": 6}).json()
    found = answer["candidates"]
    assert len(found) == 6
    probabilities = [each["probability"] for each in found]
    assert probabilities == sorted(probabilities, reverse=True)
    assert 0 < sum(probabilities) <= 1
    assert [each["atom"] for each in answer["masked"]] == chlorine(crystal)
    assert [len(site["odds"]) for site in answer["masked"]] == [5] * 4
    assert len({each["formula"] for each in found}) == 6, "sites that are equal by symmetry are alike"
    assert sum(each["as_given"] for each in found) <= 1
    assert all(each["as_given"] == (each["formula"] == "NaCl") for each in found)
    assert all(0.5 < each["shortest_distance"] < 3.5 and len(each["frac"]) == 8 for each in found)
    assert all(each["known"]["id"].startswith("mp-") for each in found)
    for each in found:
        assert isinstance(partial_from_cif(each["cif"], "again"), Crystal)
    with zipfile.ZipFile(io.BytesIO(base64.b64decode(answer["zip"]))) as file:
        assert [file.read(name).decode() for name in file.namelist()] == [each["cif"] for each in found]
        assert file.namelist()[0] == "01.cif"


@pytest.mark.parametrize(
    ("supercell", "says"), [("2x2", "is no supercell"), ("3x1x1", "do not hold whole"), ("9x9x1", "too many")]
)
def test_a_supercell_that_cannot_be_is_told_at_its_field(client: TestClient, supercell: str, says: str) -> None:
    sites = "_atom_site_fract_z\n_atom_site_occupancy\nNa1 Na 0 0 0 1\nCl1 Cl 0.5 0.5 0.5 0.6\nBr1 Br 0.5 0.5 0.5 0.4\n"
    content = base64.b64encode((NACL.partition("_atom_site_fract_z")[0] + sites).encode()).decode()
    answer = client.post("/api/read", json={"name": "x.cif", "content": content, "supercell": supercell})
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert error["field"] == "supercell"
    assert says in error["says"]
    (found,) = client.post("/api/read", json={"name": "x.cif", "content": content, "supercell": "5x1x1"}).json()[
        "crystals"
    ]
    assert found["crystal"]["shared"][0]["counts"] == {"Cl": 12, "Br": 8}


def test_shared_sites_are_ordered(client: TestClient, restorer: Restorer) -> None:
    loop = (
        "_atom_site_fract_z\n_atom_site_occupancy\nNa1 Na 0 0 0 1\nCl1 Cl 0.5 0.5 0.5 0.75\nBr1 Br 0.5 0.5 0.5 0.25\n"
    )
    text = NACL.partition("_atom_site_fract_z")[0] + loop
    (found,) = uploaded(client, text, "shared.cif").json()["crystals"]
    assert any("3 Cl, 1 Br" in note for note in found["notes"])
    assert found["crystal"]["shared"][0]["counts"] == {"Cl": 3, "Br": 1}
    answer = client.post("/api/complete", json={"crystal": found["crystal"]}).json()
    assert {each["filled"] for each in answer["candidates"]} == {"3 Cl, 1 Br"}
    same = crystalsweep.complete(text, model=restorer)
    told = [(each["probability"], each["elements"]) for each in answer["candidates"]]
    commands = answer_of(same)["candidates"]
    assert told == [(each["probability"], each["elements"]) for each in commands], "as the command orders them"
    for change in ({"counts": {"Cl": 4, "Br": 1}}, {"atoms": [1, 1, 2, 3]}, {"counts": {"Q": 4}}):
        wrong = {**found["crystal"], "shared": [found["crystal"]["shared"][0] | change]}
        assert errors(client.post("/api/complete", json={"crystal": wrong}))[0][0] == "crystal"


def test_different_elements_that_are_tied_are_told(client: TestClient) -> None:
    crystal = rock_salt(client)
    every = list(range(1, len(crystal["elements"]) + 1))
    answer = client.post("/api/complete", json={"crystal": crystal, "masked": every}).json()
    assert answer["warnings"][0].startswith("the sites of Na and Cl are equal by symmetry once they are masked")
    assert answer["sets"] == [], "the right one is not among them"
    free = client.post("/api/complete", json={"crystal": crystal, "masked": every, "tie": "none"}).json()
    assert not any("equal by symmetry" in each for each in free["warnings"])


def test_constraints_hold(client: TestClient) -> None:
    crystal = rock_salt(client)
    asked = {"crystal": crystal, "masked": chlorine(crystal), "keep_positions": True, "charge": "neutral"}
    answer = client.post("/api/complete", json=asked | {"allowed": "F Cl Br", "exclude": "Br"}).json()
    assert {each["formula"] for each in answer["candidates"]} <= {"NaF", "NaCl"}
    assert all(each["charge_balanced"] and each["largest_move"] == 0 for each in answer["candidates"])
    answer = client.post("/api/complete", json=asked | {"formula": "NaCl", "tie": "none"}).json()
    assert [each["formula"] for each in answer["candidates"]] == ["NaCl"]
    assert answer["renormalised"]


@pytest.mark.parametrize(
    ("wishes", "field", "says"),
    [
        ({"allowed": "Xx"}, "allowed", "'Xx' is no element"),
        ({"exclude": "<img>"}, "exclude", "'<img>' is no element"),
        ({"formula": "Na2Cl"}, "formula", "8 atoms are no whole number of units of Na2Cl"),
        ({"formula": "((("}, "formula", "is no chemical formula"),
        ({"formula": "KCl"}, "formula", "visible Na"),
        ({"required": "Ti-Fe-Co-Ni-Cu"}, "required", "only 4 sites are masked"),
        ({"allowed": "Cl", "exclude": "Cl"}, "constraints", "every allowed one is excluded too"),
        ({"allowed": "Cl", "required": "Br"}, "constraints", "no masked site may become it"),
        ({"top": 0}, "top", "greater than or equal to 1"),
        ({"top": 10_000}, "top", "less than or equal to 50"),
        ({"charge": "no"}, "charge", "'neutral', 'prefer' or 'any'"),
        ({"masked": [9]}, "masked", "there is no site 9; there are 8"),
        ({"masked": [0]}, "masked", "greater than or equal to 1"),
        ({"masked": [], "keep_positions": True}, "masked", "no site is masked, and positions are kept"),
        ({"tidy": 1}, "tidy", "Extra inputs"),
    ],
)
def test_a_mistake_is_told_beside_its_field(client: TestClient, wishes: dict[str, Any], field: str, says: str) -> None:
    crystal = rock_salt(client)
    found = errors(client.post("/api/complete", json={"crystal": crystal, "masked": chlorine(crystal), **wishes}))
    assert [each for each in found if each[0] == field and says in each[1]], found


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"elements": ["Qq"] * 8}, "'Qq' is no element"),
        ({"elements": ["Na"]}, "array lengths do not fit"),
        ({"frac": [[0, 0, 0]] * 8}, "atoms closer than 0.1 Å"),
        ({"lattice": [[1, 0, 0], [2, 0, 0], [0, 0, 1]]}, "zero volume"),
        ({"lattice": [[1e9, 0, 0], [0, 1e9, 0], [0, 0, 1e9]]}, "lattice vector too long"),
        ({"frac": [[1e300, 0, 0]] * 8}, "far outside the cell"),
        ({"elements": ["Na"] * 100_000}, "at most 400 items"),
    ],
)
def test_a_crystal_that_is_none_is_refused(client: TestClient, change: dict[str, Any], says: str) -> None:
    """Whoever asks without the page is held to the checks of every reader."""
    found = errors(client.post("/api/complete", json={"crystal": rock_salt(client) | change}))
    assert found[0][0] == "crystal"
    assert says in found[0][1]


def test_no_number_is_no_coordinate(client: TestClient) -> None:
    text = json.dumps({"crystal": rock_salt(client)}).replace("5.64", "NaN")
    answer = client.post("/api/complete", content=text, headers={"Content-Type": "application/json"})
    assert errors(answer)[0][0] == "crystal"


def test_a_name_is_data(client: TestClient) -> None:
    name = "<img src=x onerror=alert(1)>"
    answer = client.post("/api/complete", json={"crystal": rock_salt(client) | {"name": name}, "masked": [1]})
    assert answer.json()["id"] == name
    assert answer.headers["content-type"] == "application/json"
    with zipfile.ZipFile(io.BytesIO(base64.b64decode(answer.json()["zip"]))) as file:
        assert all(re.fullmatch(r"\d\d\.cif", each) for each in file.namelist())


def test_what_nobody_foresaw_is_told_without_a_traceback(restorer: Restorer, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a secret of the machine")

    monkeypatch.setattr("crystalsweep.app.server.read_upload", fail)
    client = TestClient(build_app(restorer), base_url="http://localhost", raise_server_exceptions=False)
    ((field, says),) = errors(uploaded(client, NACL), 500)
    assert field == ""
    assert says == "it could not be done (ZeroDivisionError); the terminal of `crystalsweep app` says more"


# One after the other


def test_one_request_at_a_time_passes_and_some_wait() -> None:
    turns, go, inside = Turns(WAITING), Event(), []

    def work(number: int) -> None:
        with turns.taken():
            inside.append(number)
            assert go.wait(30)
            assert inside[-1] == number, "nobody came in meanwhile"

    threads = [Thread(target=work, args=(number,)) for number in range(WAITING + 1)]
    for thread in threads:
        thread.start()
    while len(inside) < 1:
        pass
    for _ in range(1000):
        try:
            with pytest.raises(BusyError, match=f"{WAITING} requests wait already"), turns.taken():
                raise AssertionError("there was room")
            break
        except AssertionError:
            continue  # a thread has not come yet
    go.set()
    for thread in threads:
        thread.join()
    assert sorted(inside) == list(range(WAITING + 1))
