"""A model card: what a file is, how good it is, and how to use it."""

from __future__ import annotations

import re
from pathlib import Path

from scalenet.data.names import on_a_line
from scalenet.export.files import Checked
from scalenet.export.program import Exported
from scalenet.records.written import markdown, percent

USE = {
    ".onnx": """import json, numpy as np, onnxruntime

session = onnxruntime.InferenceSession("{file}")
labels = json.loads(session.get_modelmeta().custom_metadata_map["labels"])
images = np.zeros((1, {channels}, {size}, {size}), dtype=np.uint8)  # prepared as said above
[probabilities] = session.run(None, {{"images": images}})
print(labels[probabilities[0].argmax()])""",
    ".pt2": """import json, torch

about = {{"labels": ""}}
model = torch.export.load("{file}", extra_files=about).module()
labels = json.loads(about["labels"])
images = torch.zeros(1, {channels}, {size}, {size}, dtype=torch.uint8)  # prepared as said above
probabilities = model(images)
print(labels[probabilities[0].argmax()])""",
}


def text(member: Exported, path: Path, checked: Checked) -> str:
    """Return the card of an exported file, as Markdown."""
    trained, about, info = member.trained, member.about(), member.info
    use = USE[path.suffix].format(file=path.name, channels=info.channels, size=info.size)
    classes = "\n".join(f"{i}. {escaped(name)}" for i, name in enumerate(info.classes))
    counts = ", ".join(f"{count:,} {name}" for name, count in info.counts.items())
    fitted = "train" if trained.select else "train and select"
    latency = trained.member.latency
    on = "an image, by its layers, on the device whose milliseconds were the budget"
    device = f"| device ms | {latency:.3g} {on} |\n" if latency else ""
    return f"""# {path.name}

Member {about["member"]} of a ScaleNet family: an image classifier of {len(info.classes)} classes.

| | |
|---|---|
| input | {about["input"]}; {about["preprocessing"]} |
| output | {about["output"]}, in the order below |
| top-1 on test | {percent(trained.accuracy)} of {trained.tested:,} images (\
{trained.confidence:.0%} interval {percent(trained.low)} to {percent(trained.high)}) |
| this file | {percent(checked.accuracy)} on {checked.images:,} of them; the same first class as \
the original for {percent(checked.agreement)}, probabilities within {checked.difference:.1g} |
| FLOPs | {int(about["flops"]):,} multiply-accumulates an image |
{device}| parameters | {int(about["parameters"]):,} |
| network | `{about["network"]}` |
| images | {counts}; trained on {fitted} alone (data `{trained.data}`, weights \
`{trained.weights}`) |

```python
{use}
```

This file takes images as stored. Photographs as they are go to `scalenet predict`, to `scalenet
serve`, or to the registered model (`mlflow.pyfunc.load_model`), which carries the code that does
what the table says: files, or arrays of any size and layout, in; class names and probabilities out.

Tested on images like those it was trained on. What it says of other images, or of classes that it
does not know, was not measured: it always names one of these.

## Classes

{classes}
"""


def escaped(name: str) -> str:
    """Return a class's name as Markdown that shows it as it is, on one line."""
    # no list within the list
    return re.sub(r"^(\s*\d*)([-+.)])", r"\1\\\2", markdown(on_a_line(name)))
