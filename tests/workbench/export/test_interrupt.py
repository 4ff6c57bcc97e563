"""Ctrl-C ends `monet export` between two batches, says how to go on, and that works."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from workbench.store import open_run, verify_run

MODEL = Path(__file__).parents[2] / "golden" / "tiny-vd"
MONET = [sys.executable, "-c", "from workbench.cli import main; main()"]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


@pytest.mark.skipif(os.name == "nt", reason="SIGINT is sent to a process")
def test_ctrl_c_and_the_command_it_prints(id_documents, id_corpus, tmp_path) -> None:
    corpus, run = id_corpus(tmp_path / "a corpus.parquet", id_documents(7, 400)), tmp_path / "run"
    arguments = ["export", str(MODEL), str(corpus), str(run), "--batch-size", "1", "--keep-routing", "0.5"]
    process = subprocess.Popen(
        [*MONET, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    )
    while not list(run.glob("routing/*.tmp")) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=100)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert not list(run.rglob("*.tmp"))
    assert any("half-written" in problem for problem in verify_run(run))
    said = " ".join(said.split("Go on with:")[1].split())
    assert shlex.split(said) == ["monet", *arguments, "--resume"]
    done = subprocess.run(
        [*MONET, *shlex.split(said)[1:]], capture_output=True, text=True, env=ENVIRONMENT, check=False
    )
    assert done.returncode == 0, done.stderr
    assert verify_run(run) == []
    assert len(open_run(run).documents) == 399  # one is empty
