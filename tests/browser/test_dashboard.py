"""The dashboard in a real browser, as people use it; every test also fails on console errors (see conftest.py)."""

from __future__ import annotations

import re
import urllib.parse
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from playwright.sync_api import Page, expect

from workbench import Run
from workbench.analysis import READABLE_SCORE, READABLE_TOKENS, read_analysis
from workbench.analysis.structure.umap_map import ExpertMap
from workbench.report import expert_report, label_report
from workbench.report.numbers import score_text
from workbench.store.files import write_json, write_parquet

HOSTILE = "<script>window.hacked=1</script> <img src=x>"


def _heading(page: Page, text: str) -> None:
    expect(page.get_by_role("heading", level=1)).to_contain_text(text)


def test_every_page_has_its_address(page: Page, address: str) -> None:
    for url, heading, title in (
        ("/?group=1&label=lua", "Experts of run", "Experts · run"),
        ("/expert/0/17", "Expert 0:17", "Expert 0:17 · run"),
        ("/mask?show=perplexity", "Unlearning", "Unlearning · run"),
        ("/structure", "Structure of the experts", "Structure · run"),
        ("/explanations", "Explanations", "Explanations · run"),
        ("/scores", "Correlation with a document score", "Correlation · run"),
        ("/glossary#mass", "Glossary", "Glossary · run"),
        ("/labels/lua", "lua", "Label lua · run"),
    ):
        page.goto(address + url)
        _heading(page, heading)
        expect(page).to_have_title(title)


def test_address_of_nothing_says_so(page: Page, address: str) -> None:
    page.goto(f"{address}/mask")
    for url, heading, text in (
        ("/nowhere", "Not found", "There is no page /nowhere"),
        ("/expert/0/999999", "Not found", "There is no expert 999999"),
        ("/expert/9/1", "Not found", "There is no group 9"),
        ("/expert/a/b", "Not a valid request", "names no expert"),
        ("/labels/cobol", "Not found", "has no label 'cobol'"),
        ("/?group=7", "Not found", "There is no group '7'"),
        ("/?label=cobol", "Not found", "has no label 'cobol'"),
    ):
        page.evaluate("url => { history.pushState({}, '', url); dispatchEvent(new PopStateEvent('popstate')) }", url)
        expect(page.locator(".message-error")).to_contain_text(text)
        _heading(page, heading)
        expect(page).to_have_title(f"{heading} · run")


def test_a_page_that_is_waited_for_shows_a_bar(page: Page, address: str) -> None:
    page.goto(f"{address}/mask")
    _heading(page, "Unlearning")
    bar = page.get_by_role("progressbar", name="waiting for the server")
    expect(bar).to_be_hidden()
    page.route(re.compile("/_dash-update-component"), lambda _: None)  # held until further notice
    page.get_by_role("link", name="Structure", exact=True).click()
    expect(bar).to_be_visible()
    expect(page.locator("#page")).to_have_attribute("aria-busy", "true")
    page.unroute_all()  # which lets go what is held
    _heading(page, "Structure of the experts")
    expect(bar).to_be_hidden()
    expect(page.locator("#page")).to_have_attribute("aria-busy", "false")


def test_overview_shows_facts_map_and_grid(page: Page, address: str, run: Run) -> None:
    page.goto(address)
    expect(page.get_by_text(f"{run.tokens_total:,}", exact=True).first).to_be_visible()
    expect(page.get_by_role("application", name=re.compile("Map of the 256 experts of layer group 0"))).to_be_visible()
    expect(page.get_by_role("figure", name=re.compile("Share of experts with the same label"))).to_be_visible()
    first = page.locator("#experts-grid .ag-row[row-index='0'] [col-id='expert']")
    known = run.experts(0).join(read_analysis(run, 0)[["confirmed", "interest"]])
    readable = known[known["confirmed"] & (known["tokens"] >= READABLE_TOKENS) & (known["max"] >= READABLE_SCORE)]
    expect(first).to_have_text(str(readable["interest"].idxmax()))
    page.locator("#experts-grid .ag-header-cell[col-id='max'] .ag-header-cell-text").click()
    expect(first).to_have_text(str(readable["max"].idxmin()))
    page.locator(".legend").get_by_role("link", name=re.compile("lua")).click()
    expect(page).to_have_url(re.compile("group=0&label=lua"))
    expect(page.locator(".legend-entry.chosen")).to_contain_text("lua")


def test_map_click_opens_the_expert_under_it(page: Page, address: str) -> None:
    page.goto(address)
    page.locator("#map canvas").scroll_into_view_if_needed()
    expect(page.locator("#experts-grid .ag-row").first).to_be_visible()
    area = page.locator("#map canvas").bounding_box()
    assert area is not None
    cell = area["width"] / 16
    x, y = area["x"] + 5.5 * cell, area["y"] + 3.5 * cell  # key i = 3 of set 1, key j = 5 of set 2
    page.mouse.move(x, y)
    expect(page.locator(".map-tooltip")).to_contain_text("expert 0:53 · keys 3, 5")
    page.mouse.click(x, y)
    expect(page).to_have_url(re.compile(r"/expert/0/53$"))
    _heading(page, "Expert 0:53")
    page.go_back()
    _heading(page, "Experts of run")


def test_map_zooms_by_dragging_and_moves_with_the_keyboard(page: Page, address: str) -> None:
    page.goto(address)
    cells, everything = page.locator("#map canvas"), page.get_by_role("button", name="Show all")
    cells.scroll_into_view_if_needed()
    expect(page.locator("#experts-grid .ag-row").first).to_be_visible()
    area = cells.bounding_box()
    assert area is not None
    cell = area["width"] / 16
    page.mouse.move(area["x"] + 4.5 * cell, area["y"] + 4.5 * cell)
    page.mouse.down()
    page.mouse.move(area["x"] + 11.5 * cell, area["y"] + 11.5 * cell, steps=4)
    page.mouse.up()
    expect(everything).to_be_visible()
    page.mouse.move(area["x"] + 1, area["y"] + 1)
    expect(page.locator(".map-tooltip")).to_contain_text("keys 4, 4")
    everything.click()
    expect(everything).to_be_hidden()
    cells.focus()
    page.keyboard.press("ArrowDown")
    expect(page.locator(".map-tooltip")).to_contain_text("keys 9, 8")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"/expert/0/152$"))


def test_front_page_fetches_no_plotly(page: Page, address: str) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    expect(page.locator("#experts-grid .ag-row").first).to_be_visible()
    page.wait_for_load_state("networkidle")
    assert not [url for url in asked if "plotly" in url]


def test_first_page_is_drawn_once_and_others_when_they_are_opened(page: Page, address: str) -> None:
    drawn: list[str] = []
    page.on("request", lambda asked: drawn.append(asked.url) if "page.children" in (asked.post_data or "") else None)
    for path in ("/", "/labels/lua"):
        page.goto(f"{address}{path}")
        expect(page.locator(".ag-row").first).to_be_visible()
    expect(page).to_have_title(re.compile("^Label lua · "))
    assert drawn == []
    page.get_by_role("link", name="Prompt").click()
    _heading(page, "Try a prompt")
    page.go_back()
    _heading(page, "lua")
    assert len(drawn) == 2


def test_expert_page_agrees_with_the_run(page: Page, address: str, run: Run) -> None:
    order = run.experts(0)["mass"].sort_values(ascending=False, kind="stable").index
    page.goto(f"{address}/expert/0/{order[0]}")
    best = run.examples(0, order[0], 1).iloc[0]
    expect(page.locator(".token.top .score").first).to_have_text(score_text(best["score"]))
    expect(page.locator(".facts")).to_contain_text(f"{int(run.experts(0).loc[order[0], 'tokens']):,}")
    expect(page.locator(".histogram .bars path")).not_to_have_count(0)
    with page.expect_download() as download:
        page.get_by_role("link", name="Report as csv").click()
    assert download.value.suggested_filename == f"expert-0-{order[0]}.csv"
    assert Path(download.value.path()).read_text().startswith("run,group,expert,rank,score,")
    page.get_by_role("link", name="less mass →").click()
    _heading(page, f"Expert 0:{order[1]}")


def test_corpus_text_is_shown_and_never_run(page: Page, address: str, run: Run) -> None:
    page.goto(address)
    shown = ""
    for expert in run.experts(0)["mass"].nlargest(5).index:
        page.get_by_label("search for an expert").fill(f"0:{expert}")
        page.get_by_label("search for an expert").press("Enter")
        _heading(page, f"Expert 0:{expert}")
        shown += page.locator(".examples").inner_text()
    assert "<script>" in shown
    assert page.evaluate("window.hacked") is None


def test_search_box_opens_an_expert_and_refuses_one_that_is_not_there(page: Page, address: str) -> None:
    page.goto(f"{address}/mask")
    box = page.get_by_label("search for an expert")
    box.fill("1:300")
    box.press("Enter")
    expect(page.get_by_text("there is no expert 300")).to_be_visible()
    box.fill("1:2,3")
    box.press("Enter")
    expect(page).to_have_url(re.compile(r"/expert/1/35$"))


def test_prompt_shows_tokens_their_experts_and_the_next_token(page: Page, address: str) -> None:
    page.goto(f"{address}/prompt")
    page.get_by_label("Text for the model").fill("def f(x):\n\treturn x")
    page.get_by_role("button", name="Run", exact=True).click()
    chips = page.locator("#prompt-tokens .chip")
    expect(chips).to_have_count(19)
    assert "".join(chips.all_inner_texts()) == "def·f(x):↵→return·x"
    expect(page).to_have_url(re.compile(r"/prompt\?text=def"))
    expect(page.get_by_text("sum of all contributions")).to_be_visible()
    chips.nth(4).click()
    expect(page.locator("#token-4.chosen")).to_be_visible()
    expect(page.get_by_role("heading", name="Next token after token 5")).to_be_visible()
    expect(chips).to_have_count(19)
    other = page.locator("#next-tokens a.next-token").nth(1)
    other.click()
    expect(page).to_have_url(re.compile(r"&target=\d+"))
    expect(other).to_have_attribute("aria-current", "true")
    link = page.locator("#token-0 td").nth(1).get_by_role("link").first
    target = str(link.get_attribute("href"))
    assert target.startswith("/expert/1/")
    link.click()
    expect(page).to_have_url(address + target)


def test_experts_are_removed_from_a_prompt_and_put_back(page: Page, address: str) -> None:
    page.goto(f"{address}/prompt?text=" + urllib.parse.quote("def f(x):"))
    expect(page.get_by_role("heading", name="Next token", exact=True)).to_be_visible()
    remove = page.get_by_role("link", name=re.compile(r"^remove expert \d:\d+$")).first
    expert = str(remove.get_attribute("aria-label")).removeprefix("remove expert ")
    remove.click()
    expect(page.get_by_role("heading", name="Next token, edited")).to_be_visible()
    expect(page.locator("#edit-rows")).to_contain_text(f"expert {expert}")
    expect(page.get_by_label("The edit as text")).to_have_value(f"{expert}=0")
    expect(page.locator("#next-tokens")).to_contain_text("→")
    expect(page.get_by_role("link", name=f"remove expert {expert}", exact=True)).to_have_count(0)
    page.get_by_role("button", name=f"no longer edit expert {expert}").click()
    expect(page.get_by_role("heading", name="Next token", exact=True)).to_be_visible()
    page.get_by_role("textbox", name="Experts of labels").click()
    page.get_by_role("option", name="lua").click()
    page.get_by_role("button", name="add the experts of the labels").click()
    expect(page).to_have_url(re.compile("edit=label%3Alua%3D0"))
    expect(page.get_by_role("heading", name="Next token, edited")).to_be_visible()


def test_prompt_in_the_address_is_run_and_shown_literally(page: Page, address: str) -> None:
    page.goto(f"{address}/prompt?text=" + urllib.parse.quote(HOSTILE))
    expect(page.locator("#prompt-tokens .chip").first).to_have_text("<")
    assert "".join(page.locator("#prompt-tokens .chip").all_inner_texts()) == HOSTILE.replace(" ", "·")
    expect(page.get_by_label("Text for the model")).to_have_value(HOSTILE)
    assert page.evaluate("window.hacked") is None


def test_prompt_of_a_bad_length_is_refused_in_words(page: Page, address: str) -> None:
    page.goto(f"{address}/prompt")
    for text, said in (
        ("", "The text is empty"),
        ("x" * 100_000, "The text has 100,000 characters; the limit is 64 tokens"),
        ("x" * 100, "The prompt has 101 tokens; the model reads at most 64"),
    ):
        page.get_by_label("Text for the model").fill(text)
        page.get_by_role("button", name="Run", exact=True).click()
        expect(page.locator(".message-error")).to_contain_text(said)
    page.goto(f"{address}/prompt?text=" + "x" * 100_000)
    expect(page.locator(".message-error")).to_contain_text("100,000 characters")


def test_a_click_on_a_cell_of_the_masking_matrix_opens_the_label_removed(page: Page, address: str) -> None:
    page.goto(f"{address}/mask")
    cells = page.locator("#mask-matrix .nsewdrag").first
    cells.scroll_into_view_if_needed()
    area = cells.bounding_box()
    panel = page.locator("#mask-matrix").bounding_box()
    assert area is not None
    assert panel is not None
    assert panel["width"] > 1000  # of a window of 1600
    page.set_viewport_size({"width": 1200, "height": 1000})
    page.wait_for_function(
        "([wide]) => document.querySelector('#mask-matrix .main-svg').clientWidth < wide - 100", arg=[panel["width"]]
    )
    area = cells.bounding_box()
    assert area is not None
    page.mouse.move(area["x"] + area["width"] / 6, area["y"] + area["height"] / 2)
    page.mouse.click(area["x"] + area["width"] / 6, area["y"] + area["height"] / 2)  # second row, first column
    expect(page).to_have_url(re.compile("/labels/lua$"))


def test_masking_matrix_has_its_numbers(page: Page, address: str) -> None:
    page.goto(f"{address}/mask")
    expect(page.locator(".facts")).to_contain_text("selectivity")
    for title, cells in (("Matrix", 9), ("Experts shared by labels", 6)):  # all of a label is shared with itself
        drawn = page.locator(".panel").filter(has=page.get_by_role("heading", name=title, exact=True))
        expect(drawn.locator(".heatmap-label")).to_have_count(cells)
    expect(page.locator(".plain-table").first).to_contain_text("control, target")
    page.get_by_role("link", name="Perplexity").click()
    expect(page).to_have_url(f"{address}/mask?show=perplexity")


def test_label_page_lists_its_experts_with_top_tokens(page: Page, address: str, run: Run) -> None:
    page.goto(address)
    page.locator(".plain-table").get_by_role("link", name="lua").first.click()
    _heading(page, "lua")
    row = page.locator("#label-grid .ag-row[row-index='0']")
    expect(row.locator("[col-id='expert']")).to_have_text(re.compile(r"^\d+$"))
    expert = int(row.locator("[col-id='expert']").inner_text())
    best = run.examples(0, expert, 1)["token_text"].iloc[0]
    expect(row.locator("[col-id='preview']")).to_contain_text(best.replace(" ", "·").replace("\n", "↵"))


def test_run_that_was_only_exported_says_what_to_run(bare_page: Page, bare_address: str, bare_run_path: Path) -> None:
    bare_page.goto(bare_address)
    expect(bare_page.get_by_text(f"monet analyze {bare_run_path}")).to_be_visible()
    expect(bare_page.locator("#experts-grid .ag-row").first).to_be_visible()
    bare_page.get_by_role("link", name="Unlearning").click()
    expect(bare_page.get_by_text(f"monet mask {bare_run_path}")).to_be_visible()


def test_colour_scheme_switches_and_stays(page: Page, address: str) -> None:
    page.goto(f"{address}/mask")
    page.get_by_label("switch between light and dark").click()
    expect(page.locator("html")).to_have_attribute("data-mantine-color-scheme", "dark")
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-mantine-color-scheme", "dark")


def test_pages_are_reached_from_the_keyboard(page: Page, address: str) -> None:
    page.goto(f"{address}/mask")
    page.get_by_role("link", name="Prompt").focus()
    page.keyboard.press("Enter")
    _heading(page, "Try a prompt")
    expect(page.get_by_role("link", name="Prompt")).to_have_attribute("aria-current", "page")
    expect(page.get_by_role("link", name="Prompt")).to_be_focused()
    page.goto(address)
    cell = page.locator("#experts-grid .ag-row[row-index='1'] [col-id='expert']")
    expect(cell).to_have_text(re.compile(r"^\d+$"))
    expert = cell.inner_text()
    page.locator("#experts-grid .ag-row[row-index='0'] [col-id='mass']").click()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{address}/expert/0/{expert}")


def test_a_failing_callback_says_so(page: Page, address: str) -> None:
    page.goto(address)
    page.locator("#experts-grid .ag-row").first.wait_for()
    page.evaluate(
        "model => dash_clientside.set_props('experts-grid', {getRowsRequest: {filterModel: {mass: model}}})",
        {"type": "nonsense", "filterType": "number"},
    )
    expect(page.locator("#error")).to_contain_text("That did not work")


def test_reports_open_offline(offline_page: Page, run: Run, tmp_path: Path) -> None:
    expert = int(run.experts(0)["mass"].idxmax())
    expert_report(run, 0, expert, "html", tmp_path / "expert.html")
    label_report(run, "lua", "html", tmp_path / "label.html")
    offline_page.goto((tmp_path / "expert.html").as_uri())
    _heading(offline_page, f"Expert 0:{expert}")
    expect(offline_page.locator(".chart .bar").first).to_be_visible()
    expect(offline_page.locator(".token.top").first).to_be_visible()
    offline_page.goto((tmp_path / "label.html").as_uri())
    _heading(offline_page, "Label lua")
    assert offline_page.evaluate("window.hacked") is None


@pytest.mark.parametrize("width", [390, 1280])
def test_the_report_of_an_expert_fits_the_window(offline_page: Page, run: Run, tmp_path: Path, width: int) -> None:
    expert_report(run, 0, int(run.experts(0)["mass"].idxmax()), "html", tmp_path / "expert.html", logits=True)
    offline_page.set_viewport_size({"width": width, "height": 900})
    offline_page.goto((tmp_path / "expert.html").as_uri())
    expect(offline_page.get_by_role("heading", name="Co-activating experts")).to_be_visible()
    assert offline_page.evaluate("document.documentElement.scrollWidth") == width


def test_click_on_the_map_of_contexts_opens_the_expert(page: Page, address: str, run: Run) -> None:
    points = run.experts(0).head(3)
    table = pd.DataFrame({"expert": points.index, "x": [0.0, 1.0, 2.0], "y": [0.0, 1.0, 0.0]})
    summary = ExpertMap("residual", dict.fromkeys(run.groups, 3), dict.fromkeys(run.groups, 0.5), 0)
    files = [run.analysis_path(f"map-group-{group}.parquet") for group in run.groups] + [run.analysis_path("map.json")]
    try:
        for file in files[:-1]:
            write_parquet(file, pa.Table.from_pandas(table))
        write_json(files[-1], summary.to_json())
        page.goto(f"{address}/structure")
        page.locator("#plane .point").nth(1).click(force=True)
        expect(page).to_have_url(re.compile(r"/expert/0/\d+$"))
        assert int(page.url.rsplit("/", 1)[1]) in points.index
    finally:
        for file in files:
            file.unlink(missing_ok=True)


@pytest.mark.parametrize("width", [390, 768, 1280])
def test_header_fits_the_screen(page: Page, address: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(f"{address}/glossary")
    _heading(page, "Glossary")
    for part in (page.get_by_label("search for an expert"), page.get_by_label("switch between light and dark")):
        box = part.bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_term_leads_to_its_definition(page: Page, address: str) -> None:
    page.goto(f"{address}/mask")
    page.get_by_role("link", name="delta target").first.click()
    expect(page).to_have_url(re.compile("/glossary#delta-target$"))
    expect(page.locator("#delta-target")).to_be_in_viewport()
