"""The report of a list agrees with the run and with what is kept, and runs nothing of it."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from workbench import Run, open_run
from workbench.analysis import read_analysis
from workbench.explain.stored import SCHEMA, write_explanations
from workbench.report import read_csv
from workbench.report.files import encode
from workbench.report.list import list_document
from workbench.store.token_text import visible

HOSTILE = "=cmd() <script>window.hacked = 1</script>"


NEVER = 17  # the expert that is never active


@pytest.fixture
def run(run_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run, without the statistics of one expert: in so small a run all are active."""
    run = open_run(run_path)
    experts = run.experts
    monkeypatch.setattr(run, "experts", lambda *asked: experts(*asked).drop(NEVER))
    return run


@pytest.fixture
def items(run: Run) -> pd.DataFrame:
    active = run.experts(0)["mass"].nlargest(2).index.tolist()
    told = [(["a", HOSTILE], [f"{HOSTILE}\nsecond"]), ([], []), ([], [])]
    rows = [(0, expert, *kept) for expert, kept in zip([active[1], active[0], NEVER], told, strict=True)]
    return pd.DataFrame(rows, columns=["group", "expert", "tags", "notes"])


def test_document_agrees_with_run_and_items(run: Run, items: pd.DataFrame) -> None:
    said = json.loads(encode(list_document(run, HOSTILE, "why", items), "json"))
    assert (said["report"], said["name"], said["description"]) == ("list", HOSTILE, "why")
    assert [row["expert"] for row in said["experts"]] == items["expert"].tolist()
    first, _, never = said["experts"]
    assert first["mass"] == run.experts(0).loc[first["expert"], "mass"]
    assert (first["specialised"] or "") == read_analysis(run, 0).loc[first["expert"], "specialised"]
    assert first["top_tokens"][0] == run.examples(0, first["expert"], 1)["token_text"].iloc[0]
    assert (first["tags"], first["notes"]) == (["a", HOSTILE], [f"{HOSTILE}\nsecond"])
    assert (never["tokens"], never["top_tokens"], never["confirmed"], never["specialised"]) == (0, [], False, None)


def test_tables_read_back_row_for_row(run: Run, items: pd.DataFrame, tmp_path: Path) -> None:
    document = list_document(run, HOSTILE, "", items)
    (tmp_path / "list.csv").write_bytes(encode(document, "csv"))
    assert "'=cmd()" in (tmp_path / "list.csv").read_text()
    for table in (read_csv(tmp_path / "list.csv"), pq.read_table(io.BytesIO(encode(document, "parquet"))).to_pandas()):
        assert table["place"].tolist() == [1, 2, 3]
        assert table["expert"].tolist() == items["expert"].tolist()
        assert table["list"].tolist() == [HOSTILE] * 3
        assert table["tags"][0] == f"a\n{HOSTILE}"


def test_experts_are_explained_and_lead_to_their_examples(run_path: Path, items: pd.DataFrame, tmp_path: Path) -> None:
    run = open_run(shutil.copytree(run_path, tmp_path / "run"))
    first = int(items["expert"][0])
    told = [("template", "a template"), ("person", HOSTILE)]
    rows = [{"group": 0, "expert": first, "kind": kind, "author": "x", "text": text} for kind, text in told]
    write_explanations(run, pd.DataFrame(rows).reindex(columns=SCHEMA.names).assign(judge=""))
    document = list_document(run, "kept", "", items)
    known, other, _ = document.content["experts"]
    assert (known["explanation"], other["explanation"]) == (HOSTILE, "")
    best = run.examples(0, first, 3)
    assert [example["score"] for example in known["examples"]] == best["score"].tolist()
    page = encode(document, "html").decode()
    for row in (known, other):
        assert f'<a href="#expert-0-{row["expert"]}">' in page
        assert f'<section id="expert-0-{row["expert"]}">' in page
    assert "<script" not in page
    quoting = {"content": document.content | {"experts": [known | {"explanation": "Fires at `<i>`."}]}}
    shown = encode(replace(document, **quoting), "html").decode()
    assert shown.count('Fires at <code class="quoted">&lt;i&gt;</code>.') == 2  # in the table, and beside its examples
    line = document.table["examples"][0].split("\n")[0]
    assert f"«{visible(best['token_text'][0])}»" in line
    assert document.table["explanation"].tolist()[:2] == [HOSTILE, ""]


def test_an_expert_without_a_section_is_no_link(run: Run, items: pd.DataFrame) -> None:
    page = encode(list_document(run, "kept", "", items), "html").decode()
    assert f"expert-0-{NEVER}" not in page


def test_page_shows_texts_and_runs_none(run: Run, items: pd.DataFrame) -> None:
    page = encode(list_document(run, HOSTILE, HOSTILE, items), "html").decode()
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 4
    assert "never active" in page
    assert "The list is empty." in encode(list_document(run, "x", "", items.head(0)), "html").decode()


def test_page_shows_what_would_reverse_a_note_or_description(run: Run, items: pd.DataFrame) -> None:
    items.at[0, "notes"] = ["safe\n\u202eelif"]
    shown = encode(list_document(run, "name", "why \u202eton", items), "html").decode()
    assert "\u202e" not in shown
    assert "safe\n\\u202eelif" in shown
    assert "why \\u202eton" in shown
