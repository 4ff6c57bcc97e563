"""Running the model up to its last router and collecting the sparse routing on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import local
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from cuda_ext.routing import Routing
    from monet_model import MonetForCausalLM

ReadRouting = Callable[[Tensor, Tensor | None], "list[Routing]"]


class _LastRouterReached(Exception):
    """Ends a forward pass after its last router."""


@contextmanager
def routing_reader(model: MonetForCausalLM) -> Iterator[ReadRouting]:
    """Yield a function that returns the routing of a batch; threads may share it, and the model.

    Called with ``input_ids`` and ``attention_mask``, each (batch, tokens), the latter None where nothing is padded, it
    returns the routing of every group, of batch x tokens rows in order; padding is routed too. The layers above the
    last router, and the head, do not run. It raises ValueError where a hidden state is NaN or infinite.

    Args:
        model: in evaluation mode; other passes of it are left alone.
    """
    routers = [layer.router for layer in model.model.layers if layer.router is not None]
    passing = local()  # `collected`: the routing of the forward pass that this thread is in

    def keep(router: Any, _args: tuple[Tensor], routing: Routing) -> None:
        if (collected := getattr(passing, "collected", None)) is None:
            return
        collected.append(routing)
        if router is routers[-1]:
            raise _LastRouterReached

    def read(input_ids: Tensor, attention_mask: Tensor | None) -> list[Routing]:
        collected: list[Routing] = []
        passing.collected = collected
        try:
            with torch.inference_mode():
                model.model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False)
        except _LastRouterReached:
            pass
        finally:
            passing.collected = None
        return collected

    hooks = [router.register_forward_hook(keep) for router in routers]
    try:
        yield read
    finally:
        for hook in hooks:
            hook.remove()
