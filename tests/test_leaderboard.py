"""`crystalsweep leaderboard` on a real SQLite MLflow store, with real scores of bundled crystals."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from html import unescape
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from crystalsweep.artifacts.atomic import write_whole
from crystalsweep.cli.leaderboard import leaderboard
from crystalsweep.data import load_data
from crystalsweep.evaluation.outcome import METRICS_FILE, Evaluation, figures, metrics_of
from crystalsweep.evaluation.protocol import evaluate_references
from crystalsweep.evaluation.publishing import EVALUATIONS, log_evaluation
from crystalsweep.evaluation.run import REQUEST, write_tables
from crystalsweep.evaluation.settings import EvaluationSettings, metrics_lock
from crystalsweep.hyperparameters import EvaluationConfig
from crystalsweep.leaderboard.measures import all_pairs, metric_interval
from crystalsweep.metrics import METRICS, SECONDARY, SHOWN, flat, headline, ranking_score
from crystalsweep.metrics.pairing import KEYS
from crystalsweep.metrics.summary import ROW_SCORE
from crystalsweep.pages.policy import content_policy
from crystalsweep.tracking.tracker import Tracker

NO_SERVER = {"MLFLOW_TRACKING_URI": None}
"""mlflow leaves the address of an earlier test in the environment."""

PROTOCOL = EvaluationConfig(mask_types=("species", "random30"), sigma_noise=(0.1,), draws=1)
TAGS = {"data_sha256": "d" * 64, "split_sha256": "5" * 64, "smact": "smact14", "code_sha256": "c" * 64}
PARAMETERS = {"stable_only": "true", "max_atoms": "20", "evaluation.sigma_noise": "[0.1]", "epochs": "4"}


@dataclass(frozen=True)
class Store:
    """A store with a sweep, and the names of its runs."""

    folder: Path
    tracker: Tracker
    runs: Mapping[str, str]
    """Ids by name."""
    tables: Mapping[str, pd.DataFrame]
    references: Mapping[str, pd.DataFrame]

    def board(self, *options: object) -> Result:
        command = [*map(str, options), "--storage", str(self.folder)]
        return CliRunner().invoke(leaderboard, command, env=NO_SERVER)

    def json(self, *options: object) -> dict:  # type: ignore[type-arg]
        ran = self.board(*options, "--json")
        assert ran.exit_code == 0, ran.output
        content: dict = json.loads(ran.stdout)  # type: ignore[type-arg]
        return content


@pytest.fixture(scope="module")
def references() -> dict[str, pd.DataFrame]:
    """Of thirty small bundled crystals."""
    bundled = load_data("bundled")
    parents = [crystal for crystal in bundled.val if 2 <= len(crystal) <= 6][:30]
    return evaluate_references(parents, bundled.train[:200], PROTOCOL)


def restoring(share: float, seed: int, references: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """What a model scores that restores this share of the crystals, and of the others masks become one element."""
    rows = np.random.default_rng(seed).random(len(references["ceiling"])) < share
    truth, other = references["ceiling"], references["most common"]
    return pd.concat([truth[rows], other[~rows]]).sort_index()


SHARES = {"good seed 0": (0.9, 1), "good seed 1": (0.9, 2), "middle seed 0": (0.5, 3), "poor": (0.05, 4)}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, references: dict[str, pd.DataFrame]) -> Store:
    folder = tmp_path_factory.mktemp("store")
    tracker = Tracker(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = tracker.experiment("gan_noise", folder / "mlflow-artifacts")
    sweep = tracker.start(experiment, "gan_noise-1", kind="sweep", tags=TAGS)
    for name, table in references.items():
        tracker.log(sweep, flat(headline(table, metrics=SHOWN), prefix=name.replace(" ", "_")), 0)
    tracker.finish(sweep, "FINISHED")
    tables = {name: restoring(share, seed, references) for name, (share, seed) in SHARES.items()}
    runs = {"sweep": sweep}
    for name, table in tables.items():
        setting, _, seed = name.partition(" seed ")
        tags = TAGS | ({"control": "true"} if name == "poor" else {})
        runs[name] = _trial(tracker, experiment, name, table, folder, sweep, tags, {"w": setting, "seed": seed or "0"})
    elsewhere = PARAMETERS | {"evaluation.sigma_noise": "[0.4]"}
    runs["elsewhere"] = _trial(tracker, experiment, "elsewhere", tables["poor"], folder, None, TAGS, elsewhere)
    for name, status in (("running", ""), ("broken", "FAILED")):
        runs[name] = tracker.start(experiment, name, kind="trial", parent=sweep, params=PARAMETERS, tags=TAGS)
        if status:
            tracker.finish(runs[name], status)
    client = tracker.client
    client.create_registered_model("crystal-generator")
    made = client.create_model_version(
        "crystal-generator", source=f"runs:/{runs['middle seed 0']}/checkpoint", run_id=runs["middle seed 0"]
    )
    client.set_registered_model_alias("crystal-generator", "champion", made.version)
    other = tracker.experiment("somebody_elses", folder / "mlflow-artifacts")
    client.log_metric(client.create_run(other).info.run_id, "val/structural_validity", 1.0)
    return Store(folder, tracker, runs, tables, references)


def _trial(
    tracker: Tracker,
    experiment: str,
    name: str,
    table: pd.DataFrame,
    scratch: Path,
    parent: str | None,
    tags: Mapping[str, str],
    params: Mapping[str, str],
) -> str:
    run = tracker.start(experiment, name, kind="trial", parent=parent, params=PARAMETERS | dict(params), tags=tags)
    score = {"val/score": ranking_score(table, n_resamples=1).mean}
    tracker.log(run, flat(headline(table, metrics=METRICS + SECONDARY, n_resamples=10)) | score, 4)
    file = scratch / "evaluation.parquet"
    table.to_parquet(file, index=False)
    tracker.upload(run, file, "checkpoint")
    tracker.finish(run, "FINISHED")
    return run


def names(board: dict) -> list[str]:  # type: ignore[type-arg]
    return [row["name"] for row in board["rows"]]


def test_rows_come_in_the_order_of_their_means_with_their_own_intervals(store: Store) -> None:
    board = store.json()
    means = {name: ranking_score(table) for name, table in store.tables.items()}
    assert names(board) == sorted(means, key=lambda name: -means[name].mean)
    for row in board["rows"]:
        expected = means[row["name"]]
        assert (row["mean"], row["low"], row["high"]) == pytest.approx((expected.mean, expected.low, expected.high))
        assert row["runs"] == [store.runs[row["name"]]]


def test_runs_of_one_quality_are_tied_and_others_are_not(store: Store) -> None:
    rows = {row["name"]: row for row in store.json()["rows"]}
    good = [rows["good seed 0"], rows["good seed 1"]]
    assert [(row["rank"], row["rank_worst"], row["ties"]) for row in good] == [(1, 2, ["a"])] * 2
    assert (rows["middle seed 0"]["rank"], rows["middle seed 0"]["rank_worst"]) == (3, 3)
    assert (rows["poor"]["rank"], rows["poor"]["ties"]) == (4, ["c"])


def test_ceiling_and_baselines_stand_below_with_what_they_score(store: Store) -> None:
    scored = store.json()["references"]
    for name, table in store.references.items():
        assert scored[name]["mean"] == pytest.approx(ranking_score(table).mean, abs=1e-9)
    shown = store.json("--metric", "compositional_validity")["references"]["most common"]
    expected = headline(store.references["most common"])["compositional_validity"]
    assert (shown["low"], shown["high"], shown["n"]) == pytest.approx((expected.low, expected.high, expected.n))


def test_text_marks_champion_and_controls_and_says_what_was_left_out(store: Store) -> None:
    ran = store.board()
    assert ran.exit_code == 0, ran.output
    lines = ran.stdout.splitlines()
    assert next(line for line in lines if "middle" in line).count("★ crystal-generator@champion") == 1
    assert "(control)" in next(line for line in lines if line.startswith("4") and "poor" in line)
    assert "Left out: 2 not finished (1 FAILED, 1 RUNNING)" in ran.stdout
    told = " ".join(ran.stdout.split())
    assert "1 measured otherwise: evaluation.sigma_noise [0.4] instead of [0.1]" in told
    assert "Holm's correction for 6 comparisons" in told
    assert "The best of 4 chosen on the crystals that rank them" in told


def test_like_shows_the_set_of_that_run(store: Store) -> None:
    board = store.json("--like", store.runs["elsewhere"][:8])
    assert names(board) == ["elsewhere"]
    assert any("4 measured otherwise" in line for line in board["left_out"])


def test_runs_that_differ_in_their_seed_are_one_row(store: Store) -> None:
    rows = {row["name"]: row for row in store.json("--seeds")["rows"]}
    assert set(rows) == {"good", "middle", "poor"}
    both = [store.tables[name] for name in ("good seed 0", "good seed 1")]
    means = [ranking_score(table).mean for table in both]
    assert rows["good"]["mean"] == pytest.approx(np.mean(means))
    assert rows["good"]["between_seeds"] == pytest.approx(np.std(means, ddof=1))
    assert sorted(rows["good"]["runs"]) == sorted(store.runs[f"good seed {k}"] for k in (0, 1))
    assert "2 seeds ±" in store.board("--seeds").stdout


def test_only_the_shown_rows_are_compared(store: Store) -> None:
    board = store.json("--top", 3)
    assert (len(board["rows"]), board["candidates"], board["comparisons"]) == (3, 4, 3)


def test_a_champion_below_the_shown_rows_is_told(store: Store) -> None:
    notes = " ".join(store.json("--top", 2)["notes"])
    assert "crystal-generator@champion (middle seed 0" in notes
    assert "number 3 of 4" in notes


def test_one_run_alone_has_a_rank_and_no_comparison(store: Store) -> None:
    board = store.json(store.runs["poor"])
    assert names(board) == ["poor"]
    assert board["comparisons"] == 0


def test_a_sweep_stands_for_its_trials(store: Store) -> None:
    for asked in ([store.runs["sweep"]], ["--sweep", "gan_noise-1"], ["--sweep", "latest"]):
        assert len(store.json(*asked)["rows"]) == 4


def test_filter_is_mlflows(store: Store) -> None:
    assert names(store.json("gan_noise", "--filter", "params.w = 'good'", "--seeds")) == ["good"]


def test_lower_is_better_where_it_is(store: Store) -> None:
    board = store.json("--metric", "failed")
    assert board["better"] == "lower"
    assert [row["rank"] for row in board["rows"]] == [1] * 4


def test_strata_are_of_the_rows_of_their_bin(store: Store) -> None:
    board = store.json("--metric", "compositional_similarity", "--by", "n_atoms")
    (found,) = [row for row in board["strata"] if (row["name"], row["bin"]) == ("poor", "1–4")]
    table = store.tables["poor"]
    small = table[table["n_atoms"] <= 4]
    assert found["mean"] == pytest.approx(small["compositional_similarity"].mean())
    assert found["clusters"] == small["parent"].nunique()
    assert "parent crystals" in store.board("--by", "n_atoms").stdout


def test_page_opens_offline_and_holds_every_row(store: Store, tmp_path: Path) -> None:
    page, table = tmp_path / "pages" / "leaderboard.html", tmp_path / "leaderboard.csv"
    ran = store.board("--by", "n_atoms", "--out", page, "--csv", table)
    assert ran.exit_code == 0, ran.output
    text = page.read_text()
    assert "http://" not in text
    assert "https://" not in text
    assert text.count("data:image/png;base64,") == 1
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert len(scripts) == 1
    assert content_policy(scripts) in unescape(text), "browsers run the script that sorts"
    for name in (*store.tables, "ceiling", "most common", "crystal-generator@champion"):
        assert name in text
    frame = pd.read_csv(table)
    assert set(frame["name"]) == {*store.tables, *store.references}
    assert frame.loc[frame["stratum"].isna(), "rank"].dropna().tolist() == [1, 1, 3, 4]


def test_tables_are_fetched_once(store: Store) -> None:
    store.json()
    kept = sorted((store.folder / "downloads" / "tables").rglob("*.parquet"))
    stamps = [file.stat().st_mtime_ns for file in kept]
    store.json()
    assert kept
    assert [file.stat().st_mtime_ns for file in kept] == stamps


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--metric", "strutural_validity"], "nearest: structural_validity"),
        (["--metric", "match_rate"], "only tables of --on evaluation have"),
        (["--metric", "uniqueness"], "rows cannot be paired"),
        (["gan_nois"], "did you mean 'gan_noise'?"),
        (["0" * 32], f"run {'0' * 32} cannot be read"),
        (["--sweep", "joint-7"], "the store has gan_noise-1"),
        (["--like", "ffffffff"], "is not among the 5 that could be ranked"),
        (["--by", "colour"], "choose one of n_atoms"),
        (["--by", "crystal_system"], "Tables of --on evaluation have it"),
        (["somebody_elses"], "no run of crystalsweep in somebody_elses"),
        (["--filter", "this is no query"], "Invalid"),
        (["--on", "evaluation"], "crystalsweep evaluate --checkpoint"),
    ],
)
def test_mistakes_end_in_one_line(store: Store, options: list[str], told: str) -> None:
    ran = store.board(*options)
    assert ran.exit_code == 1
    assert told in ran.output
    assert len(ran.output.strip().splitlines()) == 1


def test_no_store_is_told_and_none_is_made(tmp_path: Path) -> None:
    ran = CliRunner().invoke(leaderboard, ["--storage", str(tmp_path)], env=NO_SERVER)
    assert ran.exit_code == 1
    assert "there is no MLflow store" in ran.output
    assert not list(tmp_path.iterdir())


def test_a_server_that_does_not_answer_is_told_without_its_password() -> None:
    env = {**NO_SERVER, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    ran = CliRunner().invoke(leaderboard, ["--tracking-uri", "http://me:hush@127.0.0.1:9"], env=env)
    assert ran.exit_code == 1
    assert "127.0.0.1" in ran.output
    assert "hush" not in ran.output
    assert len(ran.output.strip().splitlines()) == 1


def test_a_run_whose_table_is_lost_or_of_other_crystals_is_left_out(store: Store, tmp_path: Path) -> None:
    experiment = store.tracker.experiment("lost", tmp_path / "mlflow-artifacts")
    table = store.tables["poor"]
    tables = {"kept": table, "lost": table, "shorter": store.tables["good seed 0"].iloc[:-3], "garbled": table}
    tables["also kept"] = table
    runs = {
        name: _trial(store.tracker, experiment, name, made, tmp_path, None, TAGS, {"w": name})
        for name, made in tables.items()
    }
    for name in ("lost", "garbled"):
        (file,) = (tmp_path / "mlflow-artifacts").glob(f"{runs[name]}/artifacts/checkpoint/evaluation.parquet")
        file.unlink()
        if name == "garbled":
            file.write_bytes(b"not a table")
    board = store.json("lost")
    assert sorted(names(board)) == ["also kept", "kept"]
    told = " ".join(board["left_out"])
    assert all(f"{runs[name][:8]}: " in told for name in ("lost", "garbled"))
    assert "other corrupted crystals" in told


def test_one_parent_is_no_ground_for_a_verdict(references: dict[str, pd.DataFrame]) -> None:
    first = references["ceiling"]["parent"].iloc[0]
    tables = {name: [table[table["parent"] == first]] for name, table in references.items()}
    assert all_pairs(ROW_SCORE, tables).empty
    assert np.isnan(metric_interval(ROW_SCORE, tables["ceiling"]).low)


def test_rows_in_another_order_pair_alike(references: dict[str, pd.DataFrame]) -> None:
    a, b = restoring(0.6, 1, references), restoring(0.3, 2, references)
    straight = all_pairs(ROW_SCORE, {"a": [a], "b": [b]})
    shuffled = all_pairs(ROW_SCORE, {"a": [a], "b": [b.sample(frac=1, random_state=0)]})
    pd.testing.assert_frame_equal(straight, shuffled)
    merged = a.merge(b, on=list(KEYS), suffixes=("", "_b"))
    expected = ROW_SCORE.values(a).mean() - ROW_SCORE.values(b).mean()
    assert len(merged) == straight["n"].iloc[0]
    assert straight["difference"].iloc[0] == pytest.approx(-expected)


@pytest.fixture(scope="module")
def judged(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The store with evaluations: of three trials, one measured with another library, and one of a reference row."""
    made = {"good seed 0": "1.26", "middle seed 0": "1.26", "poor": "1.26", "good seed 1": "1.27"}
    for name, numpy in made.items():
        folder = tmp_path_factory.mktemp("evaluations") / "test"
        _log_evaluation(store, folder, name, store.tables[name], {"stage": "gan"}, numpy, store.runs[name])
    folder = tmp_path_factory.mktemp("evaluations") / "baseline"
    table = store.references["most common"]
    _log_evaluation(store, folder, "most common as model", table, {"reference_row": "most common"}, "1.26", None)
    return store


def _log_evaluation(
    store: Store, folder: Path, name: str, table: pd.DataFrame, model: Mapping[str, object], numpy: str, run: str | None
) -> None:
    """What `crystalsweep evaluate` leaves, apart from its report, logged as it does."""
    settings = EvaluationSettings(protocol=PROTOCOL)
    measured_with = {"numpy": numpy}
    tables = {name: table, **store.references}
    outcome = Evaluation(
        kind="checkpoint",
        name=name,
        model=dict(model),
        data={"data_sha256": "e" * 64},
        settings=settings,
        versions=measured_with,
        metrics_lock=metrics_lock(settings, measured_with),
        rows={row: figures(each, metrics_of(settings.metrics)) for row, each in tables.items()},
    )
    folder.mkdir()
    write_tables(folder, table, store.references)
    write_whole(folder / REQUEST, json.dumps({"name": name}))
    write_whole(folder / METRICS_FILE, outcome.model_dump_json())
    log_evaluation(store.tracker, outcome, folder, run)


def test_evaluations_are_ranked_with_those_measured_alike(judged: Store) -> None:
    board = judged.json("--on", "evaluation", "--by", "n_atoms")
    assert names(board) == ["good seed 0", "middle seed 0", "poor"]
    assert [row["rank"] for row in board["rows"]] == [1, 2, 3]
    for row in board["rows"]:
        assert row["mean"] == pytest.approx(ranking_score(judged.tables[row["name"]]).mean)
    told = " ".join(board["left_out"])
    assert "version of numpy 1.27 instead of 1.26" in told
    assert "1 evaluation of a reference row" in told


def test_references_of_an_evaluation_have_intervals_and_strata(judged: Store) -> None:
    board = judged.json("--on", "evaluation", "--by", "n_atoms")
    for name, table in judged.references.items():
        expected, shown = ranking_score(table), board["references"][name]
        assert (shown["mean"], shown["low"], shown["n"]) == pytest.approx((expected.mean, expected.low, expected.n))
    small = judged.references["ceiling"]
    (found,) = [row for row in board["strata"] if (row["name"], row["bin"]) == ("ceiling", "1–4")]
    assert found["mean"] == pytest.approx(ranking_score(small[small["n_atoms"] <= 4]).mean)


def test_an_evaluation_that_cannot_be_read_is_left_out(judged: Store) -> None:
    cached = next(
        (judged.folder / "downloads" / "tables").glob(f"{judged.runs['poor']}-*/evaluation/test/{METRICS_FILE}")
    )
    whole = cached.read_text()
    cached.write_text("{}")
    try:
        board = judged.json("--on", "evaluation")
    finally:
        cached.write_text(whole)
    assert names(board) == ["good seed 0", "middle seed 0"]
    assert any(judged.runs["poor"][:8] in line and "evaluate again" in line for line in board["left_out"])


def test_evaluations_alone_are_seeds_only_of_one_recipe(store: Store, tmp_path: Path) -> None:
    """Their runs have no settings of a training; two evaluations of the same weights are no two seeds."""
    recipes = {"a0": (0, 1.0), "a1": (1, 1.0), "b0": (0, 2.0), "a0 again": (0, 1.0)}
    for name, (seed, w_pos) in recipes.items():
        model = {"stage": "gan", "config": {"seed": seed, "w_pos": w_pos}, "weights_sha256": name[:2]}
        _log_evaluation(store, tmp_path / name, name, store.tables["good seed 0"], model, "3.0", None)
    like = next(
        run.info.run_id
        for run in store.tracker.client.search_runs(
            [store.tracker.client.get_experiment_by_name(EVALUATIONS).experiment_id], "tags.mlflow.runName = 'a0'"
        )
    )
    board = store.json("--on", "evaluation", "--seeds", "--like", like)
    assert sorted(len(row["runs"]) for row in board["rows"]) == [1, 2]


def test_no_baseline_is_lost_by_its_name(judged: Store, tmp_path: Path) -> None:
    _log_evaluation(judged, tmp_path / "m", "m", judged.tables["poor"], {"stage": "gan"}, "4.0", None)
    runs = judged.tracker.client.search_runs(
        [judged.tracker.client.get_experiment_by_name(EVALUATIONS).experiment_id], "tags.mlflow.runName = 'm'"
    )
    board = judged.json("--on", "evaluation", "--like", runs[0].info.run_id)
    assert set(board["references"]) == set(judged.references)
