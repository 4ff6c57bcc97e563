"""`mix` against the explicit expansion over all experts: shapes, dtypes, layouts, factors; gradients; bad input."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cuda_ext import mix

from ..conftest import Lists, needs_kernel, random_routing

IGNORE = "ignore:cuda_ext computes with PyTorch:RuntimeWarning"


def expanded(hidden: tuple[Tensor, ...], routing: Lists, factors: Tensor | None) -> tuple[Tensor, ...]:
    """The sums over all E x E experts, in float64: nothing sparse, nothing factored."""
    g1, g2 = (g.double() for g in routing.dense())
    w = torch.einsum("thi,thj->tij", g1, g2) * (1 if factors is None else factors.double())
    rows, columns = w.sum(2), w.sum(1)
    a = [h.double() for h in hidden]
    cross2 = torch.einsum("tij,tiu->tju", w, a[0])
    if len(a) == 1:
        return cross2, columns
    cross1 = torch.einsum("tij,tju->tiu", w, a[1])
    return rows[..., None] * a[0], cross1, rows, cross2, columns[..., None] * a[1], columns


def problem(
    tokens: int, heads: int, keys: int, units: int, vertical: bool, edited: bool, seed: int = 0
) -> tuple[tuple[Tensor, ...], Lists, Tensor | None]:
    generator = torch.Generator().manual_seed(seed)
    hidden = tuple(torch.randn(tokens, keys, units, generator=generator) for _ in range(1 + vertical))
    factors = torch.randn(keys, keys, generator=generator) if edited else None
    return hidden, random_routing(tokens, heads, keys, seed), factors


def run(hidden: tuple[Tensor, ...], routing: Lists, factors: Tensor | None) -> tuple[Tensor, ...]:
    return mix(hidden[0] if len(hidden) == 1 else hidden, routing, factors)  # type: ignore[arg-type]


CASES = {
    "shape": st.tuples(
        st.integers(0, 4), st.integers(1, 3), st.integers(1, 40), st.sampled_from([1, 2, 3, 4, 6, 8, 12, 17])
    ),
    "vertical": st.booleans(),
    "edited": st.booleans(),
    "seed": st.integers(0, 2**20),
}


@settings(max_examples=80, deadline=None)
@given(dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]), strided=st.booleans(), **CASES)
def test_mix_equals_the_expansion_over_all_experts(
    shape: tuple[int, int, int, int], vertical: bool, edited: bool, seed: int, dtype: torch.dtype, strided: bool
) -> None:
    hidden, routing, factors = problem(*shape, vertical, edited, seed)
    hidden = tuple(h.to(dtype) for h in hidden)
    given_hidden = tuple(h.mT.contiguous().mT for h in hidden) if strided else hidden
    tolerance = {torch.float32: 2e-5, torch.bfloat16: 2e-2, torch.float16: 2e-3}[dtype]
    for actual, expected in zip(run(given_hidden, routing, factors), expanded(hidden, routing, factors), strict=True):
        assert actual.dtype == dtype
        assert actual.shape == expected.shape
        torch.testing.assert_close(actual.double(), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.filterwarnings(IGNORE)
@pytest.mark.parametrize("vertical", [False, True])
@pytest.mark.parametrize("edited", [False, True])
def test_mix_reference_equals_the_expansion(vertical: bool, edited: bool, no_kernel: None) -> None:
    hidden, routing, factors = problem(5, 3, 17, 6, vertical, edited)
    for actual, expected in zip(run(hidden, routing, factors), expanded(hidden, routing, factors), strict=True):
        torch.testing.assert_close(actual.double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings(IGNORE)
@pytest.mark.parametrize("vertical", [False, True])
@pytest.mark.parametrize("edited", [False, True])
@pytest.mark.parametrize("units", [2, 4, 9])
def test_mix_gradients_equal_those_of_the_expansion(vertical: bool, edited: bool, units: int, either: None) -> None:
    """Of activations, both lists of probabilities and factors, by finite differences; padding gets none."""
    hidden, _, factors = problem(2, 2, 5, units, vertical, edited)
    routing = random_routing(2, 2, 5, seed=3, dtype=torch.float64)
    leaves = [h.double() for h in hidden] + [routing.probs1, routing.probs2]
    leaves += [] if factors is None else [factors.double()]

    def outputs(*leaves: Tensor) -> tuple[Tensor, ...]:
        h, (p, q), s = leaves[: len(hidden)], leaves[len(hidden) : len(hidden) + 2], leaves[len(hidden) + 2 :]
        lists = Lists(routing.indices1, p, routing.counts1, routing.indices2, q, routing.counts2, 5)
        return run(h, lists, s[0] if s else None)

    assert torch.autograd.gradcheck(outputs, tuple(leaf.detach().requires_grad_() for leaf in leaves))


def test_mix_gradients_have_the_dtype_of_the_activations() -> None:
    hidden, routing, _ = problem(3, 2, 9, 4, True, False)
    leaves = tuple(h.bfloat16().requires_grad_() for h in hidden)
    sum(t.float().sum() for t in mix(leaves, routing)).backward()  # type: ignore[arg-type, union-attr]
    assert all(leaf.grad is not None and leaf.grad.dtype == torch.bfloat16 for leaf in leaves)


@settings(max_examples=60, deadline=None)
@given(**CASES)
def test_bfloat16_is_widened_mixed_and_rounded(
    shape: tuple[int, int, int, int], vertical: bool, edited: bool, seed: int
) -> None:
    """Bit for bit, forward and backward; a NaN stays one, and only where it is."""
    hidden, routing, factors = problem(*shape, vertical, edited, seed)
    halves = [h.bfloat16() for h in hidden]
    if shape[0] and shape[2] > 1:
        halves[0][0, 0, 0], halves[0][0, 1, 0] = float("nan"), float("inf")
    probs = [routing.probs1.requires_grad_(), routing.probs2.requires_grad_()]
    found = []
    for convert in (Tensor.clone, Tensor.float):
        leaves = [*(convert(half).requires_grad_() for half in halves), *probs]
        out = run(tuple(leaves[: len(hidden)]), routing, factors)
        draw = torch.Generator().manual_seed(seed)
        incoming = [torch.randn(t.shape, generator=draw).bfloat16().to(t.dtype) for t in out]
        found.append([*out, *torch.autograd.grad(out, leaves, incoming)])
    for half, whole in zip(*found, strict=True):
        torch.testing.assert_close(half, whole.to(half.dtype), rtol=0, atol=0, equal_nan=True)
    assert [t.dtype for t in found[0][-2:]] == [torch.float32] * 2


def test_bfloat16_can_be_differentiated_twice() -> None:
    hidden, routing, _ = problem(3, 2, 9, 4, True, False)
    leaves = [h.bfloat16().requires_grad_() for h in hidden]
    loss = sum(t.float().square().sum() for t in run(tuple(leaves), routing, None))
    first = torch.autograd.grad(loss, leaves, create_graph=True)
    again = torch.autograd.grad(sum(t.float().sum() for t in first), leaves)
    assert all(t.dtype == torch.bfloat16 and t.isfinite().all() and t.any() for t in again)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("edited", [False, True])
@pytest.mark.parametrize("vertical", [False, True])
def test_mix_passes_opcheck(vertical: bool, edited: bool, dtype: torch.dtype) -> None:
    hidden, routing, factors = problem(3, 2, 7, 4, vertical, edited)
    hidden = tuple(h.to(dtype) for h in hidden)
    op = torch.ops.monet.mix_vertical if vertical else torch.ops.monet.mix_horizontal
    leaves = [t.detach().requires_grad_() for t in hidden]
    arrays = [t.requires_grad_() if t.is_floating_point() else t for t in routing.arrays]
    torch.library.opcheck(op.default, (*leaves, *arrays, factors))


def test_mix_compiles_in_one_graph() -> None:
    hidden, routing, factors = problem(3, 2, 7, 4, True, True)

    def loss(a1: Tensor, a2: Tensor, factors: Tensor) -> Tensor:
        return torch.stack([t.square().sum() for t in mix((a1, a2), routing, factors)]).sum()

    leaves = [t.requires_grad_() for t in (*hidden, factors) if t is not None]
    expected = torch.autograd.grad(loss(*leaves), leaves)
    actual = torch.autograd.grad(torch.compile(loss, fullgraph=True, backend="aot_eager")(*leaves), leaves)
    for a, e in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, e)


@needs_kernel
@pytest.mark.parametrize("units", [2, 3, 4, 10])
@pytest.mark.parametrize("edited", [False, True])
def test_mix_gives_the_same_bits_on_every_instruction_set(edited: bool, units: int) -> None:
    hidden, routing, factors = problem(6, 3, 50, units, True, edited)
    forward, backward = torch.ops.monet.mix_vertical_kernel, torch.ops.monet.mix_vertical_backward_kernel
    runs = []
    for level in range(torch.ops.monet.best_level() + 1):
        out = forward(*hidden, *routing.arrays, factors, level)
        runs.append([*out, *backward(*out, *hidden, *routing.arrays, factors, level)])
    for other in runs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(other, runs[0], strict=True))


def test_mix_gives_the_same_bits_on_any_number_of_threads() -> None:
    hidden, routing, factors = problem(64, 4, 64, 8, True, True)
    before = torch.get_num_threads()
    try:
        runs = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            runs.append(run(hidden, routing, factors))
    finally:
        torch.set_num_threads(before)
    for other in runs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(other, runs[0], strict=True))


def good() -> dict[str, Any]:
    hidden, routing, factors = problem(3, 2, 7, 4, True, True)
    return {"hidden": hidden, "routing": routing, "factors": factors}


@pytest.mark.parametrize(
    ("change", "error", "named"),
    [
        ({"hidden": (1.0, 2.0)}, TypeError, r"hidden\[0\] must be a torch.Tensor"),
        ({"hidden": (torch.zeros(3, 7, 4),) * 3}, ValueError, "hidden must be one tensor or a pair"),
        ({"hidden": torch.zeros(3, 4, 7)}, ValueError, r"hidden must have shape \(tokens, 7, units\)"),
        (
            {"hidden": (torch.zeros(3, 7, 4), torch.zeros(3, 7, 5))},
            ValueError,
            r"hidden\[1\] must have shape \(3, 7, 4\)",
        ),
        ({"hidden": torch.zeros(3, 7, 4, dtype=torch.int64)}, TypeError, "hidden must be one of"),
        ({"hidden": torch.zeros(4, 7, 4)}, ValueError, r"routing.indices1 must have shape \(4, heads, k\)"),
        (
            {"hidden": (torch.zeros(3, 7, 4), torch.zeros(3, 7, 4, device="meta"))},
            ValueError,
            r"hidden\[1\] is on meta, expected cpu",
        ),
        ({"factors": torch.zeros(7, 6)}, ValueError, r"factors must have shape \(7, 7\)"),
        ({"factors": torch.zeros(7, 7, device="meta")}, ValueError, "factors is on meta"),
    ],
)
def test_mix_names_wrong_arguments(change: dict[str, Any], error: type[Exception], named: str) -> None:
    with pytest.raises(error, match=named):
        mix(**(good() | change))


@pytest.mark.filterwarnings(IGNORE)
@pytest.mark.parametrize(
    ("field", "value", "error", "named"),
    [
        ("indices1", torch.full((3, 2, 7), 7, dtype=torch.int16), IndexError, r"routing.indices1 must lie in 0 .. 6"),
        ("indices2", torch.full((3, 2, 7), -1, dtype=torch.int16), IndexError, "routing.indices2 must lie in"),
        ("counts1", torch.full((3, 2), 8, dtype=torch.int32), IndexError, "routing.counts1 must lie in 0 .. 7"),
        ("counts2", torch.full((3, 2), -1, dtype=torch.int32), IndexError, "routing.counts2 must lie in"),
        ("probs1", torch.zeros(3, 2, 7, device="meta"), ValueError, "routing.probs1 is on meta, expected cpu"),
        ("indices1", torch.zeros(3, 2, 7), TypeError, "routing.indices1 must be torch.int16"),
        ("counts1", torch.zeros(3, 2), TypeError, "routing.counts1 must be torch.int32"),
        ("probs2", torch.zeros(3, 2, 7, dtype=torch.int32), TypeError, "routing.probs2 must have a floating dtype"),
        ("probs1", torch.zeros(3, 2, 6), ValueError, r"routing.probs1 must have shape \(3, 2, 7\)"),
        ("counts2", torch.zeros(3, 1, dtype=torch.int32), ValueError, r"routing.counts2 must have shape \(3, 2\)"),
        ("indices2", [1], TypeError, "routing.indices2 must be a torch.Tensor"),
    ],
)
def test_mix_names_what_is_wrong_with_a_routing(
    field: str, value: object, error: type[Exception], named: str, either: None
) -> None:
    arguments = good()
    full = torch.ones(3, 2, 7)
    lists = Lists(full.short(), full, full[..., 0].int(), full.short(), full, full[..., 0].int(), 7)
    setattr(lists, field, value)
    with pytest.raises(error, match=named):
        mix(arguments["hidden"], lists)


@needs_kernel
def test_mix_kernel_guards_its_memory() -> None:
    """Calling the op without `mix` gives an error for a wrong shape, not an out-of-bounds read."""
    hidden, routing, factors = problem(3, 2, 7, 4, True, True)
    arguments = [*hidden, *routing.arrays, factors]
    for at, value in (
        (0, torch.zeros(3, 7)),
        (1, torch.zeros(3, 7, 5)),
        (2, torch.zeros(3, 2, 4)),
        (8, torch.zeros(7)),
    ):
        with pytest.raises(RuntimeError, match="must be contiguous, on the CPU"):
            torch.ops.monet.mix_vertical_kernel(*arguments[:at], value, *arguments[at + 1 :])
