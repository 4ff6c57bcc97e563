"""Running the model only as far as its last router, and taking the sparse routing on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from monet_model import MonetForCausalLM, Routing


class _LastRouterReached(Exception):
    """Ends a forward pass whose rest nobody needs."""


def read_routing(model: MonetForCausalLM, input_ids: Tensor, attention_mask: Tensor) -> list[Routing]:
    """Routing of every group for a batch, each of batch x tokens rows in order; padding is routed too.

    The layers above the last router, and the head, do not run.

    Args:
        model: in evaluation mode.
        input_ids, attention_mask: (batch, tokens).

    Raises:
        ValueError: a hidden state is NaN or infinite.
    """
    routers = [layer.router for layer in model.model.layers if layer.router is not None]
    found: list[Routing] = []

    def keep(router: Any, _args: tuple[Tensor], routing: Routing) -> None:
        found.append(routing)
        if router is routers[-1]:
            raise _LastRouterReached

    hooks = [router.register_forward_hook(keep) for router in routers]
    try:
        with torch.inference_mode():
            model.model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False)
    except _LastRouterReached:
        pass
    finally:
        for hook in hooks:
            hook.remove()
    return found
