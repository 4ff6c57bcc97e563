"""An export by a model on a GPU that is not there: it waits for no batch, and its run is the processor's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from monet_model import MonetForCausalLM
from workbench import open_run
from workbench.export import export_run
from workbench.store import verify_run

from ...stand_in.gpu import Gpu, moved
from ...stand_in.streams import install
from .conftest import CONTEXT, GOLDEN, random_documents, write_corpus

SETTINGS: dict[str, Any] = {"batch_size": 3, "context": CONTEXT, "examples": 5, "examples_per_document": 2}
GROUPS, LAYERS = 2, 4  # of the golden models

# What the ops read of a batch: the widths of the lists of active keys, for each router and key set, and whether the
# lists given to an expert layer are sound. Layers behind the last router, and its own experts, do not run.
OF_BATCH = {"cuda_ext/sparse.py:read_numbers to the host": 2 * GROUPS + (LAYERS // GROUPS)}
# Transformers asks whether a mask leaves anything out; a batch of whole windows is given none.
OF_PADDED_BATCH = {"monet_model/modeling.py:forward local_scalar_dense": 2}
# Of a piece of a group's rows, in a thread beside the model's: whether what is added is sound.
OF_PIECE = {
    "cuda_ext/sparse.py:read_numbers to the host": 2,
    "cuda_ext/ops/accumulate.py:_are_probabilities local_scalar_dense": 2,
}
# Of a part of a group: its totals, which are merged on the host.
OF_PART = {"cuda_ext/ops/accumulate.py:<dictcomp> to the host": 7}


class _AtOnce(Executor):
    """Runs a task where it is submitted: the stand-in is of one thread."""

    def submit(self, act: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(act(*args, **kwargs))
        return done


@contextmanager
def _pool(*_threads: int) -> Iterator[_AtOnce]:
    yield _AtOnce()


@pytest.fixture
def export_there(gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Counter[str]]:
    """Exports with a golden model on the stand-in, and returns where it waited."""
    monkeypatch.setattr("workbench.export.pipeline.thread_pool", _pool)
    install(monkeypatch, gpu)

    def export(name: str, corpus: Path, run: Path, **settings: Any) -> Counter[str]:
        there = moved(MonetForCausalLM.from_pretrained(GOLDEN / name).eval())
        monkeypatch.setattr("workbench.export.export.load_model", lambda *_args, **_kwargs: there)
        with gpu.on():
            export_run(GOLDEN / name, corpus, run, **SETTINGS | settings)
        return Counter(gpu.waits)

    return export


@pytest.mark.parametrize("name", ["tiny-vd", "tiny-hd"])
def test_a_run_made_there_is_sound_and_the_same(
    name: str, export_there: Callable[..., Counter[str]], tmp_path: Path
) -> None:
    documents = random_documents(0)
    documents.append({**documents[4], "source": "copy"})  # a near copy is gathered apart
    corpus = write_corpus(tmp_path / "corpus.parquet", documents)
    export_run(GOLDEN / name, corpus, tmp_path / "here", part_tokens=400, **SETTINGS)
    export_there(name, corpus, tmp_path / "there", part_tokens=400)
    assert verify_run(tmp_path / "there") == []
    here, there = open_run(tmp_path / "here"), open_run(tmp_path / "there")
    for group in here.groups:
        tables = [run.experts(group, ["tokens", "mass", "max"]) for run in (here, there)]
        together = pd.concat(tables, axis=1, keys=["here", "there"]).fillna(0)
        # Sums round otherwise, so a key at a router's threshold may be active in one of them alone.
        apart = (together["here"] - together["there"]).abs().sum()
        assert (apart < 1e-3 * together["here"].sum()).all()


@pytest.mark.parametrize("windows", [6, 12])
@pytest.mark.parametrize("padded", [False, True])
def test_no_batch_is_waited_for(
    windows: int, padded: bool, export_there: Callable[..., Counter[str]], tmp_path: Path
) -> None:
    rng = np.random.default_rng(1)
    lengths = [CONTEXT - padded * (number % 2) for number in range(windows)]
    documents = [
        {"input_ids": [1, *rng.integers(3, 128, length - 1).tolist()], "label": "ab"[number % 2]}
        for number, length in enumerate(lengths)
    ]
    waits = export_there("tiny-vd", write_corpus(tmp_path / "corpus.parquet", documents), tmp_path / "run")
    expected: Counter[str] = Counter()
    for times, reasons in (
        (windows // 3, OF_BATCH),
        (windows // 3 * padded, OF_PADDED_BATCH),
        (GROUPS, OF_PIECE),
        (GROUPS, OF_PART),
    ):
        expected.update({name: times * count for name, count in reasons.items()})
    assert waits == +expected
