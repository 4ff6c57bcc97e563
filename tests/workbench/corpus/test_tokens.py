"""Token streams and held-out sequences of a corpus."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from transformers import AutoTokenizer

from workbench.corpus import load_corpus
from workbench.corpus.tokens import encode, label_sequences, token_stream

LABELS = ("lua", "prose")


def test_stream_holds_every_document_once_in_a_seeded_order(corpus: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(corpus / "tokenizer")
    train = load_corpus(corpus, "train")
    stream = token_stream(train, tokenizer, seed=1)
    assert stream.dtype == np.uint16
    starts = np.flatnonzero(stream == tokenizer.bos_token_id)
    documents = [tokenizer.decode(part[1:]) for part in np.split(stream, starts[1:])]
    assert sorted(documents) == sorted(train["text"])
    assert documents != train["text"]
    assert np.array_equal(stream, token_stream(train, tokenizer, seed=1))
    assert not np.array_equal(stream, token_stream(train, tokenizer, seed=2))


def test_heldout_sequences_open_documents(corpus: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(corpus / "tokenizer")
    sequences = label_sequences(load_corpus(corpus, "heldout"), tokenizer, length=16, count=2)
    assert list(sequences) == sorted(LABELS)
    for ids in sequences.values():
        assert ids.shape[1] == 16
        assert len(ids) <= 2
        assert bool((ids[:, 0] == tokenizer.bos_token_id).all())
        assert ids.dtype == torch.int64


def test_a_vocabulary_beyond_16_bits_is_not_cut() -> None:
    class Wide:
        def __len__(self) -> int:
            return 70_000

        def __call__(self, texts: list[str], **_: object) -> dict[str, list[list[int]]]:
            return {"input_ids": [[69_999, 1] for _ in texts]}

    (ids,) = encode(["text"], Wide())
    assert ids.tolist() == [69_999, 1]
