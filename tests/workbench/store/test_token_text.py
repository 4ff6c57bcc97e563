"""Text as people read it: nothing hides, nothing is lost."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from workbench.store.token_text import joined, token_bytes, token_pieces, visible, visible_prose, whole_characters


def test_prose_keeps_its_lines_and_reverses_nothing() -> None:
    assert visible_prose("one  two\n\tthree 👩\u200d🚀") == "one  two\n\tthree 👩\u200d🚀"
    assert visible_prose("a\u202eb\u2066c\x00") == "a\\u202eb\\u2066c\\x00"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a b", "a·b"),
        ("\n\t\r", "↵→␍"),
        ("\x1b[31m\x00\x7f", "\\x1b[31m\\x00\\x7f"),
        ("a\u202eb\u200b", "a\\u202eb\\u200b"),
        ("\U000e0041", "\\U000e0041"),
        ("\ud800", "\\ud800"),
        ("<script>&amp;é€😀", "<script>&amp;é€😀"),
        ("a ‹E6 97› b", "a·‹E6 97›·b"),
        ("‹F0 9F 98›‹80›", "‹F0 9F 98›‹80›"),
        ("‹not bytes›", "‹not·bytes›"),
        ("a\u2028b\u3164c\u2800", "a\\u2028b\\u3164c\\u2800"),
        ("", ""),
    ],
)
def test_visible_text_marks_spaces_and_line_breaks(text, shown) -> None:
    assert visible(text) == shown


@given(st.text())
def test_nothing_invisible_is_left(text) -> None:
    assert not any(c == " " or unicodedata.category(c)[0] == "C" for c in visible(text))


def _byte_tokenizer(merged: list[str]) -> PreTrainedTokenizerFast:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {piece: number for number, piece in enumerate(["<s>", *alphabet, *merged])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[(piece[0], piece[1]) for piece in merged]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>")


BYTES = _byte_tokenizer(["Ã©", "ðŁ", "ab", "aÐ"])  # a whole é, half of 😀, two letters, a letter and half of ж


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("ab é", ["ab", " ", "é"]),
        ("€", ["‹E2›", "‹82›", "‹AC›"]),
        ("😀", ["‹F0 9F›", "‹98›", "‹80›"]),
        ("aж", ["a‹D0›", "‹B6›"]),
        ("\n\t", ["\n", "\t"]),
    ],
)
def test_pieces_of_a_byte_level_vocabulary(text, pieces) -> None:
    assert token_pieces(BYTES, BYTES(text)["input_ids"]) == pieces


@given(st.text())
def test_pieces_lose_no_byte(text) -> None:
    pieces = token_pieces(BYTES, BYTES(text, add_special_tokens=False)["input_ids"])
    joined = b""
    for piece in pieces:
        for part in re.split(r"(‹[0-9A-F]{2}(?: [0-9A-F]{2})*›)", piece):
            joined += bytes.fromhex(part[1:-1]) if part.startswith("‹") and part.endswith("›") else part.encode()
    assert joined == text.encode()


def test_special_and_unknown_tokens_are_named() -> None:
    assert token_pieces(BYTES, [0, 10**6]) == ["<s>", "#1000000"]
    assert token_pieces(BYTES, []) == []


def test_pieces_of_a_sentencepiece_vocabulary() -> None:
    vocabulary = {"<unk>": 0, "▁the": 1, "re": 2, "<0xE2>": 3, "<0x41>": 4, "▁": 5}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], byte_fallback=True))
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")
    assert token_pieces(fast, range(6)) == ["<unk>", " the", "re", "‹E2›", "A", " "]


@given(st.text())
def test_joined_shares_are_the_text(text) -> None:
    pieces = whole_characters(token_pieces(BYTES, BYTES(text, add_special_tokens=False)["input_ids"]))
    assert joined(pieces) == text


def test_shares_of_a_character_that_is_cut_stay() -> None:
    assert joined(["‹€ 2/3›", "‹€ 3/3›", "x", "‹€ 1/3›", "‹€ 2/3›", "‹€ 3/3›", "‹€ 1/3›"]) == "‹€ 2/3›‹€ 3/3›x€‹€ 1/3›"


@given(st.text("aé€😀 \n", max_size=12))
def test_bytes_of_tokens_join_to_the_text(text) -> None:
    alphabet = {token: number for number, token in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=alphabet, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>")
    ids = [fast.bos_token_id, *fast(text)["input_ids"], 10**6]
    assert b"".join(token_bytes(fast, ids)) == text.encode()
