"""The CUDA library imports without a GPU; on a GPU, the ops equal their definitions."""

from __future__ import annotations

import pytest
import torch

from cuda_ext import Statistics, accumulate, contributions, library, mix, route
from cuda_ext.library import CUDA
from cuda_ext.ops.accumulate import STATE
from cuda_ext.reference.route import route_reference

from .conftest import Lists, random_routing

built = pytest.mark.skipif(CUDA.path is None, reason=f"no CUDA library: {CUDA.problem}")
on_gpu = pytest.mark.skipif(not (torch.cuda.is_available() and CUDA.loaded), reason="no GPU, or no CUDA library")


def moved(routing: Lists) -> Lists:
    return Lists(*(t.cuda() for t in routing.arrays), num_keys=routing.num_keys)


@built
def test_cuda_library_loads_without_a_gpu_and_refuses_cpu_tensors() -> None:
    assert CUDA.loaded, CUDA.problem
    a = torch.zeros(1, 2, 2)
    with pytest.raises(NotImplementedError, match="CPU"):
        torch.ops.monet.contribution_pairs(a, None, a, a, a, a, a, a, None, None, None, a, None, None, a, 1)


def test_library_has_no_kernel_for_other_devices() -> None:
    assert not library.has_kernel(torch.device("meta"))


@on_gpu
@pytest.mark.parametrize("keys", [1, 100, 512, 514, 1000, 1500])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gpu_route_equals_the_definition(keys: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(keys)
    z = torch.randn(30, 3, keys, generator=generator).to(dtype)
    mean, var = torch.randn(3, generator=generator) / 9, torch.rand(3, generator=generator) + 0.5
    for sigma in (1.5, -9.0, 40.0):
        actual = route(z.cuda(), mean.cuda(), var.cuda(), sigma)
        expected = route_reference(z.float(), mean, var, sigma)
        assert torch.equal(actual[0].cpu(), expected[0])
        assert torch.equal(actual[2].cpu(), expected[2])
        torch.testing.assert_close(actual[1].cpu(), expected[1], rtol=3e-6, atol=1e-44)


@on_gpu
@pytest.mark.parametrize("edited", [False, True])
@pytest.mark.parametrize("units", [2, 3, 8])
def test_gpu_mix_equals_the_cpu(edited: bool, units: int) -> None:
    a1, a2 = torch.randn(2, 9, 64, units, generator=torch.Generator().manual_seed(0))
    routing, factors = random_routing(9, 4, 64), torch.rand(64, 64) if edited else None
    s = None if factors is None else factors.cuda()
    for on_device, on_cpu in (((a1.cuda(), a2.cuda()), (a1, a2)), (a1.cuda(), a1)):
        got, want = mix(on_device, moved(routing), s), mix(on_cpu, routing, factors)  # type: ignore[arg-type]
        for actual, expected in zip(got, want, strict=True):
            torch.testing.assert_close(actual.cpu(), expected, rtol=2e-5, atol=2e-5)


@on_gpu
def test_gpu_accumulate_equals_the_cpu() -> None:
    routing = random_routing(90, 4, 64, even=True)
    rows = torch.arange(90)
    where = (rows % 4 - 1, rows, rows // 10 * 10, rows * 37 % 101)
    results = []
    for device in ("cpu", "cuda"):
        statistics = Statistics.empty(64, 4, 3, best=5, per_document=2, sampled=2, device=device)
        accumulate(statistics, routing if device == "cpu" else moved(routing), *(w.to(device) for w in where))
        results.append(statistics)
    for name in STATE:
        assert torch.equal(getattr(results[0], name), getattr(results[1], name).cpu()), name


@on_gpu
def test_gpu_contributions_equal_the_cpu() -> None:
    generator = torch.Generator().manual_seed(1)
    a1, a2 = torch.randn(2, 5, 64, 8, generator=generator)
    directions = [torch.randn(1, 64, 8, generator=generator) for _ in range(4)]
    directions += [torch.randn(1, 64, generator=generator) for _ in range(2)]
    routing = random_routing(5, 4, 64)
    expected = contributions((a1, a2), routing, tuple(directions), 20)
    actual = contributions((a1.cuda(), a2.cuda()), moved(routing), tuple(d.cuda() for d in directions), 20)
    torch.testing.assert_close(actual[1].cpu().abs(), expected[1].abs(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(actual[2].cpu(), expected[2], rtol=1e-4, atol=1e-4)
