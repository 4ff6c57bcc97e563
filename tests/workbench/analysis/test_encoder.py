"""The sentence encoder: its vectors are those of its own library, offline, and a missing package is named."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.analysis import encoder
from workbench.analysis.encoder import encoder_folder, load_encoder
from workbench.errors import UnsupportedError

TEXTS = ["return the sum", "def add(a, b):\n    return a + b", "", "a " * 400, "It was a bright cold day in April."]


def test_vectors_equal_those_of_sentence_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where texts are cut, empty, or spread over batches."""
    library = pytest.importorskip("sentence_transformers")
    monkeypatch.setattr(encoder, "BATCH", 2)
    done: list[int] = []
    found = load_encoder().encode(TEXTS, done.append)
    expected = library.SentenceTransformer(str(encoder_folder()), device="cpu").encode(TEXTS)
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() < 1e-5
    assert np.linalg.norm(found, axis=1) == pytest.approx(1, abs=1e-5)
    assert done == [2, 2, 1]


def test_meaning_is_nearer_than_words() -> None:
    vectors = load_encoder().encode(["a dog barked at night", "the puppy was loud after dark", "a dog-eared tax form"])
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2]


def test_no_texts_give_no_vectors() -> None:
    assert load_encoder().encode([]).shape == (0, 384)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder, "PACKAGE", "no_such_package")
    assert encoder_folder() is None
    with pytest.raises(UnsupportedError, match=r"\.\[encoder\]"):
        load_encoder()
