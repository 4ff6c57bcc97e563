"""The explanations page lists and searches what the run holds."""

from __future__ import annotations

from collections.abc import Callable

from workbench.dashboard.context import Context
from workbench.dashboard.links import explanations_link

Page = Callable[[Context, str], str]


def test_explanations_are_listed_and_searched(ctx: Context, page: Page, hostile: str) -> None:
    assert hostile in page(ctx, explanations_link())
    assert "1 of 1 explanations contain “SCRIPT”" in page(ctx, explanations_link("SCRIPT"))
    assert "0 of 1 explanations contain “zebra”" in page(ctx, explanations_link("zebra"))


def test_explanations_page_has_no_stray_backticks(ctx: Context, page: Page) -> None:
    assert "`" not in page(ctx, explanations_link())


def test_figures_of_rules_have_columns_and_meanings(ctx: Context, page: Page) -> None:
    drawn = page(ctx, explanations_link())
    for text in ("average precision", "balanced accuracy", "token alone", "a rule tells, token by token"):
        assert text in drawn
