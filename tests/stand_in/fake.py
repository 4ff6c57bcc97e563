"""Torch's fake tensors of a GPU that is not there: shapes and devices, without values."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from .gpu import DEVICE

GPU = DEVICE


class Made(TorchDispatchMode):
    """Inside this context, ``elsewhere`` lists the operations that made a tensor of some dimensions off the GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.elsewhere: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if any(isinstance(one, Tensor) and one.device != GPU and one.ndim for one in tree_leaves(out)):
            self.elsewhere.append(str(func))
        return out


@contextmanager
def all_there() -> Iterator[None]:
    """Check that every tensor made inside this context is on the GPU."""
    with Made() as made:
        yield
    assert made.elsewhere == []
