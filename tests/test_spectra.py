"""Spectra as targets: read from a file, learnt, predicted with a band, evaluated, compared and judged."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner

from crystalsweep.cli.evaluate import compare, evaluate
from crystalsweep.cli.predict import predict
from crystalsweep.cli.registry import promote
from crystalsweep.cli.train import train
from crystalsweep.data import DataError, read, write
from crystalsweep.data.bundled import load_bundled
from crystalsweep.data.labels import has_label, told_labels
from crystalsweep.data.packed import ids_of
from crystalsweep.data.spectra import Column, Grid, column_of, spectrum_column, spectrum_values
from crystalsweep.evaluation.properties.outcome import read_property_outcome
from crystalsweep.inference.predicting import load_predictor, prediction_table
from crystalsweep.inference.served_predictor import ServedPredictor, columns_of
from crystalsweep.inference.target_records import SpectrumRecord, TargetRecord
from crystalsweep.losses.properties import property_loss
from crystalsweep.registry.property_names import default_name
from crystalsweep.structures.crystal import Crystal
from crystalsweep.structures.targets import target_of

COLUMN = Column("dos", Grid(start=0, stop=20, points=16, unit="THz"))
TARGET = "spectrum(dos)"


def spectrum_of(crystal: Crystal) -> np.ndarray:
    """A peak of area 1 that is the higher up, the lighter the atoms are."""
    centre = 20 / np.sqrt(crystal.species.mean() / 4)
    return np.round(np.exp(-0.5 * ((COLUMN.grid.values - centre) / 2) ** 2) / (2 * np.sqrt(2 * np.pi)), 6)


def with_spectrum(crystal: Crystal) -> Crystal:
    return replace(
        crystal, labels=crystal.labels | dict(zip(COLUMN.points, spectrum_of(crystal).tolist(), strict=True))
    )


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Crystals with a column of lists; every tenth cell is empty."""
    folder = tmp_path_factory.mktemp("spectra")
    crystals = [replace(each, labels={}) for each in load_bundled() if len(each) <= 6][:240]
    write(crystals, folder / "plain.parquet")
    table = pd.read_parquet(folder / "plain.parquet")
    table["spectrum( dos, 0 : 20 : 16 : THz )"] = [
        None if i % 10 == 0 else spectrum_of(each) for i, each in enumerate(crystals)
    ]
    table.to_parquet(folder / "mine.parquet")
    return folder / "mine.parquet"


@pytest.mark.parametrize("name", ["mine.parquet", "mine.csv", "mine.extxyz", "mine.crystals"])
def test_every_form_gives_the_same_spectra(name: str, file: Path, tmp_path: Path) -> None:
    crystals = read(file).crystals
    assert column_of([crystals], "dos") == COLUMN
    found = spectrum_values(crystals, COLUMN)
    empty = np.arange(len(crystals)) % 10 == 0
    assert np.isnan(found[empty]).all()
    expected = [spectrum_of(each) for each, none in zip(crystals, empty, strict=True) if not none]
    assert np.array_equal(found[~empty], expected)
    assert (has_label(crystals, "dos") == ~empty).all()
    assert told_labels(crystals) == "spectrum(dos,0:20:16:THz)"
    write(crystals, tmp_path / name)
    again = read(tmp_path / name)
    assert not again.rejects
    assert not again.notes
    order = [ids_of(again.crystals).index(each) for each in ids_of(crystals)]
    assert np.array_equal(spectrum_values(again.crystals, COLUMN)[order], found, equal_nan=True)


def test_a_spectrum_that_does_not_fit_is_a_reject_that_names_its_row(tmp_path: Path) -> None:
    crystals = [each for each in load_bundled() if len(each) <= 4][:6]
    write(list(map(with_spectrum, crystals)), tmp_path / "good.csv")
    table = pd.read_csv(tmp_path / "good.csv")
    table[COLUMN.name] = ["[0.1, 0.2]", "0 " * 16, "soft", json.dumps([None] + [0] * 15), None, "[[1], [2]]"]
    table.to_csv(tmp_path / "mine.csv", index=False)
    reading = read(tmp_path / "mine.csv")
    assert len(reading.crystals) == 2
    short, text, gap, nested = map(str, reading.rejects)
    assert short.startswith("mine.csv row 1, id ")
    assert "spectrum(dos,0:20:16:THz): 2 numbers, the grid has 16" in short
    assert "row 3" in text
    assert "no list of numbers" in text
    assert "number 1 is missing" in gap
    assert "row 6" in nested


def test_a_column_of_lists_without_a_grid_is_told_what_it_must_be_called(file: Path, tmp_path: Path) -> None:
    table = pd.read_parquet(file).rename(columns={"spectrum( dos, 0 : 20 : 16 : THz )": "dos"})
    table.to_parquet(tmp_path / "lists.parquet")
    (note,) = read(tmp_path / "lists.parquet").notes
    assert "no grid: dos; a column of spectra is called spectrum(NAME,START:STOP:POINTS:UNIT)" in str(note)
    for wrong in ("spectrum(dos)", "spectrum(dos,0:20:THz)", "spectrum(dos,20:0:16:THz)", "spectrum(dos,0:1:1:THz)"):
        table.rename(columns={"dos": wrong}).to_parquet(tmp_path / "wrong.parquet")
        with pytest.raises(DataError, match=r"call it spectrum\(NAME,START:STOP:POINTS:UNIT\)"):
            read(tmp_path / "wrong.parquet")
    assert spectrum_column("k_vrh") is None


def test_two_grids_of_one_spectrum_are_refused() -> None:
    one, other, bare = [each for each in load_bundled() if len(each) <= 4][:3]
    fine = Column("dos", Grid(start=0, stop=20, points=4, unit="THz"))
    two = replace(other, labels=dict.fromkeys(fine.points, 1.0))
    with pytest.raises(ValueError, match=r"16 points from 0 to 20 THz and 4 points"):
        column_of([[with_spectrum(one)], [two, bare]], "dos")
    with pytest.raises(ValueError, match=f"1 crystals have it at 4 points from 0 to 20 THz, as {two.id}"):
        spectrum_values([with_spectrum(one), two], COLUMN)


def test_the_loss_leaves_out_crystals_without_a_spectrum() -> None:
    answers = torch.tensor([[1.0, 2.0], [5.0, 5.0]], requires_grad=True)
    loss = property_loss(answers, torch.tensor([[0.0, 0.0], [torch.nan, torch.nan]]), "spectrum", "mse")
    loss.backward()
    assert loss.item() == pytest.approx(2.5)
    assert answers.grad is not None
    assert (answers.grad[1] == 0).all()


def test_a_record_holds_grid_and_mean() -> None:
    spectrum = SpectrumRecord(grid=Grid(start=0, stop=1, points=2, unit="eV"), mean=(1.0, 3.0))
    record = TargetRecord(name=TARGET, mean=0, std=2, trained_on=5, spectrum=spectrum)
    assert record.outputs == record.columns == 2
    assert record.label(record.scaled(np.array([[5.0, 7.0]]))).tolist() == [[5.0, 7.0]]
    assert record.scaled(np.array([[1.0, 3.0]])).tolist() == [[0.0, 0.0]]
    with pytest.raises(ValueError, match="without a grid"):
        TargetRecord(name=TARGET, mean=0, std=1, trained_on=1)
    with pytest.raises(ValueError, match="with a grid"):
        TargetRecord(name="dos", mean=0, std=1, trained_on=1, spectrum=spectrum)
    with pytest.raises(ValueError, match="3 numbers on a grid of 2"):
        SpectrumRecord(grid=spectrum.grid, mean=(1.0, 2.0, 3.0))
    assert target_of(" spectrum( dos ) ").name == TARGET
    assert default_name([TARGET]) == "crystal-property-spectrum-dos"


@pytest.fixture(scope="module")
def run(file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    sizes = ("epochs=15", "width=16", "layers=1", "batch_size=16", "learning_rate=0.01", "max_crystals=null")
    options = ["--preset", "smoke", "--data", str(file), "--target", TARGET, "--out", str(folder)]
    settings = [part for size in sizes for part in ("--set", size)]
    trained = CliRunner().invoke(train, ["finetune", *options, *settings], catch_exceptions=False)
    assert trained.exit_code == 0, trained.output
    return folder


def test_a_spectrum_is_predicted_with_a_band(run: Path, file: Path, tmp_path: Path) -> None:
    out = tmp_path / "predictions.csv"
    asked = CliRunner().invoke(predict, [str(file), "--model", str(run), "--out", str(out)], catch_exceptions=False)
    assert asked.exit_code == 0, asked.output
    assert "the band is for 90% of cases" in asked.output
    assert "Wasserstein distance" in asked.output
    table = pd.read_csv(out)
    assert list(table.columns) == ["id", "spectrum(dos,0:20:16:THz)", "dos margin"]
    values = np.array([json.loads(each) for each in table["spectrum(dos,0:20:16:THz)"]])
    crystals = read(file).crystals
    truth = np.stack([spectrum_of(each) for each in crystals])
    assert np.abs(values - truth).mean() < 0.5 * np.abs(truth - truth.mean(axis=0)).mean()
    within = (np.abs(values - truth).max(axis=1) <= table["dos margin"]).mean()
    assert within > 0.8
    predictor = load_predictor(next(run.rglob("targets.json")).parent)
    told = prediction_table(ids_of(crystals)[:2], predictor.predict(crystals[:2]))
    assert np.allclose(told["spectrum(dos,0:20:16:THz)"].tolist(), values[:2])
    served = ServedPredictor(predictor).predict(
        pd.DataFrame({"cif": [(Path(__file__).parents[1] / "docs/examples/NaCl.cif").read_text()]})
    )
    assert list(served) == list(columns_of(predictor.records))
    assert len(json.loads(served["spectrum(dos,0:20:16:THz)"][0])) == 16


def test_a_spectrum_is_evaluated_beside_baselines_compared_and_judged(run: Path, file: Path, tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        arguments = ["--checkpoint", str(run), "--data", str(file), "--name", folder.name, "--out", str(folder)]
        judged = CliRunner().invoke(evaluate, arguments, catch_exceptions=False)
        assert judged.exit_code == 0, judged.output
    assert "dos at 16 points from 0 to 20 THz" in judged.output
    assert "Wasserstein distance (THz)" in judged.output
    found = read_property_outcome(folders[0]).targets[TARGET]
    assert list(found.rows) == ["one", "training mean", "composition only", "nearest in structure"]
    for figures in found.rows.values():
        assert list(figures) == ["mae", "mse", "wasserstein", "mean_frequency_error"]
        assert all(each.mean is not None and each.low is not None for each in figures.values())
    own, mean = (found.rows[row]["mae"].mean for row in ("one", "training mean"))
    assert own is not None and mean is not None and own < mean
    assert {each.metric for each in found.verdicts} == {"mae", "mse", "wasserstein"}
    page = (folders[0] / "report.html").read_text()
    assert "Example spectra" in page
    compared = CliRunner().invoke(compare, list(map(str, folders)), catch_exceptions=False)
    assert compared.exit_code == 0, compared.output
    assert f"{TARGET}: MAE" in compared.output
    tried = CliRunner().invoke(
        promote, [str(run), "--trained-on", str(file), "--dry-run", "--storage", str(tmp_path / "store")]
    )
    assert f"{TARGET}: mae is better than" in tried.output or f"{TARGET}: mae" in tried.output, tried.output
    assert "reproducib" in tried.output.lower(), tried.output


def test_a_spectrum_that_is_asked_for_as_a_number_says_how_to_ask(file: Path, tmp_path: Path) -> None:
    options = ["finetune", "--preset", "smoke", "--data", str(file), "--out", str(tmp_path / "run")]
    ran = CliRunner().invoke(train, [*options, "--target", "dos"])
    assert ran.exit_code
    assert "ask for spectrum(dos)" in ran.output
    ran = CliRunner().invoke(train, [*options, "--target", "spectrum(k)"])
    assert ran.exit_code
    assert "the labels there are: spectrum(dos,0:20:16:THz)" in ran.output


def test_the_shipped_phonons_are_densities_of_known_crystals() -> None:
    reading = read(Path("phonon-dos-sevennet"))
    assert not reading.rejects and not reading.notes
    assert len(reading.crystals) >= 100
    column = column_of([reading.crystals], "phonon_dos")
    assert column is not None and column.grid.told == "64 points from 0 to 30 THz"
    spectra = spectrum_values(reading.crystals, column)
    assert (spectra >= 0).all()
    areas = np.trapezoid(spectra, column.grid.values)
    assert 0.84 < areas.min() < areas.max() < 1.001  # smearing leaves some of the softest below 0
    assert np.median(areas) > 0.99
    bundled = {each.id: each for each in load_bundled()}
    assert all(each.reduced_formula == bundled[each.id].reduced_formula for each in reading.crystals)
