"""`monet corpus score`: a score for every text of a corpus, from a classifier chosen by name.

Not part of the trusted path: the only classifier available as a package, profanity-check's, is a pickle, which can run
any code when it is loaded. So it is loaded on explicit request only, and is an extra that nothing else needs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import numpy as np
from numpy.typing import NDArray

from ..errors import BadInputError, NotFoundError, UnsupportedError
from ..extras import installed, missing
from ..store.files import replacing
from .load import Corpus, ReadOptions, read_corpus

if TYPE_CHECKING:
    from datasets import Dataset

Scorer = Callable[[Sequence[str]], NDArray[np.float64]]  # texts -> (texts,) numbers

BATCH = 256


def load_scorer(name: str) -> Scorer:
    """Load a classifier of texts by name.

    ``profanity`` is alt-profanity-check: a linear classifier over words, trained on web comments that people marked as
    offensive. Its score is a probability from 0 to 1. It recognises swear words and little else, and nothing in code.

    Args:
        name: of the classifier: ``profanity``.

    Returns:
        A function from texts to scores, (texts,).

    Raises:
        NotFoundError: there is no such classifier.
        UnsupportedError: its package (extra ``profanity``) is not installed or cannot be imported.

    Examples:
        >>> from workbench.corpus import load_scorer
        >>> try:
        ...     load_scorer("politeness")
        ... except ValueError as error:
        ...     print(error)
        there is no classifier 'politeness'; there is profanity.
    """
    if name != "profanity":
        raise NotFoundError(f"there is no classifier {name!r}; there is profanity.")
    try:
        package = import_module("profanity_check")
    except ImportError as error:
        if installed("profanity_check"):
            raise UnsupportedError(f"profanity_check is installed, but importing it failed: {error}.") from error
        raise UnsupportedError(
            f"{missing('profanity', 'the classifier profanity')} Its model is a pickle, which can run code when it is "
            "loaded; install it only if you trust its authors."
        ) from error

    def profanity(texts: Sequence[str]) -> NDArray[np.float64]:
        return np.asarray(package.predict_prob(list(texts)), np.float64)

    return profanity


def score_corpus(
    corpus: str | Path,
    out: Path,
    name: str,
    split: str | None = None,
    *,
    report: Callable[[Corpus], None] | None = None,
    **options: Unpack[ReadOptions],
) -> Dataset:
    """Give every text of a corpus a score, and write the corpus to a Parquet file.

    Args:
        corpus: as for ``read_corpus``.
        out: the file, ending in .parquet; replaced whole or not at all.
        name: of the classifier, as for ``load_scorer``.
        split: as for ``read_corpus``.
        report: called with the corpus when it has been read.
        options: the keywords of ``read_corpus``; ``score_column`` names the scores that are replaced.

    Returns:
        The corpus with a column ``score``, which replaces one that it had.

    Raises:
        NotFoundError: there is no such corpus or classifier.
        BadInputError: the corpus cannot be read, or ``out`` has another ending.
        DamagedError: a file of the corpus is damaged.
        UnsupportedError: the corpus has no text, or the classifier's package is not installed.

    Examples:
        >>> from pathlib import Path
        >>> from workbench.corpus import score_corpus
        >>> try:
        ...     score_corpus("monet_model/demo/heldout.parquet", Path("scored.csv"), "profanity")
        ... except ValueError as error:
        ...     print(error)
        scored.csv must end in .parquet, the format that scores are written in.
    """
    if out.suffix != ".parquet":
        raise BadInputError(f"{out} must end in .parquet, the format that scores are written in.")
    read = read_corpus(corpus, split, **options)
    if report is not None:
        report(read)
    data = read.data
    if "text" not in data.column_names:
        raise UnsupportedError(f"the corpus {corpus} has token ids without text, and a classifier needs text.")
    scorer = load_scorer(name)
    batches = ([t or "" for t in data[start : start + BATCH]["text"]] for start in range(0, len(data), BATCH))
    scores = np.concatenate([scorer(texts) for texts in batches])
    if "score" in data.column_names:
        data = data.remove_columns("score")
    data = data.add_column("score", scores.tolist())
    with replacing(out) as temporary:
        data.to_parquet(str(temporary))
    return data
