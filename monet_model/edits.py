"""The expert edits in force in this thread: the factors that scale the experts of each layer group."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from torch import Tensor, nn

from .config import MonetConfig
from .positions import PositionFactors, Positions, read_spans

if TYPE_CHECKING:
    from .expert_edit import ExpertEdit

Edits = Mapping[int, Tensor]  # layer that owns a router -> (E, E) factors
MAX_FACTOR = 1000.0  # of an expert, either sign: beyond it a model in half precision overflows


class ModelEdit(Protocol):
    """An edit that knows which model it was made for, such as ``monet_model.ExpertEdit``."""

    def check(self, model: nn.Module) -> None:
        """Raise ValueError unless it was made for this model."""

    def matrices(self) -> dict[int, Tensor]:
        """Its factors: layer that owns a router -> (E, E)."""


@dataclass(frozen=True)
class PositionedEdit:
    """Edits of which each holds at some positions only, as ``edit_experts`` takes them; where they meet they multiply.

    Attributes:
        parts: each edit, and the slices of positions where it holds, from 0.
    """

    parts: tuple[tuple[ExpertEdit, tuple[slice, ...]], ...]

    def check(self, model: nn.Module) -> None:
        """Raise ValueError unless they were made for ``model``."""
        for edit, _ in self.parts:
            edit.check(model)


class _Active(threading.local):
    """The edits of one thread: id of a model -> layer that owns a router -> what scales its group's experts.

    Private to a thread, so that one dashboard user's edit never reaches another's forward pass. Not a context variable:
    `torch.compile` traces a thread-local without breaking the graph.
    """

    def __init__(self) -> None:
        self.edits: dict[int, dict[int, Tensor | PositionFactors]] = {}


_active = _Active()


def active_edits(owner: object) -> dict[int, Tensor | PositionFactors]:
    """The factors in force for a model: layer that owns a router -> (E, E), or what holds at each position."""
    return _active.edits.get(id(owner), {})


def check_edits(edits: Edits, config: MonetConfig) -> None:
    """Raises ValueError, naming the layer, unless each matrix is an (E, E) of a layer that owns a router, whose factors
    lie within ``MAX_FACTOR``."""
    owners = [group[0] for group in config.routing_groups]
    for layer, factors in edits.items():
        if layer not in owners:
            raise ValueError(f"layer {layer} owns no router; edits go to one of the layers {owners}.")
        if tuple(factors.shape) != (config.moe_experts, config.moe_experts):
            raise ValueError(
                f"the factors of layer {layer} must have shape {(config.moe_experts, config.moe_experts)}, "
                f"got {tuple(factors.shape)}."
            )
        # Two numbers, where isfinite(factors) is a copy or two; neither comparison holds for NaN.
        if not all(bool(end.abs() <= MAX_FACTOR) for end in factors.aminmax()):
            raise ValueError(
                f"the factors of layer {layer} must lie in -{MAX_FACTOR:g} .. {MAX_FACTOR:g}; it has NaN, infinity or "
                "more."
            )


@contextmanager
def apply_edits(
    owner: nn.Module, edits: Edits, config: MonetConfig, positions: Positions | None = None
) -> Iterator[None]:
    """Scale experts while the context lasts, everywhere or at some positions; nested contexts multiply."""
    check_edits(edits, config)
    spans = None if positions is None else read_spans(positions)
    outer, before = active_edits(owner), _active.edits
    merged = {**outer}
    device = next(owner.parameters()).device
    for layer, given in edits.items():
        # Moved once, not in every pass. Weights that are kept elsewhere until they are used are on no device.
        factors = given if device.type == "meta" else given.to(device)
        known = outer.get(layer)
        if spans is None and not isinstance(known, PositionFactors):
            merged[layer] = factors if known is None else known * factors
        else:
            parts = known.parts if isinstance(known, PositionFactors) else () if known is None else ((known, None),)
            merged[layer] = PositionFactors((*parts, (factors, spans)))
    _active.edits = {**before, id(owner): merged}
    try:
        yield
    finally:
        _active.edits = before


@contextmanager
def apply_positioned(owner: nn.Module, edit: PositionedEdit, config: MonetConfig) -> Iterator[None]:
    """Scale experts while the context lasts, each where its edit holds."""
    with ExitStack() as stack:
        for part, positions in edit.parts:
            stack.enter_context(apply_edits(owner, part.matrices(), config, positions))
        yield
