"""Logit views are computed once, whichever server shows them, and never taken from another run's."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from workbench import open_run
from workbench.dashboard.context import Context
from workbench.explain.kept_logits import KeptLogits

VIEW = pd.DataFrame({"token": [5, 7], "token_text": ["", ""], "logit": [0.5, -0.25]})


@pytest.fixture
def path(bare_run_path: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bare_run_path, tmp_path / "run"))


def test_another_server_of_the_run_shows_a_view_without_the_model(path: Path, count_passes: Callable[[], int]) -> None:
    first = Context(open_run(path))
    expert = int(first.run.experts(0)["mass"].idxmax())
    view = first.logit_view(0, expert, 5)
    before = count_passes()
    other = Context(open_run(path), model_path=path / "nowhere")
    pd.testing.assert_frame_equal(other.logit_view(0, expert, 5), view)
    assert count_passes() == before
    assert len(first.logit_view(0, expert, 3)) == 6  # another number of tokens is another view
    assert sorted(file.name for file in path.parent.iterdir()) == ["run", "run.logits.sqlite"]


def test_views_of_another_run_or_precision_are_not_shown(path: Path) -> None:
    run = open_run(path)
    kept = KeptLogits(run, "auto auto")
    assert kept.get(0, 3, 1) is None
    kept.put(0, 3, 1, VIEW)
    found = KeptLogits(run, "auto auto").get(0, 3, 1)
    assert found is not None
    assert found[["token", "logit"]].equals(VIEW[["token", "logit"]])
    assert found["token_text"].tolist() == run.token_text(VIEW["token"].to_numpy())
    assert KeptLogits(run, "auto bfloat16").get(0, 3, 1) is None
    run.manifest["corpus"]["hash"] = "another"
    assert KeptLogits(run, "auto auto").get(0, 3, 1) is None


def test_a_file_that_cannot_be_used_is_no_fault(path: Path) -> None:
    kept = KeptLogits(open_run(path), "auto auto")
    assert kept.path is not None
    kept.path.write_bytes(b"no database" * 100)
    kept.put(0, 3, 1, VIEW)
    assert kept.get(0, 3, 1) is None
