"""Routing with the code of every instruction set: AVX-512 runs emulated, because few machines have both kinds of it."""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cuda_ext

SOURCE = Path(__file__).parent / "emulation" / "instruction_sets.cpp"
CSRC = Path(cuda_ext.__file__).parent / "csrc" / "cpu"
FLAGS = ["-std=c++17", "-O1", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-Wno-psabi"]


def build(folder: Path, csrc: Path) -> Path:
    """Compile the program around the kernels of ``csrc``."""
    program = folder / "instruction_sets"
    command = ["g++", *FLAGS, f"-I{csrc}", f"-I{SOURCE.parent}", str(SOURCE), "-o", str(program)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return program


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, where it can run."""
    if platform.machine() != "x86_64" or cuda_ext.backend() not in ("avx2", "skylake-avx512", "avx512"):
        pytest.skip("the emulation of AVX-512 runs on AVX2")
    if shutil.which("g++") is None:
        pytest.skip("the emulation of AVX-512 needs g++")
    return build(tmp_path_factory.mktemp("instruction_sets"), CSRC)


def run(program: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(program), *map(str, arguments)], capture_output=True, text=True, check=False)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**20),
    rows=st.integers(0, 40),
    keys=st.integers(1, 140) | st.sampled_from([203, 512, 520, 1100]),
    sigma=st.sampled_from([-100.0, 0.3, 1.5, 50.0]),  # all keys, many, few, the largest alone
    odd=st.sampled_from([0, 3, 400]),
)
def test_every_instruction_set_routes_with_the_same_bits(
    program: Path, seed: int, rows: int, keys: int, sigma: float, odd: int
) -> None:
    outcome = run(program, seed, rows, keys, sigma, odd)
    assert outcome.returncode == 0, outcome.stderr


@pytest.mark.parametrize(
    ("right", "wrong", "named"),
    [
        ("_mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7)", "_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)", "avx2"),
        ("0xffff >> (kLanes - left)", "0xffff >> (kLanes - left + 1)", "skylake-avx512"),
        ("valid >>= kBlock - (keys - first);", "valid >>= kBlock - (keys - first) + 1;", "avx512"),
    ],
)
def test_the_comparison_finds_a_deliberate_mistake(
    program: Path, tmp_path: Path, right: str, wrong: str, named: str
) -> None:
    shutil.copytree(CSRC.parent, tmp_path / "csrc")
    scan = tmp_path / "csrc" / "cpu" / "scan.h"
    text = scan.read_text()
    assert text.count(right) == 1
    scan.write_text(text.replace(right, wrong))
    outcome = run(build(tmp_path, scan.parent), 1, 20, 101, -0.3, 0)
    assert outcome.stderr == f"{named} differs\n"
