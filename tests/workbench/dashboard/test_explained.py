"""Sentences of rules show what they quote in the type of tokens; what is missing is made by rules."""

from __future__ import annotations

from pathlib import Path

import pytest

from workbench import open_run
from workbench.dashboard import explained, running
from workbench.dashboard.context import Context
from workbench.dashboard.explained import cells, explain_first
from workbench.store.address import Expert

SCORES = ["detection", "detection:control", "fuzzing", "fuzzing:control"]
SCORES += ["balanced_accuracy", "average_precision", "average_precision:token"]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("Fires at `ab` or `x`; in lua.", ["Fires at ", ("ab",), " or ", ("x",), "; in lua."]),
        ("Fires at “`” or `x`.", ["Fires at “`” or ", ("x",), "."]),
        ("Fires at `“`.", ["Fires at ", ("“",), "."]),
        ("A person's words, with one ` only", ["A person's words, with one ` only"]),
        ("`<b>`", ["", ("<b>",), ""]),
    ],
)
def test_quotes_stand_in_the_type_of_tokens(text: str, parts: list[str | tuple[str]]) -> None:
    sentence, author, *_ = cells({"text": text, "author": "monet", "kind": "rule"} | dict.fromkeys(SCORES, 0.5))
    shown = [part if isinstance(part, str) else (part.children,) for part in sentence.children]
    assert shown == parts
    assert author == "monet (rule)"


@pytest.mark.parametrize("encoder", [False, True])
def test_missing_explanations_need_no_encoder(run_path: Path, encoder: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (explained, running):
        monkeypatch.setattr(module, "has_extra", lambda extra: encoder)
    ctx = Context(open_run(run_path))
    for expert, chosen in ((None, "--top=100"), (Expert(0, 17), "--expert=0:17")):
        shown = str([part.to_plotly_json() for part in explain_first(ctx, "None yet", expert)])
        rules = f"monet explain {run_path} --rules" + (f" {chosen}" if expert else "")
        assert rules in shown
        assert "pip install" not in shown
        assert shown.count("Button('Run it now'") == 1 + encoder
        assert (f"monet explain {run_path} {chosen}" in shown) is encoder


def test_readable_experts_are_known_once_the_run_is_analysed(bare_run_path: Path) -> None:
    shown = str([part.to_plotly_json() for part in explain_first(Context(open_run(bare_run_path)), "None yet")])
    assert f"monet analyze {bare_run_path}" in shown
    assert "--rules" not in shown
