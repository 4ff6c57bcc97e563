"""Where the tokens of a run spell a text.

1. Take every token whose bytes are a beginning of the text.
2. From each place reached in the text, go on with every next token of the document whose bytes come next there.
3. The token rows at which the end of the text is reached are its occurrences.

Each step looks at all places at once; the vocabulary is looked up by its bytes, so the time grows with the number of
tokens and not with the vocabulary.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..analysis.run_model import run_tokenizer
from ..errors import BadInputError
from ..store.token_text import token_bytes

if TYPE_CHECKING:
    from ..store import Run

CACHED_RUNS = 4
_CHANGES: dict[tuple[bool, bool], Callable[[bytes], bytes]] = {
    (False, False): bytes,
    (True, False): bytes.lstrip,
    (False, True): bytes.rstrip,
    (True, True): bytes.strip,
}


class _Vocabulary:
    """Token ids by their bytes: as they are, and without blanks in front, behind or both."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self.size, self.longest = len(pieces), max(map(len, pieces), default=0)
        self._ids: dict[tuple[bool, bool], dict[bytes, list[int]]] = {}
        for ends, change in _CHANGES.items():
            table = self._ids[ends] = defaultdict(list)
            for token, piece in enumerate(pieces):
                table[change(piece)].append(token)

    def lengths(self, text: bytes, begin: int) -> NDArray[np.int64]:
        """Bytes of ``text`` from ``begin`` that each token of the vocabulary stands for; 0 if the text goes on
        otherwise. Blanks around the text are free, unless it has blanks there itself.
        """
        found = np.zeros(self.size, np.int64)
        for end in range(begin + 1, min(len(text), begin + self.longest) + 1):
            front = begin == 0 and text.lstrip() == text
            back = end == len(text) and text.rstrip() == text
            found[self._ids[front, back].get(text[begin:end], [])] = end - begin
        return found


@lru_cache(maxsize=CACHED_RUNS)
def _vocabulary(run: Run) -> _Vocabulary:
    return _Vocabulary(token_bytes(run_tokenizer(run), range(run.manifest["model"]["vocabulary"])))


def occurrences(run: Run, text: str) -> NDArray[np.int64]:
    """Return the token rows where a text ends that whole tokens spell.

    ``the`` is spelled by the token ``the`` and by `` the``, and by ``th`` and ``e`` in a row; not by ``there``. Case
    counts. Blanks at the ends of the tokens are free, unless the text itself begins or ends with one: `` the`` is not
    spelled by ``the``.

    Args:
        run: an opened run with a tokenizer.
        text: the text; of one token or several.

    Returns:
        (occurrences,) rows of the last token of each, ascending: there the model has read the whole text.

    Raises:
        BadInputError: the text is empty, or no valid Unicode.
        UnsupportedError: the run has no tokenizer.

    Examples:
        >>> from workbench import open_run
        >>> from workbench.search import occurrences
        >>> run = open_run("runs/demo")
        >>> sorted(set(run.row_text(occurrences(run, "return"))))
        [' return', 'return']
    """
    if not text:
        raise BadInputError("the text to search for is empty; give at least one character.")
    try:
        wanted = text.encode()
    except UnicodeEncodeError as error:
        raise BadInputError(f"the text is not Unicode: character {error.start + 1} is half of a pair.") from error
    vocabulary, ids = _vocabulary(run), run.token_column
    reached: dict[int, list[NDArray[np.int64]]] = defaultdict(list)  # bytes spelled: rows of the token that spells them
    _step(vocabulary.lengths(wanted, 0)[ids], np.arange(len(ids)), 0, reached)
    for begin in range(1, len(wanted)):
        if begin in reached:
            rows = np.concatenate(reached.pop(begin)) + 1
            rows = rows[rows < len(ids)]
            lengths = vocabulary.lengths(wanted, begin)[ids[rows]]
            rows, lengths = rows[lengths > 0], lengths[lengths > 0]
            goes_on = _follow(run, rows)
            _step(lengths[goes_on], rows[goes_on], begin, reached)
    return np.sort(np.concatenate([np.zeros(0, np.int64), *reached[len(wanted)]]))


def _step(
    lengths: NDArray[np.int64], rows: NDArray[np.int64], begin: int, reached: dict[int, list[NDArray[np.int64]]]
) -> None:
    """Sort rows by the place in the text that their token reaches."""
    for length in np.flatnonzero(np.bincount(lengths)):
        if length:
            reached[begin + int(length)].append(rows[lengths == length])


def _follow(run: Run, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each row is the token right after the row before it: of its document, with no control token between."""
    (doc, position), (doc_before, before) = (run.geometry.places(at) for at in (rows, rows - 1))
    return (doc == doc_before) & (position == before + 1)
