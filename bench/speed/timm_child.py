"""A standalone child against timm's EfficientNet of the identical structure, pass by pass.

Forward, and forward with backward. What is deployed of a child has its norms folded; timm's model
is taken as it comes, in whichever memory format is quicker for it. Needs the extra ``bench``.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F

from bench.speed.common import Times, interleaved, options, ratio, show, write
from scalenet.nets import child
from scalenet.nets.deployed import Deployed
from scalenet.space.cost import parameters
from scalenet.space.network import Network, Task

B0 = (
    "r{px}-stem_k3_s2_c32-ir_k3_s1_e1_c16-ir_k3.3_s2_e6_c24-ir_k5.5_s2_e6_c40-ir_k3.3.3_s2_e6_c80"
    "-ir_k5.5.5_s1_e6_c112-ir_k5.5.5.5_s2_e6_c192-ir_k3_s1_e6_c320-head_c1280-se0.25i-swish"
)


def timm_model(classes: int) -> torch.nn.Module:
    """Return timm's efficientnet_b0; torchvision's compiled operators, unused, may be absent."""
    try:
        import timm
    except RuntimeError:  # a torchvision that was built for CUDA, beside a torch for CPUs
        stand_in = torch.library.Library("torchvision", "DEF")
        stand_in.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        stand_in.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import timm
    return timm.create_model(
        "efficientnet_b0", num_classes=classes, drop_rate=0.0, drop_path_rate=0.0
    )


def passes(
    net: torch.nn.Module, images: torch.Tensor, deploy: Callable
) -> tuple[Callable[[], None], ...]:
    """Return a forward pass of what is deployed, and a forward and backward pass in training."""
    labels = torch.arange(len(images), device=images.device) % 10

    deployed = deploy(net.eval())

    @torch.no_grad()
    def forward() -> None:
        deployed(images)

    def both() -> None:
        net.train()
        net.zero_grad(set_to_none=True)
        F.cross_entropy(net(images), labels).backward()

    return forward, both


def best(times: Times, variants: list[str]) -> str:
    """Return the quickest of some variants."""
    return min(variants, key=lambda name: sum(times[name]))


def main() -> None:
    """Check that both are the same network by count, then time them in turns."""
    chosen = options(__doc__, repeats=7, batch=8, px=128)
    network = Network.parse(B0.format(px=chosen.px))
    own = child.build(network, Task(3, 10), torch.Generator().manual_seed(0)).to(chosen.device)
    other = timm_model(10).to(chosen.device)
    assert sum(p.numel() for p in other.parameters()) == parameters(network, Task(3, 10))
    images = torch.randn(chosen.batch, 3, chosen.px, chosen.px, device=chosen.device)
    runs = {
        "ours": passes(
            own, images, lambda net: Deployed(net, [0.0] * 3, [1.0] * 3).to(chosen.device)
        )
    }
    runs["timm"] = passes(other, images, lambda net: net)
    last = timm_model(10).to(chosen.device, memory_format=torch.channels_last)
    runs["timm, channels-last"] = passes(
        last, images.contiguous(memory_format=torch.channels_last), lambda net: net
    )
    found = {}
    for i, what in enumerate(("forward", "forward and backward")):
        passes_of = {name: pair[i] for name, pair in runs.items()}
        times = interleaved(passes_of, chosen.repeats, chosen.device)
        found[what] = ratio(times, "ours", best(times, ["timm", "timm, channels-last"]))
        show(f"ours / timm, {what}", found[what])
    write(
        "timm_child",
        chosen.device,
        ratio=found,
        batch=chosen.batch,
        px=chosen.px,
        repeats=chosen.repeats,
    )


if __name__ == "__main__":
    main()
