"""`monet find`, as a person types it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from workbench import open_run
from workbench.cli import app
from workbench.errors import BadInputError, UnsupportedError
from workbench.search import documents_matching, experts_firing_on, occurrences


def invoke(*arguments: object) -> str:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_firing_experts(run_path: Path) -> None:
    run = open_run(run_path)
    best = experts_firing_on(run, "print", limit=3)
    found = json.loads(invoke("find", run_path, "print", "--top", 3, "--json"))
    assert found["occurrences"] == len(occurrences(run, "print"))
    assert [row["expert"] for row in found["experts"]] == best["expert"].tolist()
    shown = invoke("find", run_path, "print")
    assert f"{best.loc[0, 'group']}:{best.loc[0, 'expert']}" in shown
    assert "No tokens" in invoke("find", run_path, "zebra")


def test_experts_of_the_text(run_path: Path) -> None:
    found = json.loads(invoke("find", run_path, "def f", "--kind", "text", "--top", 2, "--json"))
    assert found["tokens"] == list("def f")
    assert [len(row["scores"]) for row in found["experts"]] == [5, 5]
    assert f"{found['experts'][0]['group']}:{found['experts'][0]['expert']}" in invoke(
        "find", run_path, "def f", "--kind", "text"
    )


def test_experts_of_a_chat(run_path: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(run_path, tmp_path / "run"))
    tokenizer = open_run(run).tokenizer()
    tokenizer.chat_template = "{{ bos_token }}{% for m in messages %}({{ m['content'] }}){% endfor %}"
    tokenizer.save_pretrained(run / "tokenizer")
    found = json.loads(invoke("find", run, "def f", "--kind", "text", "--chat", "--json"))
    assert found["tokens"] == list("(def f)")
    with pytest.raises(UnsupportedError, match="chat template"):
        invoke("find", run_path, "def f", "--kind", "text", "--chat")
    with pytest.raises(BadInputError, match="--chat belongs to --kind text"):
        invoke("find", run, "def f", "--chat")


def test_documents(run_path: Path) -> None:
    found = json.loads(invoke("find", run_path, r"/\bend\b/", "--kind", "documents", "--json"))
    assert found["total"] == documents_matching(open_run(run_path), r"\bend\b", regex=True).total > 0
    shown = invoke("find", run_path, "<b>", "--kind", "documents")
    assert "html" in shown
    with pytest.raises(BadInputError, match="no regular expression"):
        invoke("find", run_path, "/(/", "--kind", "documents")
