"""Rows and columns in ranges and threads give the same bytes; on a sample, and for removal."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from monet_model import MonetForCausalLM
from workbench.analysis import analyze_structure, mask_labels, read_mask, read_structure, removal_curve, sums
from workbench.analysis.removal.heldout import HeldOut
from workbench.analysis.structure import lattice
from workbench.analysis.sums import DocumentSums, read_label_sums
from workbench.store import Run


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Torch's number of threads, afterwards."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def stored(run: Run, name: str) -> bytes:
    return (run.path / "analysis" / name / "structure.json").read_bytes()


def test_ranges_and_threads_give_the_same_bytes(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lattice, "MIN_TOKENS", 2)
    analyze_structure(run, permutations=5, name="whole")
    monkeypatch.setattr(sums, "RANGE_PAIRS", 3000)
    assert len(DocumentSums(run, run.document_labels, 3).ranges(0)) > 3
    for threads in (1, 3):
        torch.set_num_threads(threads)
        analyze_structure(run, permutations=5, name=f"threads-{threads}")
        assert stored(run, f"threads-{threads}") == stored(run, "whole")
    assert [path.name for path in (run.path / "analysis" / "whole").iterdir()] == ["structure.json"]


def test_sums_of_a_sample_are_of_its_documents(run: Run) -> None:
    few = run.sample(4)
    number = np.where(few.documents["kept"], run.document_labels, sums.LEFT_OUT)
    ((_, drawn),) = read_label_sums(few, [0], number, 3, "sums")
    ((_, chosen),) = read_label_sums(run, [0], number, 3, "sums")
    assert (drawn.tokens == chosen.tokens).all()
    assert (drawn.label_tokens == chosen.label_tokens).all()
    assert drawn.mass == pytest.approx(chosen.mass)


def test_a_sample_is_stated_in_every_result(run: Run, model: MonetForCausalLM, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lattice, "MIN_TOKENS", 1)
    analyze_structure(run, permutations=2, sample=5, name="few")
    mask = mask_labels(run, model, sample=4, ratio=1.2, min_tokens=2, name="few")
    curve = removal_curve(run, model, sample=4, thresholds=[2], name="few")
    found = read_structure(run, name="few")
    assert found is not None
    assert found.drawn is not None
    assert found.drawn.documents == 15
    masked = read_mask(run, "few")
    assert masked is not None
    assert masked.drawn == mask.drawn == curve.drawn == run.sample(4).drawn
    documents = HeldOut.split(run.sample(4), 0).documents
    assert len(documents) <= 12
    assert set(mask.documents["doc"]) <= set(documents["doc"])
