"""`python -m workbench.bench.corpus CORPUS MODEL OUT [--tokens N] [--json]`: grow a corpus to measure with.

The texts are repeated, and in each copy one word in ten is replaced by another word of the same label. Such a corpus is
fit for measuring time, memory and bytes, and unfit for saying anything about a model.
"""

from __future__ import annotations

import random
import re
from pathlib import Path

from ..errors import BadInputError, UnsupportedError
from .common import make_parser, print_result

WORD = re.compile(r"\w+")
REPLACED = 0.1  # fraction of the words


def grow_corpus(corpus: str | Path, model: str | Path, out: Path, tokens: int, seed: int = 0) -> int:
    """Write a Parquet corpus (text, label, source) of at least ``tokens`` tokens of a model's tokenizer.

    The first copy of the corpus is unchanged, later copies are perturbed.

    Args:
        corpus: anything that `load_corpus` reads, with text.
        model: folder or hub name of the model whose tokenizer counts.
        out: Parquet file to write; it must not exist yet.
        tokens: number of tokens at which to stop.
        seed: of the perturbation.

    Returns:
        Number of tokens written; start-of-text tokens are not counted.

    Raises:
        BadInputError: the file exists.
        UnsupportedError: the corpus has no text, or the model no tokenizer.
    """
    import pyarrow as pa

    from ..checkpoint import model_folder
    from ..corpus import load_corpus
    from ..store.files import write_parquet
    from ..store.token_text import load_tokenizer

    if out.exists():
        raise BadInputError(f"{out} exists; remove it or name another file.")
    data, tokenizer = load_corpus(corpus), load_tokenizer(model_folder(model))
    if tokenizer is None or "text" not in data.column_names:
        raise UnsupportedError(f"a corpus is grown from text with a tokenizer; {corpus} or {model} has none.")
    texts, labels = data["text"][:], data["label"][:]
    words = _words(texts, labels)
    drawing, rows, count, copy = random.Random(seed), [], 0, 0
    while count < tokens:
        for number, (text, label) in enumerate(zip(texts, labels, strict=True)):
            copied = text if copy == 0 else _perturbed(text, words[label], drawing)
            rows.append({"text": copied, "label": label, "source": f"document {number}, copy {copy}"})
            count += len(tokenizer(copied, add_special_tokens=False, verbose=False)["input_ids"])
            if count >= tokens:
                break
        copy += 1
    write_parquet(out, pa.Table.from_pylist(rows))
    return count


def _words(texts: list[str], labels: list[str]) -> dict[str, list[str]]:
    """All words of each label, as often as they occur."""
    words: dict[str, list[str]] = {}
    for text, label in zip(texts, labels, strict=True):
        words.setdefault(label, []).extend(WORD.findall(text))
    return words


def _perturbed(text: str, words: list[str], drawing: random.Random) -> str:
    def replaced(match: re.Match[str]) -> str:
        return drawing.choice(words) if drawing.random() < REPLACED else match[0]

    return WORD.sub(replaced, text)


def main(argv: list[str] | None = None) -> None:
    """Write the corpus."""
    parser = make_parser("corpus", __doc__)
    parser.add_argument("corpus", metavar="CORPUS", help="anything that `load_corpus` reads, with text")
    parser.add_argument("model", metavar="MODEL", help="the model whose tokenizer counts")
    parser.add_argument("out", metavar="OUT", type=Path, help="Parquet file to write; must not exist yet")
    parser.add_argument("--tokens", type=int, default=2_000_000, help="tokens to write at least (2,000,000)")
    parser.add_argument("--seed", type=int, default=0, help="of the perturbation (0)")
    options = parser.parse_args(argv)
    tokens = grow_corpus(options.corpus, options.model, options.out, options.tokens, options.seed)
    written = {"file": str(options.out), "tokens": tokens}
    print_result(written, [(f"{options.out}: {tokens:,} tokens", [""], [])], options.json)


if __name__ == "__main__":
    main()
