"""From a run that was only exported to a measured choice of what is unlearned, without a shell and without a reload."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect


def test_a_page_fills_itself(fresh_page: Page, fresh_address: str) -> None:
    page = fresh_page
    page.goto(f"{fresh_address}/mask")
    page.evaluate("window.here = true")
    page.get_by_role("button", name="Run it now: Labels of the experts").click()
    expect(page.get_by_role("button", name=re.compile("Cancel job 0001"))).to_be_visible()
    expect(page.get_by_role("heading", name="What is to be unlearned")).to_be_visible()
    page.get_by_label("Labels to forget").first.click()
    page.get_by_role("option", name="lua").click()
    page.keyboard.press("Escape")
    expect(page.get_by_role("region", name="Experts that the choice removes")).to_be_visible()
    page.get_by_role("link", name="Show what it does").click()
    expect(page).to_have_url(f"{fresh_address}/mask?without=lua")
    expect(page.get_by_text("This choice is not measured yet")).to_be_visible()
    page.get_by_role("button", name="Run it now: Masking matrix").click()
    expect(page.get_by_role("heading", name="Matrix")).to_be_visible()
    assert page.evaluate("window.here")
    page.get_by_role("link", name="Jobs").click()
    expect(page.get_by_role("cell", name="done", exact=True)).to_have_count(2)


def test_a_job_is_cancelled_with_the_keyboard(fresh_page: Page, fresh_address: str) -> None:
    page = fresh_page
    page.goto(f"{fresh_address}/jobs")
    page.get_by_role("button", name="Run it now: Forget/retain trade-off").click()
    cancel = page.get_by_role("button", name="Cancel job 0001")
    expect(page.locator(".job-text")).to_be_visible()
    expect(page.get_by_text("running …")).to_be_visible()
    cancel.focus()
    for _ in range(2):  # it is looked at again meanwhile; an answer may be on its way already
        with page.expect_response(re.compile("_dash-update-component")):
            pass
    expect(cancel).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("cell", name="cancelled", exact=True)).to_be_visible()
    page.get_by_role("link", name="output").click()
    expect(page.get_by_role("heading", name="Output of job 0001")).to_be_visible()
