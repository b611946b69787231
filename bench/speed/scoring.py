"""Scoring candidates, recalibration included, against a plain forward pass: images a second."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from bench.speed.common import interleaved, options, ratio, show, write
from bench.speed.step import networks
from scalenet.config import params as stage_params
from scalenet.data import store
from scalenet.data.images import on_device
from scalenet.nets import child, elastic
from scalenet.records.paths import Paths
from scalenet.search.scoring import Scorer


def main() -> None:
    """Score the networks and pass the same images through them, in turns."""
    chosen = options(__doc__, repeats=7)
    params, paths = stage_params.load(Path("params.yaml")), Paths(Path.cwd())
    info, splits, device = paths.info(), store.splits(paths.data), torch.device(chosen.device)
    train, select = (
        on_device(splits[name], info.mean, info.std, device) for name in ("train", "select")
    )
    generator = torch.Generator().manual_seed(0)
    shared = elastic.build(params.space, params.scaling, info.task, "left", generator)
    scorer, alone = Scorer(shared.to(chosen.device).eval(), train, select, params.search), []
    images = params.search.calibration + len(select)
    for network in networks(params):
        generator, px = torch.Generator().manual_seed(0), network.resolution
        net = child.build(network, info.task, generator).to(chosen.device).eval()
        batch = torch.randn(images, info.channels, px, px, device=chosen.device)
        alone.append((net, batch.split(params.search.batch)))

    @torch.no_grad()
    def forward() -> None:
        for net, batches in alone:
            for batch in batches:
                net(batch)

    scored = [net.network for net, _ in alone]
    variants = {"plain forward": forward, "scoring": lambda: list(scorer(scored))}
    times = interleaved(variants, chosen.repeats, chosen.device)
    share = ratio(times, "plain forward", "scoring")
    show("scoring's images/s over a plain forward's", share)
    milliseconds = 1000 * float(np.median(times["scoring"])) / len(alone)
    print(f"{milliseconds:.0f} ms a candidate of {images} images")
    write(
        "scoring",
        chosen.device,
        ratio=share,
        milliseconds=milliseconds,
        images=images,
        repeats=chosen.repeats,
    )


if __name__ == "__main__":
    main()
