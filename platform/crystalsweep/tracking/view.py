"""A saved view of an experiment in MLflow's UI: which runs, which columns, which charts, and those first that matter.

MLflow keeps a view as a tag of the experiment, written here as MLflow 3.17's UI writes it under Views → Save as new
view. A UI that cannot read it says so in a line and shows its own defaults.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

TAG = "mlflow.sharedViewState."
"""Begins the experiment tag; the view's key follows."""


_TRAINING = "workflowType=machine_learning"
"""Of an address: MLflow's UI shows trainings, and not the traces of language models that it begins with."""


@dataclass(frozen=True, kw_only=True)
class ViewSection:
    """A section of charts, in order."""

    name: str
    lines: Sequence[str] = ()
    """Metrics drawn over the epochs, a chart each."""
    parameters: Sequence[str] = ()
    """Of a parallel coordinates chart, with `results`; none of either is no such chart."""
    results: Sequence[str] = ()
    images: Sequence[str] = ()
    """Keys of logged images, shown side by side, and their step."""
    step: int = 0
    columns: int = 3
    """Charts in a row."""


@dataclass(frozen=True, kw_only=True)
class SavedView:
    """What a view shows."""

    name: str
    filter: str
    """As MLflow's search box takes it."""
    order_by: str
    """Column, greatest first. By anything but the start time, the UI lists child runs without their parents."""
    columns: Sequence[str]
    """Of the table, as ``metrics.`val/score` ``."""
    sections: Sequence[ViewSection]
    folded: Sequence[str] = field(default=())
    """Sections that the UI makes of the first parts of metrics' names, to be shown folded."""


def encoded(view: SavedView, at: int) -> str:
    """Return the tag's value for a view made `at` (ms since 1970); at most 5000 characters for MLflow, hence
    deflated."""
    state = json.dumps(_state(view), separators=(",", ":")).encode()
    packed = base64.b64encode(zlib.compress(state, 9)).decode()
    return json.dumps({"name": view.name, "createdAt": at, "updatedAt": at, "state": f"deflate;{packed}"})


def link(address: str, experiment: str, key: str) -> str:
    """Return where a browser opens the view; `address` of the UI, or empty for a link within it."""
    at = f"{address}/" if address else ""
    shown = f"viewStateShareKey={key}&compareRunsMode=CHART&{_TRAINING}"
    return f"{at}#/experiments/{experiment}/runs?{shown}"


def _state(view: SavedView) -> dict[str, Any]:
    sections = [_section(f"own{i}", each.name, each.columns, folded=False) for i, each in enumerate(view.sections)]
    sections += [_section(f"folded{i}", name, 3, folded=True) for i, name in enumerate(view.folded)]
    charts = [chart for i, section in enumerate(view.sections) for chart in _charts(section, f"own{i}")]
    return {
        "searchFilter": view.filter,
        "orderByKey": view.order_by,
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": list(view.columns),
        "runsHiddenMode": "FIRST_10_RUNS",
        "isAccordionReordered": True,  # else the UI sorts sections by name
        "hideEmptyCharts": True,
        "groupBy": None,
        "compareRunSections": sections,
        "compareRunCharts": charts,
    }


def _section(uuid: str, name: str, columns: int, *, folded: bool) -> dict[str, Any]:
    shown = {"display": not folded, "isReordered": False, "isGenerated": folded, "columns": columns}
    return {"uuid": uuid, "name": name, **shown}


def _charts(section: ViewSection, uuid: str) -> list[dict[str, Any]]:
    charts: list[dict[str, Any]] = []
    if section.parameters or section.results:
        parallel = {"selectedParams": list(section.parameters), "selectedMetrics": list(section.results)}
        charts.append({"type": "PARALLEL", "displayName": section.name, "showAllRuns": False, **parallel})
    charts += [_line(metric) for metric in section.lines]
    charts += [
        {"type": "IMAGE", "imageKeys": [key], "step": section.step, "showRunParams": False} for key in section.images
    ]
    common = {"metricSectionId": uuid, "runsCountToCompare": 10, "deleted": False, "isGenerated": False}
    return [{"uuid": f"{uuid}-{i}", **common, **chart} for i, chart in enumerate(charts)]


def _line(metric: str) -> dict[str, Any]:
    return {
        "type": "LINE",
        "metricKey": metric,
        "selectedMetricKeys": [metric],
        "displayName": metric,
        "lineSmoothness": 0,
        "xAxisScaleType": "linear",
        "scaleType": "linear",
        "range": {},
        "xAxisKey": "step",
        "selectedXAxisMetricKey": "",
        "yAxisKey": "metric",
        "yAxisExpressions": [],
        "ignoreOutliers": False,
        "useGlobalXaxisKey": True,
        "useGlobalLineSmoothing": True,
    }
