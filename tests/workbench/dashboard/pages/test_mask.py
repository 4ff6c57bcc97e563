"""The masking page: matrix, trade-off curve and overlap, each by itself."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from workbench.dashboard.context import Context
from workbench.dashboard.links import label_link, mask_link
from workbench.dashboard.pages.mask import MATRICES
from workbench.errors import DamagedError

Page = Callable[[Context, str], str]


def test_masking_page_has_curve_and_overlap(ctx: Context, page: Page) -> None:
    shown = page(ctx, mask_link())
    assert "own loss is up by +0.250 nats" in shown  # halfway to the point
    assert "Experts shared by labels" in shown


def test_overlap_is_shown_without_a_masking_matrix(ctx: Context, page: Page) -> None:
    path = ctx.run.analysis_path("mask.json")
    kept = path.read_bytes()
    try:
        path.unlink()
        shown = page(ctx, mask_link())
        assert "No masking matrix yet" in shown
        assert "Experts shared by labels" in shown
    finally:
        path.write_bytes(kept)


def test_damaged_masking_result_is_a_message(ctx: Context, page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(context: Context) -> None:
        raise DamagedError("mask.json is damaged.")

    monkeypatch.setattr(Context, "mask", damaged)
    shown = page(ctx, mask_link())
    assert "Damaged file" in shown
    assert "Experts shared by labels" in shown


def test_of_many_labels_the_largest_are_listed(ctx: Context, page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workbench.dashboard.pages.mask.MATRIX_LABELS", 2)
    effects = page(ctx, mask_link()).partition("Effect of removing the experts of each label")
    assert "Shown: the 2 largest of 3 labels; analysis/mask.json of the run has all." in effects[0]
    assert page(ctx, mask_link()).count("Shown: the 2 largest of 3 labels") == 3  # matrix, table and overlap


def test_cells_of_both_matrices_lead_to_the_labels_of_their_rows(ctx: Context, page: Page) -> None:
    shown = page(ctx, mask_link())
    links = {label: label_link(label) for label in ("html", "lua", "python")}
    for name in MATRICES:
        assert f"'id': '{name}'" in shown
        assert f"'id': '{name}-links', 'data': {links}" in shown
