"""A killed export goes on where it stopped and gives, byte for byte, the run that was never killed."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from workbench.export import export_run
from workbench.store import open_run, verify_run

HERE = Path(__file__).parent
MODEL = HERE.parents[1] / "golden" / "tiny-vd"


def _files(run: Path) -> dict[str, str]:
    """Hash of every file of a run but the manifest and the lock."""
    names = [p for p in run.rglob("*") if p.is_file() and p.name not in ("manifest.json", ".lock")]
    return {str(p.relative_to(run)): hashlib.sha256(p.read_bytes()).hexdigest() for p in names}


@pytest.fixture(scope="module")
def corpus(id_documents, id_corpus, tmp_path_factory) -> Path:
    return id_corpus(tmp_path_factory.mktemp("corpus") / "corpus.parquet", id_documents(1, 24))


@pytest.fixture(scope="module")
def settings() -> dict[str, int]:
    spec = importlib.util.spec_from_file_location("kill_points", HERE / "kill_points.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.SETTINGS


@pytest.fixture(scope="module")
def unbroken(corpus, settings, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("unbroken") / "run"
    export_run(MODEL, corpus, run, **settings)
    assert len(open_run(run).manifest["parts"]) > 10
    return run


def test_killed_right_after_the_run_was_declared_complete(corpus, settings, unbroken, tmp_path) -> None:
    run = Path(shutil.copytree(unbroken, tmp_path / "run"))
    (run / "state").mkdir()
    (run / "state" / "part-00012-group-0.npz").write_bytes(b"")
    assert verify_run(run) == ["state/part-00012-group-0.npz does not belong to this run."]
    export_run(MODEL, corpus, run, resume=True, **settings)
    assert verify_run(run) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="children are forked")
def test_killed_at_many_points(corpus, unbroken, tmp_path) -> None:
    run = tmp_path / "run"
    command = [sys.executable, str(HERE / "kill_points.py"), str(MODEL), str(corpus), str(run), "2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 50
    assert _files(run) == _files(unbroken)
    assert open_run(run).manifest == open_run(unbroken).manifest
    assert verify_run(run) == []
