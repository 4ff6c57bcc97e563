"""`monet report --text`, as a person types it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from workbench import open_run
from workbench.cli import app
from workbench.errors import UnsupportedError

TEXT = "def add("


def invoke(*arguments: object) -> None:
    """Run a command that succeeds."""
    done = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output


def test_the_text_may_be_what_a_user_says(bare_run_path: Path, tmp_path: Path) -> None:
    run, out = Path(shutil.copytree(bare_run_path, tmp_path / "run")), tmp_path / "text.json"
    command = ("report", run, "--text", TEXT, "--format", "json", "--out", out)
    with pytest.raises(UnsupportedError, match="no chat template"):
        invoke(*command, "--chat")
    tokenizer = open_run(run).tokenizer()
    assert tokenizer is not None
    tokenizer.chat_template = "{{ bos_token }}[{{ messages[0]['content'] }}]{% if add_generation_prompt %}>{% endif %}"
    tokenizer.save_pretrained(run / "tokenizer")
    for options, chat, text in ((["--chat"], True, f"[{TEXT}]>"), ([], False, TEXT)):
        invoke(*command, *options)
        told = json.loads(out.read_text(encoding="utf-8"))
        assert (told["text"], told["chat"]) == (TEXT, chat)
        assert [token["text"] for token in told["tokens"]] == list(text)
