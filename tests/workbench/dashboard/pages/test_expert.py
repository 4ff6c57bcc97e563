"""The expert page: explanation, co-activating experts, tokens by range, logit effect."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from workbench.dashboard.application import draw
from workbench.dashboard.context import Context
from workbench.dashboard.expert.logits import logits_table
from workbench.dashboard.pages import read_address
from workbench.explain import logit_view
from workbench.report.numbers import score_text
from workbench.store.address import Expert

Page = Callable[[Context, str], str]


@pytest.fixture
def strongest(ctx: Context) -> Expert:
    return Expert(0, int(ctx.run.experts(0)["mass"].idxmax()))


def test_expert_page_has_explanation_and_coactivating_experts(
    ctx: Context, page: Page, hostile: str, strongest: Expert
) -> None:
    shown = page(ctx, f"/expert/0/{strongest.id}")
    assert hostile in shown
    assert "Ada (person)" in shown
    for other in ctx.run.neighbours(*strongest, 10)["expert"]:
        assert f"/expert/0/{other}" in shown
    unexplained = int(ctx.run.experts(0)["mass"].idxmin())
    assert f"--expert=0:{unexplained}" in page(ctx, f"/expert/0/{unexplained}")


def test_expert_page_shows_tokens_by_score_range(ctx: Context, page: Page, strongest: Expert) -> None:
    shown = page(ctx, f"/expert/0/{strongest.id}?show=ranges")
    for row in ctx.run.examples_by_score(*strongest).itertuples():
        assert f"{score_text(row.low)} to {score_text(row.high)}: {row.count:,} tokens" in shown
        assert f"document {row.doc}, token {row.position}" in shown


def test_promoted_and_suppressed_tokens_are_the_logit_view(ctx: Context, strongest: Expert) -> None:
    shown = str(logits_table(ctx, strongest).to_plotly_json())
    view = logit_view(ctx.run, ctx.model(), *strongest, 10)
    for row in (view.iloc[0], view.iloc[-1]):
        assert f"{row['logit']:+.3f}" in shown


def test_title_of_an_expert_given_by_its_keys_is_its_id(ctx: Context) -> None:
    assert draw(ctx, read_address("/expert/0/1,2", "")).title == f"Expert 0:{ctx.run.num_keys + 2}"
