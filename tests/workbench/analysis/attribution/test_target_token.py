"""A target names any token of a vocabulary, by its text exactly or by its id."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers
from transformers import PreTrainedTokenizerFast

from workbench.analysis.attribution.prompt import read_token
from workbench.errors import BadInputError

PIECES = ["<unk>", "<s>", "</s>", "<0x0A>", "▁return", "return", "▁x", "x", "▁", "▁only", "#1", "é"]


@pytest.fixture(scope="module")
def sentencepiece() -> PreTrainedTokenizerFast:
    """A tokenizer as SentencePiece makes them: a blank opens every text, and line breaks fall back to bytes."""
    words = {p: float(-n) for n, p in enumerate(PIECES)}
    tokenizer = Tokenizer(models.Unigram(list(words.items()), unk_id=0, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>")


@pytest.mark.parametrize(
    ("text", "piece"),
    [
        ("\n", "<0x0A>"),
        ("return", "return"),
        (" return", "▁return"),
        ("x", "x"),
        (" x", "▁x"),
        (" ", "▁"),
        ("</s>", "</s>"),
        ("#1", "#1"),
        ("#4", "▁return"),
        ("#3", "<0x0A>"),
        ("é", "é"),
    ],
)
def test_a_target_is_the_token_of_exactly_its_text(sentencepiece, text, piece) -> None:
    assert read_token(sentencepiece, text) == PIECES.index(piece)


def test_every_token_is_reached_by_its_id(sentencepiece) -> None:
    for token in (n for n in range(len(PIECES)) if n != 1):  # a token of its own has the text #1
        assert read_token(sentencepiece, f"#{token}") == token


def test_a_text_that_is_no_token_names_the_form_that_is(sentencepiece) -> None:
    with pytest.raises(BadInputError, match=r"'only' is .*, not one; give ' only' \(#9\), or a token's id as #17"):
        read_token(sentencepiece, "only")
    with pytest.raises(BadInputError, match="give one of them, or a token's id"):
        read_token(sentencepiece, "x return")
    with pytest.raises(BadInputError, match="not one; give"):
        read_token(sentencepiece, "#99")


def test_byte_level_vocabularies_are_named_alike() -> None:
    demo_tokenizer = PreTrainedTokenizerFast.from_pretrained("monet_model/demo")
    assert read_token(demo_tokenizer, " return") != read_token(demo_tokenizer, "return")
    for token in (5, 100, 2000, 4000):
        assert read_token(demo_tokenizer, f"#{token}") == token
