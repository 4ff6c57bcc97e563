"""`python -m workbench.bench.search RUN [--json]`: how fast searches, lists and pages answer, over HTTP.

The dashboard is served by a process of its own, as `monet serve` does. The tokens searched for are the most frequent of
the run, and one of each tenth of the others, from frequent to rare.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import numpy as np

from ..analysis.run_model import context_length, run_tokenizer
from ..store import open_run
from ..store.token_text import token_bytes
from .common import Table, make_parser, print_result
from .dashboard import Client, served

if TYPE_CHECKING:
    from ..store import Run

FREQUENT, OTHERS = 20, 30  # tokens searched for
ROUNDS = 5  # of every page and every list
CHARACTERS = 400  # of the text whose experts are asked for
SORTS = ("mass", "max", "tokens")  # orders of the lists of experts


def texts_of_tokens(run: Run) -> list[str]:
    """The most frequent tokens of a run that can be typed, and others from frequent to rare."""
    ids = np.argsort(-run.token_counts, kind="stable")[: np.count_nonzero(run.token_counts)]
    pieces = [piece.decode(errors="ignore") for piece in token_bytes(run_tokenizer(run), ids.tolist())]
    typed = list(dict.fromkeys(piece for piece in pieces if piece))
    others = typed[FREQUENT:]
    spread = np.linspace(0, len(others) - 1, min(OTHERS, len(others))).astype(int)
    return typed[:FREQUENT] + [others[at] for at in spread]


def _asked(run: Run) -> dict[str, list[str]]:
    """What is asked of the HTTP API, by kind: the addresses below ``/api/v1/``."""

    def searches(kind: str, queries: list[str]) -> list[str]:
        return ["search?" + urlencode({"q": query, "kind": kind}) for query in queries]

    tokens, documents = texts_of_tokens(run), np.linspace(0, len(run.documents) - 1, 2 * ROUNDS).astype(int)
    characters = min(CHARACTERS, context_length(run) // 4)  # a character may be four tokens, its bytes
    texts = [(run.text(int(doc)) or "")[:characters] for doc in documents]
    words = [text.split()[0] for text in texts if text.split()]
    pairs = [" ".join(text.split()[:2]) for text in texts if len(text.split()) > 1]
    return {
        "experts that fire on a token": searches("firing", tokens),
        "experts that fire on two words": searches("firing", pairs),
        "experts of a text, by sum": searches("text", [text for text in texts if text.strip()]),
        "documents with a word": searches("documents", words),
        "documents, a regular expression": searches("documents", [r"/\b\d{4}\b/", r"/(?i)return\s+\w+/"]),
        "explanations": searches("explanations", words[:ROUNDS]),
        "lists of experts": [
            "experts?" + urlencode({"group": group, "sort": name, "offset": offset})
            for group in run.groups
            for name in SORTS
            for offset in (0, 10_000)
        ],
    }


def _pages(run: Run) -> dict[str, list[str]]:
    """Pages of the dashboard, by name."""
    experts = [f"/expert/{group}/{run.top_experts(group, 'mass', limit=1).index[0]}" for group in run.groups]
    return {
        "front page": ["/"] * ROUNDS,
        "page of the expert of largest mass": experts * ROUNDS,
        "label": [f"/labels/{label}" for label in run.labels[:ROUNDS]],
        "atlas": ["/atlas", "/atlas?colour=mass"] * ROUNDS,
        "lists": ["/lists"] * ROUNDS,
    }


def _timed(ask: Callable[[str], None], addresses: list[str]) -> dict[str, Any]:
    """Milliseconds of each answer after the first, which opens files; that one; and what took longest."""
    taken = []
    for address in [addresses[0], *addresses]:
        start = time.perf_counter()
        ask(address)
        taken.append(1e3 * (time.perf_counter() - start))
    cold, warm = taken[0], np.array(taken[1:])
    p50, p95 = np.quantile(warm, [0.5, 0.95])
    return {
        "calls": len(warm),
        "first_ms": cold,
        "p50_ms": float(p50),
        "p95_ms": float(p95),
        "worst_ms": float(warm.max()),
        "slowest": addresses[int(warm.argmax())],
    }


def measure(path: Path) -> dict[str, Any]:
    """All of it, of a run."""
    run = open_run(path)
    with served(path) as (address, _):
        connection, client = HTTPConnection(address, timeout=600), Client(address)

        def ask(asked: str) -> None:
            connection.request("GET", f"/api/v1/{asked}")
            answer = connection.getresponse()
            said = answer.read()
            if answer.status != 200:
                raise RuntimeError(f"{asked} was answered with {answer.status}: {said[:200]!r}")

        def draw(page: str) -> None:
            client.open(page)

        answers = {name: _timed(ask, asked) for name, asked in _asked(run).items() if asked}
        pages = {name: _timed(draw, asked) for name, asked in _pages(run).items()}
    return {"tokens": run.tokens_total, "experts": run.num_keys**2 * len(run.groups), "searches": answers | pages}


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = make_parser("search", __doc__)
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a run, analysed")
    asked = parser.parse_args(arguments)
    found = measure(asked.run)
    rows = [
        [name, f"{row['calls']}", *(f"{row[figure]:,.0f}" for figure in ("first_ms", "p50_ms", "p95_ms", "worst_ms"))]
        for name, row in found["searches"].items()
    ]
    title = f"{found['tokens']:,} tokens, {found['experts']:,} experts, in milliseconds"
    tables: list[Table] = [(title, ["", "calls", "first", "p50", "p95", "worst"], rows)]
    print_result(found, tables, asked.json)


if __name__ == "__main__":
    main()
