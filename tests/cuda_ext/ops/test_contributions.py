"""`contributions` against the explicit expansion over all experts: values, order, sums, bad input."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cuda_ext import contributions

from ..conftest import Lists, needs_kernel, random_routing

IGNORE = "ignore:cuda_ext computes with PyTorch:RuntimeWarning"
Case = tuple[Any, Lists, tuple[Tensor, ...], Tensor | None]


def problem(
    tokens: int, heads: int, keys: int, units: int, vertical: bool, rows: int, edited: bool, seed: int = 0,
    dtype: torch.dtype = torch.float64,
) -> Case:  # fmt: skip
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=dtype)

    hidden = tuple(normal(tokens, keys, units) for _ in range(1 + vertical))
    wide = [normal(rows, keys, units) for _ in range(4 if vertical else 1)]
    narrow = [normal(rows, keys) for _ in range(2 if vertical else 1)]
    factors = normal(keys, keys) if edited else None
    return (
        (hidden if vertical else hidden[0]),
        random_routing(tokens, heads, keys, seed, dtype),
        (*wide, *narrow),
        factors,
    )


def expanded(hidden: Any, routing: Lists, directions: tuple[Tensor, ...], factors: Tensor | None) -> Tensor:
    """Contribution of every expert, (tokens, keys * keys): no pair is left out."""
    g1, g2 = routing.dense()
    g = torch.einsum("thi,thj->tij", g1, g2)
    if isinstance(hidden, Tensor):
        d, c = directions
        along = hidden @ d.mT + c[:, None, :]
    else:
        a1, a2 = hidden
        d11, d12, d21, d22, c1, c2 = directions
        rows, columns = (a1 * d11).sum(-1) + c1, (a2 * d22).sum(-1) + c2
        along = rows[..., None] + columns[:, None] + (d12 @ a2.mT) + (a1 @ d21.mT)
    return (g * along * (1 if factors is None else factors)).flatten(1)


@pytest.mark.filterwarnings(IGNORE)
@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(st.integers(0, 4), st.integers(1, 3), st.integers(1, 12), st.sampled_from([1, 2, 6, 8, 11])),
    vertical=st.booleans(),
    edited=st.booleans(),
    own_rows=st.booleans(),
    top=st.sampled_from([1, 3, 200]),
    compiled=st.booleans(),
    seed=st.integers(0, 2**20),
)
def test_contributions_equal_the_expansion_over_all_experts(
    shape: tuple[int, int, int, int], vertical: bool, edited: bool, own_rows: bool, top: int, compiled: bool, seed: int
) -> None:
    tokens = shape[0]
    case = problem(*shape, vertical, tokens if own_rows else 1, edited, seed)
    with pytest.MonkeyPatch.context() as patch:
        if not compiled:
            patch.setattr("cuda_ext.ops.contributions.has_kernel", lambda device: False)
        experts, values, totals = contributions(*case[:3], top, case[3])
    expected = expanded(*case)
    torch.testing.assert_close(totals, expected.sum(1))
    there = experts >= 0
    assert experts.shape == values.shape
    assert experts.shape[1] <= min(top, max(1, expected.shape[1]))
    assert (values[~there] == 0).all()
    of_experts = torch.where(there, expected.gather(1, experts.clamp(min=0)), 0.0)
    torch.testing.assert_close(values, of_experts)
    strongest = expected.abs().sort(1, descending=True).values[:, : values.shape[1]]
    torch.testing.assert_close(values.abs(), strongest)
    for ids in experts.tolist():
        assert len({e for e in ids if e >= 0}) == sum(e >= 0 for e in ids)


@needs_kernel
def test_contributions_kernel_and_definition_break_ties_alike() -> None:
    """Everything is a power of two: no rounding, many ties; the lower id goes first."""
    hidden, routing = torch.ones(9, 10, 2), random_routing(9, 2, 10, 3, even=True)
    directions = (torch.ones(1, 10, 2), torch.zeros(1, 10))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cuda_ext.ops.contributions.has_kernel", lambda device: False)
        expected = contributions(hidden, routing, directions, 20)
    actual = contributions(hidden, routing, directions, 20)
    assert all(torch.equal(a, e) for a, e in zip(actual, expected, strict=True))
    assert (actual[1][:, 1:] == actual[1][:, :-1]).any()


@needs_kernel
def test_contributions_short_list_is_the_head_of_a_long_one() -> None:
    """Above 256 candidates the kernel forgets the weak ones as it goes."""
    case = problem(3, 4, 64, 8, True, 1, True, dtype=torch.float32)
    everything = contributions(*case[:3], 64 * 64, case[3])
    assert everything[0].shape[1] > 600
    few = contributions(*case[:3], 10, case[3])
    assert torch.equal(few[0], everything[0][:, :10])
    assert torch.equal(few[1], everything[1][:, :10])
    assert torch.equal(few[2], everything[2])


def test_contributions_list_nan_first() -> None:
    hidden, routing, directions, _ = problem(2, 2, 40, 3, False, 1, False)
    hidden[1, 7] = float("nan")
    routing.indices1[1, 0, 0], routing.counts1[1] = 7, 1
    _, values, totals = contributions(hidden, routing, directions, 5)
    assert values[0].isfinite().all()
    assert values[1, 0].isnan()
    assert totals[1].isnan()


@needs_kernel
def test_contributions_give_the_same_bits_on_every_instruction_set() -> None:
    hidden, routing, directions, factors = problem(4, 3, 30, 9, True, 4, True, dtype=torch.float32)
    kernel = torch.ops.monet.contributions_kernel
    runs = [
        kernel(*hidden, *routing.arrays, factors, *directions, 50, level)
        for level in range(torch.ops.monet.best_level() + 1)
    ]
    for other in runs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(other, runs[0], strict=True))


def test_contributions_pass_opcheck() -> None:
    hidden, routing, (d, c), _ = problem(3, 2, 6, 4, False, 1, False)
    arguments = (hidden, None, *routing.arrays, None, None, None, d, None, None, c, 4)
    torch.library.opcheck(torch.ops.monet.contributions.default, arguments)


LISTS = random_routing(3, 2, 6, 0, torch.float64)


@pytest.mark.filterwarnings(IGNORE)
@pytest.mark.parametrize(
    ("change", "error", "named"),
    [
        ({"hidden": (torch.zeros(3, 6, 4),) * 3}, ValueError, "hidden must be one tensor or a pair"),
        ({"hidden": torch.zeros(3, 5, 4)}, ValueError, r"hidden must have shape \(tokens, 6, units\)"),
        ({"hidden": [1.0]}, TypeError, "hidden must be a torch.Tensor"),
        (
            {"directions": (torch.zeros(1, 6, 4, device="meta").double(), torch.zeros(1, 6).double())},
            ValueError,
            r"directions\[0\] is on meta, expected cpu",
        ),
        ({"factors": torch.zeros(6, 6, device="meta").double()}, ValueError, "factors is on meta, expected cpu"),
        ({"routing": replace(LISTS, probs1=LISTS.probs1.to("meta"))}, ValueError, "routing.probs1 is on meta"),
        ({"routing": replace(LISTS, indices2=LISTS.indices2.int())}, TypeError, "routing.indices2 must be torch.int16"),
        ({"routing": replace(LISTS, indices1=LISTS.indices1 + 6)}, IndexError, "routing.indices1 must lie in 0 .. 5"),
        ({"routing": replace(LISTS, counts2=LISTS.counts2 - 9)}, IndexError, "routing.counts2 must lie in 0 .."),
        ({"top": 0}, ValueError, "top must be at least 1"),
        ({"hidden": torch.zeros(3, 6, 4).half()}, TypeError, "hidden must be float32 or float64"),
        ({"hidden": (torch.zeros(3, 6, 4),) * 2}, ValueError, "directions must be 6 tensors"),
        ({"directions": (torch.zeros(1, 6, 4).double(),)}, ValueError, "directions must be 2 tensors"),
        ({"directions": (torch.zeros(2, 6, 4).double(), torch.zeros(2, 6).double())}, ValueError, "must have 1 row"),
        ({"directions": (torch.zeros(1, 6, 5).double(), torch.zeros(1, 6).double())}, ValueError, r"directions\[0\]"),
        (
            {"directions": (torch.zeros(1, 6, 4), torch.zeros(1, 6))},
            TypeError,
            r"directions\[0\] must be torch.float64",
        ),
        ({"factors": torch.zeros(6, 6)}, TypeError, "factors must be torch.float64"),
        ({"factors": torch.zeros(6, 5).double()}, ValueError, r"factors must have shape \(6, 6\)"),
    ],
)
def test_contributions_name_wrong_arguments(
    change: dict[str, Any], error: type[Exception], named: str, either: None
) -> None:
    hidden, routing, directions, _ = problem(3, 2, 6, 4, False, 1, False)
    with pytest.raises(error, match=named):
        contributions(**({"hidden": hidden, "routing": routing, "directions": directions, "top": 3} | change))
