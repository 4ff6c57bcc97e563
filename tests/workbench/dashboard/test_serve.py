"""`python app.py`: what it says and with which code it ends where it cannot serve."""

from __future__ import annotations

import importlib.util
import os
import socket
from pathlib import Path
from types import ModuleType

import pytest

from workbench.dashboard.serve import _shared_folder

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def app() -> ModuleType:
    spec = importlib.util.spec_from_file_location("app", ROOT / "app.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_no_run(app: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main([str(tmp_path / "nowhere")]) == 2
    said = capsys.readouterr()
    assert str(tmp_path / "nowhere") in said.err
    assert said.out == ""


def test_port_in_use(app: ModuleType, run_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert app.main([str(run_path), "--port", str(port)]) == 2
    assert f"cannot listen on 127.0.0.1:{port}" in capsys.readouterr().err


def test_port_that_cannot_be(app: ModuleType, run_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main([str(run_path), "--port", "99999"]) == 2
    assert "there is no port 99999" in capsys.readouterr().err


def test_wsgi_application_is_made_of_the_run_in_the_environment(
    app: ModuleType, run_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MONET_RUN", str(run_path))
    assert app.server.test_client().get("/").status_code == 200


def test_shared_folder_outlives_a_process_that_ends_before_the_others() -> None:
    block = _shared_folder()
    folder = block.__enter__()
    child = os.fork()
    if not child:
        block.__exit__(None, None, None)  # as a worker leaves the block when it ends
        os._exit(0)
    os.waitpid(child, 0)
    assert folder.is_dir()
    block.__exit__(None, None, None)
    assert not folder.exists()
