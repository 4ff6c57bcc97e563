"""Sentences of rules show what they quote in the type of tokens."""

from __future__ import annotations

import pytest

from workbench.dashboard.explained import cells

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
