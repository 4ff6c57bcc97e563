"""A circuit in a real browser: traced, pinned, followed, pruned, ablated, folded, undone, and back by its address."""

from __future__ import annotations

import re

from playwright.sync_api import Locator, Page, expect

TEXT = "/circuit?text=for+i&nodes=64"


def _open(page: Page, address: str) -> Locator:
    """The page once the circuit is drawn and listed; returns the rows of its table."""
    page.goto(address)
    rows = page.locator("#circuit-table tbody tr")
    expect(rows.first).to_contain_text("logit of")
    expect(page.locator(".circuit-kept")).to_contain_text("of the influence")
    return rows


def _experts(rows: Locator) -> Locator:
    return rows.locator("[data-pin]").filter(has_text="expert")


def _drawn(page: Page) -> str:
    return str(page.locator(".circuit-canvas").evaluate("canvas => canvas.toDataURL()"))


def _redrawn(page: Page, before: str) -> None:
    page.wait_for_function("before => document.querySelector('.circuit-canvas').toDataURL() !== before", arg=before)


def test_an_empty_page_shows_a_circuit_and_the_form_traces_another(page: Page, address: str) -> None:
    _open(page, f"{address}/circuit")
    page.get_by_role("textbox", name="Text for the model").fill("print")
    page.get_by_role("textbox", name="minus").fill("a")
    page.get_by_role("button", name="Trace").click()
    expect(page).to_have_url(re.compile(r"text=print.*minus=\d+"))
    expect(page.locator("#circuit-table tbody tr").first).to_contain_text("minus a")
    page.get_by_role("textbox", name="Explain the token").fill("no such token")
    page.get_by_role("button", name="Trace").click()
    expect(page.locator("#page")).to_contain_text("the target 'no such token' is")


def test_pin_follow_ablate_and_undo_are_in_the_address(page: Page, address: str) -> None:
    rows = _open(page, address + TEXT)
    before = _drawn(page)
    name = _experts(rows).first.inner_text()
    _experts(rows).first.click()
    pinned = page.locator("#circuit-pinned")
    expect(pinned.locator("h3")).to_have_text(name)
    expect(pinned).to_contain_text("What adds to its value")
    expect(pinned).to_contain_text("What routes tokens to it")
    expect(page).to_have_url(re.compile(r"pin=\d+\.\d+\.\d+"))
    _redrawn(page, before)
    pinned.get_by_role("button", name=re.compile("^show the attention heads")).first.click()
    expect(page.locator("#circuit-heads")).to_contain_text("first goes through")
    pinned.get_by_role("button", name="Ablate").click()
    reaction = page.locator("#circuit-reaction")
    expect(reaction).to_contain_text("predicted by the circuit")
    expect(reaction).to_contain_text(f"{name} ablated")
    expect(page).to_have_url(re.compile(r"scale=\d+\.\d+\.\d+%3D0"))
    page.locator("#circuit-follow").click()
    page.get_by_role("option", name="what leads to the pins").click()
    expect(page).to_have_url(re.compile("follow=up"))
    page.reload()
    expect(pinned.locator("h3")).to_have_text(name)
    expect(reaction).to_contain_text(f"{name} ablated")
    expect(page.locator("#circuit-follow")).to_have_value("what leads to the pins")
    page.goto(page.url.replace("nodes=64", "nodes=65"))  # one that is yet to be traced
    expect(reaction).to_contain_text(f"{name} ablated")
    reaction.get_by_role("button", name="Restore all").click()
    expect(reaction).to_contain_text("Nothing is ablated")
    expect(page).not_to_have_url(re.compile("scale="))
    page.get_by_role("button", name="Undo").click()
    expect(reaction).to_contain_text(f"{name} ablated")
    page.get_by_role("button", name="Redo").click()
    expect(reaction).to_contain_text("Nothing is ablated")


def test_thresholds_keep_fewer_nodes_and_undo_brings_them_back(page: Page, address: str) -> None:
    rows = _open(page, address + TEXT)
    count = rows.count()
    slider = page.get_by_role("slider", name="Nodes: influence kept")
    slider.focus()
    page.keyboard.press("Home")
    expect(page).to_have_url(re.compile("keep=0(&|$)"))
    expect(_experts(rows)).to_have_count(1)
    page.get_by_role("button", name="Undo").click()
    expect(page).not_to_have_url(re.compile("keep="))
    expect(rows).to_have_count(count)


def test_keyboard_folds_pins_and_ablates(page: Page, address: str) -> None:
    rows = _open(page, address + TEXT)
    canvas, says = page.locator(".circuit-canvas"), page.locator(".circuit-says")
    name = _experts(rows).first.inner_text()
    _experts(rows).first.click()
    expect(page.locator("#circuit-pinned h3")).to_have_text(name)
    canvas.focus()
    page.keyboard.press("a")
    expect(page.locator("#circuit-reaction")).to_contain_text(f"{name} ablated")
    page.keyboard.press("Space")
    expect(says).to_contain_text("1 selected")
    page.keyboard.press("Shift+ArrowDown")  # its strongest source
    expect(says).not_to_contain_text("selected")
    page.keyboard.press("Space")
    expect(says).to_contain_text("2 selected")
    page.keyboard.press("f")
    expect(page.locator("#circuit-pinned h3")).to_have_text("group: 2 nodes")
    expect(page).to_have_url(re.compile("fold=group%3A"))
    page.reload()
    expect(page.locator("#circuit-pinned h3")).to_have_text("group: 2 nodes")
    page.get_by_role("button", name="Unfold").click()
    expect(page).not_to_have_url(re.compile("fold="))
    expect(page.locator("#circuit-pinned")).to_contain_text("Nothing is pinned")
    page.locator("#circuit-group").click()
    page.get_by_role("option", name="experts of a label").click()
    expect(page).to_have_url(re.compile("group=label"))


def test_a_circuit_is_saved_by_name_with_its_pins(page: Page, address: str) -> None:
    _open(page, address + TEXT + "&pin=logit")
    page.locator("#circuit-save-name").fill("for loops")
    page.get_by_role("button", name="Save circuit").click()
    link = page.get_by_role("link", name="for loops")
    expect(link).to_have_attribute("href", re.compile("pin=logit"))
    page.get_by_role("button", name="delete the circuit for loops").click()
    expect(page.locator("#circuit-saved")).to_contain_text("None yet")


def test_a_prompt_leads_to_the_circuit_of_its_target(page: Page, address: str) -> None:
    page.goto(f"{address}/prompt?text=for+i")
    page.get_by_role("link", name="Trace the circuit").click()
    expect(page).to_have_url(re.compile(r"/circuit\?text=for\+i&target=\d+$"))
    expect(page.locator("#circuit-table tbody tr").first).to_contain_text("logit of")
