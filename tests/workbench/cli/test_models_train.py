"""`monet train` from a corpus folder to a model that loads, and what it says of a corpus it cannot use."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer

import monet_model  # noqa: F401 (tells the Auto classes of Monet)
from workbench.corpus.tokenizer import train_tokenizer
from workbench.errors import WorkbenchError
from workbench.training import train_on_corpus

CONFIG: dict[str, Any] = {
    "model": {
        "vocab_size": 300,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "max_position_embeddings": 32,
        "moe_dim": 4,
        "moe_heads": 1,
        "moe_experts": 8,
        "moe_topk": 2,
        "moe_groups": 2,
    },
    "training": {"tokens": 640, "sequence": 16, "batch": 2, "eval_every": 10, "warmup": 2},
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus folder of two labels, with its tokenizer."""
    folder = tmp_path_factory.mktemp("corpus")
    rows = [{"text": f"local x{n} = {n}\n" * 8, "label": "lua"} for n in range(20)]
    rows += [{"text": f"$x{n} = {n};\n" * 8, "label": "php"} for n in range(20)]
    for split, part in (("train", rows), ("heldout", rows[::7])):
        (folder / split).mkdir()
        Dataset.from_list(part).to_parquet(folder / split / "part.parquet")
    train_tokenizer(folder, folder / "tokenizer", vocab_size=300)
    return folder


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., Path]:
    """Writes the configuration, with model fields replaced."""

    def write(**model: Any) -> Path:
        path = tmp_path / "config.json"
        path.write_text(json.dumps(CONFIG | {"model": CONFIG["model"] | model}))
        return path

    return write


def test_a_trained_model_loads_with_its_tokenizer(corpus: Path, config: Callable[..., Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    train_on_corpus(config(), corpus, out)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(out), AutoTokenizer.from_pretrained(out)
    assert model.generate(**tokenizer("local", return_tensors="pt"), max_new_tokens=3).shape == (
        1,
        3 + len(tokenizer("local").input_ids),
    )
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert set(rows[-1]["heldout"]) == {"lua", "php"}
    assert rows[-1]["step"] == 20
    train_on_corpus(config(), corpus, out, resume=True)  # already done: says so by doing nothing
    assert rows == [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def test_a_corpus_that_does_not_fit_is_refused(corpus: Path, config: Callable[..., Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(WorkbenchError, match="the model's vocab_size is 100"):
        train_on_corpus(config(vocab_size=100), corpus, out)
    with pytest.raises(WorkbenchError, match="there is no tokenizer in"):
        train_on_corpus(config(), tmp_path / "nowhere", out)
    assert not out.exists()
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    with pytest.raises(WorkbenchError, match="is not empty"):
        train_on_corpus(config(), corpus, out)
