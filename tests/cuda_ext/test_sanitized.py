"""The CPU kernels of all ops under AddressSanitizer and UBSan, at shapes that hypothesis chooses."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from .emulated import CSRC

DRIVER = Path(__file__).parent / "sanitized" / "driver.cpp"
FLAGS = ["-std=c++17", "-O1", "-g0", "-ffp-contract=off", "-fno-math-errno", "-Wno-psabi"]
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The kernels and a program around them, with the sanitizers' checks."""
    folder = tmp_path_factory.mktemp("sanitized")
    if shutil.which("g++") is None:
        pytest.skip("the sanitizers' build needs g++")
    (folder / "empty.cpp").write_text("int main() {}")
    probe = ["g++", *SANITIZERS, str(folder / "empty.cpp"), "-o", str(folder / "empty")]
    if subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("g++ has no runtime of AddressSanitizer and UBSan here (libasan, libubsan)")
    command = ["g++", *FLAGS, *SANITIZERS, f"-I{CSRC / 'cpu'}", str(DRIVER), "-o", str(folder / "driver")]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return folder / "driver"


def run(driver: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [str(driver), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={"ASAN_OPTIONS": "detect_leaks=1"})


@settings(max_examples=20, deadline=None)
@given(
    shape=st.tuples(
        st.integers(0, 20),
        st.integers(1, 3),
        st.integers(1, 40) | st.sampled_from([63, 64, 65, 130]),
        st.sampled_from([1, 2, 3, 4, 8, 9]),
    ),
    seed=st.integers(0, 2**20),
)
def test_cpu_kernels_stay_inside_their_arrays(driver: Path, shape: tuple[int, int, int, int], seed: int) -> None:
    outcome = run(driver, seed, *shape)
    assert outcome.returncode == 0, outcome.stderr


def test_sanitizer_finds_a_deliberate_wild_read(driver: Path) -> None:
    outcome = run(driver, 1, 3, 2, 20, 8, "fault")
    assert outcome.returncode != 0
    assert "heap-buffer-overflow" in outcome.stderr
