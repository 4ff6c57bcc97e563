"""Scripts on their way to the browser: compressed alike every time, kept for good, and named before they are due."""

from __future__ import annotations

import re
from pathlib import Path

import brotli
import pytest
from flask.testing import FlaskClient

from workbench import open_run
from workbench.dashboard.application import create_app
from workbench.dashboard.delivery import GRIDS

BROTLI = {"Accept-Encoding": "br"}


@pytest.fixture(scope="module")
def client(run_path: Path) -> FlaskClient:
    return create_app(open_run(run_path)).server.test_client()


def test_scripts_of_packages_are_compressed_and_whole(client: FlaskClient) -> None:
    whole = client.get(GRIDS, headers={"Accept-Encoding": "identity"})
    assert "Content-Encoding" not in whole.headers
    for _ in range(2):
        sent = client.get(GRIDS, headers=BROTLI)
        assert sent.headers["Content-Encoding"] == "br"
        assert "Accept-Encoding" in sent.headers["Vary"]
        assert int(sent.headers["Content-Length"]) == len(sent.data)
        assert brotli.decompress(sent.data) == whole.data
        assert sent.cache_control.max_age
    assert client.get(GRIDS, headers={"Accept-Encoding": "gzip"}).headers["Content-Encoding"] != "br"
    assert client.get(f"{GRIDS}.not", headers=BROTLI).status_code != 200


def test_own_files_are_kept_until_they_change(client: FlaskClient) -> None:
    shell = client.get("/glossary").get_data(as_text=True)
    named = re.findall(r'"(/assets/[^"]+)"', shell)
    assert named
    for path in named:
        assert "immutable" in client.get(path).headers["Cache-Control"]
    assert "immutable" not in client.get(named[0].partition("?")[0]).headers["Cache-Control"]


def test_page_with_a_grid_names_the_script_that_the_grid_waits_for(client: FlaskClient) -> None:
    assert GRIDS in client.get("/").headers["Link"]
    assert "Link" not in client.get("/glossary").headers
