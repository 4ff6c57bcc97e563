"""Building a corpus end to end on small made-up sources."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from workbench.corpus import build, build_corpus, load_corpus
from workbench.corpus.build import Sources
from workbench.corpus.code7 import SourceFile
from workbench.errors import BadInputError, NotFoundError, WorkbenchError


def test_files_are_cleaned_deduplicated_and_split_by_file(corpus: Path) -> None:
    train, heldout = load_corpus(corpus, "train"), load_corpus(corpus, "heldout")
    sources = [*train["source"], *heldout["source"]]
    assert len(sources) == len(set(sources)) == 60
    assert len({*train["text"], *heldout["text"]}) == 60
    assert not any("Copyright" in text for text in train["text"])
    assert set(train["copyright"]) == {"Copyright Ada", ""}
    assert set(heldout["label"]) == {"lua", "prose"}
    summary = json.loads((corpus / "corpus.json").read_text())
    assert summary["packages"] == ["pack 1.0"]
    assert summary["characters"]["train"]["lua"] == sum(len(row["text"]) for row in train if row["label"] == "lua")


def test_building_again_gives_the_same_files(
    corpus: Path, sources: Sources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(build.BUILDERS, "tiny", sources)
    build_corpus("tiny", tmp_path / "again")
    for name in ("train/part-00000.parquet", "heldout/part-00000.parquet", "tokenizer/tokenizer.json"):
        assert (corpus / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_nothing_is_left_of_a_build_that_fails(
    sources: Sources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Path) -> Iterable[tuple[str, Iterator[SourceFile]]]:
        yield next(iter(sources(tmp_path)))
        raise WorkbenchError("no network")

    monkeypatch.setitem(build.BUILDERS, "tiny", broken)
    with pytest.raises(WorkbenchError, match="no network"):
        build_corpus("tiny", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(BadInputError, match="is not empty"):
        build_corpus("tiny", tmp_path / "full")
    with pytest.raises(NotFoundError, match="no corpus is called 'code8'; there is code7"):
        build_corpus("code8", tmp_path / "out")
