"""The page Compare in a real browser: its forms lead to addresses, and runs are compared by a job."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from playwright.sync_api import Locator, Page, expect


def _corners(parts: Locator) -> list[list[float]]:
    """Where the top left corners of some parts of the page are, at one moment: x and y of each."""
    found: list[list[float]] = parts.evaluate_all(
        "all => all.map(one => one.getBoundingClientRect()).map(b => [b.x, b.y])"
    )
    return found


def test_the_form_opens_on_an_example_that_works_and_stacks_on_a_phone(page: Page, address: str) -> None:
    page.goto(f"{address}/compare")
    first = page.get_by_label("Expert 1")
    expect(first).to_have_value(re.compile(r"^0:\d+$"))
    first.focus()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"/compare\?a=0%3A\d+&b=\d%3A\d+$"))
    expect(page.get_by_role("heading", name="Tokens in common")).to_be_visible()
    expect(page.get_by_role("heading", name="Promoted tokens")).to_be_visible()
    columns = page.locator(".compare-column")
    expect(columns).to_have_count(2)
    left, right = _corners(columns)
    assert left[0] < right[0]
    assert left[1] == right[1]
    page.set_viewport_size({"width": 390, "height": 800})
    left, right = _corners(columns)
    assert left[0] == right[0]
    assert left[1] < right[1]
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_an_expert_leads_to_its_comparison_and_a_mistake_is_told(page: Page, address: str) -> None:
    page.goto(f"{address}/compare")
    expert = page.get_by_label("Expert 1").input_value()
    page.goto(f"{address}/expert/{expert.replace(':', '/')}")
    field = page.get_by_label("Compare with…")
    field.fill("0:99999999")
    field.press("Enter")
    expect(page).to_have_url(f"{address}/compare?a={expert.replace(':', '%3A')}&b=0%3A99999999")
    expect(page.locator("#compare-answer")).to_contain_text("There is no expert 99999999")
    expect(page.get_by_label("Expert 1")).to_have_value(expert)


def test_runs_are_compared_by_a_job(fresh_page: Page, fresh_address: str, bare_run_path: Path, tmp_path: Path) -> None:
    shutil.copytree(bare_run_path, tmp_path / "beside")
    fresh_page.goto(f"{fresh_address}/compare?kind=runs")
    fresh_page.get_by_role("button", name="Compare").click()
    expect(fresh_page).to_have_url(f"{fresh_address}/compare?run=beside")
    expect(fresh_page.get_by_role("heading", name="Experts that changed most")).to_be_visible()
    fresh_page.get_by_role("button", name="Run it now").click()
    expect(fresh_page.get_by_role("heading", name="Tokens of largest divergence")).to_be_visible()
    expect(fresh_page.locator(".fact", has_text="mean divergence")).to_contain_text("0.0000")
