"""Folders with a `tokenizer.model` alone: texts are split as SentencePiece splits them, or refused by name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sentencepiece import SentencePieceProcessor, SentencePieceTrainer

from monet_model import MonetConfig, MonetForCausalLM
from workbench import export_run, open_run
from workbench.errors import DamagedError, UnsupportedError
from workbench.store.token_text import load_tokenizer
from workbench.store.verify import verify_run

WORDS = "the quick brown fox jumps over the lazy dog print def return class import self value  index\tof été ❤ 12345"
LLAMA = {
    "model_type": "bpe",
    "vocab_size": 420,
    "byte_fallback": True,
    "normalization_rule_name": "identity",
    "remove_extra_whitespaces": False,
    "allow_whitespace_only_pieces": True,
    "split_digits": True,
    "user_defined_symbols": ["<|tool|>", "▁▁", "▁▁▁▁"],
}


def _trained(folder: Path, **settings: Any) -> Path:
    words = WORDS.split(" ")
    texts = [" ".join(words[at % 7 :: 1 + at % 5] * (1 + at % 3)) for at in range(400)]
    SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_prefix=str(folder / "tokenizer"), minloglevel=2, **LLAMA | settings
    )
    (folder / "tokenizer.vocab").unlink()
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _trained(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def both(folder: Path) -> tuple[Any, SentencePieceProcessor]:
    return load_tokenizer(folder), SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))


@settings(max_examples=200, deadline=None)
@given(text=st.one_of(st.text(max_size=40), st.text("the  \t\nqué1❤.", max_size=60)))
def test_texts_are_split_as_sentencepiece_splits_them(both: tuple[Any, SentencePieceProcessor], text: str) -> None:
    tokenizer, pieces = both
    assert tokenizer(text, add_special_tokens=False)["input_ids"] == pieces.encode(text)
    if text.strip() and "\0" not in text:
        assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text


def test_special_tokens_and_chat_template_are_those_of_the_config(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    assert load_tokenizer(tmp_path)("dog")["input_ids"][0] == 1  # by default a start-of-text token, as LLaMA has
    added = {"420": {"content": "<|end|>", "special": True}}
    config = {"add_bos_token": False, "eos_token": {"content": "<|end|>"}, "added_tokens_decoder": added}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config | {"chat_template": "{{ messages }}"}))
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer("dog<|end|>")["input_ids"][-1] == tokenizer.eos_token_id == 420
    assert tokenizer("dog")["input_ids"][0] != 1
    assert tokenizer.chat_template == "{{ messages }}"
    (tmp_path / "chat_template.jinja").write_text("its own file")
    assert load_tokenizer(tmp_path).chat_template == "its own file"


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"model_type": "unigram", "hard_vocab_limit": False}, "byte-pair"),
        ({"normalization_rule_name": "nmt_nfkc"}, "of its own"),
    ],
)
def test_a_model_that_cannot_be_matched_is_refused(tmp_path: Path, settings: dict[str, Any], why: str) -> None:
    with pytest.raises(UnsupportedError, match=f"{why}.*save a tokenizer.json"):
        load_tokenizer(_trained(tmp_path, **settings))


def test_a_truncated_model_is_damaged(folder: Path, tmp_path: Path) -> None:
    whole = (folder / "tokenizer.model").read_bytes()
    (tmp_path / "tokenizer.model").write_bytes(whole[: len(whole) // 2 + 1])
    with pytest.raises(DamagedError, match="cannot be read"):
        load_tokenizer(tmp_path)


def test_a_run_is_exported_and_keeps_the_tokenizer(folder: Path, tmp_path: Path) -> None:
    sizes = {"hidden_size": 16, "num_attention_heads": 2, "num_key_value_heads": 2, "num_hidden_layers": 2}
    config = MonetConfig(vocab_size=420, moe_experts=8, moe_topk=2, moe_heads=2, moe_dim=4, moe_groups=1, **sizes)
    MonetForCausalLM(config).eval().save_pretrained(tmp_path / "model")
    shutil.copy(folder / "tokenizer.model", tmp_path / "model")
    pd.DataFrame({"text": ["the  quick", "lazy dog ❤"], "label": ["a", "b"]}).to_csv(tmp_path / "c.csv", index=False)
    export_run(tmp_path / "model", tmp_path / "c.csv", tmp_path / "run")
    run = open_run(tmp_path / "run")
    assert list(run.manifest["tokenizer"]["hash"]) == ["tokenizer.model"]
    assert run.text(0) == "the  quick"
    assert verify_run(tmp_path / "run") == []
