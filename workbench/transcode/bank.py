"""A bank of experts in training: routers and expert layers, in units in which inputs and outputs have size 1."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from cuda_ext import Routing
from monet_model.experts import ExpertLayer, HorizontalExperts, make_experts
from monet_model.losses import ambiguity_loss, uniformity_loss
from monet_model.revive import active_tokens, revive_router
from monet_model.router import MonetRouter

from .scales import Scales

if TYPE_CHECKING:
    from monet_model import MonetConfig

OUTPUT_START = 0.02  # standard deviation of the output weights that a bank starts with


class Bank(nn.Module):
    """Routers and experts for the chosen layers of a teacher.

    The first layer of a group routes for all of its layers, as in a Monet model. Inputs are divided by their size
    ``scales.x`` and outputs multiplied by ``scales.y``, so that learning rates mean the same at every layer;
    ``assemble`` multiplies the weights instead. Experts start near the mean output.

    Args:
        config: whose ``moe_*`` fields and ``hidden_size`` shape the bank.
        groups: places of each group's layers among the chosen ones.
        scales: of the teacher.
        centred: whether the bank starts near zero instead of the mean output.
        sees: what the routers read in place of the layer input, per group: its width and size. None for the input.
    """

    x_scale: Tensor
    y_scale: Tensor
    seen_scale: Tensor

    def __init__(
        self,
        config: MonetConfig,
        groups: Sequence[Sequence[int]],
        scales: Scales,
        *,
        centred: bool = False,
        sees: Sequence[tuple[int, Tensor]] | None = None,
    ) -> None:
        super().__init__()
        self.config, self.groups = config, [tuple(group) for group in groups]
        self.register_buffer("x_scale", scales.x.clone())
        self.register_buffer("y_scale", scales.y.clone())
        widths = [(config.hidden_size, scales.x[group[0]]) for group in groups] if sees is None else sees
        self.register_buffer("seen_scale", torch.stack([size for _, size in widths]))
        self.routers = nn.ModuleList(MonetRouter(_with_width(config, width)) for width, _ in widths)
        self.experts = nn.ModuleList(make_experts(config) for group in groups for _ in group)
        for number in range(len(widths)):
            for projection in (self.router(number).w1, self.router(number).w2):
                nn.init.normal_(projection.weight, std=projection.in_features**-0.5)
        mean = torch.zeros_like(scales.mean) if centred else scales.mean / scales.y[:, None]
        for place, own in enumerate(mean):
            _start(self.layer(place), own / config.moe_heads)

    def router(self, group: int) -> MonetRouter:
        """The router of a group."""
        return cast(MonetRouter, self.routers[group])

    def layer(self, place: int) -> ExpertLayer:
        """The experts of a chosen layer."""
        return cast(ExpertLayer, self.experts[place])

    def route(self, group: int, seen: Tensor) -> Routing:
        """The routing of a group for what its router sees, (tokens, width)."""
        routing: Routing = self.router(group)(seen / self.seen_scale[group])
        return routing

    def write(self, place: int, x: Tensor, routing: Routing) -> Tensor:
        """What the experts of a chosen layer write: (tokens, hidden) for its input of that shape."""
        written: Tensor = self.layer(place)(x / self.x_scale[place], routing)
        return written * self.y_scale[place]

    def forward(self, x: Tensor, seen: Sequence[Tensor] | None = None) -> tuple[Tensor, list[Routing]]:
        """Outputs (layers, tokens, hidden) for inputs of that shape, and the routing of each group.

        Args:
            x: inputs of the chosen layers.
            seen: per group, what its router reads; by default the input of its first layer.
        """
        routings = [
            self.route(number, x[group[0]] if seen is None else seen[number])
            for number, group in enumerate(self.groups)
        ]
        outputs = [
            self.write(place, x[place], routing)
            for group, routing in zip(self.groups, routings, strict=True)
            for place in group
        ]
        return torch.stack(outputs), routings

    @torch.no_grad()
    def set_statistics(self, seen: Iterable[Sequence[Tensor]]) -> None:
        """Set the statistics that routers normalise by in evaluation: mean and variance over all tokens of ``seen``.

        Args:
            seen: batches; each per group, what its router reads, (tokens, width).
        """
        routers = [self.router(number) for number in range(len(self.groups))]
        shape = 2, 3, self.config.moe_heads  # per key set: count, sum and sum of squares of a head's logits
        sums = [torch.zeros(shape, dtype=torch.float64, device=self.x_scale.device) for _ in routers]
        for batch in seen:
            for number, router in enumerate(routers):
                sides = router.logits(batch[number] / self.seen_scale[number])
                for total, z in zip(sums[number], sides, strict=True):
                    wide = z.double()
                    count = torch.full_like(total[0], z.shape[0] * z.shape[2])
                    total += torch.stack([count, wide.sum((0, 2)), wide.square().sum((0, 2))])
        for router, both in zip(routers, sums, strict=True):
            for norm, (count, first, second) in zip((router.norm1, router.norm2), both, strict=True):
                mean = first / count
                norm.get_buffer("running_mean").copy_(mean)
                norm.get_buffer("running_var").copy_((second / count - mean.square()) * count / (count - 1))


class KeyCount:
    """Tokens at which each key of a bank was active since the last revival: per group (2, heads, keys)."""

    def __init__(self, bank: Bank) -> None:
        shape = 2, bank.config.moe_heads, bank.config.moe_experts
        self.bank, self.counts = bank, [torch.zeros(shape) for _ in bank.groups]

    def add(self, routings: Sequence[Routing]) -> None:
        """Count the tokens of a batch, from the routing of each group."""
        for count, routing in zip(self.counts, routings, strict=True):
            count += active_tokens(routing).cpu()

    def revive(self, optimizer: torch.optim.Optimizer, seed: int) -> int:
        """Replace dead keys as ``monet_model.revive`` does, and count anew; returns how many were replaced."""
        generator = torch.Generator().manual_seed(seed)
        revived = 0
        for number, count in enumerate(self.counts):
            revived += revive_router(self.bank.router(number), optimizer, count, generator)
            count.zero_()
        return revived


def even_use(routings: Sequence[Routing]) -> Tensor:
    """The sum of both auxiliary losses of the routers, before their weight."""
    return uniformity_loss(routings) + ambiguity_loss(routings)


@torch.no_grad()
def active_parameters(bank: Bank, routings: Sequence[Routing]) -> Tensor:
    """Parameters of the keys that are active at a token, mean over tokens, per chosen layer: (layers,).

    A key counts once however many heads chose it. Routers, which read every token in full, are not counted.
    """
    active = []
    for group, routing in zip(bank.groups, routings, strict=True):
        keys = [float((g.sum(1) > 0).sum(1).double().mean()) for g in routing.dense()]
        for place in group:
            sizes = key_parameters(bank.layer(place))
            active.append(sum(count * size for count, size in zip(keys, sizes, strict=True)))
    return torch.tensor(active, dtype=torch.float64)


def key_parameters(layer: ExpertLayer) -> tuple[int, int]:
    """Parameters of one key of each set in an expert layer."""
    total = sum(p.numel() for p in layer.parameters()) // layer.keys
    if isinstance(layer, HorizontalExperts):
        first = sum(p.numel() for p in layer.u.parameters()) // layer.keys
        return first, total - first
    return total // 2, total - total // 2


def _with_width(config: MonetConfig, width: int) -> MonetConfig:
    """The configuration of a router that reads ``width`` values."""
    wide = copy.copy(config)
    wide.hidden_size = width
    return wide


@torch.no_grad()
def _start(layer: ExpertLayer, mean: Tensor) -> None:
    """Initialise experts whose routing scores sum to 1: units that read at size 1, outputs near ``mean`` (hidden,)."""
    readers = list(layer.inputs())
    for projection in readers:
        nn.init.normal_(projection.weight, std=projection.in_features**-0.5)
        if projection.bias is not None:
            nn.init.zeros_(projection.bias)
    for child in layer.children():
        if isinstance(child, nn.Linear) and child not in readers:
            nn.init.normal_(child.weight, std=OUTPUT_START)
    halves = mean.chunk(2) if not isinstance(layer, HorizontalExperts) else (mean,)
    for bias, value in zip(layer.parameters(recurse=False), halves, strict=True):
        bias.copy_(value.expand_as(bias))
