"""Builds the compiled kernels of `cuda_ext`; everything else about the package is in setup.cfg.

The kernels are optional. Where they cannot be built (no compiler, no torch at build time) the installation goes on and
says so: `cuda_ext` then computes the same results with PyTorch operations, slower. `python -m cuda_ext` tells which.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from setuptools import setup
from setuptools.errors import BaseError, CCompilerError

# What setuptools and torch raise where there is no compiler, or none that can compile the source.
BUILD_ERRORS = (BaseError, CCompilerError, RuntimeError, OSError)


def skipped(reason: object) -> None:
    """Tells that the package is installed without its kernel, and why."""
    print(
        f"cuda_ext: the compiled routing kernel was NOT built: {reason}\n"
        "cuda_ext: the package works without it, more slowly; install a C++17 compiler (g++ or clang++) and reinstall.",
        file=sys.stderr,
    )


def extension() -> dict[str, Any]:
    """Arguments of `setup` that build the extension; none where it cannot be built."""
    if sys.platform == "win32":
        skipped("it needs g++ or clang++, which Windows builds of Python do not use")
        return {}
    try:
        from torch.utils.cpp_extension import BuildExtension, CppExtension
    except ImportError as error:
        skipped(f"torch is not installed where the build runs ({error})")
        return {}

    class OptionalBuild(BuildExtension):  # type: ignore[misc]
        """Builds, or goes on without."""

        def build_extensions(self) -> None:
            try:
                super().build_extensions()
            except BUILD_ERRORS as error:
                skipped(error)
                self.extensions.clear()

    module = CppExtension(
        "cuda_ext._C",
        [f"cuda_ext/csrc/{name}.cpp" for name in ("route", "mix", "accumulate", "contributions")],
        depends=[str(header) for header in Path("cuda_ext/csrc").glob("*.h")],
        extra_compile_args=[
            "-O3",
            "-g0",
            "-std=c++17",
            "-ffp-contract=off",  # the same bits on every instruction set
            "-fno-math-errno",
            "-fno-trapping-math",
            "-Wno-psabi",
            "-DTORCH_TARGET_VERSION=0x020a000000000000",  # LibTorch stable ABI of 2.10
        ],
        py_limited_api=True,
    )
    return {
        "ext_modules": [module],
        "cmdclass": {"build_ext": OptionalBuild.with_options(use_ninja=False)},
        "options": {"bdist_wheel": {"py_limited_api": "cp310"}},
    }


setup(**extension())
