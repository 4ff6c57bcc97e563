"""Texts inside a sentence: lists, and how long they may be."""

from __future__ import annotations

import pytest

from workbench.explain.wording import MAX_CHARACTERS, listed, one_line


@pytest.mark.parametrize(("items", "text"), [([], ""), (["a"], "a"), (["a", "b"], "a and b"), ("abc", "a, b and c")])
def test_listed_joins_items(items: list[str], text: str) -> None:
    assert listed(items) == text


def test_one_line_cuts_long_texts() -> None:
    assert len(one_line("word " * 1000)) == MAX_CHARACTERS
