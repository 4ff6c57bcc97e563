"""`route` in PyTorch's machinery: gradients, fake tensors, torch.compile."""

from __future__ import annotations

import shutil

import pytest
import torch
from torch import Tensor

from cuda_ext import route, route_reference

from ..conftest import needs_kernel

SIGMA = 0.8


def problem(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    """Logits that require a gradient, none within 1e-3 of its threshold, where the set of active keys would change."""
    generator = torch.Generator().manual_seed(5)
    mean, var = torch.tensor([0.3, -0.2]), torch.tensor([1.5, 0.7])
    normalised = torch.randn(4, 2, 19, generator=generator)
    normalised = torch.where((normalised - SIGMA).abs() < 1e-2, normalised + 0.1, normalised)
    normalised[0, 0] = torch.linspace(-2, 0.5, 19)  # the maximum is below sigma: one active key
    z = normalised * (var + 1e-5).sqrt()[:, None] + mean[:, None]
    return z.to(dtype).requires_grad_(), mean.to(dtype), var.to(dtype)


def test_route_reference_passes_gradcheck() -> None:
    z, mean, var = problem(torch.float64)
    assert torch.autograd.gradcheck(lambda z: route_reference(z, mean, var, SIGMA)[1], z, eps=1e-7)


def test_route_op_passes_gradcheck() -> None:
    """In float64, which the op accepts for this alone; float32 has the same backward."""
    z, mean, var = problem(torch.float64)
    assert torch.autograd.gradcheck(lambda z: torch.ops.monet.route(z, mean, var, SIGMA)[1], z, eps=1e-7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_route_gradient_equals_that_of_the_definition(dtype: torch.dtype) -> None:
    z, mean, var = problem()
    z = z.detach().to(dtype).requires_grad_()
    exact = z.detach().double().requires_grad_()
    _, probs, counts = route(z, mean, var, SIGMA)
    _, expected, _ = route_reference(exact, mean.double(), var.double(), SIGMA)
    weights = torch.randn(probs.shape, generator=torch.Generator().manual_seed(6))
    (probs * weights).sum().backward()
    (expected * weights).sum().backward()
    assert z.grad is not None
    assert exact.grad is not None
    assert z.grad.dtype == dtype
    tolerance = 1e-6 if dtype == torch.float32 else 1e-2
    torch.testing.assert_close(z.grad.double(), exact.grad, rtol=tolerance, atol=tolerance)
    assert (z.grad != 0).sum() <= counts.sum()


def test_route_ignores_gradients_of_padding() -> None:
    """log(0) at padded slots has an infinite gradient; it belongs to no key."""
    z, mean, var = problem()
    _, probs, _ = route(z, mean, var, SIGMA)
    probs.log().masked_fill(probs == 0, 0).sum().backward()
    assert z.grad is not None
    assert z.grad.isfinite().all()


def test_route_only_probabilities_carry_a_gradient() -> None:
    indices, probs, counts = route(*problem(), SIGMA)
    assert probs.requires_grad
    assert not indices.requires_grad
    assert not counts.requires_grad


def test_route_passes_opcheck() -> None:
    z, mean, var = problem()
    torch.library.opcheck(torch.ops.monet.route.default, (z.detach(), mean, var, SIGMA))
    # The check of compiled gradients adds the outputs up in the first one's dtype, here int16, and fails on that:
    # test_route_compiles_in_one_graph stands in for it.
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(torch.ops.monet.route.default, (z, mean, var, SIGMA), test_utils=checks)


@needs_kernel
def test_route_kernel_passes_opcheck() -> None:
    z, mean, var = problem()
    torch.library.opcheck(torch.ops.monet.route_kernel.default, (z.detach(), mean, var, SIGMA))


def test_route_compiles_in_one_graph() -> None:
    z, mean, var = problem()

    def loss(z: Tensor) -> Tensor:
        indices, probs, _ = route(z, mean, var, SIGMA)
        return (probs.square() * (1 + indices)).sum()

    (expected,) = torch.autograd.grad(loss(z), z)
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    (actual,) = torch.autograd.grad(compiled(z), z)
    torch.testing.assert_close(actual, expected)


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.parametrize("fullgraph", [False, True])
def test_route_compiles_to_code_whether_or_not_in_one_graph(fullgraph: bool) -> None:
    """By the default compiler, which checks the shapes that a graph was made for; twice, with other widths."""

    def top(logits: Tensor) -> Tensor:
        indices, probs, _ = route(2 * logits, torch.zeros(2), torch.ones(2), 1.0)
        return (probs * indices / 30).sum(-1)

    torch._dynamo.reset()
    compiled = torch.compile(top, fullgraph=fullgraph)
    for seed in range(2):
        logits = torch.randn(5, 2, 30, generator=torch.Generator().manual_seed(seed)).requires_grad_()
        torch.testing.assert_close(compiled(logits), top(logits))
        ours, theirs = (torch.autograd.grad(run(logits).square().sum(), logits)[0] for run in (compiled, top))
        torch.testing.assert_close(ours, theirs)
