"""An export from a model on a GPU that is not there: where it waits, and that its run is the processor's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from monet_model import MonetForCausalLM
from workbench import open_run
from workbench.export import export_run
from workbench.store import verify_run

from ...stand_in.gpu import Gpu, moved
from .conftest import CONTEXT, GOLDEN, random_documents, write_corpus


class _AtOnce(Executor):
    """Runs a task where it is submitted: the stand-in is of one thread."""

    def submit(self, act: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(act(*args, **kwargs))
        return done


@contextmanager
def _pool(*_threads: int) -> Iterator[_AtOnce]:
    yield _AtOnce()


class _Event:
    """A mark in the GPU's work, which is done as soon as it is asked for."""

    def record(self, _stream: object) -> None:
        """Marks it."""

    def synchronize(self) -> None:
        """Waits for it."""


@pytest.mark.parametrize("name", ["tiny-vd", "tiny-hd"])
def test_export(gpu: Gpu, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = write_corpus(tmp_path / "corpus.parquet", random_documents(0))
    settings: dict[str, Any] = {"batch_size": 3, "context": CONTEXT, "examples": 5, "examples_per_document": 2}
    export_run(GOLDEN / name, corpus, tmp_path / "here", **settings)
    there = moved(MonetForCausalLM.from_pretrained(GOLDEN / name).eval())
    monkeypatch.setattr("workbench.export.export.load_model", lambda *_args, **_kwargs: there)
    monkeypatch.setattr("workbench.export.pipeline.thread_pool", _pool)
    monkeypatch.setattr(torch.cuda, "Event", _Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _device: None)
    with gpu.on():
        export_run(GOLDEN / name, corpus, tmp_path / "there", **settings)
    for k, v in sorted(gpu.waits.items()):
        print(v, k)
    assert 0
