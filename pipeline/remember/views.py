"""How MLflow's pages open: in the training view, with the columns and charts that matter.

MLflow keeps a shared view as a tag of its experiment; a link that names the view's key opens it.
"""

from __future__ import annotations

import json
from typing import Any

from mlflow import MlflowClient

from scalenet.config.params import Params
from scalenet.pipeline.remember import stores

TRAINING = "workflowType=machine_learning"  # without it the pages open on language models
KEY = "scalenet"
RESULTS, TRAININGS = "accuracy and FLOPs", "trainings"  # the sections of charts
TAG = f"mlflow.sharedViewState.{KEY}"
MEASURED = ("accuracy", "flops", "params")
COLUMNS = {
    "family": (
        "attributes.`Dataset`",
        *(f"metrics.`{name}`" for name in MEASURED),
        "metrics.`select`",
    ),
    "candidates": tuple(f"metrics.`{name}`" for name in (*MEASURED, "score", "stage")),
}
ROWS = {  # what runs are sorted by: newest first; the best first
    "family": {"orderByKey": "attributes.start_time", "orderByAsc": False},
    "candidates": {"orderByKey": "metrics.`score`", "orderByAsc": False},
}


def links(client: MlflowClient, params: Params, registered: str) -> dict[str, str]:
    """Return the fragments of the links to a data set's pages, as far as MLflow has them.

    The views that they name are saved; ``registered`` is the registered model's name.
    """
    experiments = {
        "family": stores.stage_experiment(params),
        "candidates": stores.candidate_experiment(params),
    }
    found = {}
    for kind, name in experiments.items():
        if (experiment := client.get_experiment_by_name(name)) is not None:
            save(client, experiment.experiment_id, kind)
            found[kind] = runs(experiment.experiment_id)
    if client.search_registered_models(f"name = '{registered}'", max_results=1):
        found["registry"] = model(registered)
    return found


def experiments() -> str:
    """Return the fragment of the page of all experiments."""
    return f"#/experiments?{TRAINING}"


def runs(experiment: str) -> str:
    """Return the fragment of an experiment's page of runs, in the saved view."""
    return f"#/experiments/{experiment}/runs?viewStateShareKey={KEY}&{TRAINING}"


def run(experiment: str, run_id: str) -> str:
    """Return the fragment of a run's page."""
    return f"#/experiments/{experiment}/runs/{run_id}?{TRAINING}"


def model(name: str) -> str:
    """Return the fragment of a registered model's page."""
    return f"#/models/{name}?{TRAINING}"


def save(client: MlflowClient, experiment: str, kind: str) -> None:
    """Save the view of an experiment: of the stages' runs (``family``) or of ``candidates``."""
    client.set_experiment_tag(experiment, TAG, json.dumps(state(kind)))


def state(kind: str) -> dict[str, Any]:
    """Return what MLflow's page of runs is to show."""
    sections = dict.fromkeys(chart["metricSectionId"] for chart in CHARTS[kind])
    return {
        "selectedColumns": list(COLUMNS[kind]),
        "runsHiddenMode": "SHOW_ALL",
        "compareRunSections": [_section(name) for name in sections],
        "compareRunCharts": CHARTS[kind],
        **ROWS[kind],
    }


def _section(name: str) -> dict[str, Any]:
    return {"uuid": name, "name": name, "display": True, "isReordered": True}


def _chart(kind: str, section: str, name: str, **what: Any) -> dict[str, Any]:
    about = {"uuid": f"{kind}-{name}", "type": kind, "metricSectionId": section}
    return about | {"deleted": False, "isGenerated": False, "displayName": name} | what


def _scatter(y: str) -> dict[str, Any]:
    axes = {"xaxis": {"key": "flops", "type": "METRIC"}, "yaxis": {"key": y, "type": "METRIC"}}
    return _chart("SCATTER", RESULTS, f"{y} by FLOPs", runsCountToCompare=100, **axes)


def _lines(section: str, metric: str, **what: Any) -> dict[str, Any]:
    name = metric.rpartition("/")[2].replace("_", " ")
    about = {"metricKey": metric, "selectedMetricKeys": [metric], **what}
    return _chart("LINE", section, name, useGlobalLineSmoothing=False, lineSmoothness=0, **about)


LOG = {"xAxisScaleType": "log", "useGlobalXaxisKey": False, "xAxisKey": "step"}  # a step is FLOPs
CHARTS = {
    "family": [
        _lines(RESULTS, "family/test_accuracy", displayPoints=True, **LOG),
        _scatter("accuracy"),
        _lines(TRAININGS, "training/loss"),
        _lines(TRAININGS, "training/select_accuracy"),
    ],
    "candidates": [
        _lines(RESULTS, "accuracy", displayPoints=True, **LOG),
        _scatter("score"),
    ],
}
