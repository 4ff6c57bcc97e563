"""Where a text in the header's box leads."""

from __future__ import annotations

from pathlib import Path

import pytest

from workbench import open_run
from workbench.dashboard.context import Context
from workbench.dashboard.search_box import destination
from workbench.errors import NotFoundError


@pytest.mark.parametrize(
    ("text", "link"),
    [
        ("1:17", "/expert/1/17"),
        (" 17 ", "/expert/0/17"),
        ("1:2,3", "/expert/1/35"),
        ("#endif", "/search?q=%23endif"),
        (" the", "/search?q=+the"),
        ("/a+/", "/search?q=%2Fa%2B%2F"),
        ("", "/search"),
    ],
)
def test_an_id_leads_to_the_expert_and_anything_else_to_the_search(run_path: Path, text: str, link: str) -> None:
    assert destination(Context(open_run(run_path)), text) == link


def test_expert_that_is_not_there_is_refused(run_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no expert 256"):
        destination(Context(open_run(run_path)), "0:256")
