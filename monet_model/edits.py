"""The expert edits in force in this thread: the factor matrix that scales the experts of each layer group."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor, nn

from .config import MonetConfig

Edits = Mapping[int, Tensor]  # layer that owns a router -> (E, E) factors


class ModelEdit(Protocol):
    """An edit that knows which model it was made for, such as ``monet_model.ExpertEdit``."""

    def check(self, model: nn.Module) -> None:
        """Raise ValueError unless it was made for this model."""

    def matrices(self) -> dict[int, Tensor]:
        """Its factors: layer that owns a router -> (E, E)."""


class _Active(threading.local):
    """The edits of one thread: id of a model -> layer that owns a router -> (E, E) factors.

    Private to a thread, so that one dashboard user's edit never reaches another's forward pass. Not a context variable:
    `torch.compile` traces a thread-local without breaking the graph.
    """

    def __init__(self) -> None:
        self.edits: dict[int, dict[int, Tensor]] = {}


_active = _Active()


def active_edits(owner: object) -> dict[int, Tensor]:
    """The factor matrices in force for a model: layer that owns a router -> (E, E)."""
    return _active.edits.get(id(owner), {})


def check_edits(edits: Edits, config: MonetConfig) -> None:
    """Raises ValueError, naming the layer, unless each matrix is a finite (E, E) of a layer that owns a router."""
    owners = [group.start for group in config.routing_groups]
    for layer, factors in edits.items():
        if layer not in owners:
            raise ValueError(f"layer {layer} owns no router; edits go to one of the layers {owners}.")
        if tuple(factors.shape) != (config.moe_experts, config.moe_experts):
            raise ValueError(
                f"the factors of layer {layer} must have shape {(config.moe_experts, config.moe_experts)}, "
                f"got {tuple(factors.shape)}."
            )
        if not all(map(torch.isfinite, factors.aminmax())):  # two numbers, where isfinite(factors) is a copy or two
            raise ValueError(f"the factors of layer {layer} hold NaN or infinity.")


@contextmanager
def apply_edits(owner: object, edits: Edits, config: MonetConfig) -> Iterator[None]:
    """Scale experts while the context lasts; nested contexts multiply."""
    check_edits(edits, config)
    outer, before = active_edits(owner), _active.edits
    merged = outer | {layer: outer[layer] * s if layer in outer else s for layer, s in edits.items()}
    _active.edits = {**before, id(owner): merged}
    try:
        yield
    finally:
        _active.edits = before
