"""The dashboard in a real browser, as people use it; every test also fails on console errors (see conftest.py)."""

from __future__ import annotations

import re
import urllib.parse
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from workbench import open_run

HOSTILE = "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>"


@pytest.mark.parametrize(
    ("url", "heading"),
    [
        ("/", "Experts of run"),
        ("/?group=1&label=lua", "Experts of run"),
        ("/expert/0/17", "Expert 0:17"),
        ("/prompt", "Try a prompt"),
        ("/mask", "Masking the experts of a label"),
        ("/mask?show=perplexity", "Masking the experts of a label"),
        ("/labels/lua", "lua"),
        ("/nowhere", "Not found"),
        ("/expert/0/999999", "Not found"),
        ("/expert/9/1", "Not found"),
        ("/expert/a/b", "Not found"),
        ("/labels/cobol", "Not found"),
        ("/?group=7", "Not found"),
    ],
)
def test_every_address_has_a_page(page: Page, url: str, heading: str) -> None:
    answer = page.goto(url)
    assert answer is not None
    assert answer.ok
    expect(page.get_by_role("heading", level=1)).to_contain_text(heading)
    page.wait_for_load_state("networkidle")


def test_overview_shows_facts_map_and_grid(page: Page, run_path: Path) -> None:
    run = open_run(run_path)
    page.goto("/")
    expect(page.get_by_text(f"{run.tokens_total:,}", exact=True).first).to_be_visible()
    expect(page.get_by_role("figure")).to_have_attribute(
        "aria-label", re.compile("Map of the 256 experts of layer group 0")
    )
    top = run.experts(0)["mass"].idxmax()
    first = page.locator("#experts-grid .ag-row[row-index='0'] [col-id='expert']")
    expect(first).to_have_text(str(top))
    page.locator("#experts-grid .ag-header-cell[col-id='tokens']").click()
    page.locator("#experts-grid .ag-header-cell[col-id='tokens'] .ag-header-cell-text").click()
    expect(first).to_have_text(str(run.experts(0)["tokens"].idxmax()))


def test_legend_brings_out_a_label_in_the_address(page: Page) -> None:
    page.goto("/?group=1")
    page.get_by_role("link", name=re.compile("bring out lua")).click()
    expect(page).to_have_url(re.compile(r"group=1&label=lua"))
    expect(page.locator(".legend-entry.chosen")).to_contain_text("lua")


def test_map_click_opens_the_expert_under_it(page: Page) -> None:
    page.goto("/")
    area = page.locator("#map .nsewdrag").bounding_box()
    assert area is not None
    cell = area["width"] / 16
    x, y = area["x"] + 5.5 * cell, area["y"] + 3.5 * cell  # key i = 3 of set 1, key j = 5 of set 2
    page.mouse.move(x, y)
    expect(page.locator(".map-tooltip")).to_contain_text("i 3, j 5")
    page.mouse.click(x, y)
    expect(page).to_have_url(re.compile(r"/expert/0/53$"))
    expect(page.get_by_role("heading", level=1)).to_contain_text("Expert 0:53")


def test_expert_page_agrees_with_the_run(page: Page, run_path: Path) -> None:
    run = open_run(run_path)
    expert = int(run.experts(0)["mass"].idxmax())
    page.goto(f"/expert/0/{expert}")
    best = run.examples(0, expert, 1).iloc[0]
    expect(page.locator(".token.top .score").first).to_have_text(f"{best['score']:.2f}")
    expect(page.locator(".facts")).to_contain_text(f"{int(run.experts(0).loc[expert, 'tokens']):,}")
    page.get_by_role("link", name=re.compile("next expert by mass")).click()
    second = run.experts(0)["mass"].sort_values(ascending=False, kind="stable").index[1]
    expect(page.get_by_role("heading", level=1)).to_contain_text(f"Expert 0:{second}")


def test_expert_report_is_downloaded(page: Page, run_path: Path) -> None:
    expert = int(open_run(run_path).experts(0)["mass"].idxmax())
    page.goto(f"/expert/0/{expert}")
    for kind in ("HTML", "JSON", "CSV"):
        with page.expect_download() as download:
            page.get_by_role("link", name=kind, exact=True).click()
        assert Path(download.value.path()).stat().st_size > 0
        assert download.value.suggested_filename == f"expert-0-{expert}.{kind.lower()}"


def test_corpus_text_is_shown_and_never_run(page: Page, run_path: Path) -> None:
    run = open_run(run_path)
    shown = ""
    for expert in run.experts(0)["mass"].sort_values(ascending=False).index[:10]:
        page.goto(f"/expert/0/{expert}")
        page.locator(".examples").wait_for()
        shown += page.locator(".examples").inner_text()
    assert "script>" in shown
    assert page.evaluate("window.hacked") is None


def test_go_to_box_opens_and_refuses(page: Page) -> None:
    page.goto("/mask")
    box = page.get_by_label("go to an expert, group:id")
    box.fill("1:300")
    box.press("Enter")
    expect(
        page.get_by_text("There is no expert 300", exact=False).or_(page.get_by_text("there is no expert 300"))
    ).to_be_visible()
    box.fill("1:2,3")
    box.press("Enter")
    expect(page).to_have_url(re.compile(r"/expert/1/35$"))


def test_prompt_shows_tokens_and_links_to_experts(page: Page) -> None:
    page.goto("/prompt")
    page.get_by_label("Text for the model").fill("def f(x):\n\treturn x")
    page.get_by_role("button", name="Run").click()
    chips = page.locator("#prompt-tokens .chip")
    expect(chips).to_have_count(19)
    assert "".join(chips.all_inner_texts()) == "def·f(x):↵→return·x"
    expect(page).to_have_url(re.compile(r"/prompt\?text=def"))
    row = page.locator("#token-0")
    expect(row.locator("td")).to_have_count(2)
    link = row.get_by_role("link").first
    target = link.get_attribute("href")
    link.click()
    expect(page).to_have_url(re.compile(re.escape(str(target)) + "$"))
    expect(page.get_by_role("heading", level=1)).to_contain_text("Expert 0:")


def test_prompt_in_the_address_is_run_and_shared(page: Page) -> None:
    page.goto("/prompt?text=" + urllib.parse.quote("end é"))
    expect(page.get_by_label("Text for the model")).to_have_value("end é")
    expect(page.locator("#prompt-tokens .chip").first).to_have_text("e")


def test_hostile_prompt_is_shown_literally(page: Page) -> None:
    page.goto("/prompt?text=" + urllib.parse.quote(HOSTILE[:50]))
    expect(page.locator("#prompt-tokens .chip").first).to_have_text("<")
    shown = "".join(page.locator("#prompt-tokens .chip").all_inner_texts())
    assert shown == HOSTILE[:50].replace(" ", "·")
    assert page.evaluate("window.hacked") is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "The prompt is empty"),
        ("x" * 100_000, "The prompt has 100,000 characters; the limit is 4,000"),
        ("x" * 100, "The prompt has 101 tokens; the limit is 64"),
    ],
    ids=["empty", "characters", "tokens"],
)
def test_prompt_of_a_bad_length_is_refused_in_words(page: Page, text: str, said: str) -> None:
    page.goto("/prompt")
    page.get_by_label("Text for the model").fill(text)
    page.get_by_role("button", name="Run").click()
    expect(page.locator(".message-error")).to_contain_text(said)


def test_long_prompt_in_the_address_is_refused_in_words(page: Page) -> None:
    page.goto("/prompt?text=" + "x" * 100_000)
    expect(page.locator(".message-error")).to_contain_text("100,000 characters")


def test_label_page_lists_its_experts_with_top_tokens(page: Page) -> None:
    page.goto("/")
    page.locator(".plain-table").get_by_role("link", name="lua").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("lua")
    page.wait_for_load_state("networkidle")


def test_colour_scheme_switches_and_stays(page: Page) -> None:
    page.goto("/")
    page.get_by_label("light or dark").click()
    expect(page.locator("html")).to_have_attribute("data-mantine-color-scheme", "dark")
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-mantine-color-scheme", "dark")


def test_navigation_works_from_the_keyboard(page: Page) -> None:
    page.goto("/")
    page.get_by_role("link", name="Prompt").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Try a prompt")


def test_a_failing_callback_says_so(page: Page, address: str) -> None:
    page.goto("/")
    page.locator("#experts-grid .ag-row").first.wait_for()
    page.evaluate(
        "model => dash_clientside.set_props('experts-grid', {getRowsRequest: {filterModel: {mass: model}}})",
        {"type": "nonsense", "filterType": "number"},
    )
    expect(page.locator("#error")).to_contain_text("That did not work")
