"""Weights mapped from a checkpoint's files: their pages leave the process's memory once their layer has been read."""

from __future__ import annotations

import ctypes
import mmap
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from monet_model.held import is_held, stored_weight

if TYPE_CHECKING:
    from monet_model import MonetForCausalLM

Span = tuple[int, int]  # addresses: the first, and the one after the last


@contextmanager
def giving_back(model: MonetForCausalLM) -> Iterator[None]:
    """Give back the memory of mapped weights, and inside, that of each layer's when its forward pass ends.

    The pages stay in the system's file cache and are mapped again when they are next read, so no number changes; what
    the process holds shrinks by nearly the size of the checkpoint. Only weights that are held in half precision, mapped
    from a file and unchanged since they were loaded are given back: a change lives in the page alone. Elsewhere than on
    Linux nothing happens.
    """
    files = list(_mapped_files())
    _give_back(_mapped(model, files))
    hooks = []
    for layer in model.model.layers:
        if spans := _mapped(layer, files):
            hooks.append(layer.register_forward_hook(lambda *_, spans=spans: _give_back(spans)))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _mapped(module: nn.Module, files: list[Span]) -> list[tuple[Tensor, Span]]:
    """The held weights in a module that are mapped from files, and their pages."""
    weights = [stored_weight(one) for one in module.modules() if is_held(one)]
    return [(weight, span) for weight in weights if (span := _whole_pages(weight, files)) is not None]


def _mapped_files() -> Iterator[Span]:
    """Where this process has mapped files."""
    if sys.platform != "linux":
        return
    for line in Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines():
        span, _, _, _, inode, *_ = line.split(maxsplit=5)
        if inode != "0":
            start, end = span.split("-")
            yield int(start, 16), int(end, 16)


def _whole_pages(weight: Tensor, files: list[Span]) -> Span | None:
    """The pages that hold nothing but a weight, if they are mapped from a file."""
    start = -(-weight.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
    end = (weight.data_ptr() + weight.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE
    mapped = any(first <= start and end <= last for first, last in files)
    return (start, end) if weight.is_contiguous() and start < end and mapped else None


def _give_back(spans: list[tuple[Tensor, Span]]) -> None:
    libc: Any = ctypes.CDLL(None)
    for weight, (start, end) in spans:
        if weight._version == 0:
            libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), mmap.MADV_DONTNEED)
