"""Reading a corpus: every layout it may have, and a clear word on every one it may not."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, Features, Value

from workbench.corpus import load_corpus
from workbench.corpus.spool import Spool
from workbench.errors import BadInputError, DamagedError, NotFoundError, UnsupportedError

ROWS = [{"text": "print(1)", "label": "python"}, {"text": "<script>alert('é')</script>", "label": "javascript"}]


def _write(path: Path, rows: list[dict[str, object]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        path.write_text("text,label\n" + "".join(f'"{row["text"]}",{row["label"]}\n' for row in rows))
    return path


@pytest.mark.parametrize("name", ["c.parquet", "c.jsonl", "c.csv"])
def test_load_corpus_reads_each_format(tmp_path: Path, name: str) -> None:
    data = load_corpus(_write(tmp_path / name, ROWS))
    assert [{"text": row["text"], "label": row["label"]} for row in data] == ROWS


def test_load_corpus_reads_a_folder_of_files_or_of_splits(tmp_path: Path) -> None:
    _write(tmp_path / "files" / "a.parquet", ROWS[:1])
    _write(tmp_path / "files" / "b.parquet", ROWS[1:])
    assert load_corpus(tmp_path / "files")["label"] == ["python", "javascript"]
    _write(tmp_path / "split" / "train" / "a.parquet", ROWS)
    _write(tmp_path / "split" / "heldout" / "a.parquet", ROWS[:1])
    assert len(load_corpus(tmp_path / "split")) == 1
    assert len(load_corpus(tmp_path / "split", "train")) == 2
    with pytest.raises(NotFoundError, match="no split 'test'"):
        load_corpus(tmp_path / "split", "test")


def test_load_corpus_reads_one_folder_of_text_files_per_label(tmp_path: Path) -> None:
    for row in ROWS:
        path = tmp_path / "c" / str(row["label"]) / "x.txt"
        path.parent.mkdir(parents=True)
        path.write_text(str(row["text"]))
    data = load_corpus(tmp_path / "c")
    assert sorted(data["label"]) == ["javascript", "python"]
    assert ROWS[1]["text"] in data["text"]


def test_class_labels_become_their_names(tmp_path: Path) -> None:
    features = Features({"text": Value("string"), "label": ClassLabel(names=["lua", "php"])})
    Dataset.from_dict({"text": ["a", "b"], "label": [1, 0]}, features=features).to_parquet(tmp_path / "c.parquet")
    assert load_corpus(tmp_path / "c.parquet")["label"] == ["php", "lua"]


def test_token_ids_stand_for_text(tmp_path: Path) -> None:
    data = load_corpus(_write(tmp_path / "c.parquet", [{"input_ids": [1, 2], "label": 3}]))
    assert data[0] == {"input_ids": [1, 2], "label": "3"}


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"text": "a"}], "no column `label`"),
        ([{"label": "a"}], "neither `text` nor `input_ids`"),
        ([{"text": "a", "label": "x"}, {"text": "b", "label": None}], "row 1 of the corpus .*has no label"),
        ([{"text": "", "label": "x"}], "holds no text"),
        ([{"text": 3, "label": "x"}], "not a string"),
    ],
)
def test_a_corpus_that_cannot_be_used_says_why(tmp_path: Path, rows: list[dict[str, object]], said: str) -> None:
    path = tmp_path / "c.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    with pytest.raises(BadInputError, match=said):
        load_corpus(path)


def test_empty_missing_and_damaged_corpora(tmp_path: Path) -> None:
    empty = tmp_path / "empty.parquet"
    pq.write_table(pa.table({"text": pa.array([], pa.string()), "label": pa.array([], pa.string())}), empty)
    with pytest.raises(BadInputError, match="is empty"):
        load_corpus(empty)
    with pytest.raises(NotFoundError, match="there is no corpus at"):
        load_corpus(tmp_path / "nowhere")
    with pytest.raises(NotFoundError, match="there is no corpus at"):
        load_corpus(tmp_path / "nowhere.parquet")
    (tmp_path / "folder").mkdir()
    with pytest.raises(NotFoundError, match="has no Parquet"):
        load_corpus(tmp_path / "folder")
    damaged = tmp_path / "damaged.parquet"
    damaged.write_bytes(_write(tmp_path / "c.parquet", ROWS).read_bytes()[:-20])
    with pytest.raises(DamagedError, match="damaged"):
        load_corpus(damaged)
    other = tmp_path / "notes.docx"
    other.write_text("x")
    with pytest.raises(BadInputError, match="is not a corpus"):
        load_corpus(other)
    binary = tmp_path / "binary" / "lua"
    binary.mkdir(parents=True)
    (binary / "x.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(BadInputError, match="UTF-8"):
        load_corpus(tmp_path / "binary")


def test_a_changed_corpus_is_read_anew(tmp_path: Path) -> None:
    """Also where neither names nor times tell that it has changed."""
    file, text = tmp_path / "c.csv", tmp_path / "t" / "lua" / "x.txt"
    text.parent.mkdir(parents=True)
    for content in ("old one", "new one"):
        file.write_text(f"text,label\n{content},a\n")
        text.write_text(content)
        for path in (file, text):
            os.utime(path, (1_700_000_000, 1_700_000_000))
        assert load_corpus(file)["text"][:] == load_corpus(tmp_path / "t")["text"][:] == [content]


def test_the_data_behave_as_any_dataset_and_leave_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    rows: list[dict[str, object]] = [{"text": f"t{n}", "label": "ab"[n % 2], "n": n} for n in range(2500)]
    data = load_corpus(_write(tmp_path / "c.jsonl", rows))
    assert list((tmp_path / "scratch").iterdir()) == []
    assert sorted(data.shuffle(seed=1)["n"]) == list(range(2500))
    assert data.select([1200, 3])["n"][:] == [1200, 3]
    assert data[999:1001]["n"] == [999, 1000]
    assert [len(batch["n"]) for batch in data.iter(1000)] == [1000, 1000, 500]
    assert data.add_column("m", list(range(2500)))[2400]["m"] == 2400
    assert data.select(range(5)).map(lambda row: {"twice": 2 * row["n"]})["twice"][:] == [0, 2, 4, 6, 8]
    data.to_parquet(tmp_path / "out.parquet")
    assert load_corpus(tmp_path / "out.parquet").to_list() == data.to_list()


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Spool, "add", full)
    with pytest.raises(UnsupportedError, match="set TMPDIR"):
        load_corpus(_write(tmp_path / "c.jsonl", ROWS))


def test_a_setting_that_makes_no_sense(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="one of strict, replace, ignore, skip"):
        load_corpus(_write(tmp_path / "c.jsonl", ROWS), encoding_errors="surrogateescape")
