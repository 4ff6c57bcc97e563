"""The tokenizer that is trained with a corpus loses nothing."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer


@given(st.text())
def test_the_tokenizer_loses_nothing(corpus: Path, text: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(corpus / "tokenizer")
    if any(special in text for special in tokenizer.all_special_tokens):
        return
    ids = tokenizer(text)["input_ids"]
    assert ids[0] == tokenizer.bos_token_id
    assert tokenizer.bos_token_id not in ids[1:]
    assert tokenizer.decode(ids[1:]) == text
