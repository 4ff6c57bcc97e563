"""`torch.autograd.grad` without torch's engine, which computes on no GPU that is not there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction

Edge = tuple[Any, int]  # a node of the graph, and which of the tensors it made


def grad(
    outputs: Tensor, inputs: Tensor | Sequence[Tensor], grad_outputs: Tensor | None = None, allow_unused: bool = False
) -> tuple[Tensor | None, ...]:
    """The gradient of one tensor by others, as ``torch.autograd.grad`` returns it."""
    wanted = [_edge(one) for one in ([inputs] if isinstance(inputs, Tensor) else inputs)]
    start = _edge(outputs)
    found: dict[Edge, Tensor] = {start: torch.ones_like(outputs) if grad_outputs is None else grad_outputs}
    with torch.no_grad():
        for node in _in_order(start[0]):
            mine = [found.get((node, number)) for number in range(len(node._input_metadata))]
            if not node.next_functions or all(one is None for one in mine):
                continue
            made = node.apply(*_whole(node, mine)) if isinstance(node, BackwardCFunction) else node(*mine)
            # The project's ops take their tensors first: what follows is of arguments that are none.
            for edge, value in zip(node.next_functions, made if isinstance(made, tuple) else (made,), strict=False):
                if edge[0] is not None and value is not None:
                    about = edge[0]._input_metadata[edge[1]]
                    value = value.sum_to_size(about.shape).to(about.dtype)  # noqa: PLW2901
                    found[edge] = found[edge] + value if edge in found else value
    return tuple(found.get(edge) if allow_unused else found[edge] for edge in wanted)


def _edge(tensor: Tensor) -> Edge:
    node: Any = tensor.grad_fn
    if node is None:  # a leaf
        node = tensor.expand_as(tensor).grad_fn.next_functions[0][0]  # type: ignore[union-attr]
    return node, tensor.output_nr


def _whole(node: Any, given: list[Tensor | None]) -> list[Tensor]:
    """Gradients with zeros for those that there are none of, as functions that are written in Python take them."""
    like = next(one for one in given if one is not None)
    about = node._input_metadata
    return [
        like.new_zeros(meta.shape, dtype=meta.dtype) if one is None else one
        for one, meta in zip(given, about, strict=True)
    ]


def _in_order(start: Any) -> list[Any]:
    """The nodes behind a tensor, each before those that it hands gradients to."""
    order: list[Any] = []
    seen: set[Any] = set()
    stack = [(start, False)]
    while stack:
        node, done = stack.pop()
        if done:
            order.append(node)
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            stack += [(after, False) for after, _ in node.next_functions if after is not None]
    return order[::-1]
