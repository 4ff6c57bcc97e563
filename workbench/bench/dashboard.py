"""`python -m workbench.bench.dashboard RUN [--json]`: how fast the dashboard answers, alone and under load.

The dashboard is served by a process of its own, as `monet serve` does. Random experts that are active are opened one
after the other, as a step from expert to expert asks the server, by one client and then by many at once, none of them
twice in a run of many experts, so that a cache of pages would not flatter; and, where Playwright and Chromium are
installed, the front page is opened in a browser with an empty cache: the time until its heading shows and its grid has
rows, and what comes over the wire. `workbench.bench.search` has the other pages.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from ..store import open_run
from .common import Table, make_parser, print_result

ALONE = 300  # experts opened by one client
WARM_UP = 20  # of them first, not counted
MOST = 400  # pages per second that addresses are drawn for
READY = 5.0  # seconds under load before memory and load are measured
ROUNDS = 4  # openings in a browser
LARGEST = 6  # files named, of those that come over the wire
SERVE = "from workbench.cli import main; main()"
PAGE = "page.children"  # what the callback that draws a page writes to


@contextmanager
def served(run: Path) -> Iterator[tuple[str, int]]:
    """Serve a run in a process of its own; yields its host and port, and the number of the process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-c", SERVE, "serve", str(run), "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert server.stdout is not None
    try:
        said = server.stdout.readline()
        if f":{port}/" not in said:
            raise RuntimeError(f"the dashboard did not start: {said!r}")
        yield f"127.0.0.1:{port}", server.pid
    finally:
        server.terminate()
        server.wait(20)


def resident(pid: int) -> float:
    """Resident memory of a process and of those that it started, in megabytes; what they share counts once."""
    tree = [pid]
    for parent in tree:
        children = Path(f"/proc/{parent}/task/{parent}/children")
        tree += [int(child) for child in children.read_text().split()]
    maps = (Path(f"/proc/{one}/smaps_rollup").read_text().splitlines() for one in tree)
    return sum(int(line.split()[1]) for each in maps for line in each if line.startswith("Pss:")) * 1024 / 1e6


class Client:
    """A client that steps from page to page as the browser does: one request to Dash for each."""

    def __init__(self, address: str) -> None:
        self._connection = HTTPConnection(address, timeout=120)
        self._connection.request("GET", "/_dash-dependencies")
        known = json.loads(self._connection.getresponse().read())
        self._callback = next(one for one in known if PAGE in one["output"] and not one["clientside_function"])

    def open(self, path: str) -> int:
        """Open a page; the bytes of its answer."""
        output, asked = self._callback["output"], {"pathname": path, "search": "", "again": False}
        names = [name.rpartition(".") for name in output.strip(".").split("...")]
        body = {
            "output": output,
            "outputs": [{"id": name, "property": what} for name, _, what in names],
            "inputs": [part | {"value": asked} for part in self._callback["inputs"]],
            "state": [part | {"value": None} for part in self._callback["state"]],
            "changedPropIds": ["asked.data"],
        }
        headers = {"Content-Type": "application/json", "Accept-Encoding": "gzip"}
        ask = ("POST", "/_dash-update-component", json.dumps(body), headers)
        try:
            self._connection.request(*ask)
            answer = self._connection.getresponse()
        except ConnectionError:  # the server closes one that was idle
            self._connection.close()
            self._connection.request(*ask)
            answer = self._connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{path} was answered with {answer.status}")
        return len(content)

    def status(self, path: str) -> int:
        """The status of an address as a browser first asks for it, which is that of its page; ``open`` cannot tell."""
        self._connection.request("GET", path)
        answer = self._connection.getresponse()
        answer.read()
        return answer.status


def time_alone(address: str, paths: list[str]) -> dict[str, float]:
    """Milliseconds of each page, asked for by one client."""
    client, taken, sizes = Client(address), [], []
    for path in paths:
        start = time.perf_counter()
        sizes.append(client.open(path))
        taken.append(1e3 * (time.perf_counter() - start))
    kept = np.array(taken[WARM_UP:])
    return _quantiles(kept) | {"pages": len(kept), "kilobytes": float(np.median(sizes)) / 1e3}


def _quantiles(taken: np.ndarray) -> dict[str, float]:
    p50, p95 = np.quantile(taken, [0.5, 0.95])
    return {"p50_ms": float(p50), "p95_ms": float(p95), "worst_ms": float(taken.max())}


def time_load(address: str, paths: list[str], clients: int, seconds: float) -> dict[str, float]:
    """The same by many clients at once, each asking for the next page as soon as it has one."""
    taken: list[list[float]] = [[] for _ in range(clients)]
    failed: list[Exception] = []
    end = time.perf_counter() + seconds

    def work(number: int) -> None:
        client, at = Client(address), number
        while time.perf_counter() < end:
            start = time.perf_counter()
            try:
                client.open(paths[at % len(paths)])
            except Exception as error:
                failed.append(error)
                client = Client(address)
            taken[number].append(1e3 * (time.perf_counter() - start))
            at += clients

    threads = [threading.Thread(target=work, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    every = np.array([one for part in taken for one in part])
    return _quantiles(every) | {"per_second": len(every) / seconds, "pages": len(every), "errors": len(failed)}


def time_browser(address: str) -> dict[str, Any] | None:
    """Milliseconds until the front page's heading and the first row of its grid show, in a browser with an empty cache,
    megabytes over the wire, and the kilobytes of the largest files; None without a browser."""
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return None
    if chromium is None:
        return None
    heading, usable, wire = [], [], []
    sizes: dict[str, float] = {}
    with sync_playwright() as playwright:
        for _ in range(ROUNDS):
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            page = browser.new_page()
            session = page.context.new_cdp_session(page)
            asked: dict[str, str] = {}
            received: dict[str, float] = {}
            session.send("Network.enable")
            session.on("Network.requestWillBeSent", lambda event, to=asked: to.update(_asked(event)))
            session.on("Network.loadingFinished", lambda event, to=received: to.update(_received(event)))
            start = time.perf_counter()
            page.goto(f"http://{address}/", wait_until="commit")
            page.locator("h1").wait_for()
            heading.append(1e3 * (time.perf_counter() - start))
            page.locator(".ag-row a").first.wait_for()
            usable.append(1e3 * (time.perf_counter() - start))
            page.wait_for_load_state("networkidle")
            wire.append(sum(received.values()) / 1e6)
            sizes = dict.fromkeys(asked.values(), 0.0)
            for number, size in received.items():
                sizes[asked[number]] += size / 1e3  # one that was fetched ahead is asked for twice
            browser.close()
    return {
        "heading_ms": float(np.median(heading)),
        "usable_ms": float(np.median(usable)),
        "megabytes": float(np.median(wire)),
        "largest_kb": dict(sorted(sizes.items(), key=lambda one: -one[1])[:LARGEST]),
    }


def _asked(event: dict[str, Any]) -> dict[str, str]:
    """The path that a request asks for, by the request's number."""
    return {event["requestId"]: urlsplit(event["request"]["url"]).path}


def _received(event: dict[str, Any]) -> dict[str, float]:
    """The bytes that came for a request, by its number."""
    return {event["requestId"]: event["encodedDataLength"]}


def measure(path: Path, clients: int, seconds: float, seed: int = 0) -> dict[str, Any]:
    """All of it, of a run."""
    run, rng = open_run(path), np.random.default_rng(seed)
    active = [f"/expert/{group}/{expert}" for group in run.groups for expert in run.experts(group, ["tokens"]).index]
    first, ready = ALONE + WARM_UP, ALONE + WARM_UP + int(MOST * READY)
    drawn = np.resize(rng.permutation(len(active)), ready + int(MOST * seconds))  # a small run has too few, and repeats
    paths = [active[at] for at in drawn]
    with served(path) as (address, pid):
        alone = time_alone(address, paths[:first])
        time_load(address, paths[first:ready], clients, READY)  # each process reads its tables and the model
        before = resident(pid)
        load = time_load(address, paths[ready:], clients, seconds)
        memory = {"before_mb": before, "after_mb": resident(pid)}
        browser = time_browser(address)
    return {"tokens": run.tokens_total, "alone": alone, "load": load, "memory": memory, "browser": browser}


def _parser() -> ArgumentParser:
    parser = make_parser("dashboard", __doc__)
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a run")
    parser.add_argument("--clients", type=int, default=20, help="clients at once")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long they ask")
    return parser


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    asked = _parser().parse_args(arguments)
    found = measure(asked.run, asked.clients, asked.seconds)
    rows = [
        ["one client", *_cells(found["alone"])],
        [f"{asked.clients} clients", *_cells(found["load"])],
    ]
    tables: list[Table] = [("Expert pages, in milliseconds", ["", "pages", "p50", "p95", "worst"], rows)]
    load, memory = found["load"], found["memory"]
    tables.append(
        (
            "Under load",
            ["pages per second", "errors", "MB before", "MB after"],
            [
                [
                    f"{load['per_second']:.1f}",
                    f"{load['errors']}",
                    f"{memory['before_mb']:.0f}",
                    f"{memory['after_mb']:.0f}",
                ]
            ],
        )
    )
    if browser := found["browser"]:
        row = [f"{browser['heading_ms']:.0f}", f"{browser['usable_ms']:.0f}", f"{browser['megabytes']:.2f}"]
        tables.append(("Front page, empty cache", ["heading, ms", "usable, ms", "MB over the wire"], [row]))
        largest = [[path, f"{size:.0f}"] for path, size in browser["largest_kb"].items()]
        tables.append(("Largest files of it", ["path", "kB"], largest))
    print_result(found, tables, asked.json)


def _cells(row: dict[str, float]) -> list[str]:
    return [f"{row['pages']:,.0f}", *(f"{row[name]:.0f}" for name in ("p50_ms", "p95_ms", "worst_ms"))]


if __name__ == "__main__":
    main()
