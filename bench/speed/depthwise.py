"""Depthwise layers on a CPU: what gradients cost beside a forward pass, in both memory formats."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from bench.speed.common import interleaved, options, ratio, show, spread, write

FORMATS = {"channels-last": torch.channels_last, "contiguous": torch.contiguous_format}
SHAPES = ((64, 48, 6), (64, 84, 7), (128, 64, 20), (32, 144, 28))  # batch, channels, px


def measure(
    shape: tuple[int, int, int], kernel: int, layout: str, repeats: int
) -> dict[str, dict[str, float]]:
    """Return backward over forward, and the forward's milliseconds."""
    batch, channels, px = shape
    images = torch.randn(batch, channels, px, px).contiguous(memory_format=FORMATS[layout])
    weight = torch.randn(channels, 1, kernel, kernel)
    gradient = torch.randn_like(images)
    where = (None, [1, 1], [kernel // 2] * 2, [1, 1], False, [0, 0], channels, [True, True, False])
    times = interleaved(
        {
            "forward": lambda: F.conv2d(images, weight, None, 1, kernel // 2, groups=channels),
            "backward": lambda: torch.ops.aten.convolution_backward(
                gradient, images, weight, *where
            ),
        },
        repeats,
    )
    return {
        "ratio": ratio(times, "backward", "forward"),
        "forward_ms": spread([1000 * t for t in times["forward"]]),
    }


def main() -> None:
    """Measure every shape, kernel and format."""
    chosen, found = options(__doc__, repeats=15), {}
    for kernel in (3, 5, 7):
        for shape in SHAPES:
            for layout in FORMATS:
                key = f"k{kernel}, {shape[1]} channels, {shape[2]} px, batch {shape[0]}, {layout}"
                found[key] = measure(shape, kernel, layout, chosen.repeats)
                show(f"backward / forward, {key}", found[key]["ratio"])
    used = [
        values["ratio"]["median"]
        for key, values in found.items()
        if "last" in key and not key.startswith("k3")
    ]
    show("kernels above 3, channels-last", spread(used))
    write("depthwise", "cpu", ratio=spread(used), shapes=found, repeats=chosen.repeats)


if __name__ == "__main__":
    main()
