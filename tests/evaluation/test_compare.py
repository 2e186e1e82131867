"""`crystalsweep compare`: folders and MLflow runs, with verdicts; what cannot be compared is refused."""

from __future__ import annotations

import json
import math
import re
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from crystalsweep.artifacts.places import checkpoint_folder
from crystalsweep.cli.evaluate import compare, rescore
from crystalsweep.config import override
from crystalsweep.evaluation.outcome import read_outcome
from crystalsweep.evaluation.publishing import log_evaluation
from crystalsweep.evaluation.results import BOTH_READINGS
from crystalsweep.evaluation.settings import EvaluationSettings, metrics_lock
from crystalsweep.tracking.tracker import Tracker, sqlite_uri

Evaluate = Callable[..., Result]


@pytest.fixture(scope="module")
def truth(run_evaluate: Evaluate, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The true crystals, evaluated as if they were a model."""
    folder = tmp_path_factory.mktemp("truth") / "truth"
    assert run_evaluate("--checkpoint", "ceiling", "--out", folder).exit_code == 0
    return folder


def compared(*options: object) -> Result:
    return CliRunner().invoke(compare, [str(option) for option in options], catch_exceptions=False)


def test_the_truth_is_better_than_a_model_of_seconds(evaluation: Path, truth: Path, tmp_path: Path) -> None:
    ran = compared(evaluation, truth, "--out", tmp_path / "verdicts.csv")
    assert ran.exit_code == 0, ran.output
    frame = pd.read_csv(tmp_path / "verdicts.csv").set_index("metric")
    assert frame.loc[["compositional_similarity", "masked_accuracy", "match_rate"], "verdict"].eq("better").all()
    assert (frame["p_adjusted"] >= frame["p"]).all()
    assert "Holm" in ran.output


def test_an_evaluation_does_not_differ_from_itself(evaluation: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(evaluation, tmp_path / "copy")
    ran = compared(evaluation, copy, "--all-metrics", "--out", tmp_path / "verdicts.csv")
    assert ran.exit_code == 0, ran.output
    frame = pd.read_csv(tmp_path / "verdicts.csv")
    assert frame["verdict"].eq("not resolved").all()
    assert frame["p"].dropna().eq(1).all()


def test_other_metric_settings_are_refused(
    evaluation: Path, checkpoint: Path, run_evaluate: Evaluate, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    strict = ["--set", "metrics.composition.alloys=false"]
    assert run_evaluate("--checkpoint", checkpoint, "--out", other, *strict).exit_code == 0
    ran = compared(evaluation, other)
    assert ran.exit_code == 1
    assert "different settings (composition.alloys)" in ran.output
    assert "compare --preset NAME" in ran.output


def test_other_versions_are_told(evaluation: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(evaluation, tmp_path / "copy"))
    content = json.loads((copy / "metrics.json").read_text())
    content["versions"]["smact"] = "3.0"
    (copy / "metrics.json").write_text(json.dumps(content))
    ran = compared(evaluation, copy)
    assert ran.exit_code == 0
    assert "other versions" in ran.output
    assert "smact" in ran.output


def test_one_evaluation_is_not_enough(evaluation: Path) -> None:
    ran = compared(evaluation)
    assert ran.exit_code == 1
    assert "two evaluations" in ran.output


def test_what_is_no_evaluation_is_refused(evaluation: Path, tmp_path: Path) -> None:
    ran = compared(evaluation, tmp_path)
    assert ran.exit_code == 1
    assert "crystalsweep evaluate" in ran.output


# What is the same


def edited(evaluation: Path, folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A copy of an evaluation with another metrics.json."""
    shutil.copytree(evaluation, folder)
    content = json.loads((folder / "metrics.json").read_text())
    change(content)
    (folder / "metrics.json").write_text(json.dumps(content))
    return folder


def test_the_same_parents_among_others_are_other_inputs(
    evaluation: Path, run_evaluate: Evaluate, tmp_path: Path
) -> None:
    fewer = tmp_path / "fewer"
    assert run_evaluate("--checkpoint", "ceiling", "--out", fewer, "--max-crystals", 8).exit_code == 0
    ran = compared(evaluation, fewer)
    assert ran.exit_code == 1
    assert "none of the same corrupted crystal" in ran.output


def test_rows_with_other_inputs_are_counted_and_left_out(evaluation: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(evaluation, tmp_path / "copy"))
    table = pd.read_parquet(copy / "structures.parquet")
    table.loc[:2, "frac_corrupted"] = table.loc[:2, "frac_corrupted"].map(lambda frac: frac + 0.01)
    table.to_parquet(copy / "structures.parquet", index=False)
    ran = compared(evaluation, copy, "--out", tmp_path / "verdicts.csv")
    assert ran.exit_code == 0, ran.output
    assert "3 rows of the same crystal, mask and noise were corrupted otherwise" in ran.output
    frame = pd.read_csv(tmp_path / "verdicts.csv").set_index("metric")
    assert frame.loc["compositional_similarity", "n"] == len(table) - 3


def rewritten(evaluation: Path, folder: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Path:
    """A copy of an evaluation whose table somebody else has written."""
    shutil.copytree(evaluation, folder)
    change(pd.read_parquet(folder / "structures.parquet")).to_parquet(folder / "structures.parquet")
    return folder


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda t: t.assign(structural_validity=7.0), "structural_validity is above 1"),
        (lambda t: t.assign(structural_validity=t["structural_validity"].astype(int).astype(str)), "not numbers"),
        (lambda t: t.assign(given_composition="False"), "given_composition holds"),
        (lambda t: t.assign(masked_correct=t["n_masked"] + 1), "masked_correct is more than there are"),
        (lambda t: t.assign(n_masked=-5), "n_masked is below 0"),
        (lambda t: t.assign(parent=t["parent"].where(t.index > 5)), "column parent is empty (6 rows"),
        (lambda t: t.assign(parent=range(len(t))), "column parent holds int64, not text"),
        (lambda t: pd.concat([t, t]), "repeat those of an earlier row"),
        (lambda t: t.drop(columns="draw"), "has no column draw"),
        (lambda t: t.assign(rmsd=pd.Timedelta(1)), "column rmsd holds duration"),
        (lambda t: t.assign(failure=0), "column failure holds int64, not text"),
        (lambda t: t.assign(species_after=[[300] * len(row) for row in t["species_after"]]), "species that are none"),
        (lambda t: t.assign(frac_after=[row[:3] for row in t["frac_after"]]), "frac_after is not of 3 numbers"),
        (lambda t: t.assign(frac_after=[row * np.nan for row in t["frac_after"]]), "frac_after is not finite"),
        (lambda t: t.assign(lattice_before=[np.zeros(0)] * len(t)), "lattice_before is not of 9 numbers"),
        (lambda t: t.assign(lattice_before=[np.zeros(9)] * len(t)), "lattice_before is no cell of atoms"),
        (lambda t: t.assign(lattice_after=[np.eye(3).ravel() * 1e300] * len(t)), "lattice_after is no cell of atoms"),
        (lambda t: t.assign(lattice_after=[np.diag([1e3, 1e3, 1e-6]).ravel()] * len(t)), "lattice_after is no cell"),
        (lambda t: t.assign(frac_after=[row * 0 + 1e300 for row in t["frac_after"]]), "frac_after is far outside"),
        (lambda t: t.iloc[1:], "rows that the model's table has not"),
    ],
)
def test_what_no_evaluation_writes_is_refused_by_file_and_column(
    evaluation: Path, tmp_path: Path, change: Callable[[pd.DataFrame], pd.DataFrame], told: str
) -> None:
    ran = compared(evaluation, rewritten(evaluation, tmp_path / "theirs", change))
    assert ran.exit_code == 1
    assert told in ran.output
    assert ".parquet" in ran.output


def test_a_list_of_thirty_million_numbers_is_not_unpacked(evaluation: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(evaluation, tmp_path / "theirs"))
    table = pq.read_table(folder / "structures.parquet")
    long = pa.array([[1] * 30_000_000, *([[1]] * (len(table) - 1))], pa.list_(pa.int64()))
    at = table.schema.get_field_index("species_after")
    pq.write_table(table.set_column(at, "species_after", long), folder / "structures.parquet", compression="zstd")
    ran = compared(evaluation, folder)
    assert ran.exit_code == 1
    assert "species_after has 30,000,111 values" in ran.output


def shared(kind: pa.DataType) -> Callable[[int], pa.Array]:
    """A column whose rows are all one text of 20 MB, which the file holds once."""
    text = pa.array([b"x" * (20 << 20)], pa.large_binary()).cast(kind)
    return lambda rows: pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), text)


@pytest.mark.parametrize(
    ("name", "column", "as_dictionary", "told"),
    [
        ("failure", shared(pa.large_string()), False, "up to column failure texts of"),
        ("failure", shared(pa.string()), True, "up to column failure texts of"),
        ("theirs", shared(pa.large_string()), False, "up to column theirs texts of"),
        ("theirs", shared(pa.large_binary()), False, "theirs holds binary, not"),
        ("theirs", shared(pa.large_binary()), True, "theirs holds dictionary<values="),
        ("theirs", lambda rows: pa.array([["x"]] * rows), True, "theirs holds list<"),
        ("theirs", lambda rows: pa.array([{"a": "x"}] * rows), True, "theirs holds struct<"),
    ],
)
def test_one_text_that_all_rows_share_is_not_written_out(
    evaluation: Path, tmp_path: Path, name: str, column: Callable[[int], pa.Array], as_dictionary: bool, told: str
) -> None:
    folder = Path(shutil.copytree(evaluation, tmp_path / "theirs"))
    table = pq.read_table(folder / "structures.parquet")
    rest = table.drop_columns([name]) if name in table.schema.names else table
    spoiled = rest.append_column(name, column(len(table)))
    pq.write_table(spoiled, folder / "structures.parquet", compression="zstd", store_schema=as_dictionary)
    assert (folder / "structures.parquet").stat().st_size < 1 << 20
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ran = compared(evaluation, folder)
    assert ran.exit_code == 1
    assert told in ran.output
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - held < 500 << 10  # KiB


def test_many_columns_that_each_grow_within_the_limits_are_refused_together(evaluation: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(evaluation, tmp_path / "theirs"))
    table = pq.read_table(folder / "structures.parquet")
    for number in range(6):
        texts = pa.array(["x" * (40 << 20)] + [""] * (len(table) - 1))
        table = table.append_column(f"theirs{number}", texts)
    pq.write_table(table, folder / "structures.parquet", compression="zstd")
    ran = compared(evaluation, folder)
    assert ran.exit_code == 1
    assert "all that it holds grows from" in ran.output


@pytest.mark.parametrize("index", ["no such column", {"kind": "none"}])
def test_what_pandas_says_of_an_index_is_not_believed(evaluation: Path, tmp_path: Path, index: object) -> None:
    folder = Path(shutil.copytree(evaluation, tmp_path / "theirs"))
    table = pq.read_table(folder / "structures.parquet")
    told = json.dumps({"index_columns": [index], "columns": []})
    pq.write_table(table.replace_schema_metadata({"pandas": told}), folder / "structures.parquet")
    ran = compared(evaluation, folder)
    assert ran.exit_code == 0, ran.output


def test_text_that_is_none_is_refused_by_its_file(evaluation: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(evaluation, tmp_path / "theirs"))
    table = pq.read_table(folder / "structures.parquet")
    raw = pa.array([b"\xff%d" % row for row in range(len(table))], pa.binary())
    parents = pa.Array.from_buffers(pa.string(), len(raw), raw.buffers())
    at = table.schema.get_field_index("parent")
    pq.write_table(table.set_column(at, "parent", parents), folder / "structures.parquet")
    ran = compared(evaluation, folder)
    assert ran.exit_code == 1
    assert "theirs/structures.parquet cannot be read" in ran.output


def test_an_index_of_pandas_is_a_column_like_any_other(evaluation: Path, tmp_path: Path) -> None:
    ran = compared(evaluation, rewritten(evaluation, tmp_path / "theirs", lambda t: t.set_index("parent")))
    assert ran.exit_code == 0, ran.output


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda own: own.update(n=-5), "0 or more"),
        (lambda own: own.update(clusters=own["n"] + 1), "parents of"),
        (lambda own: own.update(low=2.0, high=-1.0), "an interval from 2.0 to -1.0"),
        (lambda own: own.update(mean=float("nan")), "finite"),
    ],
)
def test_figures_that_cannot_be_are_refused_by_their_file(
    evaluation: Path, tmp_path: Path, change: Callable[[dict[str, Any]], None], told: str
) -> None:
    theirs = edited(evaluation, tmp_path / "theirs", lambda c: change(c["rows"][c["name"]]["structural_validity"]))
    ran = compared(evaluation, theirs)
    assert ran.exit_code == 1
    assert "theirs/metrics.json" in ran.output
    assert told in ran.output


def test_figures_of_no_model_are_refused_by_their_file(evaluation: Path, tmp_path: Path) -> None:
    ran = compared(evaluation, edited(evaluation, tmp_path / "theirs", lambda c: c.update(name="another")))
    assert ran.exit_code == 1
    assert "theirs/metrics.json" in ran.output
    assert "no figures of 'another'" in ran.output


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"[" * 100_000, b"{"], ids=["bytes", "deep", "cut"])
def test_what_is_no_json_is_refused_by_its_file(evaluation: Path, tmp_path: Path, content: bytes) -> None:
    folder = Path(shutil.copytree(evaluation, tmp_path / "theirs"))
    (folder / "metrics.json").write_bytes(content)
    ran = compared(evaluation, folder)
    assert ran.exit_code == 1
    assert "theirs/metrics.json" in ran.output


def test_figures_that_are_not_those_of_the_table_are_told(evaluation: Path, tmp_path: Path) -> None:
    def better(content: dict[str, Any]) -> None:
        content["rows"][content["name"]]["compositional_similarity"].update(mean=0.99, high=1.0)
        del content["data"]["data_sha256"]

    ran = compared(evaluation, edited(evaluation, tmp_path / "theirs", better))
    assert ran.exit_code == 0, ran.output
    assert "theirs: metrics.json says otherwise than the table" in ran.output
    assert "compared: compositional_similarity" in ran.output
    assert ran.output.count("says otherwise") == 1


def test_what_one_evaluation_lacks_is_told(evaluation: Path, tmp_path: Path) -> None:
    ran = compared(evaluation, rewritten(evaluation, tmp_path / "theirs", lambda t: t.drop(columns="matched")))
    assert ran.exit_code == 0, ran.output
    assert "not compared, as theirs has no value of it: match_rate" in ran.output


def test_novelty_against_other_training_crystals_is_not_compared(evaluation: Path, tmp_path: Path) -> None:
    copy = edited(evaluation, tmp_path / "copy", lambda content: content["data"].update(reference_sha256="other"))
    ran = compared(evaluation, copy, "--all-metrics", "--out", tmp_path / "verdicts.csv")
    assert ran.exit_code == 0, ran.output
    assert re.search("differ in the training crystals to be new against: novel_vs_reference", ran.output)
    assert not pd.read_csv(tmp_path / "verdicts.csv")["metric"].eq("novel_vs_reference").any()


@pytest.mark.parametrize(
    ("section", "change", "dropped"),
    [
        ("energies", {"calculator": "uma:x"}, {"delta_energy", "e_above_hull", "stable", "delta_energy_relaxed"}),
        ("energies", {"relax_steps": 9}, {"delta_energy_relaxed"}),
        ("energies", {"max_parents": 9}, set()),
        ("data", {"hull_sha256": "other"}, {"e_above_hull", "stable"}),
    ],
)
def test_energies_that_mean_something_else_are_not_compared(
    evaluation: Path, tmp_path: Path, section: str, change: dict[str, Any], dropped: set[str]
) -> None:
    columns = ("delta_energy", "e_above_hull", "delta_energy_relaxed")
    first = edited(evaluation, tmp_path / "first", lambda _: None)
    table = pd.read_parquet(first / "structures.parquet").assign(**dict.fromkeys(columns, 0.1))
    table.to_parquet(first / "structures.parquet", index=False)

    def changed(content: dict[str, Any]) -> None:
        (content["settings"] if section == "energies" else content)[section].update(change)

    second = edited(first, tmp_path / "second", changed)
    ran = compared(first, second, "--all-metrics", "--out", tmp_path / "verdicts.csv")
    assert ran.exit_code == 0, ran.output
    found = set(pd.read_csv(tmp_path / "verdicts.csv")["metric"])
    assert {*columns, "stable"} - found == dropped
    assert ("not compared" in ran.output) == bool(dropped)


def test_the_lock_covers_what_a_figure_means_and_not_what_it_is_of() -> None:
    lock = metrics_lock(EvaluationSettings(), {})
    for meaning in ("energies.calculator=none", "nominal_sigma=0.2", "metrics.stable_below=0.05"):
        assert metrics_lock(override(EvaluationSettings(), [meaning]), {}) != lock
    assert metrics_lock(override(EvaluationSettings(), ["protocol.max_crystals=5"]), {}) == lock


# Names


def test_evaluations_are_called_as_they_were_given(evaluation: Path, tmp_path: Path) -> None:
    copies = [shutil.copytree(evaluation, tmp_path / name) for name in ("first", "a/same", "b/same")]
    ran = compared(*copies, "--out", tmp_path / "verdicts.csv")
    assert ran.exit_code == 0, ran.output
    frame = pd.read_csv(tmp_path / "verdicts.csv")
    assert set(frame["b"]) == {"first"}
    assert set(frame["a"]) == {str(copy) for copy in copies[1:]}
    ran = compared(evaluation, evaluation)
    assert ran.exit_code == 1
    assert "given twice" in ran.output


@pytest.mark.parametrize("name", ["ceiling", "most common", "model", f"gan{BOTH_READINGS}"])
def test_a_model_cannot_take_the_name_of_another_row(run_evaluate: Evaluate, tmp_path: Path, name: str) -> None:
    ran = run_evaluate("--checkpoint", "identity", "--name", name, "--out", tmp_path / "out")
    assert ran.exit_code == 1
    assert "--name" in ran.output
    file = tmp_path / f"{name}.cif"
    ran = run_evaluate("--structures", file, "--reference", file, "--out", tmp_path / "out", source=False)
    assert ran.exit_code == 1
    assert "--name" in ran.output
    assert not (tmp_path / "out").exists()


# Rescored


def test_columns_of_a_preset_are_compared(evaluation: Path, truth: Path, tmp_path: Path) -> None:
    copies = [Path(shutil.copytree(each, tmp_path / each.name)) for each in (evaluation, truth)]
    ran = compared(*copies, "--preset", "smact4")
    assert ran.exit_code == 1
    assert "crystalsweep rescore" in ran.output
    for copy in copies:
        assert CliRunner().invoke(rescore, [str(copy), "--preset", "smact4"]).exit_code == 0
    ran = compared(*copies, "--preset", "smact4", "--out", tmp_path / "verdicts.csv")
    assert ran.exit_code == 0, ran.output
    frame = pd.read_csv(tmp_path / "verdicts.csv").set_index("metric")
    validities = {"structural_validity", "compositional_validity", "compositional_validity_not_exempt"}
    assert set(frame.index) == validities
    means = [pd.read_parquet(copy / "structures.parquet")["compositional_validity@smact4"].mean() for copy in copies]
    assert frame.loc["compositional_validity", "difference"] == pytest.approx(means[1] - means[0])
    table = pd.read_parquet(copies[1] / "structures.parquet")
    given = enumerate(table["species_corrupted"])
    table["species_corrupted"] = [species if i % 3 else [1] * len(species) for i, species in given]
    table.to_parquet(copies[1] / "structures.parquet")
    other = compared(*copies, "--preset", "smact4", "--out", tmp_path / "fewer.csv")
    assert "were corrupted otherwise and are left out" in other.output
    assert (pd.read_csv(tmp_path / "fewer.csv")["n"] < frame["n"].to_numpy()).all()


# MLflow


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An empty store."""
    return sqlite_uri(tmp_path_factory.mktemp("store"))


def logged_run(ran: Result) -> str:
    assert ran.exit_code == 0, ran.output
    return ran.output.split("MLflow run: ")[1].split()[0]


def test_runs_in_mlflow_are_compared_as_their_folders_are(
    checkpoint: Path, evaluation: Path, truth: Path, run_evaluate: Evaluate, uri: str, tmp_path: Path
) -> None:
    runs = []
    for reference, finished in ((checkpoint, evaluation), ("ceiling", truth)):
        folder = shutil.copytree(finished, tmp_path / finished.name)
        options = ("--checkpoint", reference, "--out", folder, "--tracking-uri", uri)
        runs.append(logged_run(run_evaluate(*options)))
        assert logged_run(run_evaluate(*options)) == runs[-1], "what is logged is not logged again"
    client = Tracker(uri).client
    logged = client.get_run(runs[0])
    assert len(client.search_runs([logged.info.experiment_id])) == 2
    ran = compared(*runs, "--tracking-uri", uri, "--storage", tmp_path, "--out", tmp_path / "verdicts.csv")
    assert ran.exit_code == 0, ran.output
    frame = pd.read_csv(tmp_path / "verdicts.csv", dtype={"a": str, "b": str})
    assert (set(frame["a"]), set(frame["b"])) == ({runs[1][:8]}, {runs[0][:8]})
    assert frame["verdict"].eq("better").any()
    assert logged.info.status == "FINISHED"
    expected = json.loads((evaluation / "metrics.json").read_text())["rows"]["pretrain"]["structural_validity"]["mean"]
    assert logged.data.metrics["evaluation/structural_validity"] == expected
    paths = {Path(entry.path).name for entry in client.list_artifacts(runs[0], f"evaluation/{evaluation.name}")}
    assert {"report.html", "structures.parquet", "plots"} <= paths


def test_evaluations_of_one_run_lie_beside_each_other(
    checkpoint: Path, run_evaluate: Evaluate, uri: str, tmp_path: Path
) -> None:
    tracker = Tracker(uri)
    run = tracker.start(tracker.experiment("training", tmp_path / "artifacts"), "pretrain", kind="pretrain")
    tracker.upload(run, checkpoint_folder(checkpoint), "checkpoint")
    given = ("--checkpoint", run, "--tracking-uri", uri, "--storage", tmp_path, "--max-crystals", 2)
    assert logged_run(run_evaluate(*given, "--out", tmp_path / "first")) == run
    alone = compared(run, tmp_path / "first", "--tracking-uri", uri, "--storage", tmp_path)
    assert alone.exit_code == 0, alone.output
    assert logged_run(run_evaluate(*given, "--out", tmp_path / "second", "--set", "protocol.draws=2")) == run
    ran = compared(run, tmp_path / "first", "--tracking-uri", uri, "--storage", tmp_path)
    assert ran.exit_code == 1
    assert f"{run}/first, {run}/second" in ran.output
    ran = compared(f"{run}/first", tmp_path / "first", "--tracking-uri", uri, "--storage", tmp_path)
    assert ran.exit_code == 0, ran.output
    ran = compared(f"{run}/third", tmp_path / "first", "--tracking-uri", uri, "--storage", tmp_path)
    assert "only first, second" in ran.output
    tags = tracker.client.get_run(run).data.tags
    assert sorted(v for k, v in tags.items() if k.startswith("crystalsweep.evaluation.")) == ["first", "second"]


@pytest.mark.parametrize("address", ["foo://x", "http://127.0.0.1:9", "sqlite:////dev/null/mlflow.db"])
def test_a_tracking_server_that_is_not_there_is_noticed_first(
    run_evaluate: Evaluate, tmp_path: Path, address: str
) -> None:
    ran = run_evaluate("--checkpoint", "ceiling", "--out", tmp_path / "out", "--tracking-uri", address)
    assert ran.exit_code == 1
    assert address in ran.output
    assert not (tmp_path / "out").exists()


def test_rows_of_references_without_energies_are_read(evaluation: Path, tmp_path: Path) -> None:
    """As the default calculator leaves them: of the references only the ceiling has energies."""
    copy = Path(shutil.copytree(evaluation, tmp_path / "copy"))
    model, named = (pd.read_parquet(copy / f"{name}.parquet") for name in ("structures", "references"))
    model.assign(energy_sampled=False).to_parquet(copy / "structures.parquet", index=False)
    sampled = pd.Series(False, named.index, dtype=object).where(named["row"] == "ceiling", None)
    named.assign(energy_sampled=sampled).to_parquet(copy / "references.parquet", index=False)
    assert compared(evaluation, copy).exit_code == 0


def test_a_model_s_rows_say_whether_they_have_energies(evaluation: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(evaluation, tmp_path / "copy"))
    model = pd.read_parquet(copy / "structures.parquet")
    sampled = pd.Series(False, model.index, dtype=object).where(model.index > 2, None)
    model.assign(energy_sampled=sampled).to_parquet(copy / "structures.parquet", index=False)
    ran = compared(evaluation, copy)
    assert ran.exit_code == 1
    assert "structures.parquet: column energy_sampled is empty (3 rows" in ran.output


def test_arms_of_several_seeds_are_compared_over_these(evaluation: Path, truth: Path, tmp_path: Path) -> None:
    """The same evaluation thrice stands for seeds that do not differ: what is resolved over crystals is over both."""
    models = [shutil.copytree(evaluation, tmp_path / f"model-s{seed}") for seed in range(3)]
    ran = compared(f"taught={','.join(map(str, models))}", truth, "--out", tmp_path / "verdicts.csv")
    assert ran.exit_code == 0, ran.output
    frame = pd.read_csv(tmp_path / "verdicts.csv").set_index("metric")
    assert frame.loc[["compositional_similarity", "masked_accuracy"], "verdict"].eq("better").all()
    assert frame["seeds"].eq(3).all() and frame["b"].eq("taught").all()
    assert frame.loc["masked_accuracy", "seed_deviation"] == pytest.approx(0)
    assert "training seeds" in ran.output
    unnamed = compared(truth, ",".join(map(str, models)))
    assert "model" in unnamed.output
    short = compared(",".join(map(str, models)), f"{truth},{evaluation}")
    assert short.exit_code != 0 and "give both as many" in short.output


# What an arm is


def test_an_arm_that_is_no_recipe_of_several_seeds_is_told(evaluation: Path, truth: Path, tmp_path: Path) -> None:
    copies = [Path(shutil.copytree(evaluation, tmp_path / f"copy{i}")) for i in range(2)]
    ran = compared(f"same={copies[0]},{copies[1]}", truth)
    assert ran.exit_code == 0, ran.output
    assert "same has the same weights more than once" in ran.output
    assert "is one training: its own spread between seeds is not known" in ran.output


def test_figures_of_an_earlier_evaluation_are_not_those_of_the_latest(
    evaluation: Path, uri: str, tmp_path: Path
) -> None:
    tracker = Tracker(uri)
    run = tracker.start(tracker.experiment("training", tmp_path / "artifacts"), "pretrain", kind="pretrain")
    outcome = read_outcome(evaluation)
    log_evaluation(tracker, outcome, evaluation, run)
    other = Path(shutil.copytree(evaluation, tmp_path / "other"))
    (other / "request.json").write_text('{"name": "other"}')
    rows = {name: {k: v for k, v in row.items() if k != "structural_validity"} for name, row in outcome.rows.items()}
    log_evaluation(tracker, outcome.model_copy(update={"rows": rows}), other, run)
    logged = tracker.client.get_run(run).data.metrics
    assert math.isnan(logged["evaluation/structural_validity"])
    assert logged["evaluation/score"] == outcome.rows[outcome.name]["score"].mean
