"""`route` against its definition: shapes, strides, dtypes, ties, extremes; the same bits whatever runs it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cuda_ext import backend, route, route_reference
from cuda_ext.library import INSTRUCTION_SETS
from cuda_ext.reference.route import EPS

from ..conftest import needs_kernel

LAYOUTS = {
    "contiguous": lambda z: z,
    "heads first": lambda z: z.transpose(0, 1).contiguous().transpose(0, 1),
    "keys outermost": lambda z: z.permute(2, 0, 1).contiguous().permute(1, 2, 0),
    "every second key": lambda z: z.repeat_interleave(2, -1)[..., ::2],
    "every second token": lambda z: z.repeat_interleave(2, 0)[::2],
}


def problem(tokens: int, heads: int, keys: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, running means and variances of heads that differ in location and spread."""
    generator = torch.Generator().manual_seed(seed)
    mean = torch.randn(heads, generator=generator)
    var = torch.rand(heads, generator=generator) * 4 + 0.1
    z = torch.randn(tokens, heads, keys, generator=generator) * var.sqrt()[:, None] + mean[:, None]
    return z, mean, var


def assert_same(actual: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> None:
    """Keys and counts equal; probabilities equal to float32 rounding of a sum of exponentials."""
    for a, b, dtype in zip(actual, expected, (torch.int16, torch.float32, torch.int32), strict=True):
        assert a.dtype == dtype
        assert a.shape == b.shape
        assert a.is_contiguous()
    assert torch.equal(actual[0], expected[0])
    assert torch.equal(actual[2], expected[2])
    torch.testing.assert_close(actual[1].double(), expected[1].double(), rtol=2e-6, atol=1e-44)


@settings(max_examples=150, deadline=None)
@given(
    shape=st.tuples(st.integers(0, 5), st.integers(1, 3), st.integers(1, 150)),
    layout=st.sampled_from(sorted(LAYOUTS)),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
    sigma=st.floats(-3, 4),
    ties=st.booleans(),
    seed=st.integers(0, 2**20),
)
def test_route_equals_the_definition(
    shape: tuple[int, int, int], layout: str, dtype: torch.dtype, sigma: float, ties: bool, seed: int
) -> None:
    z, mean, var = problem(*shape, seed)
    z = (z * 2).round() / 2 if ties else z
    z = LAYOUTS[layout](z.to(dtype))
    assert_same(route(z, mean, var, sigma), route_reference(z.float(), mean, var, sigma))


@pytest.mark.parametrize("keys", [1, 7, 16, 63, 64, 65, 100, 512, 1000, 32767])
def test_route_keeps_every_active_key_and_pads_with_zero(keys: int) -> None:
    indices, probs, counts = route(*problem(3, 2, keys), 1.0)
    assert indices.shape == (3, 2, int(counts.max()))
    assert counts.min() >= 1
    padding = torch.arange(indices.shape[-1]) >= counts[..., None]
    assert (indices[padding] == 0).all()
    assert (probs[padding] == 0).all()
    torch.testing.assert_close(probs.sum(-1), torch.ones(3, 2))
    for row, n in zip(indices.flatten(0, 1).tolist(), counts.flatten().tolist(), strict=True):
        assert row[:n] == sorted(set(row[:n]))
        assert row[n - 1] < keys


def test_route_maximum_below_sigma_leaves_one_key() -> None:
    z, mean, var = problem(50, 3, 77)
    indices, probs, counts = route(z, mean, var, 100.0)
    assert (counts == 1).all()
    assert (probs == 1).all()
    assert torch.equal(indices[..., 0].long(), z.argmax(-1))


def test_route_maximum_passes_its_own_threshold_under_any_rounding() -> None:
    """Means and variances of every magnitude: a threshold computed another way than the entries would lose rows."""
    heads = 64
    var = torch.logspace(-8, 8, heads)
    mean = torch.logspace(-6, 6, heads) * torch.tensor([1.0, -1.0]).repeat(heads // 2)
    z = torch.randn(40, heads, 33, generator=torch.Generator().manual_seed(1)) * var.sqrt()[:, None] + mean[:, None]
    actual = route(z, mean, var, 50.0)
    assert (actual[2] >= 1).all()
    assert_same(actual, route_reference(z, mean, var, 50.0))


def test_route_keeps_all_ties_at_the_maximum() -> None:
    z = torch.zeros(2, 1, 70)
    z[0, 0, [3, 64, 69]] = 2.0
    indices, probs, counts = route(z, torch.zeros(1), torch.ones(1), 9.0)
    assert counts.tolist() == [[3], [70]]
    assert indices[0, 0, :3].tolist() == [3, 64, 69]
    torch.testing.assert_close(probs[0, 0, :3], torch.full((3,), 1 / 3))
    torch.testing.assert_close(probs[1, 0], torch.full((70,), 1 / 70))


@pytest.mark.parametrize(("tokens", "heads"), [(0, 4), (3, 0)])
def test_route_takes_empty_logits(tokens: int, heads: int) -> None:
    indices, probs, counts = route(torch.zeros(tokens, heads, 16), torch.zeros(heads), torch.ones(heads), 1.0)
    assert indices.shape == probs.shape == (tokens, heads, 0)
    assert counts.shape == (tokens, heads)
    assert (indices.dtype, probs.dtype, counts.dtype) == (torch.int16, torch.float32, torch.int32)


@pytest.mark.parametrize("active", [1, 20])
def test_route_does_not_cut_a_row_of_unexpected_length(active: int) -> None:
    """One row of many, or every one, is all active: the room that lists begin with must grow."""
    z, mean, var = problem(20, 2, 512)
    z[7 : 7 + active] = mean[:, None] + 100.0
    actual = route(z, mean, var, 1.534)
    assert actual[2].max() == 512
    assert_same(actual, route_reference(z, mean, var, 1.534))


def test_route_probabilities_are_exact_down_to_subnormals() -> None:
    z = torch.linspace(-120, 0, 4001).view(1, 1, -1)
    _, probs, counts = route(z, torch.zeros(1), torch.ones(1), -200.0)
    assert counts.item() == 4001
    torch.testing.assert_close(probs.double(), z.double().softmax(-1), rtol=1e-6, atol=3e-45)


def test_route_does_not_overflow_at_finite_extremes() -> None:
    largest = torch.finfo(torch.float32).max
    z = torch.tensor([[[largest, -largest, 0.0]], [[-largest, -largest, -largest]]])
    args = (z, torch.zeros(1), torch.zeros(1), 1.0)
    assert_same(route(*args), route_reference(*args))


def test_route_minus_infinity_masks_a_key() -> None:
    z, mean, var = problem(4, 2, 40)
    z[..., 5:30] = float("-inf")
    actual = route(z, mean, var, -5.0)
    assert (actual[2] == 15).all()
    assert_same(actual, route_reference(z, mean, var, -5.0))


@needs_kernel
def test_route_gives_the_same_bits_on_every_instruction_set() -> None:
    z, mean, var = problem(40, 4, 203)
    best = torch.ops.monet.best_level()
    assert backend() == INSTRUCTION_SETS[best]
    runs = [torch.ops.monet.route_kernel(z, mean, var, 0.3, level) for level in range(best + 1)]
    for run in runs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(run, runs[0], strict=True))


def test_route_gives_the_same_bits_on_any_number_of_threads_and_every_run() -> None:
    z, mean, var = problem(300, 8, 512)
    before = torch.get_num_threads()
    try:
        runs = []
        for threads in (1, 2, 3, 2):
            torch.set_num_threads(threads)
            runs.append(route(z, mean, var, 1.534))
    finally:
        torch.set_num_threads(before)
    for run in runs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(run, runs[0], strict=True))


def test_route_differs_from_the_authors_formula_only_within_rounding_of_the_threshold() -> None:
    """Batch normalisation as torch computes it rounds otherwise; nothing else may change."""
    z, mean, var = problem(400, 4, 512, seed=3)
    sigma = 1.534
    normalised = torch.nn.functional.batch_norm(z, mean, var, eps=EPS)
    threshold = normalised.amax(-1, keepdim=True).clamp(max=sigma)
    dense = torch.where(normalised >= threshold, z, float("-inf")).softmax(-1)
    indices, probs, _ = route(z, mean, var, sigma)
    sparse = torch.zeros_like(z).scatter_add(-1, indices.long(), probs)
    differs = (sparse > 0) != (dense > 0)
    margin = ((z.double() - mean[:, None]) / (var.double() + EPS).sqrt()[:, None] - threshold).abs()
    assert (margin[differs] < 2e-6).all()
    same_rows = ~differs.any(-1)
    assert same_rows.float().mean() > 0.99
    torch.testing.assert_close(sparse[same_rows], dense[same_rows], rtol=2e-6, atol=1e-44)
