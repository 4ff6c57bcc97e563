"""Where tokens spell a text, against every stretch of tokens looked at one by one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench import open_run
from workbench.errors import BadInputError, UnsupportedError
from workbench.search import occurrences, spelling

PIECES = [b"", b"a", b" a", b"ab", b"b", b"b ", b" ", b"\n", b"\xe2", b"\x82\xac", b"aba", b" ab\n"]


class Toy:
    """A run of documents of token ids; a break in a document is a control token."""

    def __init__(self, documents: list[list[int | None]]) -> None:
        self.manifest = {"model": {"vocabulary": len(PIECES)}}
        kept = [
            (doc, at, token)
            for doc, tokens in enumerate(documents)
            for at, token in enumerate(tokens)
            if token is not None
        ]
        self.doc, self.position, ids = np.array(kept, np.int64).reshape(-1, 3).T
        self.token_column = ids.astype(np.int32)
        self.geometry = SimpleNamespace(places=lambda rows: (self.doc[rows], self.position[rows]))


def _expected(toy: Toy, text: str) -> list[int]:
    wanted, found = text.encode(), []
    for first in range(len(toy.token_column)):
        for last in range(first, len(toy.token_column)):
            joined = toy.doc[first] == toy.doc[last] and toy.position[last] - toy.position[first] == last - first
            pieces = [PIECES[token] for token in toy.token_column[first : last + 1]]
            if wanted.lstrip() == wanted:
                pieces[0] = pieces[0].lstrip()
            if wanted.rstrip() == wanted:
                pieces[-1] = pieces[-1].rstrip()
            if joined and all(pieces) and b"".join(pieces) == wanted:
                found.append(last)
    return sorted(found)


TOKENS = st.lists(st.one_of(st.integers(0, len(PIECES) - 1), st.none()), max_size=9)
TEXTS = st.one_of(
    st.text("ab \n€", min_size=1, max_size=5), st.sampled_from(["a", "ab", "aba", "€", " ", " a", "abab"])
)


@given(st.lists(TOKENS, max_size=4), TEXTS)
def test_occurrences_are_those_of_every_stretch_of_tokens(documents: list[list[int | None]], text: str) -> None:
    toy: Any = Toy(documents)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spelling, "_vocabulary", lambda run: spelling._Vocabulary(PIECES))
        assert occurrences(toy, text).tolist() == _expected(toy, text)


def test_tokens_of_a_run_spell_words(run_path) -> None:
    run = open_run(run_path)  # one token per character
    rows = occurrences(run, "print")
    texts = [run.text(int(doc)) for doc in run.documents["doc"]]
    assert len(rows) == sum(text.count("print") for text in texts) > 0
    for row in rows:
        assert "".join(run.row_text(range(row - 4, row + 1))) == "print"


@pytest.mark.parametrize("text", ["", "\ud800"])
def test_text_that_is_none_is_refused(run_path, text: str) -> None:
    with pytest.raises(BadInputError, match="empty|half of a pair"):
        occurrences(open_run(run_path), text)


def test_run_without_a_tokenizer_says_so(sound_run) -> None:
    with pytest.raises(UnsupportedError, match="no tokenizer"):
        occurrences(open_run(sound_run), "a")
