"""ScaleNet: a base model and its scaling strategy, searched together in one super-supernet.

What a user needs is here, and imports no torch until it is asked for:

- `Network`, `BaseModel`, `Scaling`: what is searched, and `Task`, the shape of the data;
- `scale(space, base, strategy)`, `flops(network, task)` and `parameters(network, task)`;
- `load(folder, member)` and `predict(net, images)`: a built family's member, ready for images.

FLOPs are multiply-accumulates of one image everywhere.

The library is a building of floors, lowest first:
config, space, records, laws, data, nets, training, baselines, search, export, report.
A module imports from its own floor and those below it, never from one above (a test holds this).
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import Any

from scalenet.space.cost import flops, parameters
from scalenet.space.network import Network, Task
from scalenet.space.scale import scale
from scalenet.space.scaling import BaseModel, Scaling

FLOORS = (
    "config", "space", "records", "laws", "data", "nets", "training", "baselines",
    "search", "export", "report",
)  # fmt: skip
_WITH_TORCH = {"load": "scalenet.nets.deployed", "predict": "scalenet.nets.deployed"}

__all__ = [
    "BaseModel", "Network", "Scaling", "Task", "flops", "load", "parameters", "predict", "scale",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import what needs torch when it is first used (PEP 562)."""
    if name == "__version__":
        return version("scalenet-pipeline")
    if name in _WITH_TORCH:
        return getattr(import_module(_WITH_TORCH[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "FLOORS", "__version__"])
