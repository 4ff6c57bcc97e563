"""Only known commands with options of the right type can be asked for; the command line takes all of them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import typer

from workbench import Run, open_run
from workbench.cli import app
from workbench.errors import WorkbenchError
from workbench.jobs import KINDS, Request

VALUES: dict[str, Any] = {
    "label": ["lua", "html"],
    "ratio": 2.5,
    "confirmed": True,
    "name": "one.2",
    "top": 5,
    "expert": "0:17",
    "target": "--help; rm",
    "other": "beside",
}


@pytest.fixture(scope="module")
def run(bare_run_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with another one beside it."""
    folder = tmp_path_factory.mktemp("runs")
    for name in ("run", "beside"):
        shutil.copytree(bare_run_path, folder / name)
    return open_run(folder / "run")


@pytest.mark.parametrize("kind", KINDS)
def test_the_command_line_takes_every_option_of_a_kind(run: Run, kind: str) -> None:
    options = {name: VALUES[name] for name in KINDS[kind].options}
    if "expert" in options:
        options["expert"] = ["0:17", "0:18"]
    if kind == "attribute-corpus":
        options["label"] = "lua"
    name, *arguments = Request(kind, options).arguments(run)
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    parsed = command.make_context(name, arguments).params
    assert parsed["run"] == str(run.path)
    assert parsed.get("rules", False) is (kind == "explain-rules")
    for option, value in options.items():
        expected = str(Path(run.path).resolve().parent / value) if option == "other" else value
        assert parsed[option] == expected


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("rm", {}),
        ("export", {}),
        ("mask", {"out": "x"}),
        ("mask", {"label": "cobol"}),
        ("mask", {"label": 7}),
        ("mask", {"ratio": "2"}),
        ("mask", {"ratio": float("nan")}),
        ("mask", {"ratio": 0.5}),
        ("mask", {"ratio": True}),
        ("mask", {"confirmed": "yes"}),
        ("mask", {"name": "../x"}),
        ("explain", {"top": 1.5}),
        ("explain", {"top": 0}),
        ("explain", {"expert": "9:1"}),
        ("attribute-corpus", {"target": "x" * 201}),
        ("attribute-corpus", {"target": "a\0"}),
        ("attribute-corpus", {"target": ""}),
        ("compare", {}),
        ("compare", {"other": "missing"}),
        ("compare", {"other": "../runs"}),
        ("compare", {"other": "--help"}),
        ("compare", {"other": "run"}),
    ],
)
def test_anything_else_is_refused(run: Run, kind: str, options: dict[str, Any]) -> None:
    with pytest.raises(WorkbenchError):
        Request(kind, options).arguments(run)
