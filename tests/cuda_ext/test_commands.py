"""The two commands of the package, and a build without a compiler."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from cuda_ext import __main__ as command
from cuda_ext import backend, bench, library
from cuda_ext.library import INSTRUCTION_SETS, Library

ROOT = Path(__file__).parents[2]


def test_status_command_prints_what_runs(capsys: pytest.CaptureFixture[str]) -> None:
    command.main()
    assert backend() in capsys.readouterr().out


def test_status_command_prints_why_kernels_are_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command.library, "CPU", Library(None, "no compiler here"))
    command.main()
    out = capsys.readouterr().out
    assert "not built" in out
    assert "no compiler here" in out
    assert "build_ext --inplace" in out


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bench at a small shape."""
    monkeypatch.setattr(bench, "TOKENS", 16)
    monkeypatch.setattr(bench, "FEW_TOKENS", 2)
    monkeypatch.setattr(bench, "KEYS", 64)
    monkeypatch.setattr(bench, "compiled_formula", lambda: bench.formula)  # compiling takes a minute
    monkeypatch.setattr(bench, "keep_heap", lambda: False)  # it would change malloc for the rest of the test run


@pytest.mark.usefixtures("brief")
def test_bench_command_prints_one_json_document(capsys: pytest.CaptureFixture[str]) -> None:
    bench.main(["--json", "--repeats", "1"])
    table = json.loads(capsys.readouterr().out)["milliseconds"]["default malloc"]
    ops = {row["op"] for row in table.values()}
    assert {"route", "mix, vertical", "accumulate"} <= ops
    for name, row in table.items():
        assert row["op"] in table, name
        assert row["op"] != name or row["ratio"] == 1.0


@pytest.mark.usefixtures("brief")
def test_bench_times_route_with_each_lower_instruction_set(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each row runs the code that it names, beside the op in one table."""
    if not library.CPU.loaded:
        pytest.skip("the kernels are not built")
    lower = list(INSTRUCTION_SETS[: INSTRUCTION_SETS.index(backend())])
    kernel, asked = torch.ops.monet.route_kernel, []

    def note(*arguments: Any) -> Any:
        asked.extend(arguments[4:])
        return kernel(*arguments)

    monkeypatch.setattr(torch.ops.monet, "route_kernel", note)
    levels = bench.lower_levels()
    found = list(bench.cases("cpu", levels=levels))
    (best,) = (case for case in found if case.name == "route")
    slower = [case for case in found if case.name.startswith("  with the code of ")]
    assert len(slower) == len(lower)
    for case in slower:
        same: Any = zip(case.run(), best.run(), strict=True)  # type: ignore[call-overload]  # both are tuples
        assert all(torch.equal(ours, theirs) for ours, theirs in same)
    bench.main(["--json", "--repeats", "1", "--instruction-sets"])
    table = json.loads(capsys.readouterr().out)["milliseconds"]["default malloc"]
    assert [name for name in table if "code of" in name] == [f"route: with the code of {name}" for name in lower]
    assert set(asked) == set(levels)


def test_build_without_a_compiler_goes_on_and_says_so(tmp_path: Path) -> None:
    environment = os.environ | {"CC": "/nonexistent/cc", "CXX": "/nonexistent/c++", "NVCC": "/nonexistent/nvcc"}
    build = subprocess.run(
        [sys.executable, "setup.py", "build_ext", "--build-temp", tmp_path / "t", "--build-lib", tmp_path / "b"],
        check=False,
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert build.returncode == 0, build.stderr
    assert "CPU kernels were NOT built" in build.stderr
    assert "install a C++17 compiler" in build.stderr
    assert not list(tmp_path.rglob("*.so"))
