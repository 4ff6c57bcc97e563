"""The compiled library: found and loaded when the package is imported, and what there is to say about it."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch

INSTRUCTION_SETS = ("baseline", "avx2", "avx512")  # the kernel's levels 0, 1, 2


@dataclass(frozen=True)
class Library:
    """Outcome of loading the compiled kernel.

    Attributes:
        path: the library's file, None where none was built.
        instruction_set: one of ``INSTRUCTION_SETS``, the best this machine has; None where the library is not loaded.
        problem: why it is not loaded, "" where it is.
    """

    path: Path | None
    instruction_set: str | None
    problem: str


def load() -> Library:
    """Loads the compiled kernel, which registers ``torch.ops.monet.route_padded``; never raises for want of one."""
    found = find_spec(f"{__package__}._C")
    if found is None or found.origin is None:
        return Library(None, None, "it was not built: no C++ compiler, or no torch, where the package was installed")
    path = Path(found.origin)
    try:
        torch.ops.load_library(path)
        level = torch.ops.monet.best_level()
    except (OSError, RuntimeError, AttributeError) as error:  # built for another machine, or for a newer torch
        return Library(path, None, f"torch {torch.__version__} cannot load it: {error}")
    torch.library.register_fake("monet::route_padded", _padded_shapes)
    return Library(path, INSTRUCTION_SETS[level], "")


def _padded_shapes(
    logits: torch.Tensor, mean: torch.Tensor, scale: torch.Tensor, sigma: float, width: int, level: int = -1
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    tokens, heads, _ = logits.shape
    return (
        logits.new_empty(tokens, heads, width, dtype=torch.int16),
        logits.new_empty(tokens, heads, width),
        logits.new_empty(tokens, heads, dtype=torch.int32),
    )


LIBRARY = load()


def backend() -> str:
    """What routes tensors on the CPU: the kernel's instruction set, or "pytorch" where no kernel is loaded."""
    return LIBRARY.instruction_set or "pytorch"
