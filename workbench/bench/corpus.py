"""A big corpus from a small one, to measure with: python -m workbench.bench.corpus CORPUS MODEL OUT --tokens N.

The texts are real ones repeated, and each copy is perturbed: one word in ten is another word of the same label. So the
corpus is right to measure time, memory and bytes with, and wrong to say anything about a model with.
"""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import WorkbenchError

WORD = re.compile(r"\w+")
REPLACED = 0.1  # of the words


def grow_corpus(corpus: str | Path, model: str | Path, out: Path, tokens: int, seed: int = 0) -> int:
    """Write a Parquet corpus (text, label, source) of at least ``tokens`` tokens of a model's tokenizer.

    The corpus is gone through again and again; the first time it is kept as it is, later copies are perturbed.

    Args:
        out: the file to write; it must not exist yet.

    Returns:
        Tokens written; start-of-text tokens are not counted.

    Raises:
        WorkbenchError: the file is there, or the corpus has no text or the model no tokenizer.
    """
    import pyarrow as pa

    from ..checkpoint import model_folder
    from ..corpus import load_corpus
    from ..store.files import write_parquet
    from ..store.text import load_tokenizer

    if out.exists():
        raise WorkbenchError(f"{out} exists; remove it or name another file.")
    data, tokenizer = load_corpus(corpus), load_tokenizer(model_folder(model))
    if tokenizer is None or "text" not in data.column_names:
        raise WorkbenchError(f"a corpus is grown from text with a tokenizer: {corpus} and {model} are not such.")
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
    """Every word of each label, as often as it stands there."""
    words: dict[str, list[str]] = {}
    for text, label in zip(texts, labels, strict=True):
        words.setdefault(label, []).extend(WORD.findall(text))
    return words


def _perturbed(text: str, words: list[str], drawing: random.Random) -> str:
    def replaced(match: re.Match[str]) -> Any:
        return drawing.choice(words) if drawing.random() < REPLACED else match[0]

    return WORD.sub(replaced, text)


def main(
    corpus: Annotated[str, typer.Argument(metavar="CORPUS", help="anything `datasets` reads, with text and label")],
    model: Annotated[str, typer.Argument(metavar="MODEL", help="the model whose tokenizer counts")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="the Parquet file to write")],
    tokens: Annotated[int, typer.Option(help="least number of tokens")] = 2_000_000,
    seed: Annotated[int, typer.Option(help="of the perturbation")] = 0,
) -> None:
    """Repeat and perturb a corpus until it has a number of tokens."""
    typer.echo(f"{out}: {grow_corpus(corpus, model, out, tokens, seed):,} tokens.")


if __name__ == "__main__":
    typer.run(main)
