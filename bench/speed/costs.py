"""FLOPs and parameters of encoded networks: networks a second, also in large batches."""

from __future__ import annotations

import time

import numpy as np

from bench.speed.common import options, params_of, show, spread, write
from scalenet.space.cost import flops, parameters
from scalenet.space.network import Task
from scalenet.space.sampling import sample_base
from scalenet.space.scale import scale
from scalenet.space.scaling import all_strategies
from scalenet.space.table import Table


def main() -> None:
    """Encode random networks, look their costs up, compare with the layer-by-layer count."""
    chosen = options(__doc__, repeats=9, preset="imagenet")
    params = params_of(chosen.preset)
    task, generator = Task(3, 1000), np.random.default_rng(0)
    offered = all_strategies(params.scaling)
    start = time.perf_counter()
    table = Table(params.space, offered, task)
    built = time.perf_counter() - start
    pairs = [
        (sample_base(params.space, generator), offered[i])
        for i in generator.integers(len(offered), size=2000)
    ]
    start = time.perf_counter()
    networks = [scale(params.space, *pair) for pair in pairs]
    expected = [(flops(net, task), parameters(net, task)) for net in networks]
    walked = len(pairs) / (time.perf_counter() - start)
    codes = table.encode(pairs)
    assert table.costs(codes).tolist() == [list(row) for row in expected]
    print(
        f"table of {len(offered)} strategies built in {built:.2f} s; "
        f"layer by layer: {walked:.0f} networks/s"
    )
    found = {}
    for count in (10**3, 10**4, 10**5, 10**6):
        many = codes[generator.integers(len(codes), size=count)]
        rates = []
        for _ in range(chosen.repeats):
            start = time.perf_counter()
            table.costs(many)
            rates.append(count / (time.perf_counter() - start))
        found[count] = spread(rates)
        show(f"{count} networks", found[count], "networks/s")
    write(
        "costs",
        "cpu",
        networks_per_second=found,
        layer_by_layer=walked,
        build_seconds=built,
        repeats=chosen.repeats,
    )


if __name__ == "__main__":
    main()
