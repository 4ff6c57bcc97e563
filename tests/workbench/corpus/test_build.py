"""Building a corpus end to end on small made-up sources, and the tokenizer and token streams made from it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from workbench.corpus import build, build_corpus, load_corpus
from workbench.corpus.code7 import SourceFile, detokenise
from workbench.corpus.tokens import label_sequences, token_stream
from workbench.errors import WorkbenchError

LABELS = ("lua", "prose")


def _text(label: str, number: int) -> str:
    rng = np.random.default_rng((len(label), number))
    words = ["local", "print", "return", "the", "of", "and", "end", "function", "if", "it", "was", "a"]
    lines = (" ".join(rng.choice(words, 8)) for _ in range(20))
    return ("-- Copyright Ada\n" if label == "lua" else "") + "\n".join(lines) + "\n"


def _sources(_: Path) -> Iterable[tuple[str, Iterator[SourceFile]]]:
    for label in LABELS:
        files = (SourceFile(label, f"pack 1.0: {label}/{n}", "MIT", _text(label, n % 30).encode()) for n in range(40))
        yield label, files


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of two labels, 30 different files each."""
    out = tmp_path_factory.mktemp("corpus") / "tiny"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(build.BUILDERS, "tiny", _sources)
        build_corpus("tiny", out)
    return out


def test_files_are_cleaned_deduplicated_and_split_by_file(corpus: Path) -> None:
    train, heldout = load_corpus(corpus, "train"), load_corpus(corpus, "heldout")
    sources = [*train["source"], *heldout["source"]]
    assert len(sources) == len(set(sources)) == 60
    assert len({*train["text"], *heldout["text"]}) == 60
    assert not any("Copyright" in text for text in train["text"])
    assert set(train["copyright"]) == {"Copyright Ada", ""}
    assert set(heldout["label"]) == set(LABELS)
    summary = json.loads((corpus / "corpus.json").read_text())
    assert summary["packages"] == ["pack 1.0"]
    assert summary["characters"]["train"]["lua"] == sum(len(row["text"]) for row in train if row["label"] == "lua")


def test_building_again_gives_the_same_files(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(build.BUILDERS, "tiny", _sources)
    build_corpus("tiny", tmp_path / "again")
    for name in ("train/part-00000.parquet", "heldout/part-00000.parquet", "tokenizer/tokenizer.json"):
        assert (corpus / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_nothing_is_left_of_a_build_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Path) -> Iterable[tuple[str, Iterator[SourceFile]]]:
        yield next(iter(_sources(tmp_path)))
        raise WorkbenchError("no network")

    monkeypatch.setitem(build.BUILDERS, "tiny", broken)
    with pytest.raises(WorkbenchError, match="no network"):
        build_corpus("tiny", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(WorkbenchError, match="is not empty"):
        build_corpus("tiny", tmp_path / "full")
    with pytest.raises(WorkbenchError, match="no corpus is called 'code8'; there is code7"):
        build_corpus("code8", tmp_path / "out")


@given(st.text())
def test_the_tokenizer_loses_nothing(corpus: Path, text: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(corpus / "tokenizer")
    if any(special in text for special in tokenizer.all_special_tokens):
        return
    ids = tokenizer(text)["input_ids"]
    assert ids[0] == tokenizer.bos_token_id
    assert tokenizer.bos_token_id not in ids[1:]
    assert tokenizer.decode(ids[1:]) == text


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


def test_prose_is_readable_without_its_tags() -> None:
    tagged = "The/at jury/nn said/vbd ,/, ``/`` No/at !/. !/. ''/''\n\n\nIt/pps (/( was/bedz )/) n't/*"
    assert detokenise(tagged) == 'The jury said, "No!"\n\nIt (was)n\'t\n'
