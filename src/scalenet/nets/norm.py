"""Batch norm in its uses: on the batch's statistics, recording them, on recorded ones, folded.

No network here keeps running averages. Statistics are measured once, exactly, on images that are
named ("recalibration", docs/method.md §4; "precise batch norm" in pycls), so that a score depends
on them alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from scalenet.nets import group
from scalenet.nets.blocks import Norm

EPS = 1e-5
Statistics = dict[str, tuple[Tensor, Tensor]]  # norm name -> (mean, variance) per channel


def on_batch(weights: Mapping[str, Tensor]) -> Norm:
    """Normalise by the statistics of the batch itself, all processes' parts of it: training."""

    def norm(name: str, x: Tensor) -> Tensor:
        weight, bias = weights[f"{name}/weight"], weights[f"{name}/bias"]
        if group.size() > 1:
            return _on_parts(x, weight, bias)
        return F.batch_norm(x, None, None, weight, bias, True, 0.0, EPS)

    return norm


def _on_parts(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Normalise a part (n, C, H, W) of a batch by the statistics of the whole batch.

    The mean first, then the variance around it: their difference in one pass would cancel.
    """
    channels, floats = x.shape[1], x.float()
    count = floats.new_full((1,), x.numel() / channels)  # made there: what is sent is waited for
    sums = group.total(torch.cat([floats.sum((0, 2, 3)), count]))
    centred = floats - (sums[:-1] / sums[-1]).view(1, -1, 1, 1)
    variance = group.total(centred.square().sum((0, 2, 3))) / sums[-1]
    scale = weight * torch.rsqrt(variance + EPS)
    return torch.addcmul(bias.view(1, -1, 1, 1), centred, scale.view(1, -1, 1, 1)).to(x.dtype)


def on_statistics(weights: Mapping[str, Tensor], statistics: Statistics) -> Norm:
    """Normalise by recorded statistics: evaluation."""

    def norm(name: str, x: Tensor) -> Tensor:
        mean, variance = statistics[name]
        return F.batch_norm(
            x, mean, variance, weights[f"{name}/weight"], weights[f"{name}/bias"], False, 0.0, EPS
        )

    return norm


def fold(weights: Mapping[str, Tensor], statistics: Statistics) -> dict[str, Tensor]:
    """Return the weights of the same network with its norms taken into the convolutions before.

    Evaluation then needs no norm (``identity``); logits differ from ``on_statistics`` by rounding.
    """
    folded = {name: tensor for name, tensor in weights.items() if "/norm/" not in name}
    for name, (mean, variance) in statistics.items():
        scale = weights[f"{name}/weight"] * torch.rsqrt(variance + EPS)
        layer = name.removesuffix("/norm")
        folded[f"{layer}/weight"] = weights[f"{layer}/weight"] * scale[:, None, None, None]
        folded[f"{layer}/bias"] = weights[f"{name}/bias"] - mean * scale
    return folded


def identity(name: str, x: Tensor) -> Tensor:
    """Leave activations as they are: after folding."""
    return x


def calibrate(
    apply: Callable[[Tensor, Norm], Tensor],
    weights: Mapping[str, Tensor],
    batches: Iterable[Tensor],
) -> Statistics:
    """Measure the statistics of every norm over batches of equal size.

    The law of total variance joins them.
    ``apply(images, norm)`` is a network's forward pass; each batch runs on its own statistics.
    Of several processes the first measures: a norm sees what those before it made of all images, so
    parts would be joined with other rounding than one process's.
    """
    if group.is_first():
        statistics = _measured(apply, weights, batches)
    else:
        norms = [name for name in weights if name.endswith("/norm/weight")]
        statistics = {
            name.removesuffix("/weight"): tuple(torch.empty_like(weights[name]) for _ in range(2))
            for name in norms
        }
    group.from_first([tensor for name in sorted(statistics) for tensor in statistics[name]])
    return statistics


def _measured(
    apply: Callable[[Tensor, Norm], Tensor],
    weights: Mapping[str, Tensor],
    batches: Iterable[Tensor],
) -> Statistics:
    """Measure the statistics in this process."""
    moments: dict[str, list[tuple[Tensor, Tensor]]] = {}

    def record(name: str, x: Tensor) -> Tensor:
        weight, bias = weights[f"{name}/weight"], weights[f"{name}/bias"]
        x, mean, inverse_deviation = torch.native_batch_norm(
            x, weight, bias, None, None, True, 0.0, EPS
        )
        moments.setdefault(name, []).append((mean, inverse_deviation.pow(-2) - EPS))
        return x

    for images in batches:
        apply(images, record)
    return {name: _join(parts) for name, parts in moments.items()}


def _join(parts: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    means = torch.stack([mean for mean, _ in parts])
    variances = torch.stack([variance for _, variance in parts])
    return means.mean(0), variances.mean(0) + means.var(0, correction=0)
