"""What pages derive is kept while its file stays as it is, and never longer."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from workbench.dashboard.derived import NONE, Derived, stamp_of


def test_a_value_is_made_once_for_a_stamp_and_again_for_another() -> None:
    derived, made = Derived(most=4), []

    def make() -> int:
        made.append(len(made))
        return made[-1]

    asked = [derived.get("name", (stamp, 0, 0), make) for stamp in (1, 1, 2, 2, 1)]
    assert asked == [0, 0, 1, 1, 2]


def test_values_asked_for_longest_ago_go_first() -> None:
    derived, made = Derived(most=2), []
    for name in ("a", "b", "a", "c", "a", "b"):
        derived.get(name, NONE, lambda name=name: made.append(name))
    assert made == ["a", "b", "c", "b"]


def test_what_cannot_be_made_is_not_kept() -> None:
    derived = Derived(most=2)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            derived.get("a", NONE, lambda: 1 // 0)
    assert derived.get("a", NONE, lambda: 3) == 3


def test_a_file_replaced_within_the_clock_s_step_has_another_stamp(tmp_path: Path) -> None:
    path = tmp_path / "file"
    assert stamp_of(path) == NONE
    path.write_text("old")
    before = path.stat()
    new = tmp_path / "new"
    new.write_text("new")
    first = stamp_of(path)
    os.utime(new, ns=(before.st_atime_ns, before.st_mtime_ns))
    new.replace(path)
    assert stamp_of(path) != first
