"""All ops on views: arrays off their alignment and without contiguous rows give the bits of plain ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from cuda_ext import Statistics, accumulate, contributions, mix, route

from ..conftest import Lists, random_routing

TOKENS, HEADS, KEYS, UNITS = 6, 2, 40, 4
FIELDS = ("indices1", "probs1", "counts1", "indices2", "probs2", "counts2")

View = Callable[[Tensor], Tensor]


def misaligned(t: Tensor) -> Tensor:
    """Contiguous, and one number into its storage."""
    return torch.cat([t.new_zeros(1), t.flatten()])[1:].view(t.shape)


def strided(t: Tensor) -> Tensor:
    """Every second number of a larger array."""
    return t.repeat_interleave(2, -1)[..., ::2]


def turned(t: Tensor) -> Tensor:
    """The first axis innermost."""
    return t.movedim(0, -1).contiguous().movedim(-1, 0)


def routing(view: View) -> Lists:
    lists = random_routing(TOKENS, HEADS, KEYS, 1)
    return replace(lists, **{name: view(getattr(lists, name)) for name in FIELDS})


def normal(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def routed(view: View) -> tuple[Tensor, ...]:
    return route(view(normal(TOKENS, HEADS, KEYS)), view(torch.zeros(HEADS)), view(torch.ones(HEADS)), 0.5)


def mixed(view: View) -> tuple[Tensor, ...]:
    hidden = (view(normal(TOKENS, KEYS, UNITS)), view(-normal(TOKENS, KEYS, UNITS)))
    return mix(hidden, routing(view), view(normal(KEYS, KEYS)))


def mixed_gradients(view: View) -> tuple[Tensor, ...]:
    leaf = normal(TOKENS, KEYS, UNITS).requires_grad_()
    outputs = mix((view(leaf), view(-leaf)), routing(view), view(normal(KEYS, KEYS)))
    grads = [view(normal(*t.shape)) for t in outputs]
    return torch.autograd.grad(outputs, leaf, grads)


def counted(view: View) -> tuple[Tensor, ...]:
    s = Statistics.empty(KEYS, HEADS, 3, best=2, per_document=1)
    rows = torch.arange(TOKENS)
    accumulate(s, routing(view), view(rows % 3), view(rows), view(rows // 2 * 2))
    return s.tokens, s.mass, s.histogram, s.best_scores, s.best_rows


def contributed(view: View) -> tuple[Tensor, ...]:
    hidden = (view(normal(TOKENS, KEYS, UNITS)), view(-normal(TOKENS, KEYS, UNITS)))
    wide, narrow = view(normal(TOKENS, KEYS, UNITS)), view(normal(TOKENS, KEYS))
    return contributions(hidden, routing(view), (wide,) * 4 + (narrow,) * 2, 9, view(normal(KEYS, KEYS)))


@pytest.mark.filterwarnings("ignore:cuda_ext computes with PyTorch:RuntimeWarning")
@pytest.mark.parametrize("view", [misaligned, strided, turned])
@pytest.mark.parametrize("op", [routed, mixed, mixed_gradients, counted, contributed])
def test_ops_give_the_same_bits_on_views(op: Callable[[View], Any], view: View, either: None) -> None:
    for actual, expected in zip(op(view), op(lambda t: t), strict=True):
        assert torch.equal(actual, expected)


@pytest.mark.parametrize("view", [strided, turned])
def test_views_of_the_tests_are_misaligned_and_strided(view: View) -> None:
    assert misaligned(normal(3, 5)).data_ptr() % 16
    assert misaligned(normal(3, 5)).is_contiguous()
    assert not view(normal(3, 5)).is_contiguous()
    assert torch.equal(view(normal(3, 5)), normal(3, 5))
