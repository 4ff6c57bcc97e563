"""`python -m workbench.demo TRAINED CORPUS`: makes the demo that ships in the package from a trained model.

Half-precision weights, the tokenizer, the training log, and a sample of the held-out corpus with its licences.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import zlib
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .corpus.licences import PERMISSIVE
from .corpus.load import load_corpus

if TYPE_CHECKING:
    from datasets import Dataset

DEMO = Path(__file__).parents[1] / "monet_model" / "demo"
SAMPLE, NOTICE = "heldout.parquet", "NOTICE"
TOKENS, EXCERPT = 150_000, 2_000
LICENCE_TEXTS = {
    "PSF-2.0": "the file LICENSE of any Python distribution",
    "BSL-1.0": "https://www.boost.org/LICENSE_1_0.txt",
    "Apache-2.0": "the file LICENSE at the root of this repository",
    "GPL-2.0 with Classpath exception": "https://openjdk.org/legal/gplv2+ce.html",
}


def excerpt(text: str, source: str, length: int = EXCERPT) -> str:
    """Whole lines from somewhere in a text, about ``length`` characters; where, depends on ``source`` alone."""
    if len(text) <= length:
        return text
    place = zlib.crc32(source.encode()) % (len(text) - length)
    start = text.rfind("\n", 0, place) + 1
    return text[start : text.rfind("\n", start, start + length) + 1 or start + length]


def sample(corpus: Dataset, tokenizer: Any, tokens: int = TOKENS) -> Dataset:
    """Excerpts of a corpus with about the same number of tokens of each label, permissively licensed files first."""
    corpus = corpus.map(lambda row: {"text": excerpt(row["text"], row["source"])})
    labels, licences = corpus["label"], corpus["licence"]
    room = dict.fromkeys(labels, tokens // len(set(labels)))
    chosen = []
    for n in sorted(range(len(corpus)), key=lambda n: licences[n] not in PERMISSIVE):
        if room[labels[n]] > 0:
            chosen.append(n)
            room[labels[n]] -= len(tokenizer(corpus[n]["text"], verbose=False)["input_ids"])
    return corpus.select(sorted(chosen))


def notice(rows: Dataset) -> str:
    """Every file of the sample with its source, licence and copyright lines."""
    groups: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in rows:
        groups[row["licence"]].append(row)
    lines = [
        f"{SAMPLE} holds excerpts, whole lines, of files from the packages named below. Each keeps its file's",
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
        config["dtype"] = "float32"  # what it computes in; half precision is how it is stored
        (work / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        tokenizer.save_pretrained(work)
        shutil.copy(trained / "log.jsonl", work)
        rows = sample(load_corpus(corpus, "heldout"), tokenizer)
        rows.to_parquet(work / SAMPLE)
        (work / NOTICE).write_text(notice(rows), encoding="utf-8")
        for file in work.iterdir():
            shutil.copy(file, out / file.name)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m workbench.demo", description=__doc__)
    parser.add_argument("trained", type=Path, help="folder that `monet train` made")
    parser.add_argument("corpus", type=Path, help="folder that `monet corpus build` made")
    options = parser.parse_args()
    make_demo(options.trained, options.corpus)
