"""A served run that notes may be kept beside, and a client of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from workbench import Run, open_run
from workbench.client import Client
from workbench.dashboard.application import create_app

API = "/api/v1"


class Served(NamedTuple):
    """A run, the server of it, and a client that asks it in this process."""

    run: Run
    server: Any
    client: Client


@pytest.fixture(scope="module")
def served(run_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("api") / "run"
    folder.mkdir()
    for part in run_path.iterdir():
        (folder / part.name).symlink_to(part)
    run = open_run(folder)
    server = create_app(run).server
    with Client("http://localhost", transport=httpx.WSGITransport(server)) as client:
        yield Served(run, server, client)


@pytest.fixture
def run(served: Served) -> Run:
    return served.run


@pytest.fixture
def client(served: Served) -> Client:
    return served.client


@pytest.fixture
def http(served: Served) -> Any:
    """What asks without the client."""
    return served.server.test_client()
