"""A labelled corpus as token ids: one shuffled stream to train on, and held-out sequences of every label."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import WorkbenchError

if TYPE_CHECKING:
    from datasets import Dataset
    from torch import Tensor

BATCH = 256


def _encode(texts: list[str], tokenizer: Any) -> list[np.ndarray]:
    """Token ids of each text, `<s>` in front, as the tokenizer puts it."""
    return [np.asarray(ids, np.uint16) for ids in tokenizer(texts, verbose=False)["input_ids"]]


def _check(tokenizer: Any) -> None:
    if len(tokenizer) > np.iinfo(np.uint16).max + 1:
        raise WorkbenchError(f"the tokenizer has {len(tokenizer):,} tokens; training takes at most 65,536.")


def token_stream(corpus: Dataset, tokenizer: Any, seed: int = 0) -> np.ndarray:
    """All documents in a shuffled order, one behind the other: (n,) uint16, each document opened by `<s>`.

    Raises:
        WorkbenchError: the vocabulary does not fit 16 bits.
    """
    _check(tokenizer)
    shuffled = corpus.select_columns("text").shuffle(seed=seed)
    parts = []
    for start in range(0, len(shuffled), BATCH):
        parts += _encode(shuffled[start : start + BATCH]["text"], tokenizer)
    return np.concatenate(parts)


def label_sequences(corpus: Dataset, tokenizer: Any, length: int, count: int) -> dict[str, Tensor]:
    """Up to ``count`` sequences of ``length`` tokens of each label: label -> (n, length) int64.

    Sequences are cut from the starts of the documents, in the corpus' order; a label without one long enough is left
    out.
    """
    import torch

    _check(tokenizer)
    found: dict[str, list[np.ndarray]] = {}
    for start in range(0, len(corpus), BATCH):
        batch = corpus[start : start + BATCH]
        wanted = [n for n, label in enumerate(batch["label"]) if len(found.get(label, [])) < count]
        texts = [batch["text"][n][: 16 * length] for n in wanted]
        for n, ids in zip(wanted, _encode(texts, tokenizer) if texts else [], strict=True):
            sequences = found.setdefault(batch["label"][n], [])
            if len(ids) >= length and len(sequences) < count:
                sequences.append(ids[:length])
    return {label: torch.from_numpy(np.stack(rows).astype(np.int64)) for label, rows in sorted(found.items()) if rows}
