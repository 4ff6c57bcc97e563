"""CSV that every reader reads back row for row."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pandas._libs.parsers import STR_NA_VALUES

from workbench.report import read_csv
from workbench.report.csv_text import MISSING, to_csv

ODD = [
    "a\rb",
    "a\r\nb",
    "\n",
    "x,y",
    'say "hi"',
    "=1+1",
    "@SUM(A1)",
    "-x",
    "+",
    "=",
    "NA",
    "null",
    "'quoted",
    "\t=1",
    " ",
]
TABLE = pd.DataFrame(
    {
        "text": ODD,
        "score": np.linspace(0, 1, len(ODD)),
        "rank": pd.array([None, *range(1, len(ODD))], dtype="Int64"),
        "label": [f"{n:02}" for n in range(len(ODD))],
        "kept": [True] * len(ODD),
        "note": [None, *["x"] * (len(ODD) - 1)],
    }
)


def test_a_table_comes_back_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(to_csv(TABLE), encoding="utf-8", newline="")
    back = read_csv(tmp_path / "t.csv")
    assert back["text"].tolist() == ODD
    assert back["label"].tolist() == TABLE["label"].tolist()
    assert back["score"].tolist() == pytest.approx(TABLE["score"].tolist())
    assert back["rank"].isna().tolist() == TABLE["rank"].isna().tolist()
    assert back["kept"].tolist() == TABLE["kept"].tolist()


def test_other_readers_find_the_same_rows_and_types() -> None:
    text = to_csv(TABLE)
    by_pandas, by_polars = pd.read_csv(io.StringIO(text, newline="")), pl.read_csv(text.encode())
    by_csv = list(csv.DictReader(io.StringIO(text, newline="")))
    assert len(by_pandas) == len(by_polars) == len(by_csv) == len(TABLE)
    unguarded = [
        [cell.removeprefix("'") for cell in cells]
        for cells in (by_pandas["text"].tolist(), by_polars["text"].to_list(), [row["text"] for row in by_csv])
    ]
    assert unguarded == [ODD] * 3
    assert by_pandas["label"].tolist() == by_polars["label"].to_list() == [f"'{n:02}" for n in range(len(ODD))]
    assert by_polars["rank"].to_list() == [None, *range(1, len(ODD))]
    assert by_pandas["score"].dtype == by_polars["score"].to_numpy().dtype == np.float64


def test_numbers_before_the_first_word_do_not_make_a_column_of_numbers() -> None:
    texts = [*(f"{n:03}" for n in range(150)), "word"]  # polars judges by the first hundred rows
    text = to_csv(pd.DataFrame({"token": texts}))
    assert [cell.removeprefix("'") for cell in pl.read_csv(text.encode())["token"]] == texts
    assert [cell.removeprefix("'") for cell in pd.read_csv(io.StringIO(text))["token"]] == texts


def test_no_cell_is_a_formula_or_nothing() -> None:
    for row in csv.reader(io.StringIO(to_csv(TABLE[["text"]]), newline="")):
        assert row[0] not in MISSING
        assert len(row[0]) == 1 or row[0][0] not in "=+-@\t\r"


def test_nul_is_shown() -> None:
    assert to_csv(pd.DataFrame({"text": ["a\0b"]})) == 'text\n"a␀b"\n'


def test_what_pandas_takes_for_missing_is_known() -> None:
    assert STR_NA_VALUES - {""} == MISSING


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1), min_size=1, max_size=8))
def test_any_text_comes_back(texts: list[str]) -> None:
    table = pd.DataFrame({"text": texts, "n": range(len(texts))})
    rows = list(csv.DictReader(io.StringIO(to_csv(table), newline="")))
    assert [row["text"].removeprefix("'") for row in rows] == texts
    assert pl.read_csv(to_csv(table).encode()).height == len(texts)
