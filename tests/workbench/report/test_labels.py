"""Labels as they are shown: natural order, twins told apart, no markup."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.report.labels import LONGEST, look_alikes, natural_order, plot_labels, plot_text
from workbench.store.token_text import visible_label

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


def test_numbers_in_labels_are_in_order() -> None:
    assert natural_order(["10", "2", "b10", "B2", "1", "a"]) == ["1", "2", "10", "a", "B2", "b10"]
    assert natural_order(["9" * 5000, "1"]) == ["1", "9" * 5000]  # longer than int() reads


@given(st.lists(TEXT))
def test_order_keeps_every_label(labels: list[str]) -> None:
    assert sorted(natural_order(labels)) == sorted(labels)


@pytest.mark.parametrize("plain", ["lua", "common lisp", "c++", "<b>x</b>", "日本語", "हिन्दी", "é", "…"])
def test_ordinary_labels_are_shown_as_they_are(plain: str) -> None:
    assert visible_label(plain) == plain


@pytest.mark.parametrize(
    ("label", "shown"),
    [
        (" lua", "·lua"),
        ("lua  ", "lua··"),
        ("a  b", "a··b"),
        ("a\nb", "a↵b"),
        ("e\u0301", "e\\u0301"),
        ("\u212b", "\\u212b"),  # the angstrom sign, which looks like å's capital
        ("\u1112\u1161", "\u1112\\u1161"),
        ("a\xa0b", "a\\xa0b"),
        ("\u202elua", "\\u202elua"),
    ],
)
def test_what_hides_in_a_label_is_shown(label: str, shown: str) -> None:
    assert visible_label(label) == shown


@given(TEXT)
def test_labels_that_normalise_alike_look_different(label: str) -> None:
    other = unicodedata.normalize("NFD", label)
    assert (visible_label(other) == visible_label(label)) == (other == label)


@given(TEXT)
def test_no_label_is_markup_in_a_figure(label: str) -> None:
    assert not {"<", ">", "\n"} & set(plot_text(label))
    assert plot_text("&lt;b&gt;") == "&amp;lt;b&amp;gt;"


@given(st.lists(TEXT, unique=True))
def test_no_two_labels_share_a_category(labels: list[str]) -> None:
    assert len(set(plot_labels(labels))) == len(labels)
    assert all(len(name) < 5 * LONGEST + 10 for name in plot_labels(labels))


def test_long_labels_are_shortened_and_still_told_apart() -> None:
    one, other = plot_labels(["a" * 5000 + "b" * 40, "a" * 5001 + "b" * 40])
    assert one.startswith("aaa")
    assert one.endswith("bbb (1)")
    assert other.endswith("bbb (2)")


def test_labels_that_look_alike_are_found() -> None:
    labels = ["lua", " lua", "php", "\u00e9", "e\u0301", "lua\u200b", "x y", "x  y", "\uff4cua"]
    assert look_alikes(labels) == [[" lua", "lua", "lua\u200b", "\uff4cua"], ["e\u0301", "\u00e9"], ["x  y", "x y"]]
    assert look_alikes(["a", "b", "ab"]) == []
