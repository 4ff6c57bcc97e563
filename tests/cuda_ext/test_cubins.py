"""The compiled CUDA code: all architectures, no spills, no stack, few registers, loads of sixteen bytes."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from .emulated import CSRC

NVCC = shutil.which("nvcc")
pytestmark = pytest.mark.skipif(NVCC is None, reason="nvcc is not on PATH: it comes with the CUDA toolkit")

# Most registers per thread. 64 let an SM hold 1,024 threads.
REGISTERS = {"route_rows": 64, "route_long_rows": 48, "mix_tokens": 64, "accumulate_keys": 64, "contribute_tokens": 64}
REGISTERS_1024 = 96  # rows of 513 to 1,024 keys: 32 values per lane


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """ptxas's report on all architectures, and the PTX."""
    folder = tmp_path_factory.mktemp("cubins")
    codes = [f"-gencode=arch=compute_{n},code=sm_{n}" for n in (80, 90, 100)]
    flags = ["-O3", "-std=c++17", "--threads", "2", "-Xptxas", "-v", "--keep", "--keep-dir", str(folder)]
    command = [str(NVCC), *flags, *codes, "-c", str(CSRC / "cuda" / "launch.cu"), "-o", str(folder / "launch.o")]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    ptx = next(Path(folder).glob("*compute_90.ptx"), None) or next(Path(folder).glob("*.ptx"))
    return built.stdout + built.stderr, ptx.read_text()


def functions(report: str) -> list[tuple[str, str, str]]:
    """Return (name, architecture, ptxas's report) of each kernel."""
    parts = re.split(r"Compiling entry function '(\w+)' for '(sm_\d+)'", report)
    return list(zip(parts[1::3], parts[2::3], parts[3::3], strict=True))


def test_cuda_kernels_do_not_spill_or_use_a_stack(compiled: tuple[str, str]) -> None:
    kernels = functions(compiled[0])
    assert {architecture for _, architecture, _ in kernels} == {"sm_80", "sm_90", "sm_100"}
    for name, architecture, text in kernels:
        clean = "0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads"
        assert clean in text, (name, architecture, text)


def test_cuda_kernels_use_bounded_registers(compiled: tuple[str, str]) -> None:
    seen = set()
    for name, architecture, text in functions(compiled[0]):
        used = int(re.search(r"Used (\d+) registers", text).group(1))  # type: ignore[union-attr]
        kernel = next((k for k in REGISTERS if k in name), None)
        if kernel is None:
            continue
        seen.add(kernel)
        wide = "route_rowsIfLi8" in name or "Bf16ELi4" in name
        assert used <= (REGISTERS_1024 if wide else REGISTERS[kernel]), (name, architecture, used)
    assert seen == set(REGISTERS)


def test_cuda_route_loads_aligned_logits_sixteen_bytes_at_a_time(compiled: tuple[str, str]) -> None:
    """Four loads of sixteen bytes per lane for 512 float32 logits, and none narrower but mean and scale."""
    entries = re.split(r"\.entry ", compiled[1])[1:]
    body = next(e for e in entries if "route_rowsIfLi4ELb1" in e.partition("(")[0])
    assert len(re.findall(r"ld\.global\.nc\.v4\.u?\w+", body)) == 4
    narrow = re.findall(r"ld\.global(?:\.nc)?\.[fub]\w+", body)
    assert len(narrow) == 2, narrow


def test_cuda_mix_writes_sixteen_bytes_at_a_time(compiled: tuple[str, str]) -> None:
    entries = re.split(r"\.entry ", compiled[1])[1:]
    aligned = next(e for e in entries if "mix_tokens_deviceILb1" in e.partition("(")[0])
    other = next(e for e in entries if "mix_tokens_deviceILb0" in e.partition("(")[0])
    assert len(re.findall(r"st\.(?:global\.)?v4", aligned)) >= 4
    assert not re.findall(r"st\.(?:global\.)?v4", other)
