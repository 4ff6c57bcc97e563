"""Shared cases: the package without its kernels, and random sparse routings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from cuda_ext import library
from cuda_ext.library import CPU, Library

needs_kernel = pytest.mark.skipif(not CPU.loaded, reason=f"kernels not loaded: {CPU.problem}")


@pytest.fixture
def no_kernel(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The package as if no library had been built."""
    monkeypatch.setattr(library, "CPU", Library(None, "it was not built, for this test"))
    library._warn_slow.cache_clear()
    yield
    library._warn_slow.cache_clear()


@pytest.fixture(params=["as installed", "fallback"])
def either(request: pytest.FixtureRequest) -> None:
    """Runs a test twice: with the kernels as installed, and without any."""
    if request.param == "fallback":
        request.getfixturevalue("no_kernel")


@dataclass
class Lists:
    """A sparse routing as the ops take it."""

    indices1: Tensor
    probs1: Tensor
    counts1: Tensor
    indices2: Tensor
    probs2: Tensor
    counts2: Tensor
    num_keys: int

    @property
    def arrays(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Indices, probabilities and counts of both sides."""
        return self.indices1, self.probs1, self.counts1, self.indices2, self.probs2, self.counts2

    def dense(self) -> tuple[Tensor, Tensor]:
        """(tokens, heads, keys) of both sides."""
        sides = []
        for indices, probs, counts in (self.arrays[:3], self.arrays[3:]):
            probs = probs * (torch.arange(probs.shape[-1]) < counts[..., None])
            zeros = probs.new_zeros(*probs.shape[:2], self.num_keys)
            sides.append(zeros.scatter_add(-1, indices.long(), probs))
        return sides[0], sides[1]


def random_routing(
    tokens: int, heads: int, keys: int, seed: int = 0, dtype: torch.dtype = torch.float32, even: bool = False
) -> Lists:
    """Lists of 1 to all keys, ascending, with arbitrary values in the padding, which must never be read.

    With ``even``, probabilities are among a few powers of two, so that scores tie and every sum is exact.
    """
    generator = torch.Generator().manual_seed(seed)
    arrays: list[Tensor] = []
    for _ in range(2):
        chosen = torch.rand(tokens, heads, keys, generator=generator) < torch.rand(1, generator=generator)
        chosen[..., 0] |= ~chosen.any(-1)
        counts = chosen.sum(-1, dtype=torch.int32)
        width = int(counts.max()) if counts.numel() else 0
        order = torch.where(chosen, torch.arange(keys), keys).sort(-1).values[..., :width]
        indices = order.clamp(max=keys - 1).to(torch.int16)
        probs = torch.rand(indices.shape, generator=generator, dtype=torch.float64).to(dtype)
        if even:
            probs = 2.0 ** -torch.randint(1, 4, indices.shape, generator=generator).to(dtype)
        arrays += [indices, probs, counts]
    return Lists(*arrays, num_keys=keys)
