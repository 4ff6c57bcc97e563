"""A Ray cluster gives the run that one process gives: with a worker killed on the way, after a break, from a URL."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from workbench.errors import WorkbenchError
from workbench.export import export, export_run, parts
from workbench.store import verify_run

ray = pytest.importorskip("ray")

MODEL = Path(__file__).parents[2] / "golden" / "tiny-vd"
SETTINGS: dict[str, Any] = {"batch_size": 3, "context": 48, "part_tokens": 120, "examples": 5}
KILLED_PART = 2


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """A local cluster with room for two workers; functions of this file go to it whole, as it cannot import them."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    quiet: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
    ray.init(num_cpus=2 * torch.get_num_threads(), object_store_memory=100 * 2**20, **quiet)
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def corpus(id_documents, id_corpus, tmp_path_factory) -> Path:
    return id_corpus(tmp_path_factory.mktemp("corpus") / "corpus.parquet", id_documents(4, 16))


@pytest.fixture(scope="module")
def alone(corpus, tmp_path_factory) -> dict[str, bytes]:
    """The files of the run that one process makes."""
    run = tmp_path_factory.mktemp("alone") / "run"
    export_run(MODEL, corpus, run, **SETTINGS)
    return _files(run)


def _files(run: Path) -> dict[str, bytes]:
    return {str(p.relative_to(run)): p.read_bytes() for p in run.rglob("*") if p.is_file() and p.name != ".lock"}


def killed_on_the_way(died: Path) -> Any:
    """What a worker does with a part; the first to reach one of them is killed after some of its files."""
    read = parts.read_alone

    def once(part: Any, **rest: Any) -> Any:
        if part.number == KILLED_PART and not died.exists():
            rename, left = Path.replace, 3

            def replace(self: Path, target: Path) -> Path:
                nonlocal left
                left -= 1
                if left == 0:
                    died.write_text(str(os.getpid()))
                    os.kill(os.getpid(), signal.SIGKILL)
                return rename(self, target)

            Path.replace = replace  # type: ignore[method-assign, assignment]
        return read(part, **rest)

    return once


def test_ray_export_survives_a_killed_worker(cluster, corpus, alone, tmp_path, monkeypatch) -> None:
    died = tmp_path / "died"
    monkeypatch.setattr(parts, "read_alone", killed_on_the_way(died))
    export_run(MODEL, corpus, tmp_path / "run", ray="local", workers=2, **SETTINGS)
    assert int(died.read_text()) != os.getpid()
    assert _files(tmp_path / "run") == alone
    assert verify_run(tmp_path / "run") == []


def test_ray_export_refuses_too_few_processors(cluster, corpus, tmp_path) -> None:
    """A worker that finds no room would be waited for without end."""
    with pytest.raises(WorkbenchError, match="the workers need .* CPUs"):
        export_run(MODEL, corpus, tmp_path / "run", ray="local", workers=3, **SETTINGS)


def test_the_driver_stops_and_another_goes_on(cluster, corpus, alone, tmp_path, monkeypatch) -> None:
    """Into a URL, by workers; then on from there, by one process."""
    url, save = f"file://{tmp_path}/run", export._save_totals

    def stopped(path: Any, manifest: dict[str, Any], totals: Any) -> None:
        save(path, manifest, totals)
        if len(manifest["parts"]) == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(export, "_save_totals", stopped)
        with pytest.raises(KeyboardInterrupt):
            export_run(MODEL, corpus, url, ray="local", workers=2, **SETTINGS)
    export_run(MODEL, corpus, url, resume=True, **SETTINGS)
    assert _files(tmp_path / "run") == alone


def test_an_interrupt_is_heeded_while_workers_read(cluster, corpus, tmp_path, monkeypatch) -> None:
    """It comes with the first look at the progress, when no part is done yet."""

    @contextmanager
    def interrupted(*_: Any) -> Iterator[Any]:
        def report(*_: int) -> None:
            raise KeyboardInterrupt

        yield report

    monkeypatch.setattr(export, "_reporting", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export_run(MODEL, corpus, tmp_path / "run", ray="local", workers=1, **SETTINGS)
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["parts"] == []


def test_ray_export_names_a_place_that_workers_do_not_share(cluster, corpus) -> None:
    with pytest.raises(WorkbenchError, match="a worker wrote .* to memory://ray/run, which this process does not see"):
        export_run(MODEL, corpus, "memory://ray/run", ray="local", workers=1, **SETTINGS)


def test_ray_export_names_the_missing_package(corpus, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(WorkbenchError, match=r"pip install 'monet-workbench\[ray\]'"):
        export_run(MODEL, corpus, tmp_path / "run", ray="local", **SETTINGS)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("{here}:{silent}", "refused"),
        ("localhost:{silent}", "refused"),
        ("ray://{here}:{silent}", "refused"),
        ("auto", "refused"),
        ("no-such-host.invalid:6379", "Errno"),
        ("head", "an address is HOST:PORT"),
        ("{here}:ray", "Port could not be cast"),
    ],
)
def test_ray_export_names_an_address_without_a_cluster(address, said, corpus, tmp_path, monkeypatch) -> None:
    """It is refused before Ray is asked, which would try for minutes and then end the process."""

    def asked(*_: Any, **__: Any) -> None:
        raise AssertionError("Ray was asked")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", asked)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    with socket.socket() as taken:
        taken.bind(("", 0))  # and does not listen
        silent = taken.getsockname()[1]
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{silent}")  # which `auto` stands for
        address = address.format(here="127.0.0.1", silent=silent)
        with pytest.raises(WorkbenchError, match=f"no Ray cluster answers at {address}.*{said}.*ray start --head"):
            export_run(MODEL, corpus, tmp_path / "run", ray=address, **SETTINGS)
    assert not (tmp_path / "run").exists()


def test_ray_export_names_an_address_where_something_else_listens(corpus, tmp_path, monkeypatch) -> None:
    """Ray then ends the process by itself, without a word."""
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda *_, **__: sys.exit(signal.SIGTERM))
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    with socket.create_server(("", 0)) as other:
        address = f"localhost:{other.getsockname()[1]}"
        with pytest.raises(WorkbenchError, match=f"no Ray cluster answers at {address}"):
            export_run(MODEL, corpus, tmp_path / "run", ray=address, **SETTINGS)
