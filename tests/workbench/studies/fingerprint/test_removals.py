from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest

from workbench.studies.fingerprint.fingerprints import Fingerprints
from workbench.studies.fingerprint.removals import (
    Subject,
    drawn_removal,
    key_halves,
    ordered_removals,
    removal_counts,
)

SIZES = [2000, 3000]


@pytest.fixture
def subject() -> Subject:
    rng = np.random.default_rng(0)
    known: Any = Fingerprints
    return Subject(
        units="experts",
        model=known,
        fingerprints=known,
        chose=np.arange(2),
        sizes=SIZES,
        located=rng.permutation(5000)[:300],
        mass=np.concatenate([np.zeros(10), rng.random(4990)]),
        changed=rng.random(5000),
        removing=lambda units: nullcontext(),
    )


def test_units_are_told_by_place(subject: Subject) -> None:
    first, second = subject.by_place(np.array([4999, 3, 2000, 0]))
    assert (first.tolist(), second.tolist()) == ([0, 3], [0, 2999])
    assert [len(part) for part in subject.by_place(np.array([], np.int64))] == [0, 0]


def test_halves_hold_every_key_once() -> None:
    chose, others = key_halves(9, 4)
    assert sorted([*chose, *others]) == list(range(9))
    assert (len(chose), len(others)) == (5, 4)
    assert chose.tolist() != key_halves(9, 5)[0].tolist()


@pytest.mark.parametrize(
    ("ranked", "total", "expected"),
    [(0, 100, []), (1, 100, [1]), (6, 100, [1, 2, 4, 6]), (700, 70_000, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 700])],
)
def test_counts_double_and_end_with_all(ranked: int, total: int, expected: list[int]) -> None:
    assert removal_counts(ranked, total) == expected


def test_one_percent_is_among_the_counts() -> None:
    assert 5242 in removal_counts(9000, 524_288)


def test_orders_without_a_draw(subject: Subject) -> None:
    assert ordered_removals(subject, "located", 0).tolist() == subject.located.tolist()
    unused, changed = (ordered_removals(subject, order, 0) for order in ("unused", "changed"))
    assert sorted(unused) == sorted(changed) == list(range(5000))
    assert (np.diff(subject.mass[unused]) >= 0).all()
    assert (np.diff(subject.changed[changed]) <= 0).all()
    assert sorted(unused[:10]) == list(range(10))
    assert unused[:10].tolist() != ordered_removals(subject, "unused", 1)[:10].tolist()  # ties go by the seed


@pytest.mark.parametrize("order", ["random", "equal"])
def test_controls_are_as_many_of_each_place(subject: Subject, order: str) -> None:
    chosen = subject.by_place(subject.located)
    drawn = drawn_removal(subject, order, chosen, 0, 0)
    assert drawn is not None
    for ids, control, size in zip(chosen, drawn, SIZES, strict=True):
        assert len(np.unique(control)) == len(control) == len(ids)
        assert 0 <= control.min() <= control.max() < size
    again, other = (drawn_removal(subject, order, chosen, 0, draw) for draw in (0, 1))
    assert again is not None
    assert other is not None
    assert [part.tolist() for part in again] == [part.tolist() for part in drawn]
    assert [part.tolist() for part in other] != [part.tolist() for part in drawn]


def test_larger_random_draws_hold_the_smaller(subject: Subject) -> None:
    small, large = (
        drawn_removal(subject, "random", subject.by_place(subject.located[:count]), 0, 0) for count in (80, 300)
    )
    assert small is not None
    assert large is not None
    for few, many in zip(small, large, strict=True):
        assert set(few) <= set(many)


def test_equally_active_are_others_of_like_mass(subject: Subject) -> None:
    chosen = subject.by_place(subject.located)
    drawn = drawn_removal(subject, "equal", chosen, 0, 0)
    assert drawn is not None
    mass = subject.mass[:2000], subject.mass[2000:]
    for ids, control, of_place in zip(chosen, drawn, mass, strict=True):
        assert not set(ids) & set(control)
        assert of_place[control].mean() == pytest.approx(of_place[ids].mean(), abs=0.01)


def test_more_than_half_of_a_place_has_not_as_many_others(subject: Subject) -> None:
    chosen = [np.arange(1001), np.arange(1)]
    assert drawn_removal(subject, "equal", chosen, 0, 0) is None
    assert drawn_removal(subject, "random", chosen, 0, 0) is not None
