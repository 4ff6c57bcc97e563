"""The compiled libraries: found and loaded when the package is imported, and what there is to say about them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import torch

INSTRUCTION_SETS = ("baseline", "avx2", "avx512")  # the CPU kernels' levels 0, 1, 2

CPU_OPS = (
    "best_level",
    "route_kernel",
    "mix_horizontal_kernel",
    "mix_vertical_kernel",
    "mix_horizontal_backward_kernel",
    "mix_vertical_backward_kernel",
    "accumulate_kernel",
    "contributions_kernel",
)
CUDA_OPS = ("route_padded", "contribution_pairs")  # and implementations of the CPU's for the GPU


@dataclass(frozen=True)
class Library:
    """Outcome of loading a library of compiled kernels.

    Attributes:
        path: the library's file, None where none was built.
        problem: why it is not loaded, "" where it is.
    """

    path: Path | None
    problem: str

    @property
    def loaded(self) -> bool:
        """Whether its kernels can be called."""
        return not self.problem


def load(module: str, ops: tuple[str, ...], compiler: str) -> Library:
    """Loads compiled kernels, which registers their ops in ``torch.ops.monet``; never raises for want of them."""
    found = find_spec(f"{__package__}.{module}")
    if found is None or found.origin is None:
        return Library(None, f"it was not built: no {compiler}, or no torch, where the package was installed")
    path = Path(found.origin)
    try:
        torch.ops.load_library(path)
        for op in ops:
            getattr(torch.ops.monet, op)
    except (OSError, RuntimeError, AttributeError) as error:  # built for another machine, torch or version
        return Library(path, f"torch {torch.__version__} cannot load it: {error}")
    return Library(path, "")


CPU = load("_C", CPU_OPS, "C++ compiler")
CUDA = load("_CUDA", CUDA_OPS, "nvcc") if CPU.loaded else Library(None, "it needs the CPU kernels, which are missing")


def backend() -> str:
    """What works on tensors on the CPU: the kernels' instruction set, or "pytorch" where none are loaded."""
    return INSTRUCTION_SETS[torch.ops.monet.best_level()] if CPU.loaded else "pytorch"


def has_kernel(device: torch.device) -> bool:
    """Whether compiled kernels serve a device; says so once in a process where they are missing."""
    library = {"cpu": CPU, "cuda": CUDA}.get(device.type)
    if library is None:
        return False
    if not library.loaded:
        _warn_slow(device.type, library.problem)
    return library.loaded


@cache
def _warn_slow(device: str, problem: str) -> None:
    warnings.warn(
        f"cuda_ext computes with PyTorch operations on {device}, many times slower than its kernels: {problem}. "
        "`python -m cuda_ext` tells more.",
        RuntimeWarning,
        stacklevel=2,
    )
