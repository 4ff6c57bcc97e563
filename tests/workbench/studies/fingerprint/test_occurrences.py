"""Windows of a corpus against a search that compares token by token."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from workbench.studies.fingerprint.occurrences import Occurrences

DOCUMENTS = st.lists(st.lists(st.integers(0, 3), max_size=12), max_size=4)
KEYS = st.lists(st.lists(st.integers(0, 3), min_size=3, max_size=3), min_size=1, max_size=6)


@given(DOCUMENTS, KEYS)
def test_a_window_is_found_exactly_where_a_plain_search_finds_it(
    documents: list[list[int]], keys: list[list[int]]
) -> None:
    plain = [any(key == ids[at : at + 3] for ids in documents for at in range(len(ids) - 2)) for key in keys]
    found = Occurrences([np.array(ids, np.uint16) for ids in documents], 3).contain(np.array(keys))
    assert found.tolist() == plain


def test_windows_of_large_ids_differ_by_order_alone() -> None:
    found = Occurrences([np.array([70000, 1, 2], np.uint32)], 3)
    assert found.contain(np.array([[70000, 1, 2], [1, 70000, 2], [2, 1, 70000]])).tolist() == [True, False, False]
    assert found.contain(np.empty((0, 3), np.int64)).tolist() == []
