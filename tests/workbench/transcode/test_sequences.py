"""Training and held-out sequences of a corpus."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from workbench.errors import BadInputError
from workbench.transcode import Teacher
from workbench.transcode.sequences import read_sequences


def _documents(count: int, ids: int, size: int = 16) -> Dataset:
    """Documents that repeat their number, from ``ids`` on."""
    return Dataset.from_list([{"input_ids": [ids + n] * size, "label": "x"} for n in range(count)])


def test_one_document_in_ten_is_held_out(teacher: Teacher) -> None:
    read = read_sequences(_documents(20, 0), teacher, 16, 100, 5)
    assert sorted(set(read.heldout["x"].flatten().tolist())) == [0, 10]
    assert sorted(set(read.train.flatten().tolist())) == [n for n in range(20) if n % 10]
    assert read.train.shape == (18, 16)


def test_splits_are_kept_apart(teacher: Teacher, tmp_path: Path) -> None:
    for split, ids in (("train", 0), ("heldout", 30)):
        (tmp_path / split).mkdir()
        _documents(4, ids).to_parquet(tmp_path / split / "part.parquet")
    read = read_sequences(tmp_path, teacher, 16, 100, 5)
    assert sorted(set(read.train.flatten().tolist())) == [0, 1, 2, 3]
    assert sorted(set(read.heldout["x"].flatten().tolist())) == [30, 31, 32, 33]


def test_every_epoch_reads_each_sequence_once_in_an_order_of_its_own(teacher: Teacher, corpus: Dataset) -> None:
    read = read_sequences(corpus, teacher, 16, 24, 2, seed=1)
    epochs = [np.concatenate([read.rows(step, 6) for step in range(4 * n, 4 * n + 4)]) for n in range(2)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(24))] * 2
    assert not np.array_equal(*epochs)


def test_seeds_share_sequences_and_not_their_order(teacher: Teacher, corpus: Dataset) -> None:
    one, two = (read_sequences(corpus, teacher, 16, 24, 2, seed=seed) for seed in (1, 2))
    assert one.identity == two.identity
    assert not np.array_equal(one.rows(0, 24), two.rows(0, 24))


def test_a_corpus_that_cannot_be_used_is_refused(teacher: Teacher) -> None:
    with pytest.raises(BadInputError, match="token id 64; .* knows 0 to 63"):
        read_sequences(_documents(20, 50), teacher, 16, 100, 5)
    with pytest.raises(BadInputError, match="too few for a sequence of 64"):
        read_sequences(_documents(3, 0), teacher, 64, 100, 5)
    with pytest.raises(BadInputError, match="no label has 40 held-out tokens"):
        read_sequences(_documents(20, 0), teacher, 40, 100, 5)
    texts = Dataset.from_list([{"text": "words", "label": "x"}])
    with pytest.raises(BadInputError, match="has no tokenizer"):
        read_sequences(texts, teacher, 16, 100, 5)


def test_texts_are_read_by_the_teachers_tokenizer(teacher: Teacher) -> None:
    words = Tokenizer(models.WordLevel({f"w{n}": n for n in range(64)}, unk_token="w0"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    reader = replace(teacher, tokenizer=PreTrainedTokenizerFast(tokenizer_object=words, unk_token="w0"))
    texts = Dataset.from_list([{"text": f"w{n} " * 16, "label": "x"} for n in range(20)])
    ids = read_sequences(texts, reader, 16, 100, 5)
    same = read_sequences(_documents(20, 0), teacher, 16, 100, 5)
    assert np.array_equal(ids.train, same.train)
    assert ids.heldout["x"].tolist() == same.heldout["x"].tolist()
