"""The ops on a GPU that is not there: what they do around the kernels, where they wait, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from cuda_ext import Statistics, accumulate, contributions, mix, route
from cuda_ext.ops.accumulate import STATE
from cuda_ext.ops.route import expected_width
from cuda_ext.sparse import read_numbers

from ...stand_in.gpu import Gpu
from ..conftest import Lists, random_routing

KEYS, NUMBERS = 64, "cuda_ext/sparse.py:read_numbers to the host"


def placed(routing: Lists) -> Lists:
    return Lists(*(t.to("cuda") for t in routing.arrays), num_keys=routing.num_keys)


def logits() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    z, mean, var = torch.randn(30, 3, KEYS, generator=generator), torch.zeros(3), torch.ones(3)
    return z, mean, var


@pytest.mark.parametrize("sigma", [1.5, -9.0, 40.0])
def test_route_waits_once(gpu: Gpu, sigma: float) -> None:
    """Also where the kernel had too little room, and runs again."""
    inputs = logits()
    expected = route(*inputs, sigma)
    assert (int(expected[2].max()) > expected_width(KEYS, 1.5)) == (sigma < 0)
    with gpu.on():
        there = [one.to("cuda") for one in inputs]
        gpu.waits.clear()
        found = route(*there, sigma)  # type: ignore[call-arg, misc]  # a list has no length in its type
        assert gpu.waits == {NUMBERS: 1}
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one.cpu(), other)


def test_route_of_no_tokens(gpu: Gpu) -> None:
    with gpu.on():
        z, mean, var = (one.to("cuda") for one in logits())
        assert [one.shape for one in route(z[:0], mean, var, 1.0)] == [(0, 3, 0), (0, 3, 0), (0, 3)]


@pytest.mark.parametrize(
    ("tokens", "at", "value", "message"),
    [
        (30, 0, float("nan"), "1 rows .* hold NaN"),
        (30, 1, float("nan"), "mean holds NaN"),
        (30, 1, float("inf"), "mean holds NaN or an infinity"),
        (30, 2, -1.0, "var holds a negative value"),
        (30, 2, float("inf"), "var holds a negative value, NaN or an infinity"),
        (0, 1, float("nan"), "mean holds NaN"),
        (0, 2, -1.0, "var holds a negative value"),
    ],
)
def test_route_refuses_what_cannot_be_used(gpu: Gpu, tokens: int, at: int, value: float, message: str) -> None:
    inputs = list(logits())
    inputs[at].view(-1)[0] = value
    inputs[0] = inputs[0][:tokens]
    with gpu.on():
        there = [one.to("cuda") for one in inputs]
        with pytest.raises(ValueError, match=message):
            route(*there, 1.5)  # type: ignore[call-arg, misc]


@pytest.mark.parametrize("edited", [False, True])
@pytest.mark.parametrize("vertical", [False, True])
def test_mix_waits_once(gpu: Gpu, vertical: bool, edited: bool) -> None:
    generator = torch.Generator().manual_seed(1)
    a1, a2 = torch.randn(2, 9, KEYS, 3, generator=generator)
    routing, factors = random_routing(9, 4, KEYS), torch.rand(KEYS, KEYS, generator=generator) if edited else None
    expected: Any = mix((a1, a2) if vertical else a1, routing, factors)  # type: ignore[arg-type]
    with gpu.on():
        hidden = (a1.to("cuda"), a2.to("cuda")) if vertical else a1.to("cuda")
        there, scale = placed(routing), None if factors is None else factors.to("cuda")
        gpu.waits.clear()
        found: Any = mix(hidden, there, scale)  # type: ignore[arg-type]
        assert gpu.waits == {NUMBERS: 1}
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one.cpu(), other, rtol=1e-4, atol=1e-5)


def test_accumulate_waits_a_few_times(gpu: Gpu) -> None:
    """For the soundness of the lists, of the tokens, and of both sets of probabilities."""
    routing, rows = random_routing(90, 4, KEYS, even=True), torch.arange(90)
    where = (rows % 4 - 1, rows, rows // 10 * 10, rows * 37 % 101)
    numbers = {"best": 5, "per_document": 2, "sampled": 2}
    expected = Statistics.empty(KEYS, 4, 3, **numbers)
    accumulate(expected, routing, *where)
    with gpu.on():
        found, there = Statistics.empty(KEYS, 4, 3, **numbers, device="cuda"), placed(routing)
        tensors = [one.to("cuda") for one in where]
        gpu.waits.clear()
        accumulate(found, there, *tensors)
        assert gpu.waits.total() == 4
        for name in STATE:
            assert torch.equal(getattr(found, name).cpu(), getattr(expected, name)), name
        assert found.next_row == expected.next_row == 90


def test_contributions_wait_twice(gpu: Gpu) -> None:
    """For the soundness of the lists, and for the most pairs that a token has."""
    generator = torch.Generator().manual_seed(1)
    a1, a2 = torch.randn(2, 5, KEYS, 8, generator=generator)
    directions = [torch.randn(1, KEYS, 8, generator=generator) for _ in range(4)]
    directions += [torch.randn(1, KEYS, generator=generator) for _ in range(2)]
    routing = random_routing(5, 4, KEYS)
    expected = contributions((a1, a2), routing, tuple(directions), 20)
    with gpu.on():
        hidden, there = (a1.to("cuda"), a2.to("cuda")), placed(routing)
        along = tuple(one.to("cuda") for one in directions)
        gpu.waits.clear()
        found = contributions(hidden, there, along, 20)
        assert gpu.waits.total() == 2
        for one, other in zip(found[1:], expected[1:], strict=True):
            torch.testing.assert_close(one.cpu().abs(), other.abs(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda lists: lists.indices1.view(-1)[:1].fill_(KEYS), "routing.indices1 must lie in 0 .. 63; got 0 .. 64"),
        (lambda lists: lists.counts2.view(-1)[:1].fill_(-1), "routing.counts2 must lie in 0 .."),
    ],
)
def test_lists_of_no_keys_are_refused(gpu: Gpu, spoil: Callable[[Lists], Any], message: str) -> None:
    routing = random_routing(9, 4, KEYS)
    spoil(routing)
    with gpu.on(), pytest.raises(IndexError, match=message):
        mix(torch.zeros(9, KEYS, 2, device="cuda"), placed(routing))


def test_numbers_are_read_together(gpu: Gpu) -> None:
    numbers = [torch.tensor(3, dtype=torch.int16), torch.tensor(True), torch.tensor(2**40)]
    assert read_numbers(numbers) == [3, 1, 2**40]
    assert read_numbers([]) == []
    with gpu.on():
        there = [one.to("cuda") for one in numbers]
        gpu.waits.clear()
        assert read_numbers(there) == [3, 1, 2**40]
        assert gpu.waits.total() == 1
