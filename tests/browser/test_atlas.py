"""The atlas and the map of contexts in a real browser, with the mouse and with the keyboard alone."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, Page, expect

from workbench import Run

from .conftest import write_map


@pytest.fixture
def mapped(run: Run) -> Iterator[Run]:
    """The run with a map of three experts of each group."""
    files = write_map(run, [0.0, 1.0, 3.0], [0.0, 0.5, 0.0])
    yield run
    for file in files:
        file.unlink()


def _cells(page: Page, group: int) -> Locator:
    expect(page.locator(f".atlas-map[data-group='{group}'] .atlas-says")).to_contain_text("Point at")
    return page.locator(f".atlas-map[data-group='{group}'] .atlas-cells")


def _box(part: Locator) -> dict[str, float]:
    part.scroll_into_view_if_needed()
    box = part.bounding_box()
    assert box is not None
    return dict(box)


def test_keyboard_alone_walks_selects_and_opens(page: Page, address: str, run: Run) -> None:
    page.goto(f"{address}/atlas")
    says = page.locator(".atlas-map[data-group='1'] .atlas-says")
    cells, half = _cells(page, 1), run.num_keys // 2
    cells.focus()
    page.keyboard.press("ArrowRight")
    expect(says).to_contain_text(f"Expert 1:{half * run.num_keys + half + 1} ")
    page.keyboard.press("Shift+ArrowDown")
    page.keyboard.press("Shift+ArrowRight")
    region = f"1:{half}-{half + 1},{half + 1}-{half + 2}"
    expect(page.get_by_role("heading", name="Selection")).to_contain_text(f"{half}–{half + 1}")
    expect(page).to_have_url(re.compile("select=" + region.replace(":", "%3A").replace(",", "%2C")))
    expect(page.locator(".atlas-list tbody tr")).to_have_count(4)
    page.reload()
    expect(page.locator(".atlas-list tbody tr")).to_have_count(4)
    _cells(page, 1).focus()
    page.keyboard.press("Escape")
    expect(page.locator("#atlas-inside")).to_contain_text("Nothing is selected")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(rf"/expert/1/{half * run.num_keys + half}$"))


def test_mouse_colours_zooms_selects_and_opens_a_key(page: Page, address: str, run: Run) -> None:
    page.goto(f"{address}/atlas?group=0")
    cells = _cells(page, 0)
    before = cells.evaluate("canvas => canvas.toDataURL()")
    page.locator("#atlas-colour").click()
    page.get_by_role("option", name="mass", exact=True).click()
    expect(page.locator("#atlas-legend")).to_contain_text("sum of mass")
    expect(page).to_have_url(re.compile("colour=mass"))
    page.wait_for_function("before => document.querySelector('.atlas-cells').toDataURL() !== before", arg=before)
    box = _box(cells)
    side = box["width"] / run.num_keys
    page.mouse.move(box["x"] + 2.5 * side, box["y"] + 1.5 * side)
    card = page.locator("#hovercard")
    expect(card).to_contain_text(f"Expert 0:{run.num_keys + 2}")
    expect(card).to_contain_text("mass")
    page.keyboard.down("Shift")
    page.mouse.down()
    page.mouse.move(box["x"] + 4.5 * side, box["y"] + 3.5 * side, steps=3)
    page.mouse.up()
    page.keyboard.up("Shift")
    expect(page).to_have_url(re.compile("select=0%3A1-3%2C2-4"))
    expect(page.get_by_role("heading", name="Selection")).to_be_visible()
    page.get_by_role("button", name="zoom in on group 0").click()
    half = max(run.num_keys // 2, 8)
    expect(page).to_have_url(re.compile(rf"zoom=0%3A\d+%2C\d+%2C{half}"))
    page.get_by_role("button", name="show all of group 0").click()
    expect(page).not_to_have_url(re.compile("zoom="))
    with page.expect_download() as sent:
        page.get_by_role("link", name="as CSV").click()
    assert sent.value.path().read_text().count("\n") == 10
    bars = page.locator(".atlas-rows")
    bar = _box(bars)
    bars.click(position={"x": bar["width"] / 2, "y": 3.5 * bar["height"] / run.num_keys})
    expect(page).to_have_url(re.compile("/keys/0/1/3$"))
    expect(page.locator("h1")).to_have_text("Key 3 of set 1, group 0")


def test_a_list_drawn_anew_has_no_box_checked(page: Page, address: str) -> None:
    count, checked = page.locator("#gather-count"), page.locator(".gather-box:checked")
    page.goto(f"{address}/atlas?group=0")
    expect(_cells(page, 0)).to_be_visible()
    expect(count).to_be_hidden()  # there are no boxes yet
    page.goto(f"{address}/atlas?group=0&select=0:1-2,1-2")
    page.locator(".atlas-list .gather-box").first.check()
    expect(count).to_have_text("1 chosen")
    _cells(page, 0).focus()
    page.keyboard.press("Shift+ArrowRight")
    expect(page).not_to_have_url(re.compile("select=0:1-2,1-2"))
    expect(count).to_have_text("Choose experts with their boxes to keep them in a list.")
    expect(checked).to_have_count(0)
    page.goto(f"{address}/search?q=l")
    page.locator(".gather-box").first.check()
    expect(count).to_have_text("1 chosen")
    page.get_by_role("link", name="later →").click()
    expect(page).to_have_url(re.compile("page=2"))
    expect(page.locator(".gather-box").first).to_be_visible()
    expect(checked).to_have_count(0)
    expect(count).to_have_text("Choose experts with their boxes to keep them in a list.")


def test_map_of_contexts_is_walked_by_keyboard(page: Page, address: str, mapped: Run) -> None:
    ids = mapped.experts(0).index[:3].tolist()  # at (0, 0), (1, 0.5) and (3, 0)
    page.goto(f"{address}/structure")
    expect(page.locator("#plane .point")).to_have_count(3)
    walked, says = page.locator(".plane-map"), page.locator(".plane-says")
    walked.focus()
    page.keyboard.press("ArrowRight")  # the nearest to the middle
    expect(says).to_contain_text(f"Expert 0:{ids[1]} ")
    expect(page.locator("#hovercard")).to_contain_text(f"Expert 0:{ids[1]}")
    page.keyboard.press("ArrowLeft")
    expect(says).to_contain_text(f"Expert 0:{ids[0]} ")
    page.keyboard.press("ArrowLeft")  # there is none
    page.keyboard.press("ArrowRight")
    expect(says).to_contain_text(f"Expert 0:{ids[1]} ")
    page.keyboard.press("ArrowRight")
    expect(says).to_contain_text(f"Expert 0:{ids[2]} ")
    point, cursor = _box(page.locator("#plane .point").nth(0)), _box(page.locator(".plane-cursor"))
    assert cursor["width"] > point["width"]
    page.keyboard.press("Escape")
    expect(page.locator(".plane-cursor")).to_have_count(0)
    expect(page.locator("#hovercard")).to_have_count(0)
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{address}/expert/0/{ids[1]}")


def test_map_of_contexts_names_selects_and_lists(page: Page, address: str, mapped: Run) -> None:
    ids = mapped.experts(0).index[:3].tolist()
    page.goto(f"{address}/structure")
    page.locator("#plane .point").nth(0).hover(force=True)
    expect(page.locator("#hovercard")).to_contain_text(re.compile("|".join(f"Expert 0:{expert} ?" for expert in ids)))
    page.mouse.move(5, 5)
    page.get_by_role("textbox", name="Nearest to").fill(f"0:{ids[2]}")
    near = page.locator("#plane-around tbody tr")
    expect(near.nth(0)).to_contain_text(f"0:{ids[1]}")
    expect(near).to_have_count(2)
    page.locator("#plane .modebar-btn[data-title='Box Select']").click()
    area = _box(page.locator("#plane .nsewdrag").first)
    page.mouse.move(area["x"] + 3, area["y"] + 3)
    page.mouse.down()
    page.mouse.move(area["x"] + area["width"] - 3, area["y"] + area["height"] - 3, steps=4)
    page.mouse.up()
    expect(page.locator("#plane-inside tbody tr")).to_have_count(3)
    expect(page).to_have_url(re.compile(r"near=0%3A\d+.*select=0%3A|select=0%3A.*near=0%3A"))
    page.locator("#plane-colour").click()
    page.get_by_role("option", name="mass", exact=True).click()
    expect(page).to_have_url(re.compile("colour=mass"))
    expect(page.locator("#plane .cbtitle")).to_have_text("mass")
    expect(page.locator("#plane-inside tbody tr")).to_have_count(3)
