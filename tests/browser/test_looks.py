"""Every page, light and dark, at four widths: nothing is cut or out of reach, and axe-core finds nothing to mend."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote, unquote

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, Page, expect

from workbench import Run, open_run
from workbench.analysis import analyze_structure, diff_models
from workbench.analysis.results import write_result
from workbench.notes import open_notes
from workbench.store.address import Expert

from ..workbench.dashboard.pages.fingerprinted import PUBLIC, erased, located
from .conftest import serving, watched, write_map

WIDTHS = (1920, 1280, 768, 390)
AXE_WIDTHS = (1280, 390)
KEPT = {(1280, "light"), (1280, "dark"), (390, "light")}  # looks of which a picture is kept
PUBLISHED = "fingerprint.json"  # in the folder of a fingerprinted model
PICTURES = Path(__file__).parents[2] / "build" / "screenshots"
SCHEMES = ("light", "dark")
UNSEEN = (Path(__file__).parent / "looks.js").read_text()
AXE_RUN = """async (options) => {
    const {violations} = await axe.run(document, {resultTypes: ['violations'], ...options});
    const shown = (nodes) => nodes.slice(0, 3).map((node) => node.html.slice(0, 200)).join(' | ');
    return violations.map(({id, help, nodes}) => `${id}: ${help}: ${shown(nodes)}`);
}"""
AXE_OPTIONS = {"light": {}, "dark": {"runOnly": ["color-contrast"]}}  # all else is the same in both
RTL = "\u05e9\u05dc\u05d5\u05dd (shalom)"  # Hebrew first: what follows would be drawn on the wrong side of it
LIST = f"readers {RTL}"
OTHER = "another"  # a run beside the run
NOWHERE = "/nowhere"
PAGES = {  # address -> what is on the page once it is complete
    "/": "#experts-grid .ag-row",
    "/?group=1&label=lua": "#experts-grid .ag-row",
    "/expert/0/17": ".kept-notes",
    "/expert/0/17?show=all": "h1",
    "/expert/0/17?show=ranges": "h1",
    "/documents/3?expert=0:17": ".document-text",
    "/labels/lua": "#label-grid .ag-row",
    "/search": ".search-examples",
    "/search?q=print": "#search-answer .panel",
    "/search?q=print&kind=text": "#search-answer .panel",
    "/search?q=print&kind=documents": "#search-answer .panel",
    "/search?q=lua&kind=explanations": "#search-answer .panel",
    "/prompt": "#prompt-samples",
    "/prompt?text=def+f(x):&edit=0:17%3D0": "#next-tokens .chip",
    "/circuit?text=for+i&nodes=64&pin=logit": "#circuit-pinned h3",
    "/mask": ".heatmap-label",
    "/atlas": "#atlas-legend .legend",
    "/atlas?group=1&colour=mass&select=1:1-4,1-4": ".atlas-list tbody tr",
    "/keys/0/1/3": ".key-experts tbody tr",
    "/structure": "#plane .point",
    "/structure?group=1&colour=mass": "#plane .cbtitle",
    "/compare": "#page .panel",
    "/compare?a=0:17&b=1:3": "#compare-answer .panel",
    "/compare?text=def+f(x):&with=local+x": "#compare-answer .panel",
    "/compare?text=def+f(x):&edit=0:17%3D0&edit2=1:3%3D0": "#compare-answer .panel",
    f"/compare?run={OTHER}": "#compare-answer .panel",
    "/diff": "#page .panel",
    "/ownership": "#page .panel",
    "/explanations": "h1",
    "/scores": "h1",
    "/lists": ".kept-table",
    f"/lists/{quote(LIST)}": ".kept-table",
    f"/lists?tag={quote(RTL)}": ".kept-table",
    "/embed/expert/0/17": "h1",
    "/jobs": "h1",
    "/glossary": ".glossary",
    NOWHERE: ".message-error",
}


@pytest.fixture(scope="module", autouse=True)
def _furnished(run_path: Path) -> Iterator[None]:
    """The run with what people keep, results of analyses and a run beside it; without them again at the end."""
    run = open_run(run_path)
    before = set(run_path.rglob("*"))
    notes = open_notes(run)
    notes.add_note(0, 17, f"{RTL}\nsecond line", "Ada")
    notes.tag(0, 17, RTL)
    notes.create_list(LIST, "What reads.", [Expert(0, 17), Expert(1, 3)])
    notes.save_edit("without 0:17", "0:17=0")
    analyze_structure(run)
    write_map(run, np.arange(40.0), np.arange(40.0) % 7)
    model, beside = Path(run.model_path), run_path.parent / OTHER
    for result in (diff_models(model, model, model.parent / "corpus.parquet"), located(), erased()):
        write_result(run, result)
    (model / PUBLISHED).write_text(json.dumps(PUBLIC))
    shutil.copytree(run_path, beside)
    yield
    for file in {*(set(run_path.rglob("*")) - before), model / PUBLISHED}:
        file.unlink()
    shutil.rmtree(beside)


def _keep_picture(page: Page, url: str, width: int, scheme: str) -> None:
    """A picture of the whole page, in ``build/screenshots``: the front page is ``front-1280-light.png``."""
    name = re.sub(r"[^a-z0-9]+", "-", unquote(url).lower()).strip("-") or "front"
    page.screenshot(path=PICTURES / f"{name}-{width}-{scheme}.png", full_page=True, animations="disabled")


def _open(page: Page, address: str, complete: str) -> None:
    page.goto(address)
    expect(page.locator(complete).first).to_be_visible()
    page.wait_for_load_state("networkidle")


@pytest.mark.parametrize("url", PAGES)
def test_page_is_readable_for_everyone(page: Page, address: str, url: str) -> None:
    page.set_viewport_size({"width": WIDTHS[0], "height": 900})
    if url == NOWHERE:  # by a link: opened directly, the browser reports its status as an error
        _open(page, f"{address}/jobs", "h1")
        page.evaluate("url => { history.pushState({}, '', url); dispatchEvent(new PopStateEvent('popstate')) }", url)
        expect(page.locator(PAGES[url])).to_be_visible()
    else:
        _open(page, address + url, PAGES[url])
    _check_looks(page, url)


@pytest.fixture
def policy_address(read_run: Run) -> Iterator[str]:
    """Address of the dashboard of a harvest policy whose rule was read."""
    yield from serving(read_run.path)


@pytest.fixture
def policy_page(browser: BrowserContext, policy_address: str) -> Iterator[Page]:
    """A page that may ask that dashboard and nobody else."""
    yield from watched(browser, (f"{policy_address}/", "data:", "blob:"))


def test_page_of_a_policy_is_readable_for_everyone(policy_page: Page, policy_address: str) -> None:
    _open(policy_page, f"{policy_address}/control", "#page .panel")
    _check_looks(policy_page, "/control")


def _check_looks(page: Page, url: str) -> None:
    """Fail with what cannot be seen or reached on an open page, at every width, light and dark."""
    page.evaluate(Axe().axe_script)
    faults = []
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        for scheme in SCHEMES:
            page.emulate_media(color_scheme=cast("Any", scheme))
            page.wait_for_timeout(60)
            found = page.evaluate(UNSEEN)
            if width in AXE_WIDTHS:
                found += page.evaluate(AXE_RUN, AXE_OPTIONS[scheme])
            if (width, scheme) in KEPT:
                _keep_picture(page, url, width, scheme)
            faults += [f"{width} px, {scheme}: {fault}" for fault in found]
    assert not faults, "\n".join(faults)


def test_header_leads_everywhere_at_every_width(page: Page, address: str) -> None:
    _open(page, f"{address}/glossary", ".glossary")
    entries, button = page.locator(".main-nav a"), page.locator("#menu-button")
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        if width < 1280:
            expect(entries.first).to_be_hidden()
            button.press("Enter")
        for number in range(entries.count()):
            expect(entries.nth(number)).to_be_in_viewport(ratio=1)
        search, scheme = page.locator("#search-box").bounding_box(), page.locator(".header-tools button").bounding_box()
        assert search is not None
        assert scheme is not None
        assert 0 <= search["x"] < search["x"] + search["width"] <= scheme["x"]
        assert scheme["x"] + scheme["width"] <= width
        if width < 1280:
            page.keyboard.press("Escape")
            expect(entries.first).to_be_hidden()
            expect(button).to_be_focused()
    button.click()
    page.get_by_role("link", name="Jobs", exact=True).click()
    expect(page).to_have_url(f"{address}/jobs")
    expect(entries.first).to_be_hidden()


def test_keyboard_stays_where_it_was_when_the_page_changes(page: Page, address: str) -> None:
    _open(page, f"{address}/lists/{quote(LIST)}", ".kept-table")
    page.get_by_role("button", name="move up 1:3").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".kept-table tbody tr").first).to_contain_text("1:3")
    expect(page.locator("#page :focus, #page:focus")).to_have_count(1)
    page.get_by_role("button", name="move down 1:3").press("Enter")
    expect(page.locator(".kept-table tbody tr").first).to_contain_text("0:17")
    expect(page.get_by_role("button", name="move up 1:3")).to_be_visible()
    expect(page.locator("#page :focus, #page:focus")).to_have_count(1)


def test_motion_is_still_for_who_asks(page: Page, address: str) -> None:
    page.emulate_media(reduced_motion="reduce")
    _open(page, f"{address}/jobs", "h1")
    longest = """Math.max(...[...document.querySelectorAll('*')].flatMap((one) =>
        ['transitionDuration', 'animationDuration'].map((name) => parseFloat(getComputedStyle(one)[name]))))"""
    assert page.evaluate(longest) < 0.001
