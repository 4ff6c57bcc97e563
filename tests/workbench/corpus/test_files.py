"""Which files of a folder are the corpus: splits, configurations, labels, and a word on all that is not read."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, DatasetDict

from workbench.corpus import load_corpus, read_corpus
from workbench.errors import BadInputError, DamagedError, NotFoundError


def put(folder: Path, *names: str) -> Path:
    """Files whose one document is their name."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".parquet":
            pq.write_table(pa.table({"text": [name], "label": ["a"]}), path)
        elif path.suffix == ".jsonl":
            path.write_text(json.dumps({"text": name, "label": "a"}) + "\n")
        else:
            path.write_text(name)
    return folder


def test_splits_are_told_by_the_names_of_files(tmp_path: Path) -> None:
    folder = put(tmp_path, "train.jsonl", "test.jsonl", "dev-00000-of-00001.jsonl", "notes.jsonl", "latest.md")
    corpus = read_corpus(folder)
    assert (corpus.split, corpus.splits, corpus.files) == ("test", ["test", "validation", "train"], ["test.jsonl"])
    assert corpus.notes == [
        "The split test was read; there is also validation, train (--split).",
        "notes.jsonl is ignored: it is in no split.",
        "latest.md is ignored: it is not Parquet, JSON or CSV.",
    ]
    assert load_corpus(folder, "train")["text"][:] == ["train.jsonl"]
    assert load_corpus(folder, "dev")["text"][:] == load_corpus(folder, "validation")["text"][:]
    assert load_corpus(folder, "notes")["text"][:] == ["notes.jsonl"]
    with pytest.raises(NotFoundError, match="no split 'heldout'; it has test, validation, train"):
        load_corpus(folder, "heldout")


def test_a_file_is_of_the_split_that_it_names(tmp_path: Path) -> None:
    put(tmp_path, "train.jsonl", "c.jsonl")
    assert read_corpus(tmp_path / "train.jsonl").split == "train"
    for name in ("train.jsonl", "c.jsonl"):
        with pytest.raises(NotFoundError, match="no split 'test'"):
            read_corpus(tmp_path / name, "test")


def test_splits_of_other_names_are_not_guessed(tmp_path: Path) -> None:
    folder = put(tmp_path, "data/easy-00000-of-00001.parquet", "data/hard-00000-of-00001.parquet")
    with pytest.raises(BadInputError, match="splits easy, hard; choose one with --split"):
        load_corpus(folder)
    assert load_corpus(folder, "hard")["text"][:] == ["data/hard-00000-of-00001.parquet"]


def test_files_of_several_formats_are_all_read(tmp_path: Path) -> None:
    corpus = read_corpus(put(tmp_path, "a.parquet", "b.jsonl", "sub/c.jsonl"))
    assert corpus.data["text"][:] == ["a.parquet", "b.jsonl", "sub/c.jsonl"]
    assert corpus.notes == ["Files of several formats were read as one corpus: json, parquet."]


def test_a_clone_of_a_hub_repository(tmp_path: Path) -> None:
    folder = put(tmp_path, "data/train-00000-of-00001.parquet", ".git/config", ".gitattributes", "README.md", "LICENSE")
    corpus = read_corpus(folder)
    assert (corpus.split, corpus.files, corpus.notes) == ("train", ["data/train-00000-of-00001.parquet"], [])


CARD = """---
license: mit
configs:
- config_name: en
  data_files:
  - split: train
    path: en/a*
  - split: rest
    path: [en/b.jsonl]
- config_name: de
  data_files: de/*.jsonl
---
A corpus.
"""


def test_the_configurations_of_a_card(tmp_path: Path) -> None:
    folder = put(tmp_path, "en/a.jsonl", "en/b.jsonl", "de/c.jsonl")
    (folder / "README.md").write_text(CARD)
    with pytest.raises(BadInputError, match="configurations en, de; choose one with --config"):
        load_corpus(folder)
    assert load_corpus(folder, config="en")["text"][:] == ["en/a.jsonl"]
    assert load_corpus(folder, "rest", config="en")["text"][:] == ["en/b.jsonl"]
    assert load_corpus(folder, config="de")["text"][:] == ["de/c.jsonl"]
    with pytest.raises(NotFoundError, match="no configuration 'fr'; it has en, de"):
        load_corpus(folder, config="fr")
    (folder / "README.md").write_text(CARD.replace("name: de", "name: de\n  default: true"))
    corpus = read_corpus(folder)
    assert (corpus.files, corpus.notes) == (
        ["de/c.jsonl"],
        ["The configuration de was read; there is also en (--config)."],
    )
    (folder / "README.md").write_text("---\n{\n---\n")
    with pytest.raises(DamagedError, match="the YAML at the head of"):
        load_corpus(folder)
    (folder / "README.md").unlink()
    with pytest.raises(NotFoundError, match="README.md lists none"):
        load_corpus(folder, config="en")


def test_what_save_to_disk_wrote(tmp_path: Path) -> None:
    data = Dataset.from_dict({"text": ["x", "y"], "label": [1, 2]})
    data.save_to_disk(tmp_path / "one")
    corpus = read_corpus(tmp_path / "one")
    assert (corpus.data["label"][:], corpus.files) == (["1", "2"], ["data-00000-of-00001.arrow"])
    DatasetDict({"train": data, "test": data.select([1])}).save_to_disk(tmp_path / "two")
    corpus = read_corpus(tmp_path / "two")
    assert (corpus.data["text"][:], corpus.split, corpus.splits) == (["y"], "test", ["test", "train"])
    assert len(load_corpus(tmp_path / "two", "train")) == 2
    with pytest.raises(NotFoundError, match="no split 'dev'"):
        load_corpus(tmp_path / "two", "dev")


def test_text_files_below_a_folder_have_its_label_and_hidden_ones_are_none(tmp_path: Path) -> None:
    hidden = (".git/x", ".ipynb_checkpoints/x.txt", "lua/.DS_Store", "lua/__pycache__/x.pyc", "lua/Thumbs.db")
    folder = put(tmp_path, "lua/x.txt", "php/y.txt", "php/sub/deep.txt", "loose.txt", *hidden)
    corpus = read_corpus(folder)
    assert dict(zip(corpus.data["text"], corpus.data["label"], strict=True)) == {
        "lua/x.txt": "lua",
        "php/sub/deep.txt": "php",
        "php/y.txt": "php",
    }
    assert corpus.data["source"][:] == [str(folder / name) for name in corpus.files]
    assert corpus.notes == ["loose.txt is ignored: it lies beside the folders of labels."]


def test_a_json_file_among_text_files_is_a_document(tmp_path: Path) -> None:
    corpus = read_corpus(put(tmp_path, "js/a.js", "js/b.js", "js/package.json"))
    assert len(corpus.data) == 3
    assert corpus.notes == ["js/package.json is among text files: each was read as one document."]


def test_splits_of_folders_of_text_files(tmp_path: Path) -> None:
    folder = put(tmp_path / "splits", "train/lua/x.txt", "test/lua/y.txt")
    assert load_corpus(folder)["text"][:] == ["test/lua/y.txt"]
    assert load_corpus(folder, "train")["label"][:] == ["lua"]
    assert load_corpus(put(tmp_path / "labels", "train/x.txt", "bus/x.txt"))["label"][:] == ["bus", "train"]
    with pytest.raises(NotFoundError, match="named for splits and hold text files"):
        load_corpus(put(tmp_path / "neither", "train/x.txt", "test/x.txt"))


def test_text_files_that_are_not_utf8(tmp_path: Path) -> None:
    folder = put(tmp_path, "lua/x.txt")
    (folder / "lua" / "z.txt").write_bytes(b"a\x80b")
    with pytest.raises(BadInputError, match=r"lua/z\.txt is not UTF-8"):
        load_corpus(folder)
    corpus = read_corpus(folder, encoding_errors="skip")
    assert (corpus.data["text"][:], corpus.skipped) == (["lua/x.txt"], {"undecodable": 1})
    assert load_corpus(folder, encoding_errors="replace")["text"][1] == "a\ufffdb"
