"""Bounded top lists hold what sorting everything would."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.export.statistics import Activations
from workbench.export.toplists import Collector, TopLists, best_of_runs, rank_runs

EXPERTS = 6


def _greedy(rows: list[tuple[int, int, float, int]], limit: int, per_document: int) -> list[tuple[int, float, int]]:
    """(expert, score, row) of the best entries (expert, row, score, document), by expert, then row."""
    chosen = []
    for expert in range(EXPERTS):
        given_: dict[int, int] = {}
        kept = 0
        for _, row, score, document in sorted((r for r in rows if r[0] == expert), key=lambda r: (-r[2], r[1])):
            if kept < limit and given_.get(document, 0) < per_document:
                given_[document] = given_.get(document, 0) + 1
                kept += 1
                chosen.append((expert, score, row))
    return sorted(chosen, key=lambda c: (c[0], c[2]))


def _activations(rows: list[tuple[int, int, float, int]], first: int) -> Activations:
    rows = sorted(rows)
    expert, row, score = (np.array([r[n] for r in rows]) for n in range(3))
    return Activations(expert.astype(np.int64), row.astype(np.int64) - first, score.astype(np.float32))


@st.composite
def _parts(draw: st.DrawFn) -> list[list[list[tuple[int, int, float, int]]]]:
    """Parts of chunks of entries; rows ascend over all, documents are whole within a part, scores collide."""
    parts, row, document = [], 0, 0
    for _ in range(draw(st.integers(1, 3))):
        chunks = []
        for _ in range(draw(st.integers(1, 4))):
            chunk = []
            for _ in range(draw(st.integers(0, 12))):
                experts = draw(st.sets(st.integers(0, EXPERTS - 1), max_size=4))
                chunk += [(e, row, draw(st.sampled_from([0.125, 0.25, 0.5, 0.75, 1.5])), document) for e in experts]
                row += 1
                document += draw(st.integers(0, 3)) == 0
            chunks.append(chunk)
        parts.append(chunks)
        document += 1
    return parts


@settings(max_examples=150, deadline=None)
@given(_parts(), st.integers(1, 3), st.integers(1, 3))
def test_parts_of_chunks_merge_to_the_greedy_choice(parts, limit, per_document) -> None:
    merged = TopLists.empty()
    for chunks in parts:
        rows = sorted({(row, document) for chunk in chunks for _, row, _, document in chunk})
        first = rows[0][0] if rows else 0
        documents = np.zeros(rows[-1][0] - first + 1 if rows else 0, np.int64)
        for row, document in rows:
            documents[row - first] = document
        documents = np.maximum.accumulate(documents)
        collector = Collector(EXPERTS, limit, per_document, documents)
        for chunk in filter(None, chunks):
            begin = min(row for _, row, _, _ in chunk)
            collector.add(_activations(chunk, begin), begin - first)
        merged = merged.merge(collector.finish(first), limit)
    everything = [entry for chunks in parts for chunk in chunks for entry in chunk]
    expected = _greedy(everything, limit, per_document)
    assert list(zip(merged.expert.tolist(), merged.score.tolist(), merged.row.tolist(), strict=True)) == expected
    ranked = merged.ranked()
    order = sorted(expected, key=lambda c: (c[0], -c[1], c[2]))
    assert list(zip(ranked.expert.tolist(), ranked.score.tolist(), ranked.row.tolist(), strict=True)) == order


def test_an_expert_active_at_every_token_of_one_document() -> None:
    rng = np.random.default_rng(0)
    score = rng.random(5000).astype(np.float32)
    found = Activations(np.zeros(5000, np.int64), np.arange(5000), score)
    collector = Collector(1, 32, 4, np.zeros(5000, np.int64))
    collector.add(found, 0)
    assert collector.finish(7).ranked().row.tolist() == (np.argsort(-score, kind="stable")[:4] + 7).tolist()


def test_a_long_run_beside_many_short_ones_is_ranked_without_packing() -> None:
    sizes = np.array([2**15, *([2] * 2**19)])
    starts = np.cumsum(sizes) - sizes
    score = np.random.default_rng(0).integers(1, 9, sizes.sum()).astype(np.float32)
    order, rank = rank_runs(starts, score)
    run = np.repeat(np.arange(len(sizes)), sizes)
    assert order.tolist() == np.lexsort((-score, run)).tolist()
    assert (rank[starts] == 0).all()
    assert rank[2**15 - 1] == 2**15 - 1
    kept = best_of_runs(starts, score, 1)
    assert kept.sum() == len(sizes)
    assert (score[kept] == np.maximum.reduceat(score, starts)).all()
