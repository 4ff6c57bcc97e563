"""Pages of a run with 300 labels, at a desk's and a phone's width: all can be chosen, and nothing is cut."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from datasets import Dataset
from playwright.sync_api import BrowserContext, Page, expect

from workbench import open_run
from workbench.analysis import analyze_run
from workbench.export import export_run
from workbench.report.palette import MOST_COLOURED

from .conftest import serving, watched

LABELS = 300
WIDTHS = (1280, 390)
UNSEEN = (Path(__file__).parent / "looks.js").read_text()
PAGES = {  # address -> what is on the page once it is complete
    "/": "#experts-grid .ag-row",
    "/?label=label+299": "#experts-grid .ag-row",
    "/labels/label 299": "#label-grid .ag-row, .expert-list .panel-body .note",
    "/mask": ".unlearn-fields",
    "/atlas": "#page canvas",
    "/expert/0/17": "#page .expert-nav",
    "/keys/0/1/1": "#page .panel",
    "/prompt": "#prompt-samples",
    "/search?q=print": "#search-answer .panel",
    "/search?q=label&kind=explanations": "#search-answer .panel",
}


@pytest.fixture(scope="module")
def many_address(bare_run_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of the dashboard of an analysed run of 300 labels of two short documents each."""
    folder = tmp_path_factory.mktemp("many")
    drawn = Random(0)
    rows = [
        {"text": "print" + "".join(drawn.choices("abcdef <>&'", k=12 + number % 9)), "label": f"label {number}"}
        for number in range(LABELS)
        for _ in range(2)
    ]
    Dataset.from_list(rows).to_parquet(str(folder / "corpus.parquet"))
    export_run(open_run(bare_run_path).model_path, folder / "corpus.parquet", folder / "run")
    analyze_run(open_run(folder / "run"), min_tokens=2, permutations=0)
    yield from serving(folder / "run")


@pytest.fixture
def many_page(browser: BrowserContext, many_address: str) -> Iterator[Page]:
    """A page that may ask that dashboard and nobody else."""
    yield from watched(browser, (f"{many_address}/", "data:", "blob:"))


@pytest.mark.parametrize("url", PAGES)
def test_pages_of_300_labels_fit(many_page: Page, many_address: str, url: str) -> None:
    many_page.set_viewport_size({"width": WIDTHS[0], "height": 900})
    many_page.goto(many_address + url)
    expect(many_page.locator(PAGES[url]).first).to_be_visible()
    many_page.wait_for_load_state("networkidle")
    faults = []
    for width in WIDTHS:
        many_page.set_viewport_size({"width": width, "height": 900})
        many_page.wait_for_timeout(60)
        faults += [f"{width} px: {fault}" for fault in many_page.evaluate(UNSEEN)]
    assert not faults, "\n".join(faults)


def test_labels_share_a_colour_beyond_the_largest_and_each_is_reached(many_page: Page, many_address: str) -> None:
    many_page.goto(many_address)
    legend = many_page.locator(".map-panel .legend-entry:not(.plain)")
    expect(legend).to_have_count(MOST_COLOURED + 1)
    expect(legend.last).to_contain_text(f"other labels ({LABELS - MOST_COLOURED})")
    many_page.goto(f"{many_address}/mask")
    field = many_page.get_by_label("Labels to forget").and_(many_page.get_by_role("textbox"))
    field.fill("label 299")
    many_page.get_by_role("option", name="label 299").click()
    expect(many_page.locator("#unlearn-effect")).not_to_contain_text("Choose labels")
