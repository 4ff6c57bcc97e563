"""The search in a real browser: the box, its key, and tokens and experts that light each other."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect


def test_box_searches_and_tabs_change_the_kind(page: Page, address: str) -> None:
    page.goto(f"{address}/glossary")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Glossary")
    page.keyboard.press("/")
    box = page.get_by_label("search for an expert")
    expect(box).to_be_focused()
    page.keyboard.type("print")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"/search\?q=print$"))
    expect(page.get_by_role("region", name="Experts that fire on the text").get_by_role("row").nth(1)).to_be_visible()
    page.get_by_role("link", name="Documents", exact=True).click()
    expect(page.locator("mark").first).to_have_text("print")
    expect(box).to_have_value("print")
    page.get_by_role("link", name="Structure").click()
    expect(box).to_have_value("")


def test_tokens_light_experts_and_experts_tokens(page: Page, address: str) -> None:
    page.goto(f"{address}/search?q=def+f&kind=text")
    experts, lit = page.locator("[data-scores]"), page.locator(".search-lights .lit")
    expect(experts.first).to_be_visible()
    scored = [
        {int(pair.split(":")[0]) for pair in (expert.get_attribute("data-scores") or "").split()}
        for expert in experts.all()
    ]
    page.locator("[data-token='1']").hover()
    expect(lit).to_have_count(sum(1 in tokens for tokens in scored))
    experts.first.focus()
    expect(lit).to_have_count(len(scored[0]))
    expect(lit.first).to_have_attribute("data-token", str(min(scored[0])))
    page.get_by_role("heading", level=1).hover()
    expect(lit).to_have_count(0)


def test_slider_bounds_the_density_of_the_experts(page: Page, address: str) -> None:
    page.goto(f"{address}/search?q=def+f&kind=text&by=max")
    slider = page.get_by_role("slider", name="highest density")
    expect(slider).to_have_attribute("aria-valuenow", "0")
    expect(page).to_have_url(re.compile(r"kind=text&by=max$"))  # drawing it changes nothing
    slider.press("ArrowLeft")
    expect(page).to_have_url(re.compile(r"kind=text&by=max&density=0\.562$"))
    expect(page.locator(".search-lights")).to_contain_text("active at no more than 56.2 % of the corpus")
    expect(slider).to_have_attribute("aria-valuenow", "-0.25")
