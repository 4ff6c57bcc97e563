"""A run whose jobs are short programs in place of `monet` commands."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from workbench import Run, open_run
from workbench.jobs import Job, Jobs, queue

PROGRAM = """
import os, sys, time
from pathlib import Path
from workbench.progress import job
from workbench.store.files import write_json, replacing

folder, target = Path(sys.argv[2]), next(word[9:] for word in sys.argv if word.startswith("--target="))
with job("wait", 4, "steps") as advance:
    advance(1)
print("first\\rthis is", target, flush=True)
if target == "fail":
    raise SystemExit(3)
if target.startswith("wait"):
    with replacing(folder / "analysis" / "half.json") as temporary:
        temporary.write_text("half")
        (folder / "analysis" / "begun").touch()
        while target != "wait-for" or not (folder / "analysis" / "go").exists():
            time.sleep(0.02)
"""


@pytest.fixture
def run(bare_run_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A copy of the bare run."""
    import shutil

    (tmp_path / "programs").mkdir()
    (tmp_path / "programs" / "short_program.py").write_text(PROGRAM)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'programs'}:{Path(__file__).parents[3]}")
    monkeypatch.setattr(queue, "MODULE", "short_program")
    monkeypatch.setattr(queue, "BETWEEN", 0.02)
    shutil.copytree(bare_run_path, tmp_path / "run")
    (tmp_path / "run" / "analysis").mkdir(exist_ok=True)
    return open_run(tmp_path / "run")


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], None]:
    """Waits for something to become true."""

    def wait(true: Callable[[], bool]) -> None:
        end = time.monotonic() + 120
        while not true():
            assert time.monotonic() < end
            time.sleep(0.02)

    return wait


@pytest.fixture
def ended(until: Callable[[Callable[[], bool]], None]) -> Callable[[Jobs, str], Job]:
    """Waits for a job to end; the job."""

    def wait(jobs: Jobs, number: str) -> Job:
        until(lambda: not jobs.get(number).active)
        return jobs.get(number)

    return wait
