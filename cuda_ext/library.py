"""The compiled library: found and loaded when the package is imported, and what there is to say about it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import torch

INSTRUCTION_SETS = ("baseline", "avx2", "avx512")  # the kernels' levels 0, 1, 2


@dataclass(frozen=True)
class Library:
    """Outcome of loading the compiled kernels.

    Attributes:
        path: the library's file, None where none was built.
        instruction_set: one of ``INSTRUCTION_SETS``, the best this machine has; None where the library is not loaded.
        problem: why it is not loaded, "" where it is.
    """

    path: Path | None
    instruction_set: str | None
    problem: str


def load() -> Library:
    """Loads the compiled kernels, which registers their ops in ``torch.ops.monet``; never raises for want of them."""
    found = find_spec(f"{__package__}._C")
    if found is None or found.origin is None:
        return Library(None, None, "it was not built: no C++ compiler, or no torch, where the package was installed")
    path = Path(found.origin)
    try:
        torch.ops.load_library(path)
        level = torch.ops.monet.best_level()
        _ = [getattr(torch.ops.monet, name) for name in KERNELS]
    except (OSError, RuntimeError, AttributeError) as error:  # built for another machine, torch or version
        return Library(path, None, f"torch {torch.__version__} cannot load it: {error}")
    torch.library.register_fake("monet::route_padded", _padded_shapes)
    return Library(path, INSTRUCTION_SETS[level], "")


KERNELS = (
    "route_padded",
    "mix_horizontal_kernel",
    "mix_vertical_kernel",
    "mix_horizontal_backward_kernel",
    "mix_vertical_backward_kernel",
    "accumulate_kernel",
    "contributions_kernel",
)


def _padded_shapes(
    logits: torch.Tensor, mean: torch.Tensor, scale: torch.Tensor, sigma: float, width: int, level: int = -1
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    tokens, heads, _ = logits.shape
    return (
        logits.new_empty(tokens, heads, width, dtype=torch.int16),
        logits.new_empty(tokens, heads, width, dtype=torch.float32),
        logits.new_empty(tokens, heads, dtype=torch.int32),
    )


LIBRARY = load()


def backend() -> str:
    """What works on tensors on the CPU: the kernels' instruction set, or "pytorch" where none are loaded."""
    return LIBRARY.instruction_set or "pytorch"


def has_kernel(device: torch.device) -> bool:
    """Whether compiled kernels serve a device; says so once in a process where the CPU's are missing."""
    if device.type != "cpu":
        return False
    if LIBRARY.instruction_set is None:
        _warn_slow()
    return LIBRARY.instruction_set is not None


@cache
def _warn_slow() -> None:
    warnings.warn(
        f"cuda_ext computes with PyTorch operations, many times slower than its kernels: {LIBRARY.problem}. "
        "`python -m cuda_ext` tells more.",
        RuntimeWarning,
        stacklevel=2,
    )
