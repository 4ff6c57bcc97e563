"""A corpus grown by repetition: long enough, of the same words, the same for the same seed."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from workbench.bench.corpus import grow_corpus
from workbench.errors import WorkbenchError
from workbench.store.token_text import load_tokenizer

DEMO = Path(__file__).parents[3] / "monet_model" / "demo"


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    """Two documents of two labels."""
    path = tmp_path_factory.mktemp("grow") / "small.parquet"
    texts = ["def f(x):\n    return x + 1\n" * 20, "the cat sat on the mat\n" * 30]
    pd.DataFrame({"text": texts, "label": ["python", "prose"]}).to_parquet(path)
    return path


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text)


def test_copies_are_perturbed_and_stay_of_their_label(small, tmp_path) -> None:
    tokens = grow_corpus(small, DEMO, tmp_path / "big.parquet", 3000, seed=3)
    big, originals = pd.read_parquet(tmp_path / "big.parquet"), pd.read_parquet(small)
    tokenizer = load_tokenizer(DEMO)
    counts = [len(ids) for ids in tokenizer(big["text"].tolist(), add_special_tokens=False)["input_ids"]]
    assert tokens == sum(counts) >= 3000 > sum(counts[:-1])
    assert big["text"][:2].tolist() == originals["text"].tolist()
    for number in range(2, len(big)):
        original = originals.iloc[number % 2]
        assert big["label"][number] == original["label"]
        before, after = words(original["text"]), words(big["text"][number])
        assert len(before) == len(after)
        assert set(after) <= set(before)
        assert before != after
        assert re.sub(r"\w+", "w", big["text"][number]) == re.sub(r"\w+", "w", original["text"])
    kept = Counter()
    for number in range(2, len(big)):
        pairs = zip(words(originals["text"][number % 2]), words(big["text"][number]), strict=True)
        kept.update(a == b for a, b in pairs)
    assert 0.88 < kept[True] / kept.total() < 0.95  # one in ten is drawn, and some draw themselves
    assert big["source"].is_unique


def test_the_same_seed_gives_the_same_bytes(small, tmp_path) -> None:
    files = [tmp_path / f"{n}.parquet" for n in range(3)]
    for file, seed in zip(files, (1, 1, 2), strict=True):
        grow_corpus(small, DEMO, file, 2000, seed)
    assert files[0].read_bytes() == files[1].read_bytes() != files[2].read_bytes()


def test_refusals(small, tmp_path) -> None:
    with pytest.raises(WorkbenchError, match="exists; remove it"):
        grow_corpus(small, DEMO, small, 10)
    pd.DataFrame({"input_ids": [[1, 2]], "label": ["a"]}).to_parquet(tmp_path / "ids.parquet")
    with pytest.raises(WorkbenchError, match="grown from text with a tokenizer"):
        grow_corpus(tmp_path / "ids.parquet", DEMO, tmp_path / "out.parquet", 10)
    assert not (tmp_path / "out.parquet").exists()
