"""Every row of a corpus has a label of its own, and a score is a number, before anything runs."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, Features, Value

from workbench.corpus import load_corpus, read_corpus
from workbench.errors import BadInputError


def lines(path: Path, *rows: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def parquet(path: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize("missing", [-1, None])
def test_an_unlabelled_row_of_classes_is_refused(tmp_path: Path, missing: int | None) -> None:
    features = Features({"text": Value("string"), "label": ClassLabel(names=["neg", "pos"])})
    table = pa.table({"text": ["a", "b"], "label": pa.array([missing, 1], pa.int64())})
    Dataset(table.replace_schema_metadata(features.arrow_schema.metadata)).to_parquet(tmp_path / "c.parquet")
    with pytest.raises(BadInputError, match="row 0 of the corpus .* has no label"):
        load_corpus(tmp_path / "c.parquet")


def test_other_classes_keep_their_features(tmp_path: Path) -> None:
    features = Features({"text": Value("string"), "kind": ClassLabel(names=["lua", "php"]), "split": ClassLabel(2)})
    data = Dataset.from_dict({"text": ["a", "b"], "kind": [1, 0], "split": [0, 1]}, features=features)
    data.to_parquet(tmp_path / "c.parquet")
    read = load_corpus(tmp_path / "c.parquet", label_column="kind")
    assert read["label"][:] == ["php", "lua"]
    assert read.features["split"] == features["split"]


@pytest.mark.parametrize(
    ("labels", "wanted"),
    [
        (pa.array([1.0, 2.5]), ["1.0", "2.5"]),
        (pa.array([0.1, 2.0], pa.float32()), ["0.1", "2.0"]),
        (pa.array([True, False]), ["true", "false"]),
        (pa.array([-1, 7]), ["-1", "7"]),
        (pa.array(["x", "y"]).dictionary_encode(), ["x", "y"]),
        (pa.array([" lua", "<b>"], pa.large_string()), [" lua", "<b>"]),
    ],
)
def test_labels_of_parquet_are_written_as_their_type_shows_them(
    tmp_path: Path, labels: pa.Array, wanted: list[str]
) -> None:
    assert load_corpus(parquet(tmp_path / "c.parquet", text=["a", "b"], label=labels))["label"][:] == wanted


@pytest.mark.parametrize("labels", [["x", ""], [1.0, math.nan], ["x", None]])
def test_a_label_that_is_empty_is_none(tmp_path: Path, labels: list[Any]) -> None:
    with pytest.raises(BadInputError, match="row 1 of the corpus .* has no label"):
        load_corpus(parquet(tmp_path / "c.parquet", text=["a", "b"], label=labels))


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        (1, "a", "row 0 .*line 1 of c.jsonl.* is a number and that of row 1 .*line 2.* a string"),
        ("a", True, "a string and that of row 1 .* true or false"),
        (["a"], ["b"], "row 0 .* is a list"),
        ({"a": 1}, {"a": 2}, "row 0 .* is an object"),
    ],
)
def test_labels_of_mixed_types_are_refused(tmp_path: Path, first: Any, second: Any, said: str) -> None:
    path = lines(tmp_path / "c.jsonl", {"text": "x", "label": first}, {"text": "y", "label": second})
    with pytest.raises(BadInputError, match=said):
        load_corpus(path)


def test_texts_are_strings_and_empty_ones_are_counted(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"row 1 .*line 2 of c\.jsonl.* is a number, not a string"):
        load_corpus(lines(tmp_path / "c.jsonl", {"text": "12", "label": "a"}, {"text": 12, "label": "a"}))
    rows = [{"text": text, "label": "a"} for text in ("  ", "", None, "x")]
    corpus = read_corpus(lines(tmp_path / "d.jsonl", *rows))
    assert (corpus.data["text"][:], corpus.skipped) == (["  ", "x"], {"empty": 1, "no text": 1})
    ids = pa.array([[1, 2], [], None], pa.list_(pa.int32()))
    corpus = read_corpus(parquet(tmp_path / "c.parquet", input_ids=ids, label=["a", "a", "a"]))
    assert (corpus.data["input_ids"][:], corpus.skipped) == ([[1, 2]], {"empty": 1, "no text": 1})
    with pytest.raises(BadInputError, match="holds no text: .*1 empty"):
        load_corpus(lines(tmp_path / "e.jsonl", {"text": "", "label": "a"}))
    with pytest.raises(BadInputError, match="not a list of whole numbers"):
        load_corpus(lines(tmp_path / "f.jsonl", {"input_ids": [1.5], "label": "a"}))


@pytest.mark.parametrize("score", ["high", "0.5", True, math.inf, [1]])
def test_a_score_that_is_no_number_is_refused(tmp_path: Path, score: Any) -> None:
    rows = [{"text": "x", "label": "a", "score": 1}, {"text": "y", "label": "a", "score": score}]
    with pytest.raises(BadInputError, match="row 1 of the corpus .* has a score that is"):
        load_corpus(lines(tmp_path / "c.jsonl", *rows))


def test_scores_are_numbers_or_unknown(tmp_path: Path) -> None:
    rows = [{"text": "x", "label": "a", "score": score} for score in (1, 0.5, None, math.nan)]
    assert load_corpus(lines(tmp_path / "c.jsonl", *rows))["score"][:] == [1.0, 0.5, None, None]
    (tmp_path / "c.csv").write_text("text,label,score\nx,a,1e-3\ny,a,\nz,a,nan\n")
    assert load_corpus(tmp_path / "c.csv")["score"][:] == [0.001, None, None]
    (tmp_path / "d.csv").write_text("text,label,score\nx,a,high\n")
    with pytest.raises(BadInputError, match="has a score that is 'high', not a number"):
        load_corpus(tmp_path / "d.csv")
    typed = parquet(tmp_path / "c.parquet", text=["x", "y"], label=["a", "b"], score=pa.array([1, None], pa.int8()))
    assert load_corpus(typed)["score"][:] == [1.0, None]


def test_columns_of_other_names(tmp_path: Path) -> None:
    path = lines(tmp_path / "c.jsonl", {"text": "id 1", "content": "x", "lang": "lua", "label": 3, "toxicity": 0.5})
    data = load_corpus(path, text_column="content", label_column="lang", score_column="toxicity")
    assert data[0] == {"text_original": "id 1", "text": "x", "label": "lua", "label_original": 3, "score": 0.5}
    with pytest.raises(BadInputError, match="no column 'nope'; it has text, content, lang, label, toxicity"):
        load_corpus(path, label_column="nope")
    with pytest.raises(BadInputError, match="columns of their own"):
        load_corpus(path, label_column="lang", text_column="lang")
    with pytest.raises(BadInputError, match="no column `label` .*--label-column NAME"):
        load_corpus(lines(tmp_path / "d.jsonl", {"text": "x", "lang": "lua"}))
    with pytest.raises(BadInputError, match="--text-column NAME"):
        load_corpus(lines(tmp_path / "e.jsonl", {"content": "x", "label": "lua"}))
    folder = tmp_path / "f"
    lines(folder / "a.jsonl", {"text": "x", "label": "a"})
    lines(folder / "b.jsonl", {"text": "x"})
    with pytest.raises(BadInputError, match=r"b\.jsonl of the corpus .* has no column `label`"):
        load_corpus(folder)


def test_a_limit_keeps_every_label_of_a_sorted_corpus(tmp_path: Path) -> None:
    path = lines(tmp_path / "c.jsonl", *({"text": f"{n}", "label": "aaabbb"[n]} for n in range(6)))
    corpus = read_corpus(path, limit=2)
    assert (corpus.data["text"][:], corpus.skipped) == (["0", "1", "3", "4"], {"beyond the limit": 2})
    with pytest.raises(BadInputError, match="limit must be at least 1"):
        read_corpus(path, limit=0)


def test_other_columns_of_json_keep_their_kind(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"n": 1, "mixed": 1, "deep": {"a": [1.0, None]}, "yes": True, "half": 1, "source": 3},
        {"n": None, "mixed": "s", "late": "z", "half": 0.5},
    ]
    data = load_corpus(lines(tmp_path / "c.jsonl", *({"text": "x", "label": "a"} | row for row in rows)))
    assert data[0]["deep"] == '{"a": [1.0, null]}'
    assert (data["n"][:], data["yes"][:], data["half"][:]) == ([1, None], [True, None], [1.0, 0.5])
    assert (data["mixed"][:], data["late"][:], data["source"][:]) == (["1", '"s"'], [None, "z"], ["3", None])


def test_strings_of_parquet_are_checked(tmp_path: Path) -> None:
    raw = pa.array([b"a\x80", b"ok"])
    path = parquet(tmp_path / "c.parquet", text=raw.cast(pa.string(), safe=False), label=["a", "b"])
    with pytest.raises(BadInputError, match="text of row 0 of the corpus .* is not UTF-8"):
        load_corpus(path)
    corpus = read_corpus(path, encoding_errors="skip")
    assert (corpus.data["text"][:], corpus.skipped) == (["ok"], {"undecodable": 1})
    assert load_corpus(path, encoding_errors="replace")["text"][:] == ["a\ufffd", "ok"]


def test_labels_that_look_alike_are_kept_and_named(tmp_path: Path) -> None:
    labels = ["lua", " lua", "\u00e9", "e\u0301", "<b>x</b>"]
    corpus = read_corpus(lines(tmp_path / "c.jsonl", *({"text": "x", "label": label} for label in labels)))
    assert corpus.data["label"][:] == labels
    assert corpus.notes == [
        "The labels 'lua', ' lua' look alike and are kept apart.",
        "The labels '\\xe9', 'e\\u0301' look alike and are kept apart.",
    ]
