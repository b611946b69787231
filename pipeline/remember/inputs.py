"""The data sets of a run, as MLflow lists them: a stage's splits, by the digest of all images."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
from mlflow import MlflowClient
from mlflow.data.schema import TensorDatasetSchema
from mlflow.entities import Dataset, DatasetInput, InputTag
from mlflow.types import Schema, TensorSpec

from scalenet.config.params import Params
from scalenet.records.documents import DataInfo
from scalenet.records.files import SPLITS
from scalenet.records.paths import Paths
from scalenet.stages import STAGES

CONTEXT = "mlflow.data.context"  # the tag by which MLflow's pages say what a data set is used for


def log(client: MlflowClient, run: str, params: Params, paths: Paths, stage: str) -> None:
    """Log the splits that a stage makes or reads as inputs of its run."""
    splits = _splits(stage)
    if splits and (paths.data / "info.json").exists():
        info = paths.info()
        sets = [DatasetInput(_dataset(params, info, s), [InputTag(CONTEXT, s)]) for s in splits]
        client.log_inputs(run, sets)


def _splits(stage: str) -> Sequence[str]:
    """Return the splits that a stage makes or reads."""
    if stage == "prepare":
        return SPLITS
    return [name for name in SPLITS if f"data/{name}.npz" in STAGES[stage].documents]


def _dataset(params: Params, info: DataInfo, split: str) -> Dataset:
    image = (-1, info.channels, info.size, info.size)
    schema = TensorDatasetSchema(
        Schema([TensorSpec(np.dtype("uint8"), image, "pixels")]),
        Schema([TensorSpec(np.dtype("int64"), (-1,), "label")]),
    )
    profile = {"num_rows": info.counts.get(split, 0), "classes": len(info.classes)}
    return Dataset(
        name=f"{params.data.name}/{split}",
        digest=info.digest,
        source_type="local",
        source=json.dumps({"uri": params.data.source}),
        schema=json.dumps(schema.to_dict()),
        profile=json.dumps(profile),
    )
