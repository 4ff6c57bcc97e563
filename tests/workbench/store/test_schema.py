"""A run of the present schema, written once and kept: it opens, is sound, and says what it always said."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from workbench.store import open_run, verify_run
from workbench.store.schema import HISTOGRAM_BINS, SCHEMA_VERSION, histogram_edges

KEPT = Path(__file__).parent / "schemas" / f"v{SCHEMA_VERSION}"


def test_the_kept_run_of_this_schema_is_sound() -> None:
    assert verify_run(KEPT) == []


def test_the_kept_run_of_this_schema_keeps_its_meaning() -> None:
    run = open_run(KEPT)
    assert (run.groups, run.group_layers, run.num_keys, run.heads) == ([0, 1], [0, 2], 16, 2)
    assert (run.labels, run.tokens_total) == (["a", "b"], 160)
    assert run.documents["bos"].isna().tolist() == [True, False] * 4
    assert run.input_ids(1)[:4].tolist() == [1, 125, 125, 19]
    experts = run.top_experts(0, limit=2)
    assert experts.index.tolist() == [102, 25]
    expected = {"tokens": 63, "mass": 8.165761712443782, "mean": 0.12961526527688544, "max": 0.9153643846511841}
    expected |= {"tokens:a": 32, "tokens:b": 31, "mass:a": 2.4945889823284233, "mass:b": 5.671172730115359}
    assert experts.iloc[0].to_dict() == expected
    counts = [1, 0, 1, 2, 0, 0, 1, 7, 7, 3, 5, 5, 3, 6, 3, 5, 1, 5, 8, 0]
    assert run.histogram(0, 102)["count"].tolist() == counts
    active = run.activations(0, 102)
    assert (len(active), active["row"][:3].tolist(), active["token"][:3].tolist()) == (63, [8, 10, 13], [63, 52, 10])
    assert active["score"][:2].tolist() == [0.0003651566803455353, 0.0005175843834877014]
    examples = run.examples(0, 102, 3)
    assert examples[["row", "doc", "position", "window"]].values.tolist() == [
        [82, 4, 14, 6],
        [115, 5, 17, 9],
        [111, 5, 13, 8],
    ]
    sampled = run.quantile_examples(0, 102)
    assert sampled["row"][:4].tolist() == [61, 139, 26, 35]
    assert sampled["low"][:4].tolist() == [0.5, 0.5, 0.5, 0.25]
    routing = run.routing([5], 0)
    assert routing.indices1[0, 0].tolist() == [0, 1, 3, 9, 10, 13, 14]
    assert routing.counts2.tolist() == [[5, 4]]


def test_histogram_edges_are_octaves_up_to_the_number_of_heads() -> None:
    edges = histogram_edges(6)
    assert len(edges) == HISTOGRAM_BINS + 1
    assert (edges[0], edges[-1]) == (0.0, 8.0)
    assert (np.diff(np.log2(edges[1:])) == 1).all()
