"""What a search measures networks with, read from a project's folder: here, or elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from scalenet.config.params import Params, Search
from scalenet.data import store
from scalenet.data.images import on_device
from scalenet.nets import elastic
from scalenet.records.documents import DataInfo
from scalenet.records.emit import Emit
from scalenet.records.paths import Paths
from scalenet.search import cluster
from scalenet.search.cluster import NamedCall
from scalenet.search.finetuning import Finetuner
from scalenet.search.scoring import Measures, Scorer
from scalenet.training import device as devices


@contextmanager
def measuring(params: Params, paths: Paths, there: NamedCall, emit: Emit) -> Iterator[Measures]:
    """Have networks measured while the body runs: by this process, or as ``compute.scoring`` says.

    Other processes call ``there`` to load what ``read`` loads here.
    """
    compute = params.compute
    if compute.scoring is None:
        yield read(params, paths)
        return
    finals = judged_again(params.search, paths.info())
    processes = devices.shares(compute, 1) or [None] * devices.room(compute)
    with cluster.connected(compute.scoring, processes) as client:
        emit({"event": "notice", "text": cluster.standing(client, compute.scoring)})
        yield cluster.measures(client, compute.scoring, there, finals, emit)


def read(params: Params, paths: Paths) -> Measures:
    """Read train, select and the super-supernet; return what measures networks here.

    That is shared weights and, for finalists, fine-tuning, if it has steps, or all of select, if
    others see only a part of it.
    """
    device, info, search = devices.prepare(params.compute), paths.info(), params.search
    splits = (store.read(paths.data / f"{name}.npz") for name in ("train", "select"))
    images = [on_device(split, info.mean, info.std, device) for split in splits]
    net = elastic.read(paths.supernet / "weights.pt", device)
    shared = Scorer(net, *images, search, search.images)
    if not judged_again(search, info):
        return Measures(shared)
    if search.finetune.steps:
        return Measures(shared, Finetuner(net, *images, params))
    return Measures(shared, Scorer(net, *images, search))


def judged_again(search: Search, info: DataInfo) -> bool:
    """Tell whether finalists are measured in another way than all networks."""
    return bool(search.finetune.steps) or 0 < search.images < info.counts["select"]
