"""The card of an expert in a real browser: on the map, in tables, on points, by mouse and by keyboard."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from workbench import Run
from workbench.analysis import diff_models
from workbench.analysis.results import write_result
from workbench.report.label import top_tokens
from workbench.store.token_text import visible


@pytest.fixture
def compared(run: Run) -> Iterator[Run]:
    """The run with the difference of its model from itself."""
    before = set(run.analysis_path("").iterdir())
    result = diff_models(run.model_path, run.model_path, Path(run.model_path).parent / "corpus.parquet")
    try:
        write_result(run, result)
        yield run
    finally:
        for made in set(run.analysis_path("").iterdir()) - before:
            made.unlink()


def test_map_has_the_card_of_the_cell_in_hand(page: Page, address: str, run: Run, strongest: int) -> None:
    page.goto(address)
    page.locator("#map canvas").scroll_into_view_if_needed()
    expect(page.locator("#experts-grid .ag-row").first).to_be_visible()
    area = page.locator("#map canvas").bounding_box()
    assert area is not None
    side = area["width"] / run.num_keys
    i, j = divmod(strongest, run.num_keys)
    x, y = area["x"] + (j + 0.5) * side, area["y"] + (i + 0.5) * side
    page.mouse.move(x, y)
    card = page.locator("#hovercard")
    expect(card).to_contain_text(f"Expert 0:{strongest}")
    expect(card.locator(".chip").first).to_have_text(visible(top_tokens(run, 0, strongest, 1)[0]))
    box = card.bounding_box()
    assert box is not None
    assert not (box["x"] <= x <= box["x"] + box["width"] and box["y"] <= y <= box["y"] + box["height"])
    page.mouse.move(5, 5)
    expect(card).to_have_count(0)
    page.locator("#map canvas").focus()
    page.keyboard.press("ArrowDown")
    half = run.num_keys // 2
    expect(card).to_contain_text(f"Expert 0:{(half + 1) * run.num_keys + half}")


@pytest.mark.parametrize(
    "name", ["Co-activating experts", re.compile(r"^Key \d+ of set 2"), "Experts with similar outputs"]
)
def test_tables_of_an_expert_s_page_have_cards(
    page: Page, address: str, strongest: int, name: str | re.Pattern[str]
) -> None:
    page.goto(f"{address}/expert/0/{strongest}")
    expect(page.locator("#expert-logits table")).to_be_visible()
    expect(page.locator("#expert-same-keys h3").first).to_be_visible()  # nothing moves from now on
    if name == "Experts with similar outputs":
        page.get_by_role("button", name="Find them").click()
    link = page.get_by_role("table", name=name).locator("a[href*='/expert/']").first
    link.hover()
    expect(page.locator("#hovercard")).to_contain_text(f"Expert {link.inner_text()}")


def test_strongest_experts_of_a_document_have_cards(page: Page, address: str) -> None:
    page.goto(f"{address}/documents/0")
    link = page.get_by_role("table", name="Strongest experts of group 1").locator("a").first
    link.hover()
    expect(page.locator("#hovercard")).to_contain_text(f"Expert {link.inner_text()}")


def test_points_of_two_models_compared_have_cards(page: Page, address: str, compared: Run) -> None:
    page.goto(f"{address}/diff")
    page.locator("#diff-masses .point").first.hover(force=True)
    card = page.locator("#hovercard")
    expect(card).to_contain_text(re.compile(r"Expert 0:\d+"))
    expect(card).to_contain_text(re.compile(r"mass \S+ before, \S+ after"))
    page.mouse.move(5, 5)
    expect(card).to_have_count(0)
