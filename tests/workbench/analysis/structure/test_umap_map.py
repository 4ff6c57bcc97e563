"""The map of experts: who is on it, where like contexts lead, and that a seed gives the same map."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from monet_model import MonetForCausalLM
from workbench.analysis import map_experts, read_map, read_map_summary
from workbench.analysis.specialisation.scores.coherence import Embeddings
from workbench.analysis.structure import umap_map
from workbench.analysis.structure.umap_map import mean_contexts
from workbench.errors import BadInputError, NotAnalysedError, NotFoundError, UnsupportedError
from workbench.store import Run


def test_mean_contexts_weigh_examples_by_score(run: Run) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(11, 5)).astype(np.float32)
    embeddings = Embeddings(vectors, rng.integers(0, 11, run.tokens_total))
    ids = run.experts(1).index.to_numpy()[[3, 50, 51]]
    found = mean_contexts(run, 1, ids, embeddings)
    for expert, place in zip(ids, found, strict=True):
        examples = run.examples(1, int(expert), 1000)
        total = sum(s * vectors[embeddings.context[r]] for s, r in zip(examples["score"], examples["row"], strict=True))
        assert place == pytest.approx(total / np.linalg.norm(total), abs=1e-5)


@pytest.mark.parametrize("exported", ["tiny-vd"], indirect=True)
def test_a_map_holds_the_most_active_experts_and_depends_on_the_seed_alone(
    run: Run, model: MonetForCausalLM, umap: None
) -> None:
    run.groups = [0]
    assert read_map_summary(run) is None
    maps = []
    for seed in (1, 1, 2):
        found = map_experts(run, model, experts=60, seed=seed)
        maps.append(read_map(run, 0))
        assert torch.get_num_threads() == 1  # as the tests set it
    pd.testing.assert_frame_equal(maps[0], maps[1])
    assert not np.allclose(maps[0], maps[2])
    assert found.view == "residual"
    assert found.experts == dict.fromkeys(run.groups, 60)
    assert all(0.6 < trust <= 1 for trust in found.trust.values())
    tokens = run.experts(0)["tokens"]
    assert maps[0].index.is_monotonic_increasing
    assert tokens[maps[0].index].min() >= tokens.drop(maps[0].index).max()
    assert np.isfinite(maps[0]).all(axis=None)
    again = read_map_summary(run)
    assert again is not None
    assert again.to_json() == json.loads(json.dumps(found.to_json()))


def test_what_cannot_be_mapped_is_refused(
    run: Run, model: MonetForCausalLM, monkeypatch: pytest.MonkeyPatch, umap: None
) -> None:
    with pytest.raises(NotAnalysedError, match="monet map"):
        read_map(run, 0)
    with pytest.raises(NotFoundError, match="no group 9"):
        read_map(run, 9)
    with pytest.raises(BadInputError, match="at least 31 experts, got 30"):
        map_experts(run, model, experts=30)
    with monkeypatch.context() as patch:
        patch.setattr(umap_map, "MIN_TOKENS", 10**6)
        with pytest.raises(BadInputError, match="export more text"):
            map_experts(run, model)


def test_a_missing_umap_is_answered_with_the_line_that_installs_it(
    run: Run, model: MonetForCausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(UnsupportedError, match=re.escape("pip install -c constraints.txt -e '.[map]'")):
        map_experts(run, model)


def test_a_umap_that_cannot_import_something_names_it(
    run: Run, model: MonetForCausalLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "umap.py").write_text("import a_package_that_nobody_has\n")
    monkeypatch.delitem(sys.modules, "umap", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UnsupportedError, match="importing it failed: No module named 'a_package_that_nobody_has'"):
        map_experts(run, model)
