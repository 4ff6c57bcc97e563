"""`python -m cuda_ext`: what was built, what was loaded, on which instruction set, and why not."""

from __future__ import annotations

import torch

from .library import INSTRUCTION_SETS, LIBRARY, backend


def main() -> None:
    """Prints the state of the package."""
    print(f"torch            {torch.__version__}, {torch.get_num_threads()} threads")
    print(f"library          {LIBRARY.path or 'not built'}")
    print(f"CPU              {backend()} (the kernel knows {', '.join(INSTRUCTION_SETS)})")
    print("other devices    pytorch: there is no CUDA kernel, the definition runs on the device")
    if LIBRARY.problem:
        print(f"not loaded       {LIBRARY.problem}")
        print("                 install a C++17 compiler (g++ or clang++), then `python setup.py build_ext --inplace`")


if __name__ == "__main__":
    main()
