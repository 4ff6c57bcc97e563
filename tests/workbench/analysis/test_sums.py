"""Sums by label from sparse routing, against dense sums."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cuda_ext.routing import Routing
from workbench.analysis.sums import LEFT_OUT, label_sums


@given(seed=st.integers(0, 1000), tokens=st.integers(1, 12))
def test_label_sums_equal_dense_sums(seed: int, tokens: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    g1, g2 = torch.rand(2, tokens, 2, 5, generator=generator).square()
    g1, g2 = g1 * (g1 > 0.4), g2 * (g2 > 0.4)
    label = torch.randint(LEFT_OUT, 3, (tokens,), generator=generator).numpy()
    cut = tokens // 2
    parts = [(Routing.from_dense(g1[s], g2[s]), label[s]) for s in (slice(0, cut), slice(cut, None)) if len(label[s])]
    found = label_sums(parts, 5, 3)
    score = torch.einsum("thi,thj->tij", g1, g2).flatten(1).numpy()
    for number in range(3):
        mine = score[label == number]
        assert found.mass[number] == pytest.approx(mine.sum(0), rel=1e-5)
        assert found.tokens[number].tolist() == (mine > 0).sum(0).tolist()
        assert found.label_tokens[number] == len(mine)
