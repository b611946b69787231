"""Slices of shared weights, to autograd weights of their own: each gradient is a part of a whole.

A slice that autograd cuts costs its backward pass a whole gradient of zeros and a copy into it for
every axis, which networks of a few milliseconds feel (docs/performance.md). These are cut once.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from scalenet.nets.weights import crop

# a gradient lies in memory as its slice does, with gaps: that is what is wanted here
warnings.filterwarnings("ignore", "grad and param do not obey the gradient layout contract")

Piece = tuple[str, tuple[int, ...], str]  # whole weight, shape of the slice, side


class Leaves:
    """Slices of some weights, kept from step to step with the weights' whole gradients."""

    def __init__(self, weights: Mapping[str, nn.Parameter]):
        self.weights = weights
        self.gradients: dict[str, Tensor] = {}
        self.used: dict[str, list[Tensor]] = {}  # the slices that a whole gradient has parts of
        self.leaves: dict[Piece, Tensor] = {}

    def cut(self, pieces: Iterable[Piece]) -> list[Tensor]:
        """Return slices, leaves of autograd that share memory with their weights.

        Backward passes add to the weights' ``grad``. A weight whose ``grad`` was set to None, as
        before a step, gets one of zeros; one that no piece is of keeps None.
        """
        cut, stale = [], []
        for piece in pieces:
            leaf = self.leaves.get(piece)
            if leaf is None:
                leaf = self.leaves[piece] = self._leaf(*piece)
            name = piece[0]
            weight, gradient = self.weights[name], self.gradients[name]
            if weight.grad is not gradient:
                stale += [part.grad for part in self.used[name]]
                self.used[name], weight.grad = [], gradient
            self.used[name].append(leaf)
            cut.append(leaf)
        if stale:
            torch._foreach_zero_(stale)
        return cut

    def _leaf(self, name: str, shape: tuple[int, ...], side: str) -> Tensor:
        weight = self.weights[name]
        if name not in self.gradients:
            self.gradients[name], self.used[name] = torch.zeros_like(weight), []
        leaf = crop(weight.detach(), shape, side).requires_grad_()
        leaf.grad = crop(self.gradients[name].detach(), shape, side)
        return leaf
