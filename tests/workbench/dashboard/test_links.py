"""Addresses are read back as they were written, whatever a label or prompt holds."""

from __future__ import annotations

from urllib.parse import unquote, urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.dashboard.links import (
    EXPERT_FILE,
    anchor,
    atlas_link,
    expert_file,
    expert_link,
    expert_template,
    explanations_link,
    glossary_link,
    key_link,
    label_link,
    list_link,
    mask_link,
    overview_link,
    prompt_link,
    prompt_search,
    shared_list_link,
    structure_link,
    tag_link,
)
from workbench.dashboard.pages import read_address
from workbench.errors import WorkbenchError
from workbench.store.address import read_expert

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


def _read(link: str):  # type: ignore[no-untyped-def]
    parts = urlsplit(link)
    return read_address(parts.path, parts.query)


@given(TEXT)
def test_labels_and_prompts_survive_the_address(text: str) -> None:
    assert _read(label_link(text, 2)).parts == (text,)
    assert _read(label_link(text, 2)).query == {"group": "2"}
    assert _read(overview_link(1, text)).query == {"group": "1", "label": text}
    assert read_address("/prompt", prompt_search({"text": text})).query == {"text": text}
    assert _read(prompt_link({"text": text})).query == {"text": text}
    assert _read(explanations_link(text)).query == {"q": text}
    assert _read(list_link(text, 2)).parts == (text,)
    assert _read(tag_link(text)).query == {"tag": text}
    assert _read(shared_list_link(text, [(0, 17), (1, 5)])).query == {"experts": "0:17,1:5", "name": text}


ODD = [
    "..",
    ".",
    "...",
    "a/b",
    "/",
    "%41",
    "50%",
    "?",
    "#x",
    "a\nb",
    "\r",
    "~2E",
    "a b",
    "<b>x</b>",
    "é",
    "e\u0301",
    "l" * 5000,
]


@pytest.mark.parametrize("label", ODD)
def test_odd_labels_have_an_address_that_nothing_on_the_way_changes(label: str) -> None:
    link = label_link(label)
    assert urljoin("http://host/mask/x", link).removeprefix("http://host") == link  # no dots to follow
    assert not set(unquote(link).removeprefix("/labels/")) & set("/%?#\n\r ")
    assert _read(link).parts == (label,)
    assert _read(unquote(link)).parts == (label,)  # as the server sees it


def test_addresses_in_per_cent_are_still_read() -> None:
    assert read_address("/labels/c%2B%2B", "").parts == ("c++",)


@pytest.mark.parametrize(
    ("link", "page"),
    [
        (overview_link(), "overview"),
        (expert_link(3, 77, show="ranges"), "expert"),
        (label_link("lua"), "label"),
        (mask_link(perplexity=True), "mask"),
        (structure_link(1), "structure"),
        (explanations_link(), "explanations"),
        (glossary_link("mass"), "glossary"),
        (prompt_link({"text": "x"}), "prompt"),
        (atlas_link(1, colour="mass"), "atlas"),
        (key_link(0, 2, 17, page=3), "key"),
    ],
)
def test_every_link_leads_to_its_page(link: str, page: str) -> None:
    assert _read(link).page == page


def test_read_address_tells_pages_apart() -> None:
    assert read_address("/", "").page == "overview"
    assert read_address(None, None).page == "overview"
    assert _read(expert_link(3, 77)).parts == ("3", "77")
    assert read_address("/mask/", "").page == "mask"
    for path in ("/expert/0", "/expert/0/1/2", "/labels", "/x", "//"):
        assert read_address(path, "").page == "", path


def test_templates_for_the_browser_agree_with_links() -> None:
    assert expert_template(3).replace("{expert}", "77") == expert_link(3, 77)
    assert expert_file(3, 77, "csv") == "/download/expert/3/77.csv"
    assert EXPERT_FILE.startswith("/download/")
    assert anchor("start-of-text token") == "start-of-text-token"


@pytest.mark.parametrize(
    ("text", "group", "expected"),
    [("1:17", None, (1, 17)), (" 1 : 2,3 ", None, (1, 35)), ("17", 0, (0, 17)), ("0:255", None, (0, 255))],
)
def test_expert_is_read(text: str, group: int | None, expected: tuple[int, int]) -> None:
    assert read_expert(text, [0, 1], 16, group) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("17", "names no expert"),
        ("0:-1", "names no expert"),
        ("0:1e3", "names no expert"),
        ("<b>", "names no expert"),
        ("2:1", "no group 2"),
        ("0:256", "no expert 256"),
        ("0:16,0", r"no expert \(16, 0\)"),
    ],
)
def test_wrong_expert_is_refused_in_words(text: str, said: str) -> None:
    with pytest.raises(WorkbenchError, match=said):
        read_expert(text, [0, 1], 16)
