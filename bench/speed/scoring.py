"""Scoring candidates: images a second, recalibration included, against a plain forward pass of the same networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from bench.speed.common import interleaved, options, ratio, show, write
from bench.speed.step import networks
from scalenet.config import params as stage_params
from scalenet.data.images import on_device
from scalenet.nets import child, elastic
from scalenet.records import files
from scalenet.records.documents import DataInfo
from scalenet.records.paths import Paths
from scalenet.search.scoring import Scorer


def main() -> None:
    """Score the networks and pass the same images through them, in turns."""
    chosen = options(__doc__, repeats=7)
    params, paths = stage_params.load(Path("params.yaml")), Paths(Path.cwd())
    info = DataInfo.read(paths.data / "info.json")
    train, select = (
        on_device(files.read_split(paths.data / f"{name}.npz"), info.mean, info.std, torch.device(chosen.device))
        for name in ("train", "select")
    )
    shape = info.channels, len(info.classes)
    shared = elastic.build(params.space, params.scaling, shape, "left", torch.Generator().manual_seed(0))
    scorer, alone = Scorer(shared.to(chosen.device).eval(), train, select, params.search), []
    images = params.search.calibration + len(select)
    for network in networks(params):
        net = child.build(network, *shape, torch.Generator().manual_seed(0)).to(chosen.device).eval()
        batch = torch.randn(images, info.channels, network.resolution, network.resolution, device=chosen.device)
        alone.append((net, batch.split(params.search.batch)))

    @torch.no_grad()
    def forward() -> None:
        for net, batches in alone:
            for batch in batches:
                net(batch)

    times = interleaved(
        {"plain forward": forward, "scoring": lambda: [scorer(net.network) for net, _ in alone]},
        chosen.repeats,
        chosen.device,
    )
    share = ratio(times, "plain forward", "scoring")
    show("scoring's images/s over a plain forward's", share)
    milliseconds = 1000 * float(np.median(times["scoring"])) / len(alone)
    print(f"{milliseconds:.0f} ms a candidate of {images} images")
    write("scoring", chosen.device, ratio=share, milliseconds=milliseconds, images=images, repeats=chosen.repeats)


if __name__ == "__main__":
    main()
