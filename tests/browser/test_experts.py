"""Lists of experts in a real browser: switches and brushes change the list, and the address brings it back."""

from __future__ import annotations

import re
import urllib.parse

from playwright.sync_api import Page, expect

ROW = "#experts-grid .ag-row[row-index='{}'] [col-id='expert']"


def _count(page: Page) -> int:
    expect(page.locator("#experts-grid-count")).to_contain_text("of")
    return int(page.locator("#experts-grid-count").inner_text().split(" of ")[0].replace(",", ""))


def test_list_comes_back_as_it_was_left(page: Page, address: str) -> None:
    asked = urllib.parse.quote('{"tokens":{"filterType":"number","type":"greaterThan","filter":1}}')
    page.goto(f"{address}/?group=1&filter={asked}")
    expect(page.locator(ROW.format(0))).to_have_text(re.compile(r"^\d+$"))
    first = page.locator(ROW.format(0)).inner_text()
    page.locator("#experts-grid .ag-header-cell[col-id='density'] .ag-header-cell-text").click()
    expect(page).to_have_url(re.compile("sort=density-asc"))
    expect(page.locator(ROW.format(0))).to_have_text(re.compile(rf"^(?!{first}$)\d+$"))  # the rows are the sorted ones
    link = page.locator(ROW.format(3)).get_by_role("link")
    expert, count = link.inner_text(), _count(page)
    link.click()
    expect(page).to_have_url(re.compile(rf"/expert/1/{expert}$"))
    page.go_back()
    expect(page).to_have_url(re.compile("sort=density-asc&row=3|row=3.*sort=density-asc"))
    expect(page.locator("#experts-grid .opened-row [col-id='expert']")).to_have_text(expert)
    assert _count(page) == count


def test_brush_filters_the_list_and_a_double_click_ends_it(page: Page, address: str) -> None:
    page.goto(f"{address}/?filter=%7B%7D")
    expect(page.locator("#experts-grid-token_entropy .brush-bars path")).not_to_have_count(0)
    expect(page.locator(ROW.format(0))).to_have_text(re.compile(r"^\d+$"))
    everything = _count(page)
    area = page.locator("#experts-grid-token_entropy .brush-plot")
    area.scroll_into_view_if_needed()
    box = area.bounding_box()
    assert box is not None
    left, top = box["x"] + 0.5 * box["width"], box["y"] + 20
    page.mouse.move(left, top)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.9 * box["width"], top + 10, steps=5)
    page.mouse.up()
    expect(page).to_have_url(re.compile("token_entropy"))
    expect(page.locator("#experts-grid-count")).not_to_have_text(re.compile(f"^{everything:,} of"))
    page.mouse.dblclick(left, top)
    expect(page.locator("#experts-grid-count")).to_have_text(re.compile(f"^{everything:,} of"))
    expect(page).not_to_have_url(re.compile("token_entropy"))


def test_readable_switch_is_the_filters_of_its_rules(page: Page, address: str) -> None:
    page.goto(f"{address}/?filter=%7B%7D")
    expect(page.locator(ROW.format(0))).to_have_text(re.compile(r"^\d+$"))
    switch, chip = page.get_by_label("Readable only"), page.get_by_label("confirmed", exact=True)
    expect(switch).not_to_be_checked()
    switch.focus()
    page.keyboard.press("Space")
    expect(chip).to_be_checked()
    chip.focus()
    page.keyboard.press("Space")
    expect(switch).not_to_be_checked()
    expect(page).to_have_url(re.compile("filter=.*tokens"))
    expect(page).not_to_have_url(re.compile("confirmed"))


def test_brush_moves_with_the_keyboard(page: Page, address: str) -> None:
    page.goto(f"{address}/?filter=%7B%7D")
    expect(page.locator(ROW.format(0))).to_have_text(re.compile(r"^\d+$"))
    everything = _count(page)
    end = page.get_by_role("slider", name="token entropy, nats, from")
    end.focus()
    for _ in range(5):
        page.keyboard.press("PageUp")
    expect(page).to_have_url(re.compile("token_entropy"))
    expect(page.locator("#experts-grid-count")).not_to_have_text(re.compile(f"^{everything:,} of"))
    page.keyboard.press("Escape")
    expect(page.locator("#experts-grid-count")).to_have_text(re.compile(f"^{everything:,} of"))
    expect(page).not_to_have_url(re.compile("token_entropy"))


def test_another_group_is_listed_in_the_same_order_and_place(page: Page, address: str) -> None:
    page.set_viewport_size({"width": 1280, "height": 500})
    page.goto(f"{address}/?filter=%7B%7D")
    expect(page.locator(ROW.format(0))).to_have_text(re.compile(r"^\d+$"))
    page.locator("#experts-grid .ag-header-cell[col-id='density'] .ag-header-cell-text").click()
    expect(page).to_have_url(re.compile("sort=density-asc"))
    other = page.get_by_role("navigation", name="layer group of the list").get_by_role("link", name="1")
    other.scroll_into_view_if_needed()
    assert page.evaluate("window.scrollY") > 0
    top = "link => link.isConnected ? link.getBoundingClientRect().top : null"
    before = other.evaluate(top)
    other.click()
    expect(page).to_have_url(re.compile(r"group=1"))
    expect(page).to_have_url(re.compile("sort=density-asc"))
    expect(page).to_have_url(re.compile("filter=%7B%7D"))
    expect(page.locator("#experts-grid .ag-header-cell[col-id='density']")).to_have_attribute("aria-sort", "ascending")
    seen = [other.evaluate(top) for _ in range(40) if page.wait_for_timeout(50) is None]
    assert abs(seen[-1] - before) < 5, seen  # where it was clicked
    page.set_viewport_size({"width": 1600, "height": 1000})


def test_labels_are_chosen_above_the_list(page: Page, address: str) -> None:
    page.goto(f"{address}/?filter=%7B%7D")
    expect(page.locator(ROW.format(0))).to_have_text(re.compile(r"^\d+$"))
    everything = _count(page)
    choice = page.get_by_role("textbox", name="Labels listed")
    for name in ("lua", "html"):
        choice.fill(name)
        page.get_by_role("option", name=name, exact=True).click()
    expect(page).to_have_url(re.compile("specialised.*OR.*lua.*html|specialised.*lua.*html.*OR"))
    expect(page.locator("#experts-grid-count")).not_to_have_text(re.compile(f"^{everything:,} of"))
    choice.press("Backspace")
    choice.press("Backspace")
    expect(page).not_to_have_url(re.compile("specialised"))
    expect(page.locator("#experts-grid-count")).to_have_text(re.compile(f"^{everything:,} of"))


def test_the_list_fits_its_window(page: Page, address: str) -> None:
    page.set_viewport_size({"width": 1100, "height": 900})  # without explanations, all columns fit 1280 pixels
    page.goto(f"{address}/?filter=%7B%7D")
    expect(page.locator(ROW.format(0))).to_have_text(re.compile(r"^\d+$"))
    mass = page.locator("#experts-grid .ag-header-cell[col-id='mass']")
    expect(mass).to_have_count(0)
    expect(page.locator("#experts-grid .ag-header-cell[col-id='monosemanticity']")).to_be_visible()
    beyond = "document.querySelector('#experts-grid .ag-body-horizontal-scroll-viewport')"
    assert page.evaluate(f"{beyond}.scrollWidth - {beyond}.clientWidth") <= 1
    for width in (1280, 1600):
        page.set_viewport_size({"width": width, "height": 1000})
        expect(mass).to_be_visible()
        assert page.evaluate(f"{beyond}.scrollWidth - {beyond}.clientWidth") <= 1
