"""Programming problems: a prompt that a model completes, and tests; files of HumanEval and of MultiPL-E.

``LANGUAGES`` is the registry of languages: a new one is one line there.
"""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import BadInputError, NotFoundError, UnsupportedError

STOPS = ("\nclass", "\ndef", "\n#", "\nif", "\nprint")  # HumanEval's (Chen et al. 2021, section 2.2)


class Language(NamedTuple):
    """How a program is run: the name of its file, and the commands, of which the last one's status decides."""

    file: str
    commands: tuple[tuple[str, ...], ...]


LANGUAGES = {
    "python": Language("main.py", ((sys.executable, "-I", "main.py"),)),
    "javascript": Language("main.js", (("node", "main.js"),)),
    "lua": Language("main.lua", (("lua", "main.lua"),)),
    "php": Language("main.php", (("php", "main.php"),)),
    "c++": Language("main.cpp", (("g++", "-std=c++17", "-o", "main", "main.cpp"), ("./main",))),
}
NAMES = {"py": "python", "js": "javascript", "cpp": "c++"}  # MultiPL-E's, where they differ


@dataclass(frozen=True)
class Problem:
    """A programming problem.

    Attributes:
        name: that it is told by.
        language: a key of ``LANGUAGES``.
        prompt: the beginning of a program.
        tests: the program's end, which fails unless what stands between the two is right.
        stops: texts that end a completion, and are no part of it.
    """

    name: str
    language: str
    prompt: str
    tests: str
    stops: tuple[str, ...] = STOPS

    def program(self, completion: str) -> dict[str, str]:
        """The file of a program that tests a completion: name -> content."""
        return {LANGUAGES[self.language].file: f"{self.prompt}{completion}\n{self.tests}\n"}

    def cut(self, text: str) -> str:
        """A completion up to the first text that ends it.

        Examples:
            >>> from workbench.evaluation import Problem
            >>> Problem("add", "python", "def add(a, b):", "assert add(1, 2) == 3").cut(" return a + b\\nprint(add)")
            ' return a + b'
        """
        found = [at for stop in self.stops if (at := text.find(stop)) >= 0]
        return text[: min(found)] if found else text


def read_problems(path: str | Path) -> list[Problem]:
    """Read problems from a JSON-lines file.

    Each line has the fields of HumanEval (``task_id``, ``prompt``, ``test``, ``entry_point``; Python) or those of
    MultiPL-E (``name``, ``language``, ``prompt``, ``tests``, ``stop_tokens``).

    Raises:
        NotFoundError: there is no such file.
        BadInputError: a line is no problem, names no known language, or repeats a name.

    Examples:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from workbench.evaluation import read_problems
        >>> line = '{"task_id": "add", "prompt": "def add(", "test": "def check(f): ...", "entry_point": "add"}'
        >>> with TemporaryDirectory() as folder:
        ...     file = Path(folder) / "problems.jsonl"
        ...     written = file.write_text(line)
        ...     read_problems(file)[0].tests
        'def check(f): ...\\ncheck(add)'
    """
    path = Path(path)
    if not path.is_file():
        raise NotFoundError(f"there is no file of problems {path}.")
    problems: dict[str, Problem] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except ValueError as error:
        raise BadInputError(f"{path} is not UTF-8 text: {error}.") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            problem = _problem(json.loads(line))
        except (ValueError, KeyError, TypeError) as error:
            raise BadInputError(
                f"line {number} of {path} is no problem of HumanEval (task_id, prompt, test, entry_point) or MultiPL-E "
                f"(name, language, prompt, tests, stop_tokens): {type(error).__name__}: {error}."
            ) from error
        if problem.language not in LANGUAGES:
            raise BadInputError(
                f"line {number} of {path} is in {problem.language!r}; programs in {', '.join(LANGUAGES)} can be run."
            )
        if problem.name in problems:
            raise BadInputError(f"line {number} of {path} has the name of an earlier problem, {problem.name!r}.")
        problems[problem.name] = problem
    if not problems:
        raise BadInputError(f"{path} holds no problems.")
    return list(problems.values())


def check_languages(problems: list[Problem]) -> None:
    """Raise UnsupportedError unless what runs the problems' languages is installed."""
    for language in sorted({problem.language for problem in problems}):
        for program, *_ in LANGUAGES[language].commands:
            if not program.startswith("./") and shutil.which(program) is None:
                raise UnsupportedError(f"programs in {language} are run by {program!r}, which is not installed.")


def _problem(row: Any) -> Problem:
    if "entry_point" in row:
        tests = f"{row['test']}\ncheck({row['entry_point']})"
        return Problem(str(row["task_id"]), "python", str(row["prompt"]), tests)
    language = str(row["language"]).lower()
    stops = tuple(map(str, row["stop_tokens"]))
    return Problem(str(row["name"]), NAMES.get(language, language), str(row["prompt"]), str(row["tests"]), stops)
