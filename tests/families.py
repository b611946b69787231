"""Families that were never trained: the files that the stages would have written of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from scalenet.laws import scores
from scalenet.nets import child
from scalenet.records import files, predictions
from scalenet.records import tensors as tensorfile
from scalenet.records.documents import DataInfo, Family, Member, Trained
from scalenet.records.paths import Paths
from scalenet.records.predictions import Predictions
from scalenet.space import cost
from scalenet.space.network import Network, Task

SMALL = "r8-stem_k3_s1_c4-ir_k5_s1_e2_c4-head_c8-se0.25e-hard_swish"
LARGE = "r10-stem_k3_s1_c4-ir_k3_s2_e2_c8-head_c8-se0.25e-hard_swish"
SMALLER = "r6-stem_k3_s2_c4-ir_k3_s1_e1_c4-head_c8-se0i-relu"
INFO = DataInfo(
    channels=1, size=8, classes=["a", "b", "c"], counts={"select": 200, "test": 9},
    mean=[0.3], std=[0.4], digest="d1",
)  # fmt: skip
LABELS = np.arange(200) % 3  # of select


def answers(right: int, labels: np.ndarray = LABELS) -> Predictions:
    """Return answers to select of which the first ``right`` are right, and no others."""
    predicted = np.where(np.arange(len(labels)) < right, labels, (labels + 1) % 3)
    sure = np.full(len(labels), 0.9, dtype=np.float32)
    return predictions.answers(labels, predicted)._replace(probability=sure, true=sure)


def train(
    paths: Paths, name: str, network: str, seed: int, said: Predictions | None = None
) -> Trained:
    """Write what stage retrain writes of a member; 150 of 200 of select are right by default."""
    said = said or answers(150)
    generator = torch.Generator().manual_seed(seed)
    net = child.build(Network.parse(network), Task(1, 3), generator)
    image = (1, net.network.resolution, net.network.resolution)
    net.calibrate([torch.rand(16, *image, generator=generator)])
    file = paths.member(name) / "weights.pt"
    tensorfile.write(file, net.state_dict(), {"kind": "child", "network": network})
    member = Member(
        name=name, multiple=1, budget=1e4, origin="searched", base="k3e1-3e2", scaling="d1-w1-r8",
        network=network, flops=cost.flops(net.network, Task(1, 3)),
        params=cost.parameters(net.network, Task(1, 3)),
    )  # fmt: skip
    trained = Trained(
        member=member, correct=7, tested=9, accuracy=7 / 9, low=0.45, high=0.94,
        confidence=0.95, data=paths.info().digest, weights=files.digest(file),
        balanced=0.75, select=scores.score(said),
    )  # fmt: skip
    trained.write(paths.member(name) / "trained.json")
    predictions.write(paths.member(name) / "predictions.npz", {name: {"select": said}})
    return trained


def publish(root: Path, members: list[Trained]) -> None:
    """Write what stage publish writes."""
    none = {"law": None, "baselines": [], "comparisons": [], "warnings": []}
    Family(name="x", members=members, **none).write(Paths(root).family / "family.json")


def build(root: Path, said: dict[str, Predictions], info: DataInfo = INFO) -> list[Trained]:
    """Write a family whose members say this of select; who says the same has the same weights."""
    info.write(Paths(root).data / "info.json")
    networks = dict(zip(("S0", "S1", "S2"), (SMALLER, SMALL, LARGE), strict=True))
    seeds = {name: int(files.digest(*map(bytes, made[1:3])), 16) for name, made in said.items()}
    members = [
        train(Paths(root), name, networks[name], seeds[name] % 2**31, said[name]) for name in said
    ]
    publish(root, members)
    return members
