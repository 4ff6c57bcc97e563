"""The CUDA source run without a GPU against the definitions, and deliberate faults that must be detected."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
import torch

from .emulated import CHECKS, CSRC, Emulated, EmulationError, route_case

pytestmark = pytest.mark.skipif(
    shutil.which("g++") is None or sys.platform != "linux", reason="the emulation needs g++ on Linux"
)


@pytest.fixture(scope="session")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Emulated]:
    """All kernels, compiled once."""
    folder = tmp_path_factory.mktemp("emulated")
    return {name: Emulated(name, folder) for name in CHECKS}


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("name", list(CHECKS))
def test_emulated_kernel_equals_the_definition(name: str, descending: bool, kernels: dict[str, Emulated]) -> None:
    kernels[name].descending = descending
    CHECKS[name](kernels[name])


def test_emulated_route_needs_few_collectives_per_row(kernels: dict[str, Emulated]) -> None:
    """Of 512 logits: three reductions of five steps, a vote, and a ballot for each of a lane's sixteen."""
    z = torch.randn(8, 1, 512, generator=torch.Generator().manual_seed(1))
    route_case(kernels["route"], z, torch.zeros(1), torch.ones(1), 1.5, 512)
    assert kernels["route"].collectives == 8 * (3 * 5 + 1 + 16)


# (kernel, file, original text, faulty text). A __syncwarp next to another collective is not among them: the emulation
# synchronises lanes at either, and does not model that only one of them orders memory.
MUTATIONS = [
    (
        "route",
        "route.cuh",
        ">= threshold;\n      marks",
        "> threshold;\n      marks",
    ),
    (
        "route",
        "route.cuh",
        "fminf((best - mean) * scale, a.rows.sigma)",
        "a.rows.sigma",
    ),
    (
        "route",
        "route.cuh",
        "const unsigned below = (1u << lane) - 1;",
        "const unsigned below = (2u << lane) - 1;",
    ),
    (
        "route",
        "route.cuh",
        "__any_sync(kAll, bad) || best",
        "bad || best",
    ),
    (
        "route",
        "warp.cuh",
        "for (int step = kWarp / 2; step > 0; step /= 2) v +=",
        "for (int step = 8; step > 0; step /= 2) v +=",
    ),
    (
        "mix",
        "mix.cuh",
        "    if (both) mix_head(a, one, token, head);\n    __syncthreads();",
        "    if (both) mix_head(a, one, token, head);",
    ),
    (
        "mix",
        "mix.cuh",
        "shared[n] = 0;\n",
        "if (n > 4) shared[n] = 0;\n",
    ),
    (
        "mix",
        "mix.cuh",
        "    if (both) mix_heads(one, token, a.heads, a.units);\n    __syncthreads();",
        "    if (both) mix_heads(one, token, a.heads, a.units);",
    ),
    (
        "mix",
        "mix.cuh",
        "shared + block, rest, nullptr, nullptr, 1, a.keys}",
        "shared + block, rest, nullptr, nullptr, a.keys, 1}",
    ),
    (
        "mix",
        "mix.cuh",
        "if (lane == 0) (u < units",
        "if (lane == 0 && u < units - 1) (u < units",
    ),
    (
        "accumulate",
        "accumulate.cuh",
        "by_key[j] += score;",
        "by_key[j] = score;",
    ),
    (
        "accumulate",
        "accumulate.cuh",
        "              by_key[j] = 0;\n",
        "",
    ),
    (
        "accumulate",
        "toplist.h",
        "rows[n] >= start;",
        "rows[n] > start;",
    ),
    (
        "accumulate",
        "toplist.h",
        "if (mine >= static_cast<uint64_t>(priorities[at])) return;",
        "if (priority >= priorities[at]) return;",
    ),
    (
        "contributions",
        "contributions.cuh",
        "          mine[j] = 0;\n",
        "",
    ),
    (
        "contributions",
        "contributions.cuh",
        "        __syncwarp();\n",
        "",
    ),
    (
        "contributions",
        "contributions.cuh",
        "  __syncthreads();\n  if (threadIdx.x == 0) {\n    double",
        "  if (warp) __syncthreads();\n  if (threadIdx.x == 0) {\n    double",
    ),
    (
        "contributions",
        "contributions.cuh",
        "  __syncthreads();\n\n  float* mine",
        "\n  float* mine",
    ),
]


@pytest.mark.parametrize("number", range(len(MUTATIONS)))
def test_emulation_finds_a_deliberate_fault(number: int, tmp_path: Path) -> None:
    """With a line of a kernel changed, results differ or the emulation fails, in at least one order of threads."""
    name, file, old, new = MUTATIONS[number]
    csrc = tmp_path / "csrc"
    shutil.copytree(CSRC, csrc)
    path = csrc / file if file.endswith(".h") else csrc / "cuda" / file
    source = path.read_text()
    assert source.count(old) >= 1, "the kernel has changed: update the mutation"
    path.write_text(source.replace(old, new))
    mutant = Emulated(name, tmp_path, csrc)
    with pytest.raises((AssertionError, EmulationError)):
        check_both_orders(name, mutant)


def check_both_orders(name: str, kernel: Emulated) -> None:
    for kernel.descending in (False, True):
        CHECKS[name](kernel)
