"""The saved view that MLflow's UI opens, as the UI itself would write it, and filters by tags in a real store."""

from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path

import pytest

from crystalsweep.sweeping.report.overview import MEANS
from crystalsweep.sweeping.views import tag_of
from crystalsweep.tracking.tracker import Tracker
from crystalsweep.tracking.view import TAG, SavedView, ViewSection, encoded, link
from sweeps import gan_noise, gd_ratio, joint, recipe, w_pos

VIEW = SavedView(
    name="gan_noise-1",
    filter="tags.sweep = 'gan_noise-1'",
    order_by="metrics.`val/score`",
    columns=["metrics.`val/score`", "params.`a`"],
    sections=[
        ViewSection(name="first", parameters=["a"], results=["val/score"], lines=["val/score", "loss"], columns=1),
        ViewSection(name="second", images=["crystals"], step=4),
    ],
    folded=["val/score", "Model metrics"],
)


def test_a_view_survives_its_encoding_with_its_sections_in_order() -> None:
    tag = json.loads(encoded(VIEW, 5))
    assert {name: tag[name] for name in ("name", "createdAt", "updatedAt")} == {
        "name": "gan_noise-1",
        "createdAt": 5,
        "updatedAt": 5,
    }
    how, _, packed = tag["state"].partition(";")
    assert how == "deflate"
    state = json.loads(zlib.decompress(base64.b64decode(packed)))
    assert state["searchFilter"] == VIEW.filter
    assert state["isAccordionReordered"] is True
    sections = {each["uuid"]: each for each in state["compareRunSections"]}
    assert [each["name"] for each in sections.values()] == ["first", "second", "val/score", "Model metrics"]
    assert [each["display"] for each in sections.values()] == [True, True, False, False]
    charts = [(sections[each["metricSectionId"]]["name"], each["type"]) for each in state["compareRunCharts"]]
    assert charts == [("first", "PARALLEL"), ("first", "LINE"), ("first", "LINE"), ("second", "IMAGE")]
    assert len({each["uuid"] for each in state["compareRunCharts"]}) == len(charts)


def test_views_of_sweeps_with_many_metrics_fit_into_a_tag() -> None:
    many = [f"val/{mask}/{sigma}/metric_{i}" for mask in range(3) for sigma in range(3) for i in range(12)]
    section = ViewSection(name="all", lines=many[:30], parameters=many[:10], results=many[:10])
    wide = SavedView(
        name="n", filter="", order_by="", columns=many[:20], sections=[section], folded=[f"{name}/x" for name in many]
    )
    assert len(encoded(wide, 1_700_000_000_000)) < 5000


def test_links_go_to_a_server_or_stay_within_the_page() -> None:
    shown = "viewStateShareKey=k&compareRunsMode=CHART&workflowType=machine_learning"
    assert link("http://h:1", "3", "k") == f"http://h:1/#/experiments/3/runs?{shown}"
    assert link("", "3", "k").startswith("#/experiments/3/")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Tracker:
    return Tracker(f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}")


def test_heads_of_the_table_can_be_told_apart(store: Tracker) -> None:
    """MLflow's UI cuts them after a dozen letters; and MLflow takes each, as a tag or a metric."""
    spaces = [
        gan_noise.search_space("demo", [], backbone="painn"),
        gd_ratio.search_space("demo", [], backbone="painn"),
        joint.search_space("demo", [], backbone="painn"),
        w_pos.search_space("demo", [], backbone="painn"),
        recipe.search_space("demo", [], backbone="painn", minutes=None),
    ]
    for space in spaces:
        tags = [tag_of(parameter.title) for parameter in space.parameters]
        heads = [*tags, *MEANS.values(), "val/score"]
        assert len({head[:12] for head in heads}) == len(heads), heads
        run = store.start(store.experiment("heads"), "run", kind="trial", tags=dict.fromkeys(tags, "1"))
        store.log(run, dict.fromkeys(MEANS.values(), 0.5), 1)


DOCUMENTED = Path(__file__).resolve().parents[1] / "docs" / "mlflow.md"


def test_every_filter_of_the_guide_finds_its_run(store: Tracker) -> None:
    experiment = store.experiment("gan_noise")
    shared = {"sweep": "gan_noise-20261123-224350", "stage": "gan", "backbone": "painn", "preset": "demo"}
    shared |= {"data": "bundled"}
    wanted = {
        "trial": store.start(
            experiment, "t", kind="trial", tags={**shared, "seed": "0", "control": "false", "state": "complete"}
        ),
        "control": store.start(
            experiment, "c", kind="trial", tags={**shared, "seed": "0", "control": "true", "state": "complete"}
        ),
        "failed": store.start(
            experiment, "f", kind="trial", tags={**shared, "seed": "0", "control": "false", "state": "failed"}
        ),
        "sweep": store.start(experiment, "s", kind="sweep", tags={**shared, "state": "complete"}),
    }
    for run in wanted.values():
        store.log(run, {"val/score": 0.53}, 1)
    block = DOCUMENTED.read_text(encoding="utf-8").partition("```sql\n")[2].partition("```")[0]
    found = []
    for line in block.splitlines():
        runs = store.client.search_runs([experiment], line.partition("  -- ")[0])
        found.append({name for name, run in wanted.items() if run in {str(each.info.run_id) for each in runs}})
    trainings = {"trial", "control", "failed"}
    assert found == [{*trainings, "sweep"}, {"sweep"}, {"control"}, {"trial"}, {"failed"}, trainings]


def test_a_view_is_a_tag_of_its_experiment(store: Tracker) -> None:
    experiment = store.experiment("gan_noise")
    store.tag_experiment(experiment, {f"{TAG}gan_noise-1": encoded(VIEW, 5)})
    assert json.loads(store.client.get_experiment(experiment).tags[f"{TAG}gan_noise-1"])["name"] == "gan_noise-1"
