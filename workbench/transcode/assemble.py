"""The mixed model that a transcoding ends in: the teacher, with trained banks as its experts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from monet_model.mixed import mixed_from_llama
from monet_model.router import HeadNorm, MonetRouter

from .bank import Bank
from .settings import TranscodeSettings
from .teacher import Teacher

if TYPE_CHECKING:
    from monet_model import MonetForCausalLM
    from monet_model.experts import ExpertLayer

SHARES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)


@torch.no_grad()
def assemble(teacher: Teacher, settings: TranscodeSettings, banks: Sequence[Bank], x: Tensor) -> MonetForCausalLM:
    """Build the mixed model that computes what the teacher computes with the banks spliced in.

    Two banks become one lattice: keys 0 to E1 - 1 are the first bank's, E1 to E1 + E2 - 1 the second's, and each bank
    keeps routing heads of its own. The logits of the other bank's keys are a share of the mean logit of its own, which
    lies below the threshold and below its largest logit: experts that pair keys of both banks are never active, and
    outputs add. How far that holds is measured (``stray_keys``). Thresholds stay where they were: the running means say
    by how much the larger set of keys would have moved them.

    Args:
        teacher: the model.
        settings: of the transcoding.
        banks: one or two, trained, with the statistics of their routers set.
        x: (layers, tokens, hidden) sample of what the MLPs read, by which that share is chosen.

    Returns:
        The model, in evaluation mode, in float32.
    """
    keys = [bank.config.moe_experts for bank in banks]
    heads = [bank.config.moe_heads for bank in banks]
    shape = settings.shape() | {"moe_experts": sum(keys), "moe_heads": sum(heads)}
    model = mixed_from_llama(teacher.model, settings.layers, **shape).requires_grad_(True)
    for place, layer in enumerate(settings.layers):
        into = model.model.layers[layer]
        _fill_experts(into.moe, [bank.layer(place) for bank in banks], banks, place)
    for number, group in enumerate(settings.groups):
        _fill_router(model.model.layers[group[0]].router, banks, number, x[settings.layers.index(group[0])])
    return model.eval()


def _fill_experts(target: ExpertLayer, sources: Sequence[ExpertLayer], banks: Sequence[Bank], place: int) -> None:
    """Copy expert layers side by side, in the units of the model."""
    readers = list(target.inputs())
    for name, child in target.named_children():
        if not isinstance(child, nn.Linear):
            continue
        reads = child in readers
        parts = [
            own.weight / bank.x_scale[place] if reads else own.weight * bank.y_scale[place]
            for own, bank in zip(_children(sources, name), banks, strict=True)
        ]
        child.weight.copy_(torch.cat(parts, 0 if reads else 1))
        if child.bias is not None:
            child.bias.copy_(torch.cat([own.bias for own in _children(sources, name)]))
    for name, bias in target.named_parameters(recurse=False):
        owns = [source.get_parameter(name) * bank.y_scale[place] for source, bank in zip(sources, banks, strict=True)]
        bias.copy_(torch.cat(owns))


def _children(sources: Sequence[ExpertLayer], name: str) -> list[nn.Linear]:
    """The projections of that name."""
    return [cast(nn.Linear, source.get_submodule(name)) for source in sources]


def _fill_router(target: MonetRouter, banks: Sequence[Bank], group: int, x: Tensor) -> None:
    """Copy routers head by head, each over the keys of its bank."""
    sources = [bank.router(group) for bank in banks]
    for side, norm_name in (("w1", "norm1"), ("w2", "norm2")):
        rows, first = [], 0
        for source, bank in zip(sources, banks, strict=True):
            own = getattr(source, side).weight.unflatten(0, (source.heads, source.keys)) / bank.seen_scale[group]
            whole = own.mean(1, keepdim=True).repeat(1, target.keys, 1)
            if source.keys < target.keys:
                norm: HeadNorm = getattr(source, norm_name)
                size = (norm.get_buffer("running_var") + norm.eps).sqrt()
                whole *= _share(
                    torch.einsum("td,hed->the", x, own), norm.get_buffer("running_mean") + source.sigma * size
                )
            whole[:, first : first + source.keys] = own
            first += source.keys
            rows.append(whole)
        getattr(target, side).weight.copy_(torch.cat(rows).flatten(0, 1))
    for side in ("norm1", "norm2"):
        norms: list[HeadNorm] = [getattr(source, side) for source in sources]
        moved = [_mean_for(norm, source, target) for norm, source in zip(norms, sources, strict=True)]
        getattr(target, side).running_mean.copy_(torch.cat(moved))
        getattr(target, side).running_var.copy_(torch.cat([norm.get_buffer("running_var") for norm in norms]))


def _share(logits: Tensor, threshold: Tensor) -> Tensor:
    """The share of the mean logit that stays furthest below threshold and largest logit: (heads, 1, 1).

    Args:
        logits: (tokens, heads, keys) of a head's own keys.
        threshold: (heads,) in raw logits.
    """
    shares = torch.tensor(SHARES, device=logits.device)
    candidates = shares[:, None, None] * logits.mean(-1)  # (shares, tokens, heads)
    below = torch.minimum(logits.amax(-1), threshold) - candidates
    return shares[below.amin(1).argmax(0)][:, None, None]


def _mean_for(norm: HeadNorm, source: MonetRouter, target: MonetRouter) -> Tensor:
    """The running mean with which the target's threshold is, in raw logits, what the source's was."""
    size = (norm.get_buffer("running_var") + norm.eps).sqrt()
    return norm.get_buffer("running_mean") + (source.sigma - target.sigma) * size


def stray_keys(model: MonetForCausalLM, settings: TranscodeSettings, x: Tensor) -> int:
    """How often a head chooses a key of the other bank, in what the MLPs read: 0, or the banks do not add exactly.

    Args:
        model: of ``assemble``.
        settings: of the transcoding.
        x: (layers, tokens, hidden) inputs of the chosen layers.
    """
    keys, heads, strays = settings.experts, settings.heads, 0
    for group in settings.groups:
        routing = model.model.layers[group[0]].router(x[settings.layers.index(group[0])])
        for g in routing.dense():
            strays += int((g[:, :heads, keys:] > 0).sum()) + int((g[:, heads:, :keys] > 0).sum())
    return strays
