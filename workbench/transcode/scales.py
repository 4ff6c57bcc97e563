"""Sizes of what the teacher's MLPs read and write, from a sample: what errors are measured in."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .teacher import Teacher

OUTLIER = 16.0  # in figures, squared outputs above so many times their median count with this much
STRESS = 16.0  # in training, with so many times as much


@dataclass(frozen=True)
class Scales:
    """Sizes of inputs and outputs, per layer.

    A few tokens, such as the first of a sequence, get outputs hundreds of times longer than others: the massive
    activations of Sun et al. 2024 (arXiv 2402.17762). Squared, they would be all of the error and of the variance. So a
    token whose squared output exceeds ``OUTLIER`` times the median counts with that much: its error is divided by the
    excess.

    Attributes:
        x: (layers,) root mean square of an input's entries.
        gates: (layers,) that of the gates' entries.
        mean: (layers, hidden) weighted mean of the outputs.
        limit: (layers,) squared output length from which on a token's weight falls.
        variance: (layers,) weighted mean of the squared distance of outputs from their mean.
    """

    x: Tensor
    gates: Tensor
    mean: Tensor
    limit: Tensor
    variance: Tensor

    @classmethod
    def of(cls, teacher: Teacher, layers: tuple[int, ...], x: Tensor) -> Scales:
        """Measure on a sample (layers, tokens, hidden) of inputs."""
        gates = [
            teacher.gates(own[None], (layer,)).square().mean().sqrt() for layer, own in zip(layers, x, strict=True)
        ]
        y = teacher.outputs(x, layers)
        squared = y.square().sum(-1)
        limit = OUTLIER * squared.median(1).values
        weight = _weight(squared, limit)
        mean = torch.einsum("lt,lth->lh", weight, y) / weight.sum(1, keepdim=True)
        variance = (weight * (y - mean[:, None]).square().sum(-1)).mean(1)
        return cls(x.square().mean((1, 2)).sqrt(), torch.stack(gates), mean, limit, variance)

    @property
    def y(self) -> Tensor:
        """(layers,) root mean square of an output's entries about their mean."""
        return (self.variance / self.mean.shape[1]).sqrt()

    def weight(self, y: Tensor) -> Tensor:
        """(layers, tokens) weight of a token's error in figures, 1 for most, for outputs (layers, tokens, hidden)."""
        return _weight(y.square().sum(-1), self.limit)

    def stress(self, y: Tensor) -> Tensor:
        """(layers, tokens) weight of a token's error in training: extreme ones count for more than in figures.

        The layers behind add up what goes wrong at these few tokens, on which all others rely.
        """
        return _weight(y.square().sum(-1), STRESS * self.limit)

    def unexplained(self, out: Tensor, y: Tensor) -> Tensor:
        """Squared error of ``out`` against ``y``, weighted as in training, as a share of the variance: (layers,)."""
        return (self.stress(y) * (out - y).square().sum(-1)).mean(1) / self.variance


def _weight(squared: Tensor, limit: Tensor) -> Tensor:
    return (limit[:, None] / squared.clamp_min(torch.finfo(torch.float32).tiny)).clamp(max=1.0)
