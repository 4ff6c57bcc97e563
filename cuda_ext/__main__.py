"""`python -m cuda_ext`: which kernels were built and loaded, for which instruction set or GPU, and why not others."""

from __future__ import annotations

import torch

from . import library
from .library import INSTRUCTION_SETS, backend

REMEDIES = {
    "CPU": "install a C++17 compiler (g++ or clang++), then `python setup.py build_ext --inplace`",
    "CUDA": "install the CUDA toolkit (nvcc) and torch 2.13 or newer, then `python setup.py build_ext --inplace`",
}


def main() -> None:
    """Print which kernels run on this machine."""
    print(f"torch            {torch.__version__}, {torch.get_num_threads()} threads")
    for name, loaded in (("CPU", library.CPU), ("CUDA", library.CUDA)):
        print(f"{name + ' library':<17}{loaded.path or 'not built'}")
        if loaded.problem:
            print(f"{'':17}not loaded: {loaded.problem}")
            print(f"{'':17}{REMEDIES[name]}")
    print(f"{'CPU runs':<17}{backend()} (compiled for {', '.join(INSTRUCTION_SETS)})")
    runs = "the CUDA kernels" if library.CUDA.loaded else "pytorch"
    has_gpu = torch.cuda.is_available()
    print(f"{'GPU runs':<17}{f'{runs} ({torch.cuda.get_device_name()})' if has_gpu else 'nothing: torch sees no GPU'}")
    print(f"{'other devices':<17}pytorch: the PyTorch definitions run on the device")


if __name__ == "__main__":
    main()
