"""What a budget counts: FLOPs, or milliseconds that an image takes on a device.

A latency is the sum of what a network's layers take there, each kind of them in proportion to its
values and its multiply-accumulates (docs/scaling.md). The rates are measured by ``scalenet
latency`` and stand in params.yaml, so that no result depends on a clock.
"""

from __future__ import annotations

from dataclasses import dataclass

from scalenet.config.space import Latency, Scalings
from scalenet.space.cost import Layer, Price, in_flops, priced
from scalenet.space.network import Network, Task


@dataclass(frozen=True)
class Measure:
    """A layer's price, how many of its whole numbers are one unit of the budget, and how amounts
    are written."""

    unit: str
    price: Price
    whole: int
    form: str

    def spent(self, network: Network, task: Task) -> float:
        """Return what a network spends, in the budget's unit."""
        return priced(network, task, self.price) / self.whole

    def said(self, *amounts: float) -> str:
        """Return amounts as messages say them: 100,000 FLOPs, 1.25 to 3 ms."""
        return f"{' to '.join(format(amount, self.form) for amount in amounts)} {self.unit}"


def measure(scalings: Scalings) -> Measure:
    """Return what ``scaling.budget`` counts."""
    return on(scalings.latency if scalings.measure == "latency" else None)


def on(device: Latency | None) -> Measure:
    """Return what budgets for a device count: milliseconds there; for none, FLOPs."""
    if device is None:
        return Measure("FLOPs", in_flops, 1, ",.0f")
    return Measure("ms", _picoseconds(device), 10**9, ".3g")


def _picoseconds(device: Latency) -> Price:
    """Return a layer's price on a device: in whole numbers, so that sums are exact."""

    def price(layer: Layer) -> tuple[int, int]:
        each, value, mac = device.kinds[layer.kind]
        fixed = 1e6 * each + 1e3 * value * layer.w_out * layer.px**2
        return round(fixed), round(1e3 * mac * (layer.flops // layer.k**2))

    return price
