"""Building a corpus end to end on small made-up sources."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from workbench.corpus import build, build_corpus, load_corpus
from workbench.corpus.build import Sources
from workbench.corpus.sources import SourceFile
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
    lua = [row for row in train if row["label"] == "lua"]
    assert summary["packages"]["train"]["lua"] == {
        "pack 1.0": {
            "documents": len(lua),
            "characters": sum(len(row["text"]) for row in lua),
            "licences": {"MIT": len(lua)},
        }
    }
    tokenizer = AutoTokenizer.from_pretrained(corpus / "tokenizer")
    assert summary["tokens"]["train"]["lua"] == sum(len(tokenizer(row["text"])["input_ids"]) for row in lua)


def test_projects_are_not_split_where_their_part_is_stated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def two(_: Path) -> Iterable[tuple[str, Iterator[SourceFile]]]:
        for project, split in (("read", "train"), ("unread", "heldout")):
            texts = (f"{project} {n} " + "word " * n * 60 for n in range(1, 21))
            yield (
                project,
                (SourceFile("x", f"{project} 1: {n}", "MIT", t.encode(), True, split) for n, t in enumerate(texts)),
            )

    monkeypatch.setitem(build.BUILDERS, "tiny", two)
    build_corpus("tiny", tmp_path / "tiny")
    for split, project in (("train", "read"), ("heldout", "unread")):
        assert {row["project"] for row in load_corpus(tmp_path / "tiny", split)} == {project}


def test_one_project_has_no_more_of_a_label_than_it_may() -> None:
    sizes = {"large": [100] * 50, "middle": [40] * 10, "small": [10] * 20}
    rows = [
        {"text": "x" * size, "label": "x", "source": f"{package} 1: {n}", "project": package}
        for package, texts in sizes.items()
        for n, size in enumerate(texts)
    ]

    def characters(largest: float, most: int) -> dict[str, int]:
        chosen = build._balance(rows, most, largest)
        return {
            package: sum(len(row["text"]) for row in chosen if row["source"].startswith(package)) for package in sizes
        }

    assert characters(1, 10_000) == {"large": 5000, "middle": 400, "small": 200}
    assert characters(0.5, 10_000) == {"large": 600, "middle": 400, "small": 200}
    few = characters(0.5, 400)
    assert few["large"] == 200
    assert 400 <= sum(few.values()) < 500


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
    with pytest.raises(NotFoundError, match="no corpus is called 'code8'; there is code7, code9, tiny, toxic"):
        build_corpus("code8", tmp_path / "out")
