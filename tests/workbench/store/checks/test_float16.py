"""The ends of what a half-precision number stands for hold whatever rounds to it, and products within their bound."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from workbench.store.checks.float16 import ENDS, bits, highest
from workbench.store.routing import Side, from_arrow, to_arrow


@given(st.lists(st.floats(2**-30, 1, width=32), min_size=1, max_size=20))
def test_ends_hold_what_was_stored(values) -> None:
    probs = np.array(values, np.float32)
    side = Side(np.arange(len(probs), dtype=np.uint16), probs, np.array([0, len(probs)]))
    low, high = ENDS[:, bits(from_arrow(to_arrow(side, side))[0])]
    assert ((low <= probs) & (probs <= high)).all()
    assert (high <= low * (1 + 2**-9) + 2.0**-23).all()


def test_ends_of_products_are_no_further_apart_than_said() -> None:
    low, high = ENDS[:, np.r_[0:64, 64 : ENDS.shape[1] : 13, ENDS.shape[1] - 1]].astype(np.float64)
    assert (np.outer(high, high) < highest(np.outer(low, low), 1)).all()
