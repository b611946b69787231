"""The files of a logged model: a program, and a loader that takes what people have."""

from __future__ import annotations

from importlib.metadata import version as installed
from pathlib import Path

import mlflow
import numpy as np
from mlflow import pyfunc
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, Schema, TensorSpec
from mlflow.types.schema import Map

from scalenet.data import pixels
from scalenet.data.decoding import preprocessing
from scalenet.export import served
from scalenet.nets.deployed import Deployed
from scalenet.pipeline.models import loader
from scalenet.records import files
from scalenet.records.documents import DataInfo

# all that loading a member and reading photographs needs
PACKAGES = ("torch", "mlflow", "numpy", "pillow", "pi-heif", "pandas")
CARRIED = {"__init__.py": loader, "served.py": served, "pixels.py": pixels}
INPUT = (
    "image files (bytes, pathlib.Path, or base64 in JSON), or arrays: uint8 or floats in 0…1; "
    "(H, W), (H, W, C), (C, H, W), (N, H, W, C) or (N, C, H, W), C = 1, 3 or 4, any size. Channels "
    "are the last axis where it has 1, 3 or 4, else the first of an image; stored images (C, "
    "{size}, {size}) are known by their shape"
)
OUTPUT = (
    "a row an image: class, probability, and probabilities, which maps every class to its own, the "
    "likeliest first"
)


def save_model(
    path: str, mlflow_model: Model, net: Deployed, info: DataInfo, images: np.ndarray, **_: object
) -> None:
    """Write a member as MLflow asks a flavour to: ``mlflow.pytorch`` loads a torch.export program
    of it and executes nothing, ``mlflow.pyfunc`` runs the code that it carries.

    ``images`` are two, as stored in 0…1: one would freeze the batch size.
    """
    image = (-1, info.channels, info.size, info.size)
    mlflow.pytorch.save_model(
        net,
        path,
        mlflow_model=mlflow_model,
        signature=ModelSignature(Schema([TensorSpec(np.dtype("float32"), image)])),  # of the export
        input_example=images,
        serialization_format="pt2",
        metadata=about(info),
        pip_requirements=[f"{name}=={installed(name).partition('+')[0]}" for name in PACKAGES],
    )
    stored = served.Stored(info.channels, info.size, info.classes)
    files.write_json(Path(path) / "data" / loader.STORED, stored._asdict())
    _carry(Path(path), mlflow_model)


def about(info: DataInfo) -> dict[str, object]:
    """Return what a model says of itself: a tag cannot hold thousands of classes."""
    return {
        "classes": info.classes,  # in the order of the program's logits
        "input": INPUT.format(size=info.size),
        "output": OUTPUT,
        "preprocessing": preprocessing(info.channels, info.size),
    }


def _carry(folder: Path, model: Model) -> None:
    """Put the code that reads and answers into a model, and have pyfunc load by it.

    Its package is named by its content: models of two versions can be loaded into one process.
    """
    lie = {name: Path(module.__file__) for name, module in CARRIED.items()}
    code = {name: file.read_text(encoding="utf-8") for name, file in lie.items()}
    for module in (pixels, served):  # what they import of each other lies beside them
        name = module.__name__
        code = {
            file: text.replace(f"from {name} import", f"from .{name.rpartition('.')[2]} import")
            for file, text in code.items()
        }
    package = f"scalenet_model_{files.digest(code)}"
    for file, text in code.items():
        files.write_bytes(folder / "code" / package / file, text.encode())
    environment = {"conda_env": "conda.yaml", "python_env": "python_env.yaml"}
    pyfunc.add_to_model(model, package, data="data", code="code", **environment)
    # without inputs: MLflow would refuse all but one shape of one type before the loader sees it
    answer = [ColSpec("string", "class"), ColSpec("double", "probability")]
    answer.append(ColSpec(Map("double"), "probabilities"))
    model.signature = ModelSignature(outputs=Schema(answer))
    model.save(folder / "MLmodel")
