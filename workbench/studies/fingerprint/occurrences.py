"""Whether a short run of tokens stands anywhere in a corpus: exact, so that no key that the model has read is used."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

_BASE = np.uint64(0x9E3779B97F4A7C15)  # odd, so that every token of a window counts


class Occurrences:
    """All windows of a number of tokens in a corpus.

    They are kept as hashes. Two different windows may share one, which calls a window present that is not, about once
    in 1e12 look-ups; one that is present is always found.

    Args:
        documents: ids of each document; windows do not reach from one into the next.
        length: tokens of a window.

    Examples:
        >>> import numpy as np
        >>> from workbench.studies.fingerprint.occurrences import Occurrences
        >>> found = Occurrences([np.array([1, 2, 3, 4]), np.array([5, 6])], 2)
        >>> found.contain(np.array([[2, 3], [4, 5]])).tolist()
        [True, False]
    """

    def __init__(self, documents: Iterable[npt.NDArray[np.integer]], length: int) -> None:
        self.length = length
        parts = [_hashes(ids, length) for ids in documents if len(ids) >= length]
        self.windows = np.unique(np.concatenate(parts)) if parts else np.empty(0, np.uint64)

    def contain(self, keys: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Whether each of some windows, (windows, length), is in the corpus."""
        wanted = _hashes(np.ascontiguousarray(keys).ravel(), self.length)[:: self.length]
        if not len(self.windows):
            return np.zeros(len(keys), np.bool_)
        at = np.searchsorted(self.windows, wanted).clip(max=len(self.windows) - 1)
        return np.asarray(self.windows[at] == wanted, np.bool_)


def _hashes(ids: npt.NDArray[np.integer], length: int) -> npt.NDArray[np.uint64]:
    """A polynomial of every window's ids, modulo 2**64: (len(ids) - length + 1,)."""
    wide = ids.astype(np.uint64) + np.uint64(1)
    count = len(ids) - length + 1
    found = np.zeros(count, np.uint64)
    for at in range(length):
        found *= _BASE
        found += wide[at : at + count] * (wide[at : at + count] ^ _BASE)  # squares break up the polynomial's symmetries
    return found
