"""The tokens of an edit's row: read back as written, refused in words, and as positions that the model counts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.errors import BadInputError
from workbench.store.edit_places import TokenPlaces

SPANS = st.one_of(
    st.tuples(st.just(0), st.sampled_from([0, None])),
    st.integers(1, 99).flatmap(lambda first: st.tuples(st.just(first), st.none() | st.integers(first, 120))),
)
PLACES = st.lists(SPANS, min_size=1, max_size=5).map(lambda spans: TokenPlaces(tuple(spans)))


@given(places=PLACES)
def test_places_are_read_back(places: TokenPlaces) -> None:
    assert TokenPlaces.read(str(places)) == places


@pytest.mark.parametrize(
    ("text", "positions"),
    [
        ("3", [2]),
        ("1,3-5", [0, 2, 3, 4]),
        ("6-", [5, 6, 7, 8, 9]),
        ("last", [6]),
        ("2, last-", [1, 6, 7, 8, 9]),
        ("9", [8]),
    ],
)
@pytest.mark.parametrize("bos", [False, True])
def test_places_as_positions(text: str, positions: list[int], bos: bool) -> None:
    """Of a prompt of seven tokens that is written on by three; the start-of-text token moves them by one."""
    slices = TokenPlaces.read(text).slices(tokens=7, bos=bos)
    held = sorted({at for span in slices for at in range(10 + int(bos))[span]})
    assert held == [at + int(bos) for at in positions]


@pytest.mark.parametrize("text", ["", "0", "x", "3,", "3--5", "last-9", "-3", "3 5", "1e3", "1234567"])
def test_what_names_no_tokens_is_refused(text: str) -> None:
    with pytest.raises(BadInputError, match="write 3,5-9 for tokens"):
        TokenPlaces.read(text)


def test_a_span_that_runs_backwards_is_refused() -> None:
    with pytest.raises(BadInputError, match="write 5-9"):
        TokenPlaces.read("9-5")
