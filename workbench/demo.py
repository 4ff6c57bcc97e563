"""`python -m workbench.demo TRAINED CORPUS`: make the demo that ships in the package from a trained model.

It consists of half-precision weights, tokenizer, training log, and a sample of the held-out corpus with its licences.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .corpus.clean import shorten
from .corpus.licences import PERMISSIVE
from .corpus.load import load_corpus

if TYPE_CHECKING:
    from datasets import Dataset

DEMO = Path(__file__).parents[1] / "monet_model" / "demo"
SAMPLE, NOTICE = "heldout.parquet", "NOTICE"
SAMPLE_TOKENS = 150_000
LICENCE_TEXTS = {
    "PSF-2.0": "the file LICENSE of any Python distribution",
    "BSL-1.0": "https://www.boost.org/LICENSE_1_0.txt",
    "Apache-2.0": "the file LICENSE at the root of this repository",
    "GPL-2.0 with Classpath exception": "https://openjdk.org/legal/gplv2+ce.html",
}


def beginning(text: str, tokenizer: Any, most: int | None = None) -> str:
    """Return the first lines of a text, as many as fit the model's context, or ``most`` tokens."""
    offsets = tokenizer(text, truncation=True, max_length=most, return_offsets_mapping=True)["offset_mapping"]
    return shorten(text, offsets[-1][1])


def sample(corpus: Dataset, tokenizer: Any, tokens: int = SAMPLE_TOKENS, most: int | None = None) -> Dataset:
    """Return the beginnings of files, taken from each label in turn, and within it from each package in turn.

    So no package is most of a label. Of equals, permissively licensed files come first.

    Args:
        corpus: its held-out documents.
        tokenizer: of the model.
        tokens: files are taken until they have so many.
        most: tokens of a file's beginning, at most; by default what fits the model's context.
    """
    waiting: dict[str, list[int]] = defaultdict(list)
    licences, labels = list(corpus["licence"]), list(corpus["label"])
    of_package: dict[tuple[str, str], int] = defaultdict(int)
    turns = []
    for n, source in enumerate(corpus["source"]):
        package = labels[n], source.split(":")[0]
        turns.append((of_package[package], licences[n] not in PERMISSIVE))
        of_package[package] += 1
    for n in sorted(range(len(corpus)), key=lambda n: turns[n], reverse=True):
        waiting[labels[n]].append(n)
    chosen: dict[int, str] = {}
    while tokens > 0 and any(waiting.values()):
        for queue in filter(None, waiting.values()):
            n = queue.pop()
            chosen[n] = beginning(corpus[n]["text"], tokenizer, most)
            tokens -= len(tokenizer(chosen[n])["input_ids"])
    rows = corpus.select(sorted(chosen))
    return rows.remove_columns("text").add_column("text", [chosen[n] for n in sorted(chosen)])


def notice(rows: Dataset, first: Sequence[str] = ()) -> str:
    """Return a notice of every file in the sample, with its source, licence and copyright lines.

    Args:
        rows: the sample.
        first: lines that stand before.
    """
    groups: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in rows:
        groups[row["licence"]].append(row)
    lines = [
        *first,
        f"{SAMPLE} holds the first lines of files from the packages named below. Each keeps its file's",
        "licence. Copyright lines of licence headers that were taken off stand under the file's name. The rest of the",
        "repository is under the Apache License 2.0.",
    ]
    for licence in sorted(groups):
        where = LICENCE_TEXTS.get(licence)
        lines += ["", "=" * 100, licence + (f" (text: {where})" if where else ""), "=" * 100]
        for row in sorted(groups[licence], key=lambda r: r["source"]):
            lines.append(row["source"])
            lines += [f"    {line}" for line in row["copyright"].splitlines()]
    return "\n".join(lines) + "\n"


def write_sample(rows: Dataset, folder: Path, first: Sequence[str] = ()) -> None:
    """Write a sample as small as it goes, and the notice of its files with ``first`` before it, into a folder."""
    rows.to_pandas().to_parquet(folder / SAMPLE, index=False, compression="zstd", compression_level=22)
    (folder / NOTICE).write_text(notice(rows, first), encoding="utf-8")


def make_demo(trained: Path, corpus: Path, out: Path = DEMO) -> None:
    """Write the demo into ``out``.

    Args:
        trained: folder that `monet train` made.
        corpus: the corpus it was trained on.
        out: the demo's folder; its ``training.json`` is kept.
    """
    import torch
    from transformers import AutoTokenizer

    from monet_model import MonetForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(trained)
    model = MonetForCausalLM.from_pretrained(trained).to(torch.float16)
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        model.save_pretrained(work)
        config = json.loads((work / "config.json").read_text())
        config["dtype"] = "float32"  # for computing; weights are stored in half precision
        (work / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        tokenizer.save_pretrained(work)
        shutil.copy(trained / "log.jsonl", work)
        write_sample(sample(load_corpus(corpus, "heldout"), tokenizer), work)
        for file in work.iterdir():
            shutil.copy(file, out / file.name)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m workbench.demo", description=__doc__)
    parser.add_argument("trained", type=Path, help="folder that `monet train` made")
    parser.add_argument("corpus", type=Path, help="folder that `monet corpus build` made")
    options = parser.parse_args()
    make_demo(options.trained, options.corpus)
