"""Verification reads texts again: tokens, offsets and documents have to agree with each other and the tokenizer."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from workbench.store import verify_run

TOKENS, DOCUMENTS = "tokens/part-00000.parquet", "documents/part-00000.parquet"


def _change(name: str, change: Callable[[list[Any]], object]) -> Callable[[pa.Table], pa.Table]:
    """Changes the values of a column in place."""

    def changed(table: pa.Table) -> pa.Table:
        values, at = table[name].to_pylist(), table.column_names.index(name)
        change(values)
        return table.set_column(at, table.schema.field(at), pa.array(values, table.schema.field(at).type))

    return changed


def _put(at: int, value: Any) -> Callable[[list[Any]], object]:
    return lambda values: values.__setitem__(at, value)


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        (
            DOCUMENTS,
            _change("text", lambda texts: texts.__setitem__(0, "m" + texts[0][1:])),
            "document 0 are not those",
        ),
        (DOCUMENTS, _change("text", lambda texts: texts.__setitem__(3, texts[3] + "!")), "document 3 are not those"),
        (DOCUMENTS, _change("text", lambda texts: texts.reverse()), "document 0 are not those"),
        (DOCUMENTS, _change("text", _put(2, None)), "documents that have no text"),
        (DOCUMENTS, _change("text", _put(2, "")), "document 2 are not those"),
        (DOCUMENTS, _change("bos", _put(1, None)), "documents do not follow|windows|positions|start-of-text"),
        (DOCUMENTS, _change("bos", _put(1, 5)), "start-of-text tokens differ"),
        (TOKENS, _change("token", lambda ids: ids.__setitem__(4, ids[4] - 1)), "tokens of document 0"),
        (TOKENS, _change("start", lambda starts: starts.__setitem__(4, starts[4] - 1)), "offsets of document 0"),
        (TOKENS, _change("end", lambda ends: ends.__setitem__(-1, ends[-1] + 1)), "offsets of document 11"),
        (TOKENS, _change("end", _put(9, None)), "some rows have no offsets"),
        (TOKENS, _change("start", lambda starts: starts.__setitem__(slice(None), [None] * len(starts))), "no offsets"),
    ],
)
def test_a_text_that_does_not_give_its_tokens(text_copy, name, change, said) -> None:
    text_copy.rewrite(name, change)
    problems = verify_run(text_copy.path)
    assert problems
    assert re.search(said, " ".join(problems)), problems


def test_a_run_without_its_offsets(text_copy) -> None:
    table = text_copy.read(TOKENS)
    for name in ("start", "end"):
        table = _change(name, lambda values: values.__setitem__(slice(None), [None] * len(values)))(table)
    text_copy.write(TOKENS, table)
    assert any("manifest's size" in problem for problem in verify_run(text_copy.path))


def test_another_tokenizer(text_copy) -> None:
    path = text_copy.path / "tokenizer" / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    words = tokenizer["model"]["vocab"]
    words["e"], words["a"] = words["a"], words["e"]
    path.write_text(json.dumps(tokenizer))
    text_copy.relist()
    assert any("tokens of document 0 are not those of its text" in problem for problem in verify_run(text_copy.path))


@pytest.mark.parametrize(
    ("name", "content"),
    [("tokenizer.json", content) for content in ("", "{}", "[]", "null", '{"model": {}}')]
    + [("tokenizer_config.json", content) for content in ("", "[]", "null")],
)
def test_a_tokenizer_that_is_none(text_copy, name, content) -> None:
    (text_copy.path / "tokenizer" / name).write_text(content)
    text_copy.relist()
    assert any(problem.startswith("tokenizer cannot be read") for problem in verify_run(text_copy.path))


def test_a_run_whose_tokenizer_is_gone(text_copy) -> None:
    def forget(manifest: dict[str, Any]) -> None:
        manifest["tokenizer"] = None
        manifest["files"] = {n: file for n, file in manifest["files"].items() if not n.startswith("tokenizer/")}

    for file in (text_copy.path / "tokenizer").iterdir():
        file.unlink()
    text_copy.edit(forget)
    assert any("and the run has no tokenizer" in problem for problem in verify_run(text_copy.path))
