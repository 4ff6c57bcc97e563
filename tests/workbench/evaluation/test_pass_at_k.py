"""pass@k is the closed form of Chen et al. 2021, and what drawing k samples gives on average."""

from __future__ import annotations

from itertools import combinations
from math import comb

import pytest

from workbench.errors import BadInputError
from workbench.evaluation import pass_at_k


@pytest.mark.parametrize("samples", [1, 2, 5, 12])
def test_it_is_the_closed_form(samples: int) -> None:
    for passed in range(samples + 1):
        for k in range(1, samples + 1):
            expected = 1 - comb(samples - passed, k) / comb(samples, k)
            assert pass_at_k(samples, passed, k) == pytest.approx(expected, abs=1e-12)


def test_it_is_the_share_of_draws_that_hold_one_that_passed() -> None:
    draws = list(combinations([True, True, False, False, False, False, False], 3))
    assert pass_at_k(7, 2, 3) == pytest.approx(sum(map(any, draws)) / len(draws))


def test_it_neither_overflows_nor_cancels_at_many_samples() -> None:
    assert pass_at_k(100_000, 1, 100) == pytest.approx(1e-3, rel=1e-9)
    assert pass_at_k(100_000, 0, 100) == 0


@pytest.mark.parametrize(
    ("samples", "passed", "k", "message"),
    [
        (5, 1, 6, "at least 6 samples"),
        (5, 1, 0, "k from 1"),
        (5, 6, 1, "6 cannot have passed"),
        (5, -1, 1, "-1 cannot"),
    ],
)
def test_numbers_out_of_range_are_refused(samples: int, passed: int, k: int, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        pass_at_k(samples, passed, k)
