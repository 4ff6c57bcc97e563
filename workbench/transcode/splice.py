"""Modules in place of a teacher's MLPs, for as long as a ``with`` block lasts, and what they do to its losses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from cuda_ext import Routing

from .bank import Bank
from .teacher import Teacher

AT_ONCE = 4  # sequences of a forward pass
CHUNK = 256  # tokens whose logits are compared at a time: a vocabulary is wide


@contextmanager
def spliced(teacher: Teacher, modules: Mapping[int, nn.Module]) -> Iterator[None]:
    """Inside this context, the teacher's MLPs of some layers are these modules, (batch, tokens, hidden) to the same.

    Args:
        teacher: the model.
        modules: layer -> module.
    """
    layers = teacher.model.model.layers
    before = {layer: layers[layer].mlp for layer in modules}
    try:
        for layer, module in modules.items():
            layers[layer].mlp = module
        yield
    finally:
        for layer, module in before.items():
            layers[layer].mlp = module


class Together(nn.Module):
    """What several modules write for the same input, added."""

    def __init__(self, *parts: nn.Module) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, x: Tensor) -> Tensor:
        """The sum."""
        return cast(Tensor, sum(part(x) for part in self.parts))


class _BankLayer(nn.Module):
    """One layer of a bank; the first of a group routes for the others, which run after it."""

    def __init__(self, bank: Bank, place: int, group: int, routings: dict[int, Routing]) -> None:
        super().__init__()
        self.bank, self.place, self.group, self.routings = bank, place, group, routings

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(0, -2)
        if self.place == self.bank.groups[self.group][0]:
            self.routings[self.group] = self.bank.route(self.group, tokens)
        return self.bank.write(self.place, tokens, self.routings[self.group]).view(x.shape)


def bank_modules(banks: list[Bank], layers: tuple[int, ...]) -> dict[int, nn.Module]:
    """The modules that splice banks, whose outputs add, in place of the MLPs of the chosen layers."""
    parts: dict[int, list[nn.Module]] = {layer: [] for layer in layers}
    for bank in banks:
        routings: dict[int, Routing] = {}
        for number, group in enumerate(bank.groups):
            for place in group:
                parts[layers[place]].append(_BankLayer(bank, place, number, routings))
    return {layer: Together(*own) for layer, own in parts.items()}


class Constant(nn.Module):
    """The same output at every token: what ablates an MLP."""

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.value = value

    def forward(self, x: Tensor) -> Tensor:
        """``value`` in the shape of ``x``."""
        return self.value.expand_as(x)


def last_hidden(model: PreTrainedModel, ids: Tensor) -> Tensor:
    """The stream behind the final norm, (sequences, tokens, hidden)."""
    hidden: Any = model.base_model(ids, use_cache=False).last_hidden_state
    return cast(Tensor, hidden)


@torch.no_grad()
def mean_losses(model: PreTrainedModel, heldout: Mapping[str, Tensor]) -> dict[str, float]:
    """Mean cross-entropy of a model in nats per predicted token, by label.

    Args:
        model: with its head, in evaluation mode.
        heldout: label -> (sequences, tokens) ids; the first token of a sequence is not predicted.
    """
    head = model.get_output_embeddings()
    losses: dict[str, float] = {}
    for label, sequences in heldout.items():
        total = 0.0
        for ids in sequences.split(AT_ONCE):
            here = ids.to(model.device)
            hidden = last_hidden(model, here)[:, :-1].flatten(0, 1)
            for x, wanted in zip(hidden.split(CHUNK), here[:, 1:].flatten().split(CHUNK), strict=True):
                total += float(nn.functional.cross_entropy(head(x), wanted, reduction="sum"))
        losses[label] = total / (sequences[:, 1:].numel())
    return losses


def overall(losses: Mapping[str, float], heldout: Mapping[str, Tensor]) -> float:
    """The mean over all predicted tokens of losses by label."""
    counts = {label: ids[:, 1:].numel() for label, ids in heldout.items()}
    return sum(losses[label] * counts[label] for label in losses) / sum(counts[label] for label in losses)
