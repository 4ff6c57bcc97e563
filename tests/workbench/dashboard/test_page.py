"""A page's path matches its addresses and no others."""

from __future__ import annotations

import pytest

from workbench.dashboard.page import Page


@pytest.mark.parametrize(
    ("pattern", "path", "parts"),
    [
        ("/", "/", ()),
        ("/mask", "/mask/", ()),
        ("/mask", "/masks", None),
        ("/labels/{label}", "/labels/c%2B%2B%2Fx", ("c++/x",)),
        ("/labels/{label}", "/labels/", None),
        ("/a.b/{x}/c/{y}", "/a.b/1/c/2", ("1", "2")),
        ("/a.b/{x}/c/{y}", "/aXb/1/c/2", None),
    ],
)
def test_match_returns_the_decoded_parts(pattern: str, path: str, parts: tuple[str, ...] | None) -> None:
    assert Page("p", pattern, "P", lambda ctx, address: []).match(path) == parts
