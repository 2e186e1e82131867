"""Galleries: which crystals are chosen, what a generator makes of them, and files that open without a network."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from crystalsweep.data import load_data
from crystalsweep.evaluation.protocol import Chunk, evaluate_chunks, evaluation_chunks
from crystalsweep.gallery import Specimen, choose, restore_chosen, write_gallery
from crystalsweep.gallery.atoms import columns
from crystalsweep.gallery.captions import heading, result
from crystalsweep.hyperparameters import EvaluationConfig
from crystalsweep.metrics.scoring import score
from crystalsweep.networks.architectures import PaiNNConfig
from crystalsweep.networks.models import Generator
from crystalsweep.structures.crystal import MASK, Crystal
from crystalsweep.tracking.images import as_images

CONFIG = EvaluationConfig(mask_types=("species", "random30"), sigma_noise=(0.1, 0.2), draws=2, max_crystals=8)


@pytest.fixture(scope="module")
def generator() -> Generator:
    torch.manual_seed(0)
    return Generator(PaiNNConfig(width=8, layers=1, radial_functions=4, cutoff=4.0, max_neighbours=8)).eval()


@pytest.fixture(scope="module")
def chunks() -> list[Chunk]:
    return list(evaluation_chunks([crystal for crystal in load_data("bundled").val if 2 <= len(crystal) <= 8], CONFIG))


@pytest.fixture(scope="module")
def table(generator: Generator, chunks: list[Chunk]) -> pd.DataFrame:
    return evaluate_chunks(generator, chunks, keep_known=True)


@pytest.fixture(scope="module")
def specimens(generator: Generator, chunks: list[Chunk], table: pd.DataFrame) -> list[Specimen]:
    return restore_chosen(generator, chunks, table, choose(table), keep_known=True)


def rows(noise: Sequence[float], left: Sequence[float], restored: Sequence[bool]) -> pd.DataFrame:
    return pd.DataFrame({"noise_aligned": noise, "distance_aligned": left, "compositional_similarity": restored})


def test_restored_crystals_are_better_and_then_those_with_less_distance_left() -> None:
    chosen = choose(rows([1.0, 2.0, 3.0, 4.0, 5.0], [0.9, 0.2, 2.4, 0.4, 6.0], [True, False, True, False, False]))
    assert chosen == {"same input in every trial, best": 2, "median": 1, "worst": 4}


def test_the_first_crystal_depends_on_the_inputs_alone() -> None:
    noise, shares = np.array([0.5, 0.3, 0.9, 0.7, 0.1]), np.array([[3, 1, 2, 4, 5], [3, 5, 4, 2, 1]])
    first, second = (choose(rows(noise.tolist(), (share * noise).tolist(), [False] * 5)) for share in shares)
    assert next(iter(first.values())) == next(iter(second.values())) == 0
    assert (first["best"], second["best"]) == (1, 4)


def test_what_was_not_displaced_or_failed_is_not_ranked() -> None:
    table = rows([0.0, 0.2, 0.3], [0.5, np.nan, 0.1], [True, False, False])
    assert set(choose(table).values()) == {2}
    assert choose(rows([0.0], [0.0], [True])) == {}


def test_the_crystals_shown_are_those_of_the_table(specimens: list[Specimen]) -> None:
    """Their distances, measured anew on what was restored again, are those of the scores."""
    assert len(specimens) == 4
    for specimen in specimens:
        again = score(specimen.before, specimen.corrupted, specimen.after)
        assert again["distance_aligned"] == pytest.approx(specimen.left, abs=1e-4)
        assert again["noise_aligned"] == pytest.approx(specimen.noise, abs=1e-6)
        assert bool(again["compositional_similarity"]) == specimen.restored
        assert (specimen.corrupted.species == MASK).any()
        assert not (specimen.after.species == MASK).any()


def test_inputs_of_another_evaluation_are_refused(
    generator: Generator, chunks: list[Chunk], table: pd.DataFrame
) -> None:
    chosen = choose(table)
    with pytest.raises(ValueError, match="not of one run"):
        restore_chosen(generator, chunks[:-1], table, chosen, keep_known=True)
    with pytest.raises(ValueError, match="not of one run"):
        restore_chosen(generator, chunks, table.iloc[::-1].reset_index(drop=True), chosen, keep_known=True)


def test_atoms_that_left_the_cell_stay_beside_where_they_began() -> None:
    lattice = 4.0 * np.eye(3)
    before = Crystal.of("a", [11, 17], lattice, [[0.01, 0, 0], [0.5, 0.5, 0.5]])
    moved = Crystal.of("a", [MASK, 17], lattice, [[0.97, 0, 0], [0.5, 0.5, 0.5]])
    after = Crystal.of("a", [19, 17], lattice, [[0.99, 0, 0], [0.5, 0.5, 0.5]])
    drawn = columns(
        Specimen(
            role="best",
            mask_type="species",
            sigma_noise=0.1,
            before=before,
            corrupted=moved,
            after=after,
            restored=False,
            noise=0.1,
            left=0.05,
        )
    )
    assert drawn["corrupted"][0].cart[0] == pytest.approx(-0.12)
    assert drawn["corrupted"][0].symbol == "?"
    assert [atom.verdict for atom in drawn["after"]] == ["wrong", ""]
    assert [atom.symbol for atom in drawn["after"]] == ["K", "Cl"]


def test_captions_say_what_was_done_and_what_came_of_it(specimens: list[Specimen]) -> None:
    shown = replace(specimens[0], role="best", restored=True, noise=0.2, left=0.05, sigma_noise=0.1)
    assert result(shown) == "composition restored; 0.050 Å left of 0.200 Å noise put in (25 %)"
    assert "could not be compared" in result(replace(shown, left=float("nan")))
    assert heading(shown).startswith(f"best: {shown.before.id}, ")
    assert heading(shown).endswith("σ = 0.1")


@pytest.fixture(scope="module")
def written(specimens: list[Specimen], tmp_path_factory: pytest.TempPathFactory) -> Path:
    hostile = replace(specimens[0], before=replace(specimens[0].before, id="a/../</script><b>"))
    return write_gallery([hostile, *specimens[1:]], tmp_path_factory.mktemp("gallery") / "crystals", title="gan <σ>")


def test_the_page_holds_all_it_needs(written: Path, specimens: list[Specimen]) -> None:
    page = (written / "crystals.html").read_text(encoding="utf-8")
    assert len(page) < 700_000
    assert not re.findall(r"<(?:script|img|link|iframe)[^>]*(?:src|href)=", page)
    assert "<b>" not in page
    data = re.search(r'id="crystals">(.*?)</script>', page, re.DOTALL)
    assert data
    crystals = json.loads(data[1])
    assert len(crystals) == len(specimens)
    for crystal, specimen in zip(crystals, specimens, strict=True):
        assert [len(part) for part in crystal["parts"]] == [len(specimen.before)] * 3
        masked = int((specimen.corrupted.species == MASK).sum())
        assert [atom["symbol"] for atom in crystal["parts"][1]].count("?") == masked
        assert len(crystal["cell"]) == 12


def test_cifs_are_read_back(written: Path, specimens: list[Specimen]) -> None:
    from pymatgen.core import Structure

    files = sorted(path.name for path in (written / "cif").iterdir())
    assert len(files) == 3 * len(specimens)
    assert all(re.fullmatch(r"\d-[\w.-]+-(before|corrupted|after)\.cif", name) for name in files)
    for number, specimen in enumerate(specimens[1:], start=2):
        (before,) = written.glob(f"cif/{number}-*-before.cif")
        (corrupted,) = written.glob(f"cif/{number}-*-corrupted.cif")
        read = Structure.from_file(before)
        assert sorted(read.atomic_numbers) == sorted(specimen.before.species.tolist())
        assert read.volume == pytest.approx(specimen.before.volume, rel=1e-5)
        masked = int((specimen.corrupted.species == MASK).sum())
        assert len(re.findall(r"^ +X0\+", corrupted.read_text(), re.MULTILINE)) >= 1
        assert corrupted.read_text().count("X0+  X") == masked


def test_pictures_become_images_that_mlflow_compares(written: Path, tmp_path: Path) -> None:
    first, second = (as_images([written / "crystals.png"], 3, tmp_path / name) for name in ("a", "b"))
    names = sorted(path.name for path in first.iterdir())
    assert names == sorted(path.name for path in second.iterdir())
    assert all(name.startswith("crystals+step+3+timestamp+0+") for name in names)
    thumbnail = next(path for path in first.iterdir() if path.name.endswith("+compressed.webp"))
    with Image.open(thumbnail) as image:
        assert max(image.size) == 512
