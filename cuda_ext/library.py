"""The compiled libraries, which are loaded when the package is imported, and the outcome of loading them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import torch

# Levels 0 to 3 of the CPU kernels: "avx512" can compress bytes, "skylake-avx512" numbers of 32 bits only.
INSTRUCTION_SETS = ("baseline", "avx2", "skylake-avx512", "avx512")

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
CUDA_OPS = ("route_padded", "contribution_pairs")  # besides GPU implementations of most of CPU_OPS


@dataclass(frozen=True)
class Library:
    """The outcome of loading a library of compiled kernels.

    Attributes:
        path: file of the library; None if it was not built.
        problem: why it is not loaded; "" if it is.
    """

    path: Path | None
    problem: str

    @property
    def loaded(self) -> bool:
        """Whether its kernels can be called."""
        return not self.problem


def load(module: str, ops: tuple[str, ...], compiler: str) -> Library:
    """Load compiled kernels, which registers their ops in ``torch.ops.monet``. Never raises if they are missing."""
    spec = find_spec(f"{__package__}.{module}")
    if spec is None or spec.origin is None:
        return Library(None, f"it was not built: no {compiler}, or no torch, when the package was installed")
    path = Path(spec.origin)
    try:
        torch.ops.load_library(path)
        for op in ops:
            getattr(torch.ops.monet, op)
    except (OSError, RuntimeError, AttributeError) as error:  # built for another machine, torch or package version
        return Library(path, f"torch {torch.__version__} cannot load it: {error}")
    return Library(path, "")


CPU = load("_C", CPU_OPS, "C++ compiler")
CUDA = load("_CUDA", CUDA_OPS, "nvcc") if CPU.loaded else Library(None, "it needs the CPU kernels, which are missing")


def backend() -> str:
    """Return what computes on CPU tensors.

    Returns:
        The instruction set of the compiled kernels, the widest that this machine has: "baseline", "avx2",
        "skylake-avx512" (Skylake and Cascade Lake servers) or "avx512" (from Ice Lake and Zen 4 on). "pytorch" if the
        kernels are not loaded; the ops then run as PyTorch operations, with the same results up to rounding, many
        times slower.

    Examples:
        >>> from cuda_ext import backend
        >>> backend() in ("baseline", "avx2", "skylake-avx512", "avx512", "pytorch")
        True
    """
    return INSTRUCTION_SETS[torch.ops.monet.best_level()] if CPU.loaded else "pytorch"


def has_kernel(device: torch.device) -> bool:
    """Return whether compiled kernels run on a device. Warns, once per process, if they should and are missing."""
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
        "Run `python -m cuda_ext` for details.",
        RuntimeWarning,
        stacklevel=2,
    )
