"""Token ids of a labelled corpus: one shuffled stream to train on, and held-out sequences per label."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from datasets import Dataset
    from torch import Tensor

BATCH = 256  # documents tokenised at once


def encode(texts: list[str], tokenizer: Any) -> list[np.ndarray]:
    """Token ids of each text, with the start-of-text token that the tokenizer prepends; ``<s>`` in a text is text.

    They are uint16, or uint32 where the vocabulary needs it.
    """
    kind = np.uint16 if len(tokenizer) <= np.iinfo(np.uint16).max + 1 else np.uint32
    encoded = tokenizer(texts, verbose=False, split_special_tokens=True)
    return [np.asarray(ids, kind) for ids in encoded["input_ids"]]


def token_stream(corpus: Dataset, tokenizer: Any, seed: int = 0) -> np.ndarray:
    """Return the tokens of all documents, shuffled and concatenated: (n,), each document starting with `<s>`.

    They are uint16, or uint32 where the vocabulary needs it.
    """
    shuffled = corpus.select_columns("text").shuffle(seed=seed)
    parts = []
    for start in range(0, len(shuffled), BATCH):
        parts += encode(shuffled[start : start + BATCH]["text"], tokenizer)
    return np.concatenate(parts)


def label_sequences(corpus: Dataset, tokenizer: Any, length: int, count: int) -> dict[str, Tensor]:
    """Return up to ``count`` sequences of ``length`` tokens per label: label -> (n, length) int64.

    Sequences are cut from the starts of the documents, in corpus order; a label without a long enough document is left
    out.
    """
    import torch

    by_label: dict[str, list[np.ndarray]] = {}
    for start in range(0, len(corpus), BATCH):
        batch = corpus[start : start + BATCH]
        wanted = [n for n, label in enumerate(batch["label"]) if len(by_label.get(label, [])) < count]
        texts = [batch["text"][n][: 16 * length] for n in wanted]
        for n, ids in zip(wanted, encode(texts, tokenizer) if texts else [], strict=True):
            sequences = by_label.setdefault(batch["label"][n], [])
            if len(ids) >= length and len(sequences) < count:
                sequences.append(ids[:length])
    return {label: torch.from_numpy(np.stack(ids).astype(np.int64)) for label, ids in sorted(by_label.items()) if ids}
