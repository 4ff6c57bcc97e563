"""`monet corpus score`: a number for every text of a corpus, from a classifier that someone asks for by name.

Outside the trusted path: the one classifier that ships in a package, profanity-check's, is a pickle, which can run any
code when it is loaded. So nothing loads it but an explicit demand, and it is an extra that no other part needs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..errors import WorkbenchError
from ..store.files import replacing
from .load import load_corpus

if TYPE_CHECKING:
    from datasets import Dataset

Scorer = Callable[[Sequence[str]], NDArray[np.float64]]  # texts -> (texts,) numbers

BATCH = 256


def load_scorer(name: str) -> Scorer:
    """A classifier of texts by name.

    ``profanity`` is alt-profanity-check: a linear classifier over words, trained on comments of the web that people
    had marked as offensive; the number is its probability, from 0 to 1. Of prose it knows swear words and little else,
    and nothing at all of code.

    Raises:
        WorkbenchError: there is no such scorer, or its package is not installed.
    """
    if name != "profanity":
        raise WorkbenchError(f"no scorer is called {name!r}; there is profanity.")
    try:
        package = import_module("profanity_check")
    except ImportError as error:
        raise WorkbenchError(
            "the scorer profanity needs a package: `pip install alt-profanity-check`. Its model is a pickle, which can "
            "run code when it is loaded; install it only if you trust its authors."
        ) from error

    def profanity(texts: Sequence[str]) -> NDArray[np.float64]:
        return np.asarray(package.predict_prob(list(texts)), np.float64)

    return profanity


def score_corpus(corpus: str | Path, out: Path, name: str, split: str | None = None) -> Dataset:
    """Writes a corpus with a column ``score``, in place of one it may have, to a Parquet file.

    Args:
        corpus, split: as :func:`~workbench.corpus.load_corpus` takes them.
        out: the file, ending in .parquet; replaced whole or not at all.
        name: of the scorer, for :func:`load_scorer`.

    Returns:
        The corpus with its scores.

    Raises:
        WorkbenchError: the corpus cannot be read or has no text, no such scorer, or ``out`` has another ending.
    """
    if out.suffix != ".parquet":
        raise WorkbenchError(f"{out} must end in .parquet, the format that scores are written in.")
    data = load_corpus(corpus, split)
    if "text" not in data.column_names:
        raise WorkbenchError(f"the corpus {corpus} holds token ids without text, and a scorer reads text.")
    scorer = load_scorer(name)
    batches = (data[start : start + BATCH]["text"] for start in range(0, len(data), BATCH))
    scores = np.concatenate([scorer(texts) for texts in batches])
    if "score" in data.column_names:
        data = data.remove_columns("score")
    data = data.add_column("score", scores.tolist())
    with replacing(out) as temporary:
        data.to_parquet(str(temporary))
    return data
