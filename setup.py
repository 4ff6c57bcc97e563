"""Builds the compiled kernels of `cuda_ext`; everything else about the package is in pyproject.toml and setup.cfg.

There are two libraries: `_C` for the CPU, built by the C++ compiler, and `_CUDA` for NVIDIA GPUs, whose kernels nvcc
compiles. Both are optional: if one cannot be built (no compiler, no nvcc, no torch at build time), the installation
says so and goes on. `cuda_ext` then computes the same results with PyTorch operations, more slowly. `python -m
cuda_ext` shows which are in use.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from setuptools import Distribution, setup
from setuptools.errors import BaseError, CCompilerError, CompileError

# What setuptools and torch raise if there is no compiler, or it cannot compile the source.
BUILD_ERRORS = (BaseError, CCompilerError, RuntimeError, OSError)

CSRC = Path("cuda_ext/csrc")
LAUNCH = CSRC / "cuda" / "launch.cu"
FLAGS = ["-O3", "-g0", "-std=c++17"]
ARCHITECTURES = ("80", "90", "100")  # newer GPUs compile the last one's PTX when loading it


def skipped(name: str, reason: object, remedy: str) -> None:
    """Say that the package is installed without one of its libraries, and why."""
    print(
        f"cuda_ext: the compiled {name} kernels were NOT built: {reason}\n"
        f"cuda_ext: the package works without them, more slowly; {remedy} and reinstall.",
        file=sys.stderr,
    )


def cpu_library(make: Any) -> Any:
    """Return the extension with the CPU kernels."""
    return make(
        "cuda_ext._C",
        [str(CSRC / "cpu" / f"{name}.cpp") for name in ("route", "mix", "accumulate", "contributions")],
        depends=[str(header) for header in (*CSRC.glob("*.h"), *CSRC.glob("cpu/*.h"))],
        extra_compile_args=[
            *FLAGS,
            "-ffp-contract=off",  # for the same bits on every instruction set
            "-fno-math-errno",
            "-fno-trapping-math",
            "-Wno-psabi",
            "-Wno-maybe-uninitialized",  # of GCC 12's own AVX-512 header
            "-DTORCH_TARGET_VERSION=0x020a000000000000",  # LibTorch stable ABI of 2.10
        ],
        py_limited_api=True,
    )


def cuda_library(make: Any, nvcc: Path) -> Any:
    """Return the extension with the CUDA kernels, whose object file ``compile_kernels`` makes, and the runtime."""
    # nvcc may be a link or a script outside its toolkit, so ask it where that is.
    plan = subprocess.run([nvcc, "--dryrun", "-c", LAUNCH], capture_output=True, text=True, check=False).stderr
    home = Path(next((line.removeprefix("#$ TOP=") for line in plan.splitlines() if line.startswith("#$ TOP=")), "/"))
    runtime = [*home.glob("lib*/libcudart_static.a"), *home.glob("targets/*/lib/libcudart_static.a")][:1]
    return make(
        "cuda_ext._CUDA",
        [str(CSRC / "cuda" / "library.cpp")],
        depends=[str(path) for path in (*CSRC.glob("*.h"), *CSRC.glob("cuda/*"))],
        # 2.13 is the first torch whose stable ABI gives access to the current stream.
        extra_compile_args=[*FLAGS, "-DTORCH_TARGET_VERSION=0x020d000000000000"],
        library_dirs=[str(path.parent) for path in runtime],
        libraries=["cudart_static", "dl", "rt", "pthread"],
        py_limited_api=True,
    )


def compile_kernels(nvcc: Path, folder: Path) -> Path:
    """Compile the kernels for all architectures and return the object file."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / "launch.o"
    codes = [f"-gencode=arch=compute_{n},code=sm_{n}" for n in ARCHITECTURES]
    codes.append(f"-gencode=arch=compute_{ARCHITECTURES[-1]},code=compute_{ARCHITECTURES[-1]}")
    command: list[str | Path] = [nvcc, "-O3", "-std=c++17", "--threads", "2", "-Xcompiler", "-fPIC", *codes]
    built = subprocess.run([*command, "-c", LAUNCH, "-o", target], capture_output=True, text=True, check=False)
    if built.returncode:
        raise CompileError(f"nvcc failed:\n{built.stdout}{built.stderr}")
    return target


def extensions() -> dict[str, Any]:
    """Return the arguments of `setup` that build the libraries; none if they cannot be built."""
    if sys.platform == "win32":
        skipped("CPU", "they need g++ or clang++, which Windows builds of Python do not use", "use WSL")
        return {}
    try:
        from torch.utils.cpp_extension import BuildExtension, CppExtension
    except ImportError as error:
        skipped("CPU", f"torch is not installed where the build runs ({error})", "install torch")
        return {}
    nvcc = shutil.which(os.environ.get("NVCC", "nvcc"))
    modules = [cpu_library(CppExtension)]
    if nvcc:
        modules.append(cuda_library(CppExtension, Path(nvcc)))

    class OptionalBuild(BuildExtension):  # type: ignore[misc]
        """Builds each library, or continues without it."""

        def build_extensions(self) -> None:
            for module in list(self.extensions):
                self.extensions: list[Any] = [module]
                on_gpu = module.name == "cuda_ext._CUDA"
                try:
                    if on_gpu:
                        module.extra_objects = [str(compile_kernels(Path(nvcc or ""), Path(self.build_temp)))]
                    super().build_extensions()
                except BUILD_ERRORS as error:
                    remedy = "install the CUDA toolkit" if on_gpu else "install a C++17 compiler (g++ or clang++)"
                    skipped("CUDA" if on_gpu else "CPU", error, remedy)
                    modules.remove(module)
            self.extensions = modules

    return {
        "ext_modules": modules,
        "cmdclass": {"build_ext": OptionalBuild.with_options(use_ninja=False)},
        "options": {"bdist_wheel": {"py_limited_api": "cp310"}},
    }


def startup_file() -> tuple[str, list[str]]:
    """Write the `.pth` file that runs `monet_model/startup.py` when Python starts; return its folder and its path.

    A line of such a file may run code if it begins with an import. The file is installed as data into the folder of
    installed packages, where Python looks for such files: what an editable installation copies at all, it copies so.
    """
    path = Path("build", "monet-workbench.pth")
    path.parent.mkdir(exist_ok=True)
    source = Path("monet_model", "startup.py").read_text(encoding="utf-8")
    path.write_text(f"import sys; exec({source!r}, {{'__name__': 'monet_startup'}})\n", encoding="utf-8")
    packages, root = Path(sysconfig.get_path("purelib")), Path(sysconfig.get_path("data"))
    return str(packages.relative_to(root)), [str(path)]


class WithData(Distribution):
    """The package, of which editable installations copy the data files too."""

    def has_data(self) -> bool:
        """Answer setuptools' ``editable_wheel``, which asks by this name; its ``install`` asks ``has_data_files``."""
        return bool(self.has_data_files())


setup(distclass=WithData, data_files=[startup_file()], **extensions())
