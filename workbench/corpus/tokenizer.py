"""Training a byte-level BPE tokenizer that transformers loads as a fast tokenizer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq

BOS, EOS, PAD = "<s>", "</s>", "<pad>"
CHARS_PER_LABEL = 3_000_000


def _texts(corpus: Path) -> Iterator[str]:
    """Texts of the training part, as many characters of each label, so that no label dominates the vocabulary."""
    used: dict[str, int] = {}
    for part in sorted((corpus / "train").glob("*.parquet")):
        for batch in pq.ParquetFile(part).iter_batches(columns=["text", "label"]):
            for row in batch.to_pylist():
                if used.get(row["label"], 0) < CHARS_PER_LABEL:
                    used[row["label"]] = used.get(row["label"], 0) + len(row["text"])
                    yield row["text"]


def train_tokenizer(corpus: Path, out: Path, vocab_size: int = 4096, max_length: int = 512) -> None:
    """Train a byte-level BPE tokenizer on ``corpus/train``, and save it as a fast tokenizer in ``out``.

    Lossless: every byte is in the vocabulary, no prefix space, no clean-up. Digits are single tokens. The tokenizer
    prepends one start-of-text token `<s>`.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[BOS, EOS, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(_texts(corpus), trainer)
    bpe.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A {BOS} $B", special_tokens=[(BOS, bpe.token_to_id(BOS))]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        model_max_length=max_length,
        clean_up_tokenization_spaces=False,
    )
    fast.save_pretrained(out)


def count_tokens(corpus: Path) -> dict[str, dict[str, int]]:
    """Return the number of tokens per split and label of a corpus, by its tokenizer, start tokens counted."""
    from tokenizers import Tokenizer

    bpe = Tokenizer.from_file(str(corpus / "tokenizer" / "tokenizer.json"))
    counts: dict[str, dict[str, int]] = {}
    for part in sorted(corpus.glob("*/*.parquet")):
        labels = counts.setdefault(part.parent.name, {})
        for batch in pq.ParquetFile(part).iter_batches(256, columns=["text", "label"]):
            for label, tokens in zip(
                batch["label"].to_pylist(), bpe.encode_batch(batch["text"].to_pylist()), strict=True
            ):
                labels[label] = labels.get(label, 0) + len(tokens)
    return counts
