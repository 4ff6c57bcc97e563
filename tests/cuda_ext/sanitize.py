"""`python tests/cuda_ext/sanitize.py`: the op tests on CPU kernels built with AddressSanitizer and UBSan.

Works in a temporary folder, on a copy of the package, so that the installed libraries stay as they are.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
SANITIZE = "-fsanitize=address,undefined -fno-sanitize-recover=undefined"
TESTS = ("route", "errors", "mix", "accumulate", "contributions")


def main() -> int:
    """Builds, runs, and returns pytest's exit status."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        shutil.copytree(ROOT / "cuda_ext", folder / "cuda_ext", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
        (folder / "setup.py").write_text((ROOT / "setup.py").read_text().replace('"-O3"', '"-O1"'))
        flags = os.environ | {"CFLAGS": SANITIZE, "CXXFLAGS": SANITIZE, "LDFLAGS": SANITIZE, "NVCC": "/nonexistent"}
        build = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
        subprocess.run(build, cwd=folder, env=flags, check=True)
        if not list((folder / "cuda_ext").glob("_C*.so")):
            return 1
        runtimes = [
            subprocess.run(
                ["g++", f"-print-file-name={name}"], capture_output=True, text=True, check=True
            ).stdout.strip()
            for name in ("libasan.so", "libubsan.so")
        ]
        # Python and torch leak on purpose; what is looked for is reading and writing where nothing is.
        environment = os.environ | {"LD_PRELOAD": " ".join(runtimes), "ASAN_OPTIONS": "detect_leaks=0"}
        environment["PYTHONPATH"] = str(folder)
        tests = [str(Path(__file__).parent / f"test_cuda_ext_{name}.py") for name in TESTS]
        # Compiling graphs is slow under a sanitizer and runs no other kernel.
        command = [sys.executable, "-m", "pytest", "-q", "-k", "not opcheck and not compiles", *tests]
        return subprocess.run(command, cwd=folder, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
