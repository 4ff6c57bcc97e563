"""The explanations page lists and searches what the run holds."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from workbench.dashboard.context import Context
from workbench.dashboard.links import explanations_link
from workbench.dashboard.pages import explanations
from workbench.explain import read_explanations

Page = Callable[[Context, str], str]


@pytest.fixture
def no_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workbench.search.explanations._encoder", lambda: None)


@pytest.mark.usefixtures("no_encoder")
def test_explanations_are_listed_and_searched(ctx: Context, page: Page, hostile: str) -> None:
    assert hostile in page(ctx, explanations_link())
    assert "1 of 1 explanations for “SCRIPT”: those that contain it first" in page(ctx, explanations_link("SCRIPT"))
    assert "0 of 1 explanations for “zebra”." in page(ctx, explanations_link("zebra"))


@pytest.mark.usefixtures("no_encoder")
def test_the_page_searches_itself_by_words_and_a_page_at_a_time(
    ctx: Context, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = explanations_link("hacked fires zebra")
    shown = page(ctx, asked)
    assert "1 of 1 explanations for" in shown
    assert "monet search" not in shown
    stored = read_explanations(ctx.run)
    many = stored.loc[stored.index.repeat(3)].assign(text=["first one", "second one", "third one"])
    monkeypatch.setattr(explanations, "read_explanations", lambda run: many)
    monkeypatch.setattr(explanations, "SHOWN", 2)
    first, second = (page(ctx, explanations_link(page=at)) for at in (1, 2))
    assert "second one" in first
    assert "third one" not in first
    assert explanations_link(page=2) in first
    assert "third one" in second
    assert "second one" not in second


def test_explanations_page_has_no_stray_backticks(ctx: Context, page: Page) -> None:
    assert "`" not in page(ctx, explanations_link())


def test_figures_of_rules_have_columns_and_meanings(ctx: Context, page: Page) -> None:
    drawn = page(ctx, explanations_link())
    for text in ("average precision", "balanced accuracy", "token alone", "a rule tells, token by token"):
        assert text in drawn
