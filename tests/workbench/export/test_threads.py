"""A run is the same to the bit however many threads read it, and all of them end with it, whatever happens."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

from monet_model import MonetConfig, MonetForCausalLM
from monet_model.bench import settled
from workbench.errors import WorkbenchError
from workbench.export import export, export_run, parts, pipeline
from workbench.export.gather import Gatherer
from workbench.export.reader import routing_reader

MODEL = Path(__file__).parents[2] / "golden" / "tiny-vd"
SETTINGS: dict[str, Any] = {"batch_size": 2, "context": 48, "part_tokens": 400, "examples": 5}
WIDE = {  # its matrix products are large enough to be cut among torch's own threads
    "vocab_size": 128, "hidden_size": 256, "num_hidden_layers": 3, "num_attention_heads": 4, "moe_dim": 4,
    "moe_heads": 2, "moe_experts": 64, "moe_topk": 8, "moe_groups": 2, "max_position_embeddings": 64,
}  # fmt: skip


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Torch's number of threads, afterwards."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def documents(id_documents) -> list[dict[str, Any]]:
    return id_documents(3, 30)


@pytest.fixture(scope="module")
def corpus(id_corpus, documents, tmp_path_factory) -> Path:
    return id_corpus(tmp_path_factory.mktemp("corpus") / "corpus.parquet", documents)


@pytest.fixture(scope="module", params=["tiny-vd", "tiny-hd", "wide"])
def model(request: pytest.FixtureRequest, tmp_path_factory) -> Path:
    if request.param != "wide":
        return MODEL.parent / request.param
    folder = tmp_path_factory.mktemp("wide")
    settled(MonetConfig(**WIDE)).save_pretrained(folder)
    return folder


def _files(run: Path) -> dict[str, bytes]:
    return {str(p.relative_to(run)): p.read_bytes() for p in run.rglob("*") if p.is_file() and p.name != ".lock"}


def test_the_number_of_threads_does_not_matter(model, corpus, tmp_path) -> None:
    runs = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        export_run(model, corpus, tmp_path / str(threads), **SETTINGS)
        runs.append(_files(tmp_path / str(threads)))
    assert len(runs[0]) > 20
    assert runs[0] == runs[1] == runs[2]


def test_threads_that_send_to_a_url_lose_nothing(corpus, tmp_path) -> None:
    torch.set_num_threads(3)
    export_run(MODEL, corpus, tmp_path / "here", **SETTINGS)
    export_run(MODEL, corpus, f"file://{tmp_path}/there", **SETTINGS)
    assert _files(tmp_path / "there") == _files(tmp_path / "here")


def test_threads_share_a_model_and_leave_other_passes_alone() -> None:
    model: Any = MonetForCausalLM.from_pretrained(MODEL).eval()
    batches = [torch.randint(128, (2, 40), generator=torch.Generator().manual_seed(n)) for n in range(12)]
    whole = model(batches[0]).logits
    with routing_reader(model) as read:
        expected = [read(ids, torch.ones_like(ids)) for ids in batches]
        with pipeline.thread_pool(3) as pool:
            found = list(pool.map(lambda ids: read(ids, torch.ones_like(ids)), batches))
        assert model(batches[0]).logits.equal(whole)
    for mine, theirs in zip(found, expected, strict=True):
        assert len(mine) == len(theirs) == 2
        for routing, other in zip(mine, theirs, strict=True):
            assert routing.probs1.equal(other.probs1)
            assert routing.indices2.equal(other.indices2)
    assert not any(layer.router._forward_hooks for layer in model.model.layers if layer.router is not None)


def test_the_first_document_that_breaks_the_model_is_named(documents, id_corpus, tmp_path, monkeypatch) -> None:
    """Here one after it breaks down earlier."""
    bad, mark, later = 17, 127, threading.Event()
    changed = [
        document | {"input_ids": [min(id, mark - 1) if n < bad else mark for id in document["input_ids"]]}
        for n, document in enumerate(documents)
    ]
    first = len(documents[bad]["input_ids"])

    @contextmanager
    def breaking(model: MonetForCausalLM) -> Iterator[Any]:
        with routing_reader(model) as read:

            def fragile(ids: torch.Tensor, mask: torch.Tensor) -> Any:
                if (ids == mark).any():
                    if ids.shape[1] == first:
                        assert later.wait(60)
                    later.set()
                    raise ValueError("no number")
                return read(ids, mask)

            yield fragile

    monkeypatch.setattr(pipeline, "routing_reader", breaking)
    torch.set_num_threads(3)
    before, run = threading.active_count(), tmp_path / "run"
    corpus = id_corpus(tmp_path / "broken.parquet", changed)  # an empty document before the bad one is left out
    with pytest.raises(WorkbenchError, match=f"a context window of document {bad - 1} or one after it: no number"):
        export_run(MODEL, corpus, run, **SETTINGS | {"batch_size": 1, "part_tokens": 10**6})
    assert threading.active_count() == before
    assert not list(run.rglob("*.tmp"))


@pytest.mark.parametrize("gathering", [False, True])
def test_an_interrupt_or_an_error_ends_all_threads(gathering, corpus, tmp_path, monkeypatch) -> None:
    """What is half-written goes, and the run goes on from its parts."""
    torch.set_num_threads(2)
    before, run = threading.active_count(), tmp_path / "run"
    gather, read, calls = Gatherer._gather, pipeline.pad, 0

    def broken(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 8:
            raise MemoryError
        return (gather if gathering else read)(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(*((Gatherer, "_gather") if gathering else (pipeline, "pad")), broken)
        with pytest.raises(MemoryError):
            export_run(MODEL, corpus, run, **SETTINGS)
    assert threading.active_count() == before
    assert not list(run.rglob("*.tmp"))
    export_run(MODEL, corpus, run, resume=True, **SETTINGS)
    export_run(MODEL, corpus, tmp_path / "unbroken", **SETTINGS)
    assert _files(run) == _files(tmp_path / "unbroken")


def test_batches_in_memory_are_bounded(corpus, tmp_path, monkeypatch) -> None:
    """Readers wait for the work on what they read."""
    threads, begun, taken, most = 2, 0, 0, 0
    torch.set_num_threads(threads)
    pad = pipeline.pad

    def counted(batch: Any) -> Any:
        nonlocal begun, most
        begun += 1
        most = max(most, begun - taken)
        return pad(batch)

    def report(*_: int) -> None:
        nonlocal taken
        taken += 1

    monkeypatch.setattr(pipeline, "pad", counted)
    monkeypatch.setattr(export, "_reporting", lambda *_: nullcontext(report))
    export_run(MODEL, corpus, tmp_path / "run", **SETTINGS)
    assert begun == taken
    assert threads < most <= pipeline.BATCHES_AHEAD * threads + 1  # and the one that is handed over


@pytest.mark.parametrize("copies", [False, True])
def test_totals_of_a_devices_own_make_the_same_run(
    copies: bool, corpus, documents, id_corpus, tmp_path, monkeypatch
) -> None:
    """As on a GPU: each part is gathered in totals of its own on the model's device, then merged into the run's."""
    if copies:
        corpus = id_corpus(tmp_path / "copies.parquet", [*documents, *documents[4:9]])
    export_run(MODEL, corpus, tmp_path / "merged here", device="cpu", **SETTINGS)
    made: list[torch.device] = []
    empty = parts.empty_totals
    monkeypatch.setattr(parts, "gathers_here", lambda model: False)
    monkeypatch.setattr(parts, "empty_totals", lambda m, *on: made.extend(on) or empty(m, *on))
    export_run(MODEL, corpus, tmp_path / "of its own", device="cpu", **SETTINGS)
    assert made == [torch.device("cpu")] * len(list((tmp_path / "of its own" / "tokens").iterdir()))
    assert len(made) > 2
    assert _files(tmp_path / "merged here") == _files(tmp_path / "of its own")
