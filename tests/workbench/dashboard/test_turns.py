"""Requests that run the model take turns, and pages are answered however long the model takes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from flask import Flask

from workbench import open_run
from workbench.analysis import run_model
from workbench.dashboard.application import app_of
from workbench.dashboard.context import Context
from workbench.dashboard.serve import THREADS
from workbench.dashboard.turns import AT_ONCE, WAITING, Turns, end_turns
from workbench.errors import BusyError

PROMPT = {"text": "def f(x):"}


def test_pages_are_answered_while_first_prompts_load_the_model(run_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ctx, go, load = Context(open_run(run_path)), Event(), run_model.load_run_model
    ctx._turns = Turns(patience=120)  # none gives up before the page came

    def slow(*args: Any, **kwargs: Any) -> Any:
        go.wait(120)
        return load(*args, **kwargs)

    monkeypatch.setattr(run_model, "load_run_model", slow)
    server = app_of(ctx).server

    def ask() -> Any:
        return server.test_client().post("/api/v1/prompt", json=PROMPT)

    with ThreadPoolExecutor(THREADS) as threads:  # those of a process of the server
        try:
            asked = [threads.submit(ask) for _ in range(THREADS)]
            answered = as_completed(asked, timeout=60)
            first = [next(answered).result() for _ in range(THREADS - AT_ONCE - WAITING)]  # those refused at once
            assert [answer.status_code for answer in first] == [429] * len(first)
            page = threads.submit(lambda: server.test_client().get("/glossary")).result(timeout=60)
            assert page.status_code == 200
        finally:
            go.set()
    answers = [one.result() for one in asked]
    assert sorted(answer.status_code for answer in answers) == [200] * (AT_ONCE + WAITING) + [429] * (
        THREADS - AT_ONCE - WAITING
    )
    refused = next(answer for answer in answers if answer.status_code == 429).json["error"]
    assert refused["kind"] == "busy"
    assert "runs the model for 3 requests at once" in refused["message"]
    assert ask().status_code == 200


def test_pages_of_prompts_start_one_load_of_the_model(run_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ctx, loading, go, loads = Context(open_run(run_path)), Event(), Event(), []

    def slow(*_: Any, **__: Any) -> object:
        loads.append(threading.current_thread())
        loading.set()
        go.wait(60)
        return object()

    monkeypatch.setattr(run_model, "load_run_model", slow)
    ctx.prepare_model()
    assert loading.wait(60)
    threads = threading.active_count()
    for _ in range(5):
        ctx.prepare_model()
    assert threading.active_count() == threads  # none waits for the others
    go.set()
    assert ctx.model() is not None
    assert len(loads) == 1


def test_a_request_gives_its_turn_back_however_it_ends(run_path: Path) -> None:
    ctx = Context(open_run(run_path))
    ctx._turns = Turns(at_once=1, waiting=0, patience=0)
    client = app_of(ctx).server.test_client()
    for status, body in ((200, {}), (400, {"target": "no token of this one"}), (200, {"target": "x"})):
        assert client.post("/api/v1/attribute", json=PROMPT | body).status_code == status
    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(ctx.model).result() is ctx.model()  # no request, no turn


@pytest.mark.parametrize("waiting", [0, 1])
def test_a_request_waits_for_a_while_and_has_one_turn(waiting: int) -> None:
    server, turns = Flask("server"), Turns(at_once=1, waiting=waiting, patience=0.05)
    end_turns(server)

    def ask(then: Callable[[], object] = lambda: None) -> None:
        with server.test_request_context():
            turns.take()
            turns.take()
            then()

    def refused() -> None:
        with ThreadPoolExecutor(1) as threads, pytest.raises(BusyError, match="1 requests at once"):
            threads.submit(ask).result()

    ask(refused)
    ask()
