"""Writing a member as a file, reading it back, and comparing it with the original.

The libraries write straight to the path that they are given, and what fails leaves a part there:
who calls gives one in a temporary folder, and puts the file in its place once it was compared.
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from scalenet.export.program import CLOSE, Exported, example, probabilities

CALIBRATION = 256  # training images that fix the ranges of an int8 model
Run = Callable[[np.ndarray], np.ndarray]  # images uint8 (n, C, S, S) -> probabilities (n, classes)
BATCH = torch.export.Dim("batch", min=1, max=2**16)


class Checked(NamedTuple):
    """How an exported file compares with the original on test images."""

    images: int
    difference: float  # the largest of a probability
    agreement: float  # share of images with the same first class
    accuracy: float  # its own top-1 on these images


def torch_program(member: Exported, path: Path) -> Run:
    """Write a ``torch.export`` program with what it says of itself; return what it computes."""
    with _quiet():
        program = torch.export.export(
            member.program, (example(member),), dynamic_shapes={"images": {0: BATCH}}
        )
        torch.export.save(program, path, extra_files=member.about())
        stored = torch.export.load(path).module()
    return lambda pixels: stored(torch.from_numpy(pixels)).detach().numpy()


def onnx_model(member: Exported, path: Path) -> Run:
    """Write an ONNX model with what it says of itself; return what onnxruntime makes of it."""
    with _quiet():
        program = torch.onnx.export(
            member.program,
            (example(member),),
            dynamo=True,
            verbose=False,
            dynamic_shapes={"images": {0: BATCH}},
            input_names=["images"],
            output_names=["probabilities"],
        )
    program.model.metadata_props.update(member.about())
    program.save(path, external_data=False)
    return session(path)


def int8(member: Exported, source: Path, path: Path) -> Run:
    """Write an ONNX model with weights and activations of 8 bits, its ranges from train images."""
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class CalibrationImages(CalibrationDataReader):
        def __init__(self) -> None:
            parts = torch.from_numpy(member.split("train", CALIBRATION)[0]).split(32)
            self.feed = iter([{"images": part.numpy()} for part in parts])

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.feed, None)

    with tempfile.TemporaryDirectory() as folder, _quiet():
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
        quantize_static(prepared, path, CalibrationImages(), QuantFormat.QDQ, per_channel=True)
        model = onnx.load(path)
        onnx.helper.set_model_props(model, member.about())
        onnx.save(model, path)
    return session(path)


def session(path: Path) -> Run:
    """Return what onnxruntime computes with a model's file, on one CPU thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    run = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"]).run
    return lambda pixels: run(None, {"images": pixels})[0]


def compare(member: Exported, run: Run) -> Checked:
    """Compare a file with the original on the member's test images."""
    pixels, labels = member.split("test")
    own = probabilities(member.program, torch.from_numpy(pixels)).numpy()
    other = np.concatenate([run(part) for part in np.array_split(pixels, -(-len(pixels) // 64))])
    return Checked(
        len(labels),
        float(np.abs(own - other).max()),
        float((own.argmax(1) == other.argmax(1)).mean()),
        float((other.argmax(1) == labels).mean()),
    )


def check(member: Exported, run: Run) -> Checked:
    """Compare, and refuse a file that computes something else."""
    found = compare(member, run)
    if not found.difference <= CLOSE:
        raise ValueError(
            f"the exported file's probabilities differ from the original's by "
            f"{found.difference:.2g} (allowed: {CLOSE:g}), so it was not kept; use the versions in "
            "constraints.txt"
        )
    return found


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back what exporters say of themselves."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
