"""`accumulate` against counting one expert and token at a time: splits, order, merging, documents, bad input."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cuda_ext import Statistics, accumulate
from cuda_ext.ops.accumulate import MASS_LIMIT, STATE

from ..conftest import Lists, needs_kernel, random_routing

IGNORE = "ignore:cuda_ext computes with PyTorch:RuntimeWarning"


def part(routing: Lists, tokens: slice) -> Lists:
    return Lists(*(t[tokens] for t in routing.arrays), num_keys=routing.num_keys)


def corpus(tokens: int, labels: int, documents: int, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Labels, -1 among them, rows with gaps, first rows of documents, and priorities.

    The tokens of every fourth document count and are in no list: their starts and priorities are -1.
    """
    generator = torch.Generator().manual_seed(seed)
    label = torch.randint(-1, labels, (tokens,), generator=generator)
    rows = torch.randint(1, 4, (tokens,), generator=generator).cumsum(0)
    document = torch.randint(0, documents, (tokens,), generator=generator).sort().values
    first = torch.searchsorted(document, document)
    unlisted, priority = document % 4 == 1, torch.randperm(3 * tokens, generator=generator)[:tokens]
    return label, rows, rows[first].masked_fill(unlisted, -1), priority.masked_fill(unlisted, -1)


def counted_one_by_one(
    statistics: Statistics, routing: Lists, labels: Tensor, rows: Tensor, starts: Tensor, priorities: Tensor
) -> dict[str, Tensor]:
    """Expected contents of `statistics`, which is empty: from the dense scores, one expert and token at a time."""
    g1, g2 = routing.dense()
    scores = torch.einsum("thi,thj->tij", g1.double(), g2.double()).flatten(1).float()
    out = {name: getattr(statistics, name).clone() for name in STATE}
    for expert in range(scores.shape[1]):
        active = [
            (float(s), int(row), int(start), int(label), int(priority))
            for s, row, start, label, priority in zip(scores[:, expert], rows, starts, labels, priorities, strict=True)
            if s > 0 and label >= 0
        ]
        sampled: dict[int, list[tuple[int, float]]] = {}
        for s, _, _, label, priority in active:
            out["tokens"][expert, label] += 1
            out["mass"][expert, label] += math.floor(s * 2**36 + 0.5)
            low = [2.0 ** (statistics.top - b) for b in range(statistics.histogram.shape[1] - 1, 0, -1)]
            bin = sum(s >= edge for edge in low)
            out["histogram"][expert, bin] += 1
            if priority >= 0:
                sampled.setdefault(bin, []).append((priority, s))
        for bin, entries in sampled.items():
            for n, (priority, s) in enumerate(sorted(entries)[: statistics.sample_scores.shape[2]]):
                out["sample_priorities"][expert, bin, n], out["sample_scores"][expert, bin, n] = priority, s
        best: list[tuple[float, int]] = []
        taken: dict[int, int] = {}
        for s, row, start, *_ in sorted((a for a in active if a[2] >= 0), key=lambda a: (-a[0], a[1])):
            taken[start] = taken.get(start, 0) + 1
            if taken[start] <= statistics.per_document:
                best.append((s, row))
        for n, (s, row) in enumerate(best[: statistics.best_rows.shape[1]]):
            out["best_scores"][expert, n], out["best_rows"][expert, n] = s, row
    return out


def assert_equal(statistics: Statistics, expected: dict[str, Tensor] | Statistics) -> None:
    for name in STATE:
        want = expected[name] if isinstance(expected, dict) else getattr(expected, name)
        assert torch.equal(getattr(statistics, name), want), name


@pytest.mark.filterwarnings(IGNORE)
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("per_document", [1, 2, None])
def test_accumulate_equals_counting_one_by_one(seed: int, per_document: int | None, either: None) -> None:
    """Probabilities are powers of two, so that sums are exact in any order and many scores tie."""
    tokens, heads, keys, labels = 24, 1 + seed % 3, 5, 3
    routing = random_routing(tokens, heads, keys, seed, even=True)
    everything = corpus(tokens, labels, 5, seed)
    statistics = Statistics.empty(keys, heads, labels, best=4, per_document=per_document, bins=5, sampled=seed % 4)
    expected = counted_one_by_one(statistics, routing, *everything)
    for tokens_of_call in (slice(0, 7), slice(7, 7), slice(7, None)):
        accumulate(statistics, part(routing, tokens_of_call), *(w[tokens_of_call] for w in everything))
    assert_equal(statistics, expected)
    assert statistics.tokens.sum() > 0
    assert (statistics.best_rows >= 0).any()
    assert (statistics.sample_priorities >= 0).any() == (seed % 4 > 0)
    torch.testing.assert_close(statistics.masses, expected["mass"].double() / 2**36, rtol=0, atol=0)
    assert torch.equal(statistics.maximum, expected["best_scores"][:, 0])


@needs_kernel
@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(st.integers(0, 30), st.integers(1, 4), st.integers(1, 12)),
    best=st.integers(1, 5),
    per_document=st.integers(1, 5),
    sampled=st.integers(0, 3),
    cut=st.integers(0, 30),
    even=st.booleans(),
    seed=st.integers(0, 2**20),
)
def test_accumulate_kernel_and_definition_agree_to_the_bit(
    shape: tuple[int, int, int], best: int, per_document: int, sampled: int, cut: int, even: bool, seed: int
) -> None:
    routing = random_routing(*shape, seed, even=even)
    where = corpus(shape[0], 2, 4, seed)
    results = []
    for run in range(2):
        statistics = Statistics.empty(shape[2], shape[1], 2, best=best, per_document=per_document, sampled=sampled)
        with pytest.MonkeyPatch.context() as patch:
            if run:
                patch.setattr("cuda_ext.ops.accumulate.has_kernel", lambda device: False)
            for span in (slice(0, cut), slice(cut, None)):
                accumulate(statistics, part(routing, span), *(w[span] for w in where))
        results.append(statistics)
    assert_equal(*results)


def test_merged_statistics_equal_one_run_in_any_order() -> None:
    keys, heads = 16, 3
    routing = random_routing(90, heads, keys, 1)
    everything = corpus(90, 4, 9, 1)
    starts = everything[2]
    begins = (starts[1:] != starts[:-1]).nonzero()[:, 0] + 1  # of documents
    cuts = [0, *(int(begins[begins >= n][0]) for n in (25, 55)), 90]

    def counted(begin: int, end: int) -> Statistics:
        statistics = Statistics.empty(keys, heads, 4, best=3, per_document=2, sampled=2)
        span = slice(begin, end)
        accumulate(statistics, part(routing, span), *(w[span] for w in everything))
        return statistics

    whole = counted(0, 90)
    for order in ((0, 1, 2), (2, 0, 1), (1, 2, 0)):
        total = Statistics.empty(keys, heads, 4, best=3, per_document=2, sampled=2)
        for n in order:
            total.merge(counted(cuts[n], cuts[n + 1]))
        assert_equal(total, whole)
        assert total.next_row == whole.next_row


def test_accumulate_gives_the_same_bits_on_any_number_of_threads() -> None:
    routing = random_routing(200, 4, 64, 2)
    where = corpus(200, 3, 10, 2)
    before = torch.get_num_threads()
    try:
        runs = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            runs.append(Statistics.empty(64, 4, 3, best=5, per_document=2, sampled=3))
            accumulate(runs[-1], routing, *where)
    finally:
        torch.set_num_threads(before)
    assert_equal(runs[1], runs[0])
    assert_equal(runs[2], runs[0])


@needs_kernel
def test_accumulate_gives_the_same_bits_on_every_instruction_set() -> None:
    routing = random_routing(50, 3, 40, 3)
    where = corpus(50, 3, 10, 3)
    runs = []
    for level in range(torch.ops.monet.best_level() + 1):
        s = Statistics.empty(40, 3, 3, best=4, sampled=2)
        state = [getattr(s, name) for name in STATE]
        torch.ops.monet.accumulate_kernel(*state, *routing.arrays, *where, 40, s.top, 4, level)
        runs.append(s)
    for other in runs[1:]:
        assert_equal(other, runs[0])


@pytest.mark.filterwarnings(IGNORE)
def test_accumulate_never_reads_padding(either: None) -> None:
    routing = random_routing(30, 2, 9, 7)
    padding = torch.arange(routing.probs1.shape[-1]) >= routing.counts1[..., None]
    assert padding.any()
    odd = replace(routing, probs1=routing.probs1.masked_fill(padding, float("nan")))
    results = [Statistics.empty(9, 2, 3, best=3) for _ in range(2)]
    for statistics, lists in zip(results, (routing, odd), strict=True):
        accumulate(statistics, lists, *corpus(30, 3, 4, 7))
    assert_equal(*results)


def test_accumulate_ignores_scores_that_underflow() -> None:
    tiny = Lists(*(torch.zeros(1, 1, 1).short(), torch.full((1, 1, 1), 1e-30), torch.ones(1, 1).int()) * 2, num_keys=2)
    statistics = Statistics.empty(2, 1, 1, best=1)
    accumulate(statistics, tiny, torch.zeros(1).long(), torch.zeros(1).long())
    assert not statistics.tokens.any()
    assert statistics.best_rows.max() == -1


def test_accumulate_passes_opcheck() -> None:
    routing = random_routing(6, 2, 5, 4)
    s = Statistics.empty(5, 2, 3, best=2, sampled=2)
    arguments = (*(getattr(s, name) for name in STATE), *routing.arrays, *corpus(6, 3, 2, 4), 5, s.top, 2)
    torch.library.opcheck(torch.ops.monet.accumulate.default, arguments)


GOOD = random_routing(4, 2, 5, 5)
ROWS = torch.arange(4)
ZEROS = torch.zeros(4, dtype=torch.int64)


@pytest.mark.filterwarnings(IGNORE)
@pytest.mark.parametrize(
    ("change", "error", "named"),
    [
        ({"labels": ZEROS + 3}, IndexError, r"labels must lie in -1 .. 2; got 3"),
        ({"labels": ZEROS - 2}, IndexError, "labels must lie in"),
        ({"labels": ZEROS.int()}, TypeError, "labels must be torch.int64"),
        ({"labels": [0]}, TypeError, "labels must be a torch.Tensor"),
        ({"labels": ZEROS.to("meta")}, ValueError, "labels is on meta, expected cpu"),
        ({"rows": ROWS.to("meta")}, ValueError, "rows is on meta, expected cpu"),
        ({"rows": ROWS.int()}, TypeError, "rows must be torch.int64"),
        ({"starts": ROWS.to("meta")}, ValueError, "starts is on meta, expected cpu"),
        ({"starts": ROWS.double()}, TypeError, "starts must be torch.int64"),
        ({"routing": replace(GOOD, probs2=GOOD.probs2.to("meta"))}, ValueError, "routing.probs2 is on meta"),
        ({"routing": replace(GOOD, counts1=GOOD.counts1.long())}, TypeError, "routing.counts1 must be torch.int32"),
        ({"routing": replace(GOOD, counts2=GOOD.counts2 + 9)}, IndexError, "routing.counts2 must lie in 0 .."),
        ({"labels": ZEROS[:3]}, ValueError, r"routing.indices1 must have shape \(3, heads, k\)"),
        ({"rows": ROWS.flip(0)}, ValueError, "rows must ascend, from 0 on"),
        ({"rows": ROWS - 1}, ValueError, "rows must ascend, from 0 on"),
        ({"rows": ROWS[:3]}, ValueError, r"rows must have shape \(4\)"),
        ({"starts": None}, ValueError, "starts is needed"),
        ({"priorities": None}, ValueError, "priorities is needed"),
        ({"priorities": ROWS - 2}, ValueError, "priorities must be at least -1"),
        ({"starts": ROWS - 2}, ValueError, "starts must lie in -1"),
        ({"priorities": ROWS[:3]}, ValueError, r"priorities must have shape \(4\)"),
        ({"starts": ROWS + 1}, ValueError, "starts must lie in"),
        ({"routing": random_routing(4, 3, 5)}, ValueError, "routing must have 2 heads"),
        ({"routing": random_routing(4, 2, 6)}, ValueError, "routing.num_keys must be 5"),
        ({"routing": replace(GOOD, probs1=GOOD.probs1 - 2)}, ValueError, "routing.probs1 must lie in 0 .. 1"),
        ({"routing": replace(GOOD, probs2=GOOD.probs2 * float("nan"))}, ValueError, "routing.probs2 must lie in"),
        ({"routing": replace(GOOD, indices2=GOOD.indices2 + 5)}, IndexError, "routing.indices2 must lie in 0 .. 4"),
    ],
)
def test_accumulate_names_wrong_arguments_and_changes_nothing(
    change: dict[str, Any], error: type[Exception], named: str, either: None
) -> None:
    statistics = Statistics.empty(5, 2, 3, best=3, per_document=2, sampled=1)
    arguments = {"statistics": statistics, "routing": GOOD, "labels": ZEROS, "rows": ROWS, "starts": ROWS}
    arguments |= {"priorities": ROWS} | change
    with pytest.raises(error, match=named):
        accumulate(**arguments)
    assert_equal(statistics, Statistics.empty(5, 2, 3, best=3, sampled=1))


@pytest.mark.parametrize("name", ["keys", "heads", "labels", "best", "bins", "per_document"])
def test_statistics_refuse_sizes_below_one(name: str) -> None:
    numbers = {"keys": 2, "heads": 1, "labels": 1, "best": 1, "bins": 1, "per_document": 1} | {name: 0}
    with pytest.raises(ValueError, match=f"{name} must be at least 1"):
        Statistics.empty(**numbers)  # type: ignore[arg-type]


def test_statistics_refuse_a_negative_sample() -> None:
    with pytest.raises(ValueError, match="sampled must be at least 0; got -1"):
        Statistics.empty(2, 1, 1, best=1, sampled=-1)


@pytest.mark.parametrize("other", [{"labels": 2}, {"best": 2}, {"bins": 3}, {"sampled": 1}, {"per_document": 2}])
def test_statistics_with_other_settings_do_not_merge(other: dict[str, int]) -> None:
    numbers = {"labels": 1, "best": 1, "bins": 2}
    with pytest.raises(ValueError, match="only statistics with the same settings"):
        Statistics.empty(2, 1, **numbers).merge(Statistics.empty(2, 1, **numbers | other))  # type: ignore[arg-type]


def test_statistics_carry_masses_beyond_int64() -> None:
    large, total, small = (Statistics.empty(5, 2, 3, best=1) for _ in range(3))
    large.mass[0, 0], large.mass[3, 1] = MASS_LIMIT, 7
    large.mass_bound = MASS_LIMIT
    for _ in range(5):
        total.merge(large)
    assert total.masses[0, 0] == 5 * MASS_LIMIT / 2**36
    assert total.masses[3, 1] == 35 / 2**36
    for statistics in (small, total):
        accumulate(statistics, GOOD, ZEROS, ROWS)
    own = small.masses
    expected = own.clone()
    expected[0, 0] += 5 * MASS_LIMIT / 2**36
    expected[3, 1] += 35 / 2**36
    assert torch.equal(total.masses, expected)
    small.merge(total)
    torch.testing.assert_close(small.masses, expected + own, rtol=1e-15, atol=0)


def test_accumulate_refuses_more_tokens_than_a_mass_can_hold() -> None:
    """With arrays that are one token, expanded to many."""
    tokens = MASS_LIMIT // 2**36 // 2 + 1
    lists = (torch.zeros(1, 1, 0).expand(tokens, 1, 0), torch.zeros(1, 1, dtype=torch.int32).expand(tokens, 1))
    routing = Lists(lists[0].short(), *lists, lists[0].short(), *lists, num_keys=2)
    rows = torch.zeros(1, dtype=torch.int64).expand(tokens)
    with pytest.raises(ValueError, match=f"at most {tokens - 1:,} tokens per call; got {tokens:,}"):
        accumulate(Statistics.empty(2, 1, 1, best=1), routing, rows, rows)


def test_accumulate_in_one_call_equals_a_call_per_token() -> None:
    """Many tokens in a call are counted in another way than few."""
    tokens, labels = 400, 3
    routing = random_routing(tokens, 3, 16, seed=5, even=True)
    given = corpus(tokens, labels, documents=25, seed=6)
    at_once, one_by_one = (Statistics.empty(16, 3, labels, best=6, per_document=2, sampled=2) for _ in range(2))
    accumulate(at_once, routing, *given)
    for token in range(tokens):
        here = slice(token, token + 1)
        accumulate(one_by_one, part(routing, here), *(t[here] for t in given))
    assert int(at_once.tokens.sum()) > 10_000
    assert_equal(at_once, one_by_one)
