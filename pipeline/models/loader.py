"""How MLflow loads a registered member; stored inside the model, where ``scalenet`` is unknown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlflow.pytorch
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

from scalenet.export.served import Served, Stored

STORED = "stored.json"  # beside the program: how its images are stored, and its classes


class Refused(MlflowException, ValueError):
    """Input that cannot be taken; a scoring server answers 400 with this one line."""

    def __init__(self, line: str):
        super().__init__(line, INVALID_PARAMETER_VALUE)
        self.line = line

    def serialize_as_json(self) -> str:
        """Return what the server sends: without the data, which it puts before the message."""
        return json.dumps({"error_code": self.error_code, "message": self.line})


class Loaded:
    """What ``mlflow.pyfunc.load_model`` returns the inside of."""

    def __init__(self, served: Served):
        self.served = served

    def predict(self, given: Any) -> pd.DataFrame:
        """Return a row an image: class, probability, and the probabilities of all classes."""
        try:
            return pd.DataFrame(self.served.answers(given))
        except ValueError as error:
            raise Refused(str(error)) from error

    def get_raw_model(self) -> Any:
        """Return the program: stored images, float32 in 0…1, to logits."""
        return self.served.program


def _load_pyfunc(path: str) -> Loaded:
    """Load a member from its folder ``data``; MLflow calls this."""
    stored = Stored(**json.loads((Path(path) / STORED).read_text(encoding="utf-8")))
    return Loaded(Served(mlflow.pytorch.load_model(str(Path(path).parent)), stored))
