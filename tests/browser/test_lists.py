"""Keeping what was found, as people do: bookmarks, tags, notes and lists, in a real browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from workbench import open_run
from workbench.notes import Notes, open_notes

HOSTILE = "<img src=x onerror='window.hacked = 1'>"


@pytest.fixture
def notes(run_path: Path) -> Iterator[Notes]:
    """What the browser's clicks keep; forgotten at the end, as other tests share the run."""
    notes = open_notes(open_run(run_path))
    yield notes
    notes.path.unlink(missing_ok=True)


def test_an_expert_is_marked_and_its_list_changed(page: Page, address: str, notes: Notes) -> None:
    first, second = (int(expert) for expert in notes.run.experts(0)["mass"].nlargest(2).index)
    page.goto(f"{address}/expert/0/{first}")
    page.get_by_role("button", name="☆ Bookmark").click()
    expect(page.get_by_role("button", name="★ Bookmarked")).to_be_visible()
    assert notes.list_experts("bookmarks") == [(0, first)]
    page.locator("#kept-tags").fill("x" * 61)
    page.locator("#kept-tags").press("Enter")
    expect(page.get_by_text("the limit is 60")).to_be_visible()
    page.locator("#kept-tags").fill(HOSTILE)
    page.locator("#kept-tags").press("Enter")
    expect(page.get_by_text("the limit is 60")).to_have_count(0)
    page.get_by_role("textbox", name="New note").fill(f"{HOSTILE}\nsecond line")
    page.get_by_role("button", name="Add note").press("Enter")
    expect(page.locator(".kept-notes")).to_contain_text("second line")
    expect(page.get_by_role("textbox", name="New note")).to_have_value("")
    page.locator("#kept-list").fill(HOSTILE)
    page.locator("#kept-list-add").click()
    expect(page.locator(".kept-chip")).to_have_text(re.compile(re.escape(HOSTILE)))
    assert notes.tags(0, first) == [HOSTILE]
    page.locator(".kept-chip a").click()
    page.get_by_role("textbox", name="Add experts").fill(f"0:{second}")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.locator(".kept-table tbody tr")).to_have_count(2)
    page.get_by_role("button", name=f"move up 0:{second}").press("Enter")
    expect(page.locator(".kept-table tbody tr").first).to_contain_text(f"0:{second}")
    assert notes.list_experts(HOSTILE) == [(0, second), (0, first)]
    with page.expect_download() as download:
        page.get_by_role("link", name="Export as csv").click()
    assert Path(download.value.path()).read_text().count(HOSTILE) == 4  # the list's name twice, a tag and a note
    page.get_by_role("button", name=f"remove 0:{first}").click()
    expect(page.locator(".kept-table tbody tr")).to_have_count(1)
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete list").click()
    expect(page).to_have_url(f"{address}/lists")
    expect(page.get_by_role("heading", level=1)).to_have_text("Lists and notes")
    expect(page.get_by_text(f"{HOSTILE} second line")).to_be_visible()
    assert notes.lists()["name"].tolist() == ["bookmarks"]
    assert page.evaluate("window.hacked") is None


def test_a_shared_list_is_saved_and_renamed(page: Page, address: str, notes: Notes) -> None:
    page.goto(f"{address}/lists")
    page.get_by_role("link", name="open them as a list").click()
    shared = page.url
    page.get_by_role("button", name="Save as list").click()
    expect(page).to_have_url(re.compile(r"/lists/Strong"))
    (name,) = set(notes.lists()["name"]) - {"bookmarks"}
    expect(page.get_by_role("button", name="Rename")).to_be_visible()
    page.get_by_role("textbox", name="Name").fill("bookmarks")
    page.get_by_role("button", name="Rename").click()
    expect(page.get_by_text("there is a list 'bookmarks' already")).to_be_visible()
    page.get_by_role("textbox", name="Name").fill("mine")
    page.get_by_role("button", name="Rename").click()
    expect(page).to_have_url(f"{address}/lists/mine")
    expect(page.get_by_role("heading", level=1)).to_contain_text("mine")
    page.get_by_role("link", name="Link that holds this list").click()
    experts = [f"{group}:{expert}" for group, expert in notes.list_experts("mine")]
    expect(page).to_have_url(shared.split("&name=")[0] + "&name=mine")
    expect(page.locator(".kept-table tbody tr td:nth-child(2)")).to_have_text(experts)
    assert name.startswith("Strong")


def test_a_saved_circuit_is_opened_and_deleted_from_the_lists(page: Page, address: str, notes: Notes) -> None:
    notes.save_circuit(HOSTILE, "?text=def+f&keep=0.5")
    notes.save_circuit("kept", "?text=x&keep=0.25")
    page.goto(f"{address}/lists")
    page.get_by_role("button", name=f"delete the circuit {HOSTILE}").click()
    expect(page.locator("#circuits-table tbody tr")).to_have_count(1)
    assert notes.circuits()["name"].tolist() == ["kept"]
    page.locator("#circuits-table").get_by_role("link", name="kept").click()
    expect(page).to_have_url(f"{address}/circuit?text=x&keep=0.25")
    expect(page.get_by_label("Text for the model")).to_have_value("x")
    assert page.evaluate("window.hacked") is None


def test_experts_are_chosen_where_they_are_found(page: Page, address: str, notes: Notes) -> None:
    page.goto(f"{address}/?filter=%7B%7D")
    row = "#experts-grid .ag-row[row-index='{}']"
    expect(page.locator(row.format(0)).get_by_role("link")).to_have_text(re.compile(r"^\d+$"))
    chosen = [int(page.locator(row.format(at)).get_by_role("link").inner_text()) for at in (0, 1)]
    page.locator(row.format(0)).get_by_role("checkbox").check()
    page.locator(row.format(1)).locator("[col-id='mass']").click()
    page.keyboard.press("Space")
    expect(page.locator("#gather-count")).to_have_text("2 chosen")
    page.evaluate("window.dash_ag_grid.getApi('experts-grid').ensureIndexVisible(150)")
    page.locator(row.format(150)).get_by_role("checkbox").check()
    chosen.append(int(page.locator(row.format(150)).get_by_role("link").inner_text()))
    page.evaluate("window.dash_ag_grid.getApi('experts-grid').ensureIndexVisible(0)")
    expect(page.locator(row.format(0)).get_by_role("checkbox")).to_be_checked()
    page.locator("#experts-grid .ag-header-cell[col-id='density'] .ag-header-cell-text").click()
    expect(page).to_have_url(re.compile("sort=density-asc"))
    expect(page.locator("#gather-count")).to_have_text("3 chosen")
    page.locator("#gather-list").fill(HOSTILE)
    page.locator("#gather-list").press("Enter")
    expect(page.locator("#gather-said")).to_contain_text(HOSTILE)
    assert {expert for _, expert in notes.list_experts(HOSTILE)} == set(chosen)
    page.get_by_role("button", name="Choose none").press("Enter")
    expect(page.locator("#gather-count")).to_contain_text("to keep them in a list")
    expect(page.locator("#experts-grid .ag-row-selected")).to_have_count(0)
    page.goto(f"{address}/search?q=l")
    box = page.locator(".gather-box").first
    expert = box.get_attribute("data-expert")
    assert expert is not None
    box.press("Space")
    expect(page.locator("#gather-count")).to_have_text("1 chosen")
    page.locator("#gather-list").fill(HOSTILE)
    page.get_by_role("button", name="Add to list").press("Enter")
    page.locator("#gather-said").get_by_role("link").click()
    expect(page.locator(".kept-table")).to_contain_text(expert)
    assert page.evaluate("window.hacked") is None


def test_a_note_and_a_description_are_edited_where_they_stand(page: Page, address: str, notes: Notes) -> None:
    expert = int(notes.run.experts(0)["mass"].idxmax())
    notes.add_note(0, expert, "a lop")
    notes.create_list("mine", "old", [])
    page.goto(f"{address}/expert/0/{expert}")
    page.get_by_role("button", name="edit this note").press("Enter")
    text = page.get_by_role("textbox", name="Note", exact=True)
    expect(text).to_be_focused()
    text.fill(HOSTILE)
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator(".kept-notes")).to_contain_text(HOSTILE)
    page.get_by_role("button", name="edit this note").click()
    page.get_by_role("button", name="leave this note as it was").click()
    expect(text).to_have_count(0)
    page.goto(f"{address}/lists/mine")
    page.get_by_role("textbox", name="Description").fill(f"{HOSTILE}\nsecond line")
    page.get_by_role("button", name="Save description").click()
    expect(page.locator("#list-described")).to_contain_text("second line")
    assert notes.description("mine") == f"{HOSTILE}\nsecond line"
    assert page.evaluate("window.hacked") is None
