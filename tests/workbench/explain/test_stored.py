"""Explanations on disk: one for each author, the same bytes whatever the order, no writer lost; and found again."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from workbench.errors import BadInputError, DamagedError, UnsupportedError
from workbench.explain import read_explanations, search_explanations
from workbench.explain.stored import FILE, MEASURED, SCHEMA, SCORES, write_explanations
from workbench.store import Run
from workbench.store.verify import verify_run


def rows(*sentences: tuple[int, int, str, str, str]) -> pd.DataFrame:
    """Rows of group, expert, kind, author and text, without scores."""
    blank = {"judge": "", "active": 0, "negatives": 0} | dict.fromkeys([*SCORES, *MEASURED], np.nan)
    names = ("group", "expert", "kind", "author", "text")
    return pd.DataFrame([dict(zip(names, one, strict=True)) | blank for one in sentences])


SENTENCES = [
    (0, 5, "template", "monet", "Fires at “return”."),
    (0, 5, "person", "Ada", "The end of functions"),
    (1, 2, "template", "monet", "Fires at commas, RETURNING nothing."),
]


class Initials:
    """An encoder that knows first letters."""

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        return np.array([[text[0].upper() == c for c in "FTX"] for text in texts], np.float32)


def test_read_explanations_is_empty_at_first(text_run: Run) -> None:
    assert list(read_explanations(text_run)) == [*SCHEMA.names, "silent"]
    assert read_explanations(text_run).empty
    assert search_explanations(text_run, "x").empty


def test_write_explanations_keeps_one_per_expert_and_author(text_run: Run) -> None:
    write_explanations(text_run, rows(*SENTENCES))
    write_explanations(text_run, rows((0, 5, "person", "Ada", "How functions end"), (0, 1, "self", "m", "a word")))
    found = read_explanations(text_run)
    assert list(zip(found["group"], found["expert"], found["author"], strict=True)) == [
        (0, 1, "m"),
        (0, 5, "Ada"),
        (0, 5, "monet"),
        (1, 2, "monet"),
    ]
    assert list(read_explanations(text_run, 0, 5)["text"]) == ["How functions end", "Fires at “return”."]
    assert len(read_explanations(text_run, 1)) == 1
    assert verify_run(text_run.path) == []


def test_write_explanations_in_any_order_gives_the_same_bytes(text_run: Run) -> None:
    path = text_run.analysis_path(FILE)
    write_explanations(text_run, rows(*SENTENCES))
    together = path.read_bytes()
    path.unlink()
    for one in reversed(SENTENCES):
        write_explanations(text_run, rows(one))
    assert path.read_bytes() == together


def test_write_explanations_of_many_threads_loses_none(text_run: Run) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: write_explanations(text_run, rows((0, n, "person", "A", f"{n}"))), range(16)))
    assert list(read_explanations(text_run)["text"]) == [str(n) for n in range(16)]


def test_read_explanations_names_a_damaged_file(text_run: Run) -> None:
    write_explanations(text_run, rows(*SENTENCES))
    text_run.analysis_path(FILE).write_bytes(b"PAR1")
    with pytest.raises(DamagedError, match=r"explanations\.parquet is damaged"):
        read_explanations(text_run)
    with pytest.raises(DamagedError, match="damaged"):
        write_explanations(text_run, rows(*SENTENCES))


def test_read_explanations_of_an_older_file_renames_its_columns(text_run: Run) -> None:
    write_explanations(text_run, rows(*SENTENCES).assign(negatives=7))
    path = text_run.analysis_path(FILE)
    pd.read_parquet(path).rename(columns={"negatives": "silent"}).to_parquet(path)
    assert read_explanations(text_run)["negatives"].tolist() == [7, 7, 7]
    assert read_explanations(text_run)["silent"].tolist() == [7, 7, 7]  # for a release
    write_explanations(text_run, rows((1, 9, "self", "m", "a word")))
    assert read_explanations(text_run)["negatives"].tolist() == [7, 7, 7, 0]


def test_read_explanations_of_before_there_were_rules_has_no_figures_of_rules(text_run: Run) -> None:
    write_explanations(text_run, rows(*SENTENCES))
    path = text_run.analysis_path(FILE)
    pq.write_table(pq.read_table(path).drop_columns(MEASURED), path)
    found = read_explanations(text_run)
    assert len(found) == len(SENTENCES)
    assert found[MEASURED].isna().all().all()


def test_read_explanations_refuses_a_file_that_lacks_columns(text_run: Run) -> None:
    path = text_run.analysis_path(FILE)
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame({"group": [0], "expert": [1], "text": ["old"]}).to_parquet(path)
    with pytest.raises(UnsupportedError, match="lacks the columns active, author, .* another version wrote it"):
        read_explanations(text_run)


def test_search_explanations_by_text_alone(text_run: Run) -> None:
    write_explanations(text_run, rows(*SENTENCES))
    found = search_explanations(text_run, "return")
    assert list(found["expert"]) == [5, 2]
    assert found["contains"].all()
    assert found["similarity"].isna().all()
    assert search_explanations(text_run, "monad").empty
    with pytest.raises(BadInputError, match="the query is empty"):
        search_explanations(text_run, " ")


def test_search_explanations_by_meaning_after_text(text_run: Run) -> None:
    write_explanations(text_run, rows(*SENTENCES))
    found = search_explanations(text_run, "the end", encoder=Initials())  # type: ignore[arg-type]
    assert list(found["contains"]) == [True, False, False]
    assert list(found["similarity"]) == [1, 0, 0]
    found = search_explanations(text_run, "for", 2, Initials())  # type: ignore[arg-type]
    assert not found["contains"].any()
    assert list(found["text"].str[0]) == ["F", "F"]


def test_search_explanations_by_words_in_any_order_rare_ones_first(text_run: Run) -> None:
    rules = [(0, 1, "at `if`"), (0, 2, "at `else`; in lua"), (0, 3, "at `end`"), (0, 4, "at `end`, `if`; in lua")]
    write_explanations(text_run, rows(*((group, expert, "rule", "monet", text) for group, expert, text in rules)))
    found = search_explanations(text_run, "where LUA has an end")
    assert list(found["expert"]) == [4, 2, 3]
    assert list(found["words"]) == [1, 0.5, 0.5]
    assert not found["contains"].any()
    assert list(search_explanations(text_run, "at else")["expert"]) == [2]  # "at" says nothing of the others
    assert search_explanations(text_run, "zebra").empty
