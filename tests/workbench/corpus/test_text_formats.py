"""JSON and CSV are read as they are written: no type is guessed, nothing is taken for missing."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from workbench.corpus import load_corpus, read_corpus, text_formats
from workbench.errors import BadInputError, DamagedError

Write = Callable[[str, str | bytes], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def to(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return to


def pairs(path: Path, **options: Any) -> list[tuple[str, str]]:
    data = load_corpus(path, **options)
    return list(zip(data["text"], data["label"], strict=True))


@pytest.mark.parametrize("cell", ["null", "NA", "None", "nan", "01", "TRUE", "1.0", "1e5", "20240101", "2024-01-01"])
def test_csv_cells_are_the_text_that_is_written(write: Write, cell: str) -> None:
    assert pairs(write("c.csv", f"text,label\n{cell},a\nb,{cell}\n")) == [(cell, "a"), ("b", cell)]


@pytest.mark.parametrize("literal", ["1.0", "1e5", "12345678901234567890123", "-0", "2.50"])
def test_labels_of_json_keep_the_digits_of_a_number(write: Write, literal: str) -> None:
    assert pairs(write("c.jsonl", f'{{"text": "a", "label": {literal}}}\n')) == [("a", literal)]
    assert pairs(write("d.jsonl", f'{{"text": "{literal}", "label": "{literal}"}}\n')) == [(literal, literal)]


def test_labels_true_and_false_and_texts_like_dates(write: Write) -> None:
    rows = '{"text": "2024-01-01", "label": true}\n{"text": "2024-01-02T00:00:00", "label": false}\n'
    assert pairs(write("c.jsonl", rows)) == [("2024-01-01", "true"), ("2024-01-02T00:00:00", "false")]


def test_every_spelling_of_a_table(write: Write) -> None:
    assert pairs(write("C.CSV", "text,label\nx,a\n")) == [("x", "a")]
    assert pairs(write("semi.csv", "text;label\nx,y;a\n")) == [("x,y", "a")]
    assert pairs(write("c.tsv", "text\tlabel\nx,y;z\ta\n")) == [("x,y;z", "a")]
    assert pairs(write("quotes.csv", 'text,label\n"a\nb, ""q""",a\n')) == [('a\nb, "q"', "a")]
    assert pairs(write("cr.csv", 'text,label\n"a\rb",a\n')) == [("a\rb", "a")]
    assert pairs(write("crlf.csv", "text,label\r\nx,a\r\n\r\ny,b\r\n")) == [("x", "a"), ("y", "b")]
    assert pairs(write("nul.csv", "text,label\na\0b,a\n")) == [("a\0b", "a")]
    assert pairs(write("long.csv", f"text,label\n{'x' * 200_000},a\n")) == [("x" * 200_000, "a")]


def test_json_is_read_line_by_line_or_as_one_array(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"text": "é" * n, "label": "ab"[n % 2]} for n in range(1, 50)]
    wanted = [(row["text"], row["label"]) for row in rows]
    assert pairs(write("c.ndjson", "\n".join(json.dumps(row) for row in rows))) == wanted
    assert pairs(write("lines.json", "".join(json.dumps(row) + "\r\n\r\n" for row in rows))) == wanted
    monkeypatch.setattr(text_formats, "_CHUNK", 7)
    assert pairs(write("array.json", json.dumps(rows, indent=1, ensure_ascii=False))) == wanted


def test_compressed_files(write: Write) -> None:
    raw = b'{"text": "z", "label": "c"}\n'
    assert pairs(write("c.jsonl.gz", gzip.compress(raw))) == [("z", "c")]
    assert pairs(write("c.jsonl.bz2", bz2.compress(raw))) == [("z", "c")]
    assert pairs(write("c.jsonl.xz", lzma.compress(raw))) == [("z", "c")]
    with pytest.raises(DamagedError, match=r"cut\.jsonl\.gz cannot be read"):
        load_corpus(write("cut.jsonl.gz", gzip.compress(raw * 999)[:-9]))


def test_a_byte_order_mark_is_no_text(write: Write, tmp_path: Path) -> None:
    assert pairs(write("c.csv", b'\xef\xbb\xbf"text",label\nx,a\n')) == [("x", "a")]
    assert pairs(write("c.jsonl", b'\xef\xbb\xbf{"text": "x", "label": "a"}\n')) == [("x", "a")]
    assert pairs(write("c.json", b'\xef\xbb\xbf [{"text": "x", "label": "a"}]')) == [("x", "a")]
    (tmp_path / "t" / "lua").mkdir(parents=True)
    (tmp_path / "t" / "lua" / "x.txt").write_bytes(b"\xef\xbb\xbfprint")
    assert pairs(tmp_path / "t") == [("print", "lua")]
    for name in ("u.csv", "u.jsonl"):
        with pytest.raises(BadInputError, match="is UTF-16; convert it to UTF-8"):
            load_corpus(write(name, "text,label\nx,a\n".encode("utf-16")))


BROKEN = {
    "c.csv": b"text,label\nok,a\na\x80b,b\n",
    "c.jsonl": b'{"text": "ok", "label": "a"}\n{"text": "a\x80b", "label": "b"}\n',
    "c.json": b'[{"text": "ok", "label": "a"}, {"text": "a\x80b", "label": "b"}]',
    "surrogate.jsonl": b'{"text": "ok", "label": "a"}\n{"text": "a\\ud83db", "label": "b"}\n',
}


@pytest.mark.parametrize("name", BROKEN)
def test_bytes_that_are_not_utf8(write: Write, name: str) -> None:
    path = write(name, BROKEN[name])
    place = {"c.csv": "line 3", "c.json": "item 2"}.get(name, "line 2")
    with pytest.raises(BadInputError, match=f"{place} of {name} is not UTF-8"):
        load_corpus(path)
    assert pairs(path, encoding_errors="replace") == [("ok", "a"), ("a\ufffdb", "b")]
    assert pairs(path, encoding_errors="ignore") == [("ok", "a"), ("ab", "b")]
    corpus = read_corpus(path, encoding_errors="skip")
    assert (corpus.data["text"][:], corpus.skipped) == (["ok"], {"undecodable": 1})


def test_surrogate_pairs_are_whole_characters(write: Write) -> None:
    assert pairs(write("c.jsonl", '{"text": "\\ud83d\\ude00", "label": "a"}\n')) == [("😀", "a")]


@pytest.mark.parametrize(
    ("name", "content", "error", "said"),
    [
        ("c.csv", "text,label\na,b,c\n", BadInputError, "line 2 of c.csv has 3 cells, and the header 2"),
        ("c.csv", 'text,label\n"a,b\n', DamagedError, "line 2 of c.csv is not CSV"),
        ("c.csv", "text,text,label\na,b,c\n", BadInputError, "column 'text' twice"),
        ("c.jsonl", '{"text": "a", "label": "b"}\n{"text"\n', DamagedError, "line 2 of c.jsonl is not JSON"),
        ("c.jsonl", "3\n", BadInputError, "line 1 of c.jsonl is not an object"),
        ("c.json", '[{"text": "a", "label": "b"}, {"te', DamagedError, "item 2 of c.json is not JSON"),
        ("c.json", '[{"text": "a", "label": "b"}] x', DamagedError, "after the end of its array"),
        ("c.json", "[]", BadInputError, "is empty"),
        ("c.csv", "text,label\n", BadInputError, "is empty"),
        ("c.jsonl", "version https://git-lfs.github.com/spec/v1\n", DamagedError, "git lfs pull"),
    ],
)
def test_a_broken_table_is_refused_by_line(write: Write, name: str, content: str, error: type, said: str) -> None:
    with pytest.raises(error, match=said):
        load_corpus(write(name, content))
