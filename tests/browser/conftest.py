"""The dashboard serving a small run as a process of its own, and a real browser looking at it."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from playwright.sync_api import BrowserContext, Page, expect, sync_playwright

from workbench import Run, open_run
from workbench.analysis.structure.umap_map import ExpertMap
from workbench.store.files import write_json, write_parquet

ROOT = Path(__file__).parents[2]
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
PATIENCE = 180_000  # ms to wait for what should come at once: the machine may be busy, and jobs start processes
QUIET = (
    *("disable-gpu", "disable-quic", "no-first-run", "disable-background-networking", "disable-component-update"),
    # A page lives for seconds: what optimises its scripts takes longer than they do.
    "js-flags=--no-turbofan --no-maglev --no-sparkplug",
    # The address bar's suggestions are two pages more in each window, which nobody sees. The others are Playwright's.
    "disable-features=WebUIOmniboxPopup,WebUIOmniboxAimPopup,HttpsUpgrades,MediaRouter,OptimizationHints,PaintHolding",
)

expect.set_options(timeout=PATIENCE)


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def serving(run: Path) -> Iterator[str]:
    command = [sys.executable, "app.py", str(run), "--port", str(free_port())]
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        said = server.stdout.readline()
        found = re.search(r"http://[\d.:]+", said)
        if found is None:
            pytest.fail(f"the dashboard printed no address but {said!r}")
        yield found[0]
    finally:
        server.terminate()
        server.wait(60)
        server.stdout.close()


def write_map(run: Run, x: Sequence[float], y: Sequence[float]) -> list[Path]:
    """Keep a map of contexts of the first experts of each group; the files that hold it."""
    files = [run.analysis_path(f"map-group-{group}.parquet") for group in run.groups]
    for group, file in zip(run.groups, files, strict=True):
        table = pd.DataFrame({"expert": run.experts(group).index[: len(x)], "x": x, "y": y})
        write_parquet(file, pa.Table.from_pandas(table))
    summary = ExpertMap("residual", dict.fromkeys(run.groups, len(x)), dict.fromkeys(run.groups, 0.5), 0)
    write_json(run.analysis_path("map.json"), summary.to_json())
    return [*files, run.analysis_path("map.json")]


@pytest.fixture(scope="session")
def run(run_path: Path) -> Run:
    """The run that ``address`` serves."""
    return open_run(run_path)


@pytest.fixture(scope="session")
def strongest(run: Run) -> int:
    """The expert of group 0 with the largest mass."""
    return int(run.experts(0)["mass"].idxmax())


@pytest.fixture(scope="session")
def address(run_path: Path) -> Iterator[str]:
    """Address that `python app.py RUN` prints for an analysed and masked run."""
    yield from serving(run_path)


@pytest.fixture(scope="session")
def bare_address(bare_run_path: Path) -> Iterator[str]:
    """Address of the dashboard of a run that was exported and no more."""
    yield from serving(bare_run_path)


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserContext]:
    """The system's Chromium; its pages share one cache, on disk, where it keeps compiled scripts too."""
    if CHROMIUM is None:
        pytest.fail(
            "the browser tests need Chromium: install it (apt-get install chromium) or set CHROMIUM to its path."
        )
    with sync_playwright() as playwright:
        started = playwright.chromium.launch_persistent_context(
            tmp_path_factory.mktemp("browser"),
            executable_path=CHROMIUM,
            args=["--no-sandbox", *(f"--{name}" for name in QUIET)],
            viewport={"width": 1600, "height": 1000},
        )
        yield started
        started.close()


def watched(browser: BrowserContext, own: tuple[str, ...]) -> Iterator[Page]:
    """A fresh page; when it closes, no console error, script error or request outside ``own`` may have happened."""
    faults: list[str] = []
    opened = browser.new_page()
    opened.set_default_timeout(PATIENCE)
    opened.on("console", lambda entry: faults.append(entry.text) if entry.type in ("error", "warning") else None)
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("request", lambda request: None if request.url.startswith(own) else faults.append(f"left: {request.url}"))
    yield opened
    opened.close()
    assert not faults


@pytest.fixture
def page(browser: BrowserContext, address: str) -> Iterator[Page]:
    """A page that may ask the dashboard of the analysed run and nobody else."""
    yield from watched(browser, (f"{address}/", "data:", "blob:"))


@pytest.fixture
def bare_page(browser: BrowserContext, bare_address: str) -> Iterator[Page]:
    """A page that may ask the dashboard of the exported run and nobody else."""
    yield from watched(browser, (f"{bare_address}/", "data:", "blob:"))


@pytest.fixture
def fresh_address(bare_run_path: Path, tmp_path: Path) -> Iterator[str]:
    """Address of the dashboard of a run that was exported and no more, and that the test may change."""
    shutil.copytree(bare_run_path, tmp_path / "run")
    yield from serving(tmp_path / "run")


@pytest.fixture
def fresh_page(browser: BrowserContext, fresh_address: str) -> Iterator[Page]:
    """A page that may ask that dashboard and nobody else."""
    yield from watched(browser, (f"{fresh_address}/", "data:", "blob:"))


@pytest.fixture
def offline_page(browser: BrowserContext) -> Iterator[Page]:
    """A page that may open files of this machine and ask nobody."""
    yield from watched(browser, ("file://",))
