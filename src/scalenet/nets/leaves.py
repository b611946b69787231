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
        self.used: dict[str, set[Piece]] = {}  # the slices that a whole gradient has parts of
        self.leaves: dict[Piece, Tensor] = {}

    def __reduce__(self):
        """Copy and pickle the weights alone: slices of these are none of the copy's."""
        return Leaves, (self.weights,)

    def cut(self, pieces: Iterable[Piece]) -> list[Tensor]:
        """Return slices, leaves of autograd that share memory with their weights."""
        return [self.leaves[p] if p in self.leaves else self._leaf(p) for p in pieces]

    def join(self, pieces: Iterable[Piece]) -> None:
        """Have the weights' ``grad`` hold the gradients of their slices: before each backward pass.

        It is added to. A weight whose ``grad`` was set to None, as before a step, gets one of
        zeros; one that no piece is of keeps None.
        """
        stale = []
        for piece in pieces:
            name = piece[0]
            weight, gradient = self.weights[name], self.gradients[name]
            if weight.grad is not gradient:
                stale += [self.leaves[part].grad for part in self.used[name]]
                self.used[name], weight.grad = set(), gradient
            self.used[name].add(piece)
        if stale:
            torch._foreach_zero_(stale)

    def _leaf(self, piece: Piece) -> Tensor:
        name, shape, side = piece
        weight = self.weights[name]
        if name not in self.gradients:
            self.gradients[name], self.used[name] = torch.zeros_like(weight), set()
        leaf = crop(weight.detach(), shape, side).requires_grad_()
        leaf.grad = crop(self.gradients[name].detach(), shape, side)
        self.leaves[piece] = leaf
        return leaf
