"""What the pages read: the logit lens of an expert is computed once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from workbench import open_run
from workbench.dashboard.context import Context
from workbench.explain import logit_view


def test_context_computes_a_logit_view_once(run_path: Path, count_passes: Callable[[], int]) -> None:
    ctx = Context(open_run(run_path))
    expert = int(ctx.run.experts(0)["mass"].idxmax())
    view = ctx.logit_view(0, expert, 5)
    before = count_passes()
    pd.testing.assert_frame_equal(ctx.logit_view(0, expert, 5), view)
    assert count_passes() == before
    pd.testing.assert_frame_equal(view, logit_view(ctx.run, ctx.model(), 0, expert, 5))
