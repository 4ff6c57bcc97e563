"""Programming problems in the formats of HumanEval and MultiPL-E, and programs in every language we run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from workbench.errors import BadInputError, NotFoundError, UnsupportedError
from workbench.evaluation import Problem, read_problems
from workbench.evaluation.problems import LANGUAGES, STOPS, check_languages
from workbench.evaluation.sandbox import FAILED, PASSED, run_limited

HUMANEVAL = {
    "task_id": "HumanEval/0",
    "prompt": "def add(a, b):\n",
    "entry_point": "add",
    "test": "def check(add):\n    assert add(1, 2) == 3\n",
    "canonical_solution": "    return a + b\n",
}
MULTIPLE = {
    "name": "HumanEval_0_add",
    "language": "cpp",
    "prompt": "int add(int a, int b) {\n",
    "tests": "}\nint main() {}",
    "stop_tokens": ["\n}"],
}
PROGRAMS = {  # prompt, a right and a wrong completion, tests
    "python": ("def add(a, b):\n", "    return a + b", "    return a - b", "assert add(1, 2) == 3"),
    "javascript": (
        "function add(a, b) {\n",
        "return a + b }",
        "return a - b }",
        "require('assert').equal(add(1, 2), 3)",
    ),
    "lua": ("function add(a, b)\n", "return a + b end", "return a - b end", "assert(add(1, 2) == 3)"),
    "php": ("<?php function add($a, $b) {\n", "return $a + $b; }", "return $a - $b; }", "if (add(1, 2) != 3) exit(1);"),
    "c++": (
        "#include <cassert>\nint add(int a, int b) {\n",
        "return a + b; }",
        "return a - b; }",
        "int main() { assert(add(1, 2) == 3); }",
    ),
}


def written(folder: Path, *rows: Any) -> Path:
    """A file of rows, or of lines of text."""
    path = folder / "problems.jsonl"
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), encoding="utf-8")
    return path


def test_both_formats_are_read(tmp_path: Path) -> None:
    human, multiple = read_problems(written(tmp_path, HUMANEVAL, "", MULTIPLE))
    assert human == Problem(
        "HumanEval/0", "python", HUMANEVAL["prompt"], "def check(add):\n    assert add(1, 2) == 3\n\ncheck(add)", STOPS
    )
    assert multiple == Problem("HumanEval_0_add", "c++", MULTIPLE["prompt"], MULTIPLE["tests"], ("\n}",))
    found = run_limited(human.program(HUMANEVAL["canonical_solution"]), LANGUAGES["python"].commands)
    assert found.reason == PASSED, found.output


@pytest.mark.parametrize("language", LANGUAGES)
def test_programs_pass_and_fail_by_their_tests(language: str) -> None:
    for program, *_ in LANGUAGES[language].commands:
        if not program.startswith("./") and shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    prompt, right, wrong, tests = PROGRAMS[language]
    problem = Problem("add", language, prompt, tests)
    outcomes = [run_limited(problem.program(text), LANGUAGES[language].commands) for text in (right, wrong)]
    assert [outcome.reason for outcome in outcomes] == [PASSED, FAILED], outcomes


def test_a_completion_ends_where_the_first_stop_begins() -> None:
    problem = Problem("add", "python", "", "", ("\ndef", "\nprint"))
    assert problem.cut("a\nprint(1)\ndef b") == "a"
    assert problem.cut("a print b") == "a print b"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (['{"task_id":'], "line 1 of .* is no problem"),
        ([HUMANEVAL, {"prompt": "x"}], "line 2 of .* KeyError: 'language'"),
        (["[1]"], "line 1 of .* is no problem"),
        ([MULTIPLE | {"language": "cobol"}], "'cobol'; programs in python, javascript"),
        ([HUMANEVAL, HUMANEVAL], "line 2 of .* has the name of an earlier problem, 'HumanEval/0'"),
        ([], "holds no problems"),
    ],
)
def test_files_that_hold_no_problems_are_named(rows: list[Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=message):
        read_problems(written(tmp_path, *rows))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no file of problems"):
        read_problems(tmp_path / "none.jsonl")


def test_an_interpreter_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UnsupportedError, match="programs in lua are run by 'lua', which is not installed"):
        check_languages([Problem("add", "python", "", ""), Problem("add", "lua", "", "")])
