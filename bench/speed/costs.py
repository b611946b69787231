"""FLOPs and parameters of encoded networks, in batches: networks a second, and whether that holds as they grow."""

from __future__ import annotations

import time

import numpy as np

from bench.speed.common import options, params_of, show, spread, write
from scalenet.space import cost, sampling, scale, scaling


def main() -> None:
    """Encode random networks, look their costs up, compare with the layer-by-layer count."""
    chosen = options(__doc__, repeats=9, preset="imagenet")
    params = params_of(chosen.preset)
    every, generator = scaling.all_strategies(params.scaling), np.random.default_rng(0)
    start = time.perf_counter()
    table = cost.Table(params.space, every, 3, 1000)
    built = time.perf_counter() - start
    pairs = [
        (sampling.sample_base(params.space, generator), every[i]) for i in generator.integers(len(every), size=2000)
    ]
    start = time.perf_counter()
    networks = [scale.scale(params.space, *pair) for pair in pairs]
    expected = [(cost.flops(net, 3, 1000), cost.params(net, 3, 1000)) for net in networks]
    walked = len(pairs) / (time.perf_counter() - start)
    codes = table.encode(pairs)
    assert table.costs(codes).tolist() == [list(row) for row in expected]
    print(f"table of {len(every)} strategies built in {built:.2f} s; layer by layer: {walked:.0f} networks/s")
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
    write("costs", "cpu", networks_per_second=found, layer_by_layer=walked, build_seconds=built, repeats=chosen.repeats)


if __name__ == "__main__":
    main()
