"""What experts are compared with: top-k transcoders, with and without a skip connection, and an affine map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding_bag

from monet_model.precision import bfloat16_factors

from ..baselines.sae import TopKSae
from ..progress import job
from .imitate import Lesson
from .phases import Phase

FEATURES, ACTIVE = 4096, 32  # of a transcoder
LEARNING_RATE = 1e-3
RIDGE = 1e-6  # weight of the squared slopes, as a share of the mean squared input


class TopKTranscoder(TopKSae):
    """``y ~ s_y (sum_f a_f d_f + b_y [+ W_skip x / s_x])``, ``a`` being the k largest of ``relu(W (x / s_x - b))``.

    A transcoder (Dunefsky et al. 2024, arXiv 2406.11944) is an autoencoder whose output is the MLP's output for its
    input; the skip connection is that of Paulo et al. 2025 (arXiv 2501.18823).

    Args:
        x_scale: size of an input's entries.
        mean: (width,) mean output, which it starts from.
        y_scale: size of an output's entries.
        features: number of features.
        k: features active per token.
        skip: whether it has an affine part.
    """

    y_scale: Tensor

    def __init__(
        self, x_scale: Tensor, mean: Tensor, y_scale: Tensor, features: int = FEATURES, k: int = ACTIVE, *, skip: bool
    ) -> None:
        width = len(mean)
        super().__init__(width, features, k)
        self.scale.copy_(x_scale * width**0.5)  # an input has length 1, as an autoencoder's has
        self.register_buffer("y_scale", y_scale.clone())
        self.y_bias = nn.Parameter(mean / y_scale)
        with torch.no_grad():
            self.encoder.div_(2 * k**0.5)  # so that k features together write little to begin with
        self.skip = nn.Parameter(torch.zeros(width, width)) if skip else None

    def forward(self, x: Tensor) -> Tensor:
        """The output: (..., width) for ``x`` of that shape."""
        tokens = x.flatten(0, -2)
        features, values = self.encode(tokens)
        # A feature of activation 1 writes entries of size 1.
        width = tokens.shape[-1]
        out = embedding_bag(features, self.decoder, per_sample_weights=values * width**0.5, mode="sum") + self.y_bias
        if self.skip is not None:
            out = out + tokens / self.scale @ self.skip.T * width**0.5
        return (self.y_scale * out).view(x.shape)

    @property
    def active_parameters(self) -> int:
        """Parameters of the k features active at a token, and of the skip connection."""
        width = len(self.bias)
        return 2 * width * self.k + (0 if self.skip is None else self.skip.numel())


def make_transcoders(lesson: Lesson, k: int = ACTIVE, *, skip: bool) -> nn.ModuleList:
    """An untrained transcoder for each chosen layer."""
    torch.manual_seed(lesson.settings.seed)
    scales = lesson.scales
    made = [
        TopKTranscoder(x, mean, y, k=k, skip=skip) for x, mean, y in zip(scales.x, scales.mean, scales.y, strict=True)
    ]
    return nn.ModuleList(made).to(lesson.teacher.device)


def teach_transcoders(lesson: Lesson, transcoders: nn.ModuleList, name: str) -> Phase:
    """The phase in which transcoders learn from the tokens that experts learn from, in the same order."""
    settings = lesson.settings

    def apply(x: Tensor) -> Tensor:
        return torch.stack([one(own) for one, own in zip(transcoders, x, strict=True)])

    def step(number: int) -> dict[str, float]:
        for one in transcoders.children():
            if isinstance(one, TopKTranscoder):
                one.normalise()
        x = lesson.inputs(number)
        with bfloat16_factors(lesson.teacher.device, settings.autocast):
            unexplained = lesson.scales.unexplained(apply(x), lesson.targets(x)).mean()
            unexplained.backward()
        return {"loss": float(unexplained.detach())}

    def figures(_last: bool) -> dict[str, Any]:
        return lesson.heldout.unexplained(apply)

    how = settings.training(settings.tokens, settings.batch, LEARNING_RATE, 0.0, 0)
    return Phase(name, transcoders, how, step, figures)


@dataclass(frozen=True)
class _Moments:
    """Weighted sums from which an affine map is solved: (width + 1, width + 1) and (width + 1, width)."""

    inputs: Tensor
    outputs: Tensor


@torch.no_grad()
def affine_fit(lesson: Lesson) -> list[nn.Module]:
    """The affine maps from input to output with the least squared error on the training tokens, weighted as errors are.

    Returns:
        One module per chosen layer.
    """
    teacher, width = lesson.teacher, lesson.teacher.hidden
    device = teacher.device
    moments = [
        _Moments(*(torch.zeros(width + 1, n, dtype=torch.float64, device=device) for n in (width + 1, width)))
        for _ in lesson.layers
    ]
    steps, batch = lesson.settings.imitating().steps, lesson.settings.batch
    steps = min(steps, max(1, len(lesson.cache.sequences.train) // batch))
    with job("affine fit", steps * batch * lesson.settings.sequence, "tokens") as advance:
        for step in range(steps):
            x = lesson.inputs(step)
            y = lesson.targets(x)
            weight = lesson.scales.stress(y)
            for own, inputs, outputs, share in zip(moments, x, y, weight, strict=True):
                known = torch.cat([inputs, torch.ones_like(inputs[:, :1])], 1).double()
                weighted = known * share[:, None]
                own.inputs.addmm_(weighted.T, known)
                own.outputs.addmm_(weighted.T, outputs.double())
            advance(x.shape[1])
    fits: list[nn.Module] = []
    for own in moments:
        ridge = RIDGE * own.inputs.diagonal()[:-1].mean() * torch.eye(width + 1, dtype=torch.float64, device=device)
        ridge[-1, -1] = 0
        solved = torch.linalg.solve(own.inputs + ridge, own.outputs).float()
        fit = nn.Linear(width, width, device=device)
        fit.weight.copy_(solved[:-1].T)
        fit.bias.copy_(solved[-1])
        fits.append(fit)
    return fits
