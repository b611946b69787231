"""Latency told from what layers take, against measured: how far off, in what order.

What `scalenet latency` does, preset by preset: rates of the kinds of layers are fitted to the
pieces of some networks and tried on 30 others, drawn at random over all sizes.
"""

from __future__ import annotations

import time
from dataclasses import asdict

from bench.speed.common import invented, options, params_of, write
from scalenet.pipeline.init.timing import measured


def main() -> None:
    """Measure what layers take, and try it on unseen networks, preset by preset."""
    chosen = options(__doc__, 1, seconds=60.0, presets="digits,photographs,imagenet")
    found = {}
    for preset in chosen.presets.split(","):
        params, start = params_of(preset), time.perf_counter()
        latency, trial = measured(params, invented(params).task, "this", 1, chosen.seconds)
        took = time.perf_counter() - start
        found[preset] = asdict(trial) | {"rates": latency.model_dump(), "seconds": took}
        print(
            f"{preset}: error {trial.error:.3f}, tau {trial.tau:.3f}; timed twice "
            f"{trial.noise:.3f}, {trial.noise_tau:.3f}; FLOPs: tau {trial.flops_tau:.3f}; "
            f"{took:.0f} s",
            flush=True,
        )
    write("latency", "cpu", presets=found)


if __name__ == "__main__":
    main()
