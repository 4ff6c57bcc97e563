"""Texts to search for that a run can answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..analysis.run_model import run_tokenizer
from ..store.token_text import token_bytes

if TYPE_CHECKING:
    from ..store import Run

SHORTEST = 3  # bytes of a suggested text
CANDIDATES = 100  # tokens of a label that are looked at


def example_queries(run: Run, n: int = 3) -> list[str]:
    """Return one text for each of the ``n`` largest labels: the token of three characters or more that marks it most.

    That is the token of highest ``c log(p / q)``, for ``c`` occurrences in the label, and shares ``p`` of the label's
    tokens and ``q`` of all tokens.

    Args:
        run: an opened run.
        n: number of texts, at most; a run of one label, or without long tokens, has fewer.

    Returns:
        The texts, without blanks around them, each once.

    Raises:
        UnsupportedError: the run has no tokenizer.

    Examples:
        >>> from workbench import open_run
        >>> from workbench.search import example_queries
        >>> len(example_queries(open_run("runs/demo")))
        3
    """
    tokenizer, ids = run_tokenizer(run), run.token_column
    of_token = np.repeat(run.document_labels, run.documents["tokens"].to_numpy())
    everywhere, found = np.bincount(ids), dict[str, None]()
    for label in np.argsort(-run.label_tokens.to_numpy(), kind="stable")[:n]:
        counts = np.bincount(ids[of_token == label], minlength=len(everywhere))
        share = counts / max(counts.sum(), 1) / np.maximum(everywhere / max(len(ids), 1), 1e-300)
        weight = counts * np.log(np.maximum(share, 1e-300))
        best = np.argsort(-weight, kind="stable")[:CANDIDATES]
        texts = (piece.strip().decode(errors="replace") for piece in token_bytes(tokenizer, best.tolist()))
        found |= dict.fromkeys([next((t for t in texts if len(t) >= SHORTEST and t not in found), "")])
    return [text for text in found if text]
