"""A small corpus built from made-up sources."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest

from workbench.corpus import build, build_corpus
from workbench.corpus.sources import SourceFile

LABELS = ("lua", "prose")


def _text(label: str, number: int) -> str:
    rng = np.random.default_rng((len(label), number))
    words = ["local", "print", "return", "the", "of", "and", "end", "function", "if", "it", "was", "a"]
    lines = (" ".join(rng.choice(words, 8)) for _ in range(20))
    return ("-- Copyright Ada\n" if label == "lua" else "") + "\n".join(lines) + "\n"


def _sources(_: Path) -> Iterable[tuple[str, Iterator[SourceFile]]]:
    for label in LABELS:
        files = (SourceFile(label, f"pack 1.0: {label}/{n}", "MIT", _text(label, n % 30).encode()) for n in range(40))
        yield label, files


@pytest.fixture(scope="session")
def sources() -> build.Sources:
    """A builder's sources: 40 files of each label, ten of them repeated."""
    return _sources


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of two labels, 30 different files each."""
    out = tmp_path_factory.mktemp("corpus") / "tiny"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(build.BUILDERS, "tiny", _sources)
        build_corpus("tiny", out)
    return out
